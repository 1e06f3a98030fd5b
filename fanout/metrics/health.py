"""Health: whether a process is alive, and whether a load balancer should send clients to it (:class:`Health`).

A process that answers at all is alive. It is ready when it has everything that clients need. If it lacks something that
is not needed at once, it is *degraded*: operators should see that, but the clients should stay.

:class:`HealthRoutes` answers load balancers and Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fanout.http.auth import OperatorAuth
from fanout.http.response import Response
from fanout.http.routing import Request, Route, every_method, subtree
from fanout.metrics.prometheus import CONTENT_TYPE, Measure, Metrics, Table

DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of one thing that a process needs.

    :ivar name: such as ``bus`` or ``directory``; there are few names.
    :ivar well: whether it works.
    :ivar reason: one line for people: its state, or why it does not work.
    :ivar needed: whether the process is useless without it.
    """

    name: str
    well: bool
    reason: str
    needed: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Health:
    """Checks everything that can fail at each request. Nothing is cached, so no answer is out of date.

    :ivar draining: whether the process is about to end, and accepts no new clients.
    """

    def __init__(self, checks: Sequence[Callable[[], Condition]]) -> None:
        """:param checks: each returns at once a condition that is already known."""
        self._checks = tuple(checks)
        self.draining = False

    def conditions(self) -> list[Condition]:
        """The current conditions."""
        draining = Condition(DRAINING, not self.draining, "shutting down" if self.draining else "not shutting down")
        return [*(check() for check in self._checks), draining]

    @property
    def ready(self) -> bool:
        """Whether clients may connect."""
        return all(each.well or not each.needed for each in self.conditions())

    def report(self) -> dict[str, Any]:
        """The complete report, for JSON.

        ::

            {"ready": false, "reasons": ["bus: connection refused"], "degraded": ["memcached: …"],
             "conditions": {"bus": {"well": false, "needed": true, "reason": "connection refused"}, …}}
        """
        conditions = self.conditions()
        bad = [each for each in conditions if not each.well]
        return {
            "ready": not any(each.needed for each in bad),
            "reasons": [str(each) for each in bad if each.needed],
            "degraded": [str(each) for each in bad if not each.needed],
            "conditions": {
                each.name: {"well": each.well, "needed": each.needed, "reason": each.reason} for each in conditions
            },
        }


_LIVE = Response.json({"live": True})


class HealthRoutes:
    """Handlers for load balancers and Prometheus."""

    def __init__(self, health: Health, metrics: Metrics, auth: OperatorAuth) -> None:
        """:param health: the checks.
        :param metrics: all metrics of the process.
        :param auth: decides whether a client gets the reasons why the process is not ready.
        """
        self._health = health
        self._metrics = metrics
        self._auth = auth

    def routes(self) -> list[Route]:
        """The rows of the routing table. Load balancers use different methods: HAProxy uses OPTIONS, others HEAD."""
        probes = {"/healthz": self.live, "/readyz": self.ready}
        return [
            *subtree("/metrics", GET=self.metrics),
            *(
                every_method(path + end, probes[path], without_auth=True)
                for path in probes
                for end in ("", "/{rest:path}")
            ),
        ]

    def metrics(self, request: Request) -> Response:
        """``/metrics``, read at this moment. prometheus-client's own resource reads metrics in a thread, concurrently
        with the reactor.
        """
        return Response(self._metrics.text(), content_type=CONTENT_TYPE)

    def live(self, request: Request) -> Response:
        """``/healthz``: the reactor is running. A process that does not answer should be replaced."""
        return _LIVE

    def ready(self, request: Request) -> Response:
        """``/readyz``: 200, or 503 if no clients should be sent here. Operators also get the reasons. See
        :meth:`Health.report`.
        """
        report = self._health.report()
        told = report if self._auth.allows(request.http) else {"ready": report["ready"]}
        return Response.json(told, 200 if report["ready"] else 503)


HEALTH: Table[Health] = (
    Measure("gauge", "fanout_ready", "The answer of /readyz: 1 for ready.", lambda health: health.ready),
    Measure(
        "gauge",
        "fanout_condition_well",
        "Each condition of /readyz: 1 for well.",
        lambda health: {condition.name: condition.well for condition in health.conditions()},
        ("condition",),
    ),
)
