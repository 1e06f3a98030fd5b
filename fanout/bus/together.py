"""Several publishes whose publisher waits for all of them."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure


def together(publishes: Iterable[Deferred[None]]) -> Deferred[None]:
    """Fires when the bus has all of them; fails with what the first that failed has failed with."""
    return gatherResults(list(publishes), consumeErrors=True).addCallbacks(lambda _: None, _first)


def _first(failure: Failure) -> Failure:
    """The failure inside what ``gatherResults`` made of it."""
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
