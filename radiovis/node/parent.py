"""The process behind ``--workers N``: it holds the sockets, looks after the workers, answers operators."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import structlog
import treq
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.web.http_headers import Headers

from fanout.http.response import Response
from fanout.http.routing import Request, subtree
from fanout.listeners import port
from fanout.metrics.prometheus import CONTENT_TYPE, summed
from fanout.settings import SettingsError
from fanout.settings.engine import MAX_PORT
from radiovis.admin.listener import Admin, AdminPorts
from radiovis.node.admin_parts import operators_entrance
from radiovis.node.places import ListenAddress, places
from radiovis.node.workers import Worker, Workers
from radiovis.settings import Settings

_ANSWER_SECONDS = 5.0  # for a worker to say how it is; Prometheus waits ten
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104

log = structlog.get_logger(__name__)


class Parent:
    """What ``server.py --workers N`` is."""

    def __init__(self, reactor: Any, settings: Settings, words: Sequence[str], *, fake: bool) -> None:
        """
        :param words: the arguments of ``serve``.
        :raises SettingsError: workers could not hear each other.
        :raises CannotListenError: a port is taken.
        """
        self._ports = AdminPorts.of(settings, fake=fake)
        check_workers(settings, self._ports)
        self._reactor = reactor
        self._settings = settings
        self._fake = fake
        self._sockets: list[socket.socket] = []
        shared = self._shared()
        own = [shared | self._admin_socket(number) for number in range(1, settings.WORKERS + 1)]
        self.workers = Workers(reactor, words, own, drain=settings.DRAIN_SECONDS)
        self._entrance = operators_entrance(reactor, settings, self._ports)
        self._admin = self._make_admin() if self._ports.wanted else None

    def start(self) -> None:
        """Begin, once the reactor runs. :raises CannotListenError: the operators' port is taken."""
        if self._admin is not None:
            self._admin.start()
        if self._entrance is not None:
            self._entrance.start()
        self._reactor.callWhenRunning(self.workers.start)

    def stop(self) -> Deferred[Any]:
        """End every worker, then this; fires when all is done."""
        if self._admin is not None:
            self._admin.drain()
        if self._entrance is not None:
            self._entrance.stop()
        for each in self._sockets:
            each.close()  # or the kernel would take clients in that no worker lets in any more
        stopped = self.workers.stop()
        stopped.addCallback(lambda _: None if self._admin is None else self._admin.stop())
        return stopped

    def reload(self) -> None:
        """Read the certificate again, and have the workers read their settings."""
        if self._entrance is not None:
            self._entrance.reload()
        self.workers.reload()

    # Sockets

    def _shared(self) -> dict[str, int]:
        """What all workers listen on."""
        return {name: self._bind(place) for name, place in places(self._settings, fake=self._fake).items()}

    def _admin_socket(self, number: int) -> dict[str, int]:
        """What one worker tells operators at: the port behind the parent's, and so on. It holds the port while the
        worker is away, so that nobody else answers there in its name.
        """
        ports = self._ports
        if not ports.plain:
            return {}
        try:
            return {"admin": self._bind(ListenAddress(ports.ip, ports.plain + number))}
        except CannotListenError as error:
            if ports.chosen:
                raise
            log.warning("admin.unavailable", worker=number, port=error.port, advice="set ADMIN_PORT")
            return {}

    def _bind(self, place: ListenAddress) -> int:
        bound = port.bind(place.ip, place.port)
        self._sockets.append(bound)
        return bound.fileno()

    # For operators

    def _make_admin(self) -> Admin:
        admin = Admin(self._reactor, self._settings, self._ports, "server.py", [], self._entrance)
        admin.routes[:0] = [
            *subtree("/metrics", GET=self.metrics),
            *subtree("/readyz", without_auth=True, GET=self.ready),
        ]
        return admin

    async def metrics(self, request: Request) -> Response:
        """``/metrics``: every worker's, and their sum. A worker that does not answer is missing: see ``/readyz``."""
        pages = {}
        for worker in self.workers.members:
            status, page = await self.ask(worker, "metrics")
            if status == 200:
                pages[str(worker.number)] = page
        return Response(summed(pages), content_type=CONTENT_TYPE)

    async def ready(self, request: Request) -> Response:
        """``/readyz``: 200 when every worker is ready; and which is."""
        ready = {}
        for worker in self.workers.members:
            status, _ = await self.ask(worker, "readyz")
            ready[str(worker.number)] = status == 200
        all_are = all(ready.values())
        return Response.json({"ready": all_are, "workers": ready}, 200 if all_are else 503)

    async def ask(self, worker: Worker, path: str) -> tuple[int, str]:
        """Ask a worker's own listener.

        :return: status and body; 503 and the reason when it does not answer.
        """
        if not worker.tells:
            return 503, "no port to ask it at"
        host = _ANYWHERE.get(self._ports.ip, self._ports.ip)
        number = self._ports.plain + worker.number
        url = f"http://[{host}]:{number}/{path}" if ":" in host else f"http://{host}:{number}/{path}"
        token = self._settings.ADMIN_TOKEN.get_secret_value()
        headers = Headers({"Authorization": [f"Bearer {token}"]} if token else {})
        try:
            response = await treq.get(
                url, headers=headers, timeout=_ANSWER_SECONDS, persistent=False, reactor=self._reactor
            )
            return response.code, await response.text()
        except Exception as error:  # noqa: BLE001  (whatever it is, the worker has not told, and the page says so)
            return 503, f"{type(error).__name__}: {error}"


def check_workers(settings: Settings, ports: AdminPorts) -> None:
    """:raises SettingsError: several workers cannot run with these settings."""
    for name in ("STANDALONE", "RABBITMQ_LOOPBACK"):
        if getattr(settings, name):
            raise SettingsError(f"WORKERS = {settings.WORKERS}: workers hear each other by RabbitMQ; without {name}.")
    if ports.secure and not ports.plain:
        raise SettingsError("ADMIN_TLS_PORT: the parent asks workers at the ports behind ADMIN_PORT; set that, too.")
    if settings.WITH:
        raise SettingsError(
            f"WITH = {settings.WITH}: it would run in each of {settings.WORKERS} workers; run it alone."
        )
    if ports.plain + settings.WORKERS > MAX_PORT:
        raise SettingsError(f"ADMIN_PORT = {ports.plain}: the workers' ports behind it are beyond {MAX_PORT}.")
