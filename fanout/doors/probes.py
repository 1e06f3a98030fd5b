"""What machines ask of a process: does it live, is it ready, how is it doing."""

from __future__ import annotations

from fanout.doors.guard import Guard
from fanout.doors.http import HttpRequest
from fanout.doors.http_endpoint import Endpoint
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


class Live(Endpoint):
    """``/healthz``: whoever gets an answer knows that the reactor turns. A process that does not answer is replaced."""

    public = False

    async def respond(self, request: HttpRequest) -> None:
        """200."""
        request.answer_json(200, {"live": True})


class Ready(Endpoint):
    """``/readyz``: 200, or 503 to send no clients here; why, for those who may know."""

    public = False

    def __init__(self, health: Health, guard: Guard) -> None:
        super().__init__()
        self._health = health
        self._guard = guard

    async def respond(self, request: HttpRequest) -> None:
        """See :meth:`fanout.health.Health.report`."""
        report = self._health.report()
        told = report if self._guard.allows(request) else {"ready": report["ready"]}
        request.answer_json(200 if report["ready"] else 503, told)
