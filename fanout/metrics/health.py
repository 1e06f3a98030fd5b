"""Whether a process lives, and whether it is of use: what a load balancer asks before it sends clients.

Live is whoever answers at all. Ready is who has all that clients need; something it can do without for a while makes
it *degraded*, which is for people to see, and no reason to send the clients away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from fanout.http.auth import OperatorAuth
from fanout.http.dispatch import Endpoint
from fanout.http.server import HttpRequest
from fanout.metrics.prometheus import CONTENT_TYPE, Metrics

DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is well or not.

    :ivar name: what: ``bus``, ``directory``; a few different ones.
    :ivar reason: one line for people: how it is, or why it is not well.
    :ivar needed: whether the process is of no use without.
    """

    name: str
    well: bool
    reason: str
    needed: bool = True


class Health:
    """Asks everything that can fail, each time it is asked itself: nothing here is remembered and could be old.

    :ivar draining: the process is about to end, and takes no new clients.
    """

    def __init__(self, checks: Sequence[Callable[[], Condition]]) -> None:
        """:param checks: each quick, and without waiting: it tells what is known already."""
        self._checks = tuple(checks)
        self.draining = False

    def conditions(self) -> list[Condition]:
        """How everything is."""
        draining = Condition(DRAINING, not self.draining, "shutting down" if self.draining else "not shutting down")
        return [*(check() for check in self._checks), draining]

    @property
    def ready(self) -> bool:
        """Whether clients may come."""
        return all(each.well or not each.needed for each in self.conditions())

    def report(self) -> dict[str, Any]:
        """All of it, for JSON.

        ::

            {"ready": false, "reasons": ["bus: connection refused"], "degraded": ["memcached: …"],
             "conditions": {"bus": {"well": false, "needed": true, "reason": "connection refused"}, …}}
        """
        conditions = self.conditions()
        bad = [each for each in conditions if not each.well]
        return {
            "ready": not any(each.needed for each in bad),
            "reasons": [f"{each.name}: {each.reason}" for each in bad if each.needed],
            "degraded": [f"{each.name}: {each.reason}" for each in bad if not each.needed],
            "conditions": {
                each.name: {"well": each.well, "needed": each.needed, "reason": each.reason} for each in conditions
            },
        }


# What machines ask of a process: does it live, is it ready, how is it doing.


class MetricsText(Endpoint):
    """``/metrics``, for Prometheus. prometheus-client's own resource reads them in a thread, beside the reactor's."""

    public = False

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._metrics = metrics

    async def respond(self, request: HttpRequest) -> None:
        """Read everything now."""
        request.answer(200, self._metrics.text(), CONTENT_TYPE)


class Probe(Resource):
    """A question that load balancers ask in any way they like: HAProxy by OPTIONS, others by HEAD."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def verdict(self, request: HttpRequest) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer."""
        raise NotImplementedError

    def render(self, request: HttpRequest) -> int:
        """For Twisted, which logs what is raised here and answers 500."""
        request.answer_json(*self.verdict(request))
        return NOT_DONE_YET


class Live(Probe):
    """``/healthz``: whoever gets an answer knows that the reactor turns. A process that does not answer is replaced."""

    def verdict(self, request: HttpRequest) -> tuple[int, dict[str, Any]]:
        """200."""
        return 200, {"live": True}


class Ready(Probe):
    """``/readyz``: 200, or 503 to send no clients here; why, for those who may know."""

    def __init__(self, health: Health, guard: OperatorAuth) -> None:
        super().__init__()
        self._health = health
        self._guard = guard

    def verdict(self, request: HttpRequest) -> tuple[int, dict[str, Any]]:
        """See :meth:`fanout.metrics.health.Health.report`."""
        report = self._health.report()
        told = report if self._guard.allows(request) else {"ready": report["ready"]}
        return 200 if report["ready"] else 503, told
