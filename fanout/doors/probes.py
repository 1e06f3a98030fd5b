"""What machines ask of a process: does it live, is it ready, how is it doing."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from fanout.doors.guard import Guard
from fanout.doors.http_endpoint import Endpoint
from fanout.doors.http_request import HttpRequest
from fanout.health import Health
from fanout.metrics import CONTENT_TYPE, Metrics


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

    def __init__(self, health: Health, guard: Guard) -> None:
        super().__init__()
        self._health = health
        self._guard = guard

    def verdict(self, request: HttpRequest) -> tuple[int, dict[str, Any]]:
        """See :meth:`fanout.health.Health.report`."""
        report = self._health.report()
        told = report if self._guard.allows(request) else {"ready": report["ready"]}
        return 200 if report["ready"] else 503, told
