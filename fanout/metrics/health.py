"""Health: whether a process lives, and whether a load balancer should send it clients (:class:`Health`).

A process that answers at all is live. It is ready when it has everything that clients need. Something that it can do
without for a while makes it *degraded*: people should see that, but it is no reason to send the clients away.
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
    """How one thing is that a process needs.

    :ivar name: such as ``bus`` or ``directory``; there are few.
    :ivar reason: one line for people: how it is, or why it is not well.
    :ivar needed: whether the process is of no use without it.
    """

    name: str
    well: bool
    reason: str
    needed: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Health:
    """Asks everything that can fail, each time it is asked itself: nothing is remembered here that could be old.

    :ivar draining: the process is about to end, and takes no new clients.
    """

    def __init__(self, checks: Sequence[Callable[[], Condition]]) -> None:
        """:param checks: each returns at once what is known already."""
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
        """:param auth: decides whether a client is told why the process is not ready."""
        self._health = health
        self._metrics = metrics
        self._auth = auth

    def routes(self) -> list[Route]:
        """The rows of the table. Load balancers ask by any method: HAProxy by OPTIONS, others by HEAD."""
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
        """``/metrics``, read now. prometheus-client's own resource reads them in a thread, beside the reactor's."""
        return Response(self._metrics.text(), content_type=CONTENT_TYPE)

    def live(self, request: Request) -> Response:
        """``/healthz``: the reactor turns. A process that does not answer is to be replaced."""
        return _LIVE

    def ready(self, request: Request) -> Response:
        """``/readyz``: 200, or 503 to send no clients here; why, for operators. See :meth:`Health.report`."""
        report = self._health.report()
        told = report if self._auth.allows(request.http) else {"ready": report["ready"]}
        return Response.json(told, 200 if report["ready"] else 503)


HEALTH: Table[Health] = (
    Measure("gauge", "fanout_ready", "What /readyz says: 1 for ready.", lambda health: health.ready),
    Measure(
        "gauge",
        "fanout_condition_well",
        "The conditions of /readyz one by one: 1 for well.",
        lambda health: {condition.name: condition.well for condition in health.conditions()},
        ("condition",),
    ),
)
