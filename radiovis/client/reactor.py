"""Runs one coroutine on Twisted's reactor, for commands that end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python import log as twisted_log
from twisted.python.failure import Failure

Main = Callable[[Any], Coroutine[Any, Any, int]]


def run_reactor(main: Main) -> int:
    """Start the reactor, run ``main(reactor)``, stop the reactor. A process can call it once.

    :return: what ``main`` returned.
    :raises Exception: what ``main`` raised; ``KeyboardInterrupt`` after Ctrl-C.
    """
    from twisted.internet import reactor  # noqa: PLC0415  (importing it installs it)

    results: list[int | Failure] = []
    twisted_log.startLoggingWithObserver(lambda _: None, setStdout=False)  # stderr is for the command's own lines.

    def begin() -> None:
        done = Deferred.fromCoroutine(main(reactor))
        done.addBoth(results.append)
        done.addBoth(lambda _: reactor.stop() if reactor.running else None)

    reactor.callWhenRunning(begin)
    reactor.run()
    if not results:
        raise KeyboardInterrupt
    if isinstance(results[0], Failure):
        results[0].raiseException()
    assert isinstance(results[0], int)
    return results[0]
