"""A running server in one call, for small programs.

:func:`serve` runs a table of routes, :func:`end_in_order` lets its clients go, and :func:`host_names` are the names
under which such a server answers.
:class:`SiteTopics` is topics with everything that serves them, and :class:`LocalTopics` those of one process: the
shortest way from a reactor to a site with topics.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from secrets import token_hex
from typing import Any

import structlog
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall

from fanout.application.interface import OpenTopics
from fanout.application.observer import ClientCounters, ClientWarnings
from fanout.bus.interface import Bus
from fanout.bus.loopback import Loopback
from fanout.http.auth import HostNames
from fanout.http.dispatch import Dispatcher
from fanout.http.http_server import NO_SNIFFING, HttpSite
from fanout.http.limits import HttpServerSettings
from fanout.http.pending_requests import PendingRequests
from fanout.http.response import ErrorPages
from fanout.http.routing import Route, Routes
from fanout.hub.history import History
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.outbox import Flusher
from fanout.listeners import port as ports
from fanout.listeners.client_limits import ConnectionLimit, ConnectionSettings
from fanout.process.logs import set_up_logs
from fanout.process.service import Notify, Service
from webserver.site_config import SiteLimits, SiteServer

log = structlog.get_logger(__name__)


class SiteTopics:
    """The topics of a site on a hub and a bus, and the HTTP requests that wait for messages.

    :ivar application: decides which client may publish.
    :ivar pending: for a :class:`~fanout.http.dispatch.Dispatcher`.
    :ivar warn: logs a client's fault, one a second of each address.
    :ivar prefix: of topics in the hub; the name on the site follows.
    :ivar largest: gives the octets that a value may have; None if only the server's limit of a body holds.
    """

    largest: Callable[[], int] | None = None

    def __init__(
        self,
        reactor: Any,
        hub: Hub,
        bus: Bus,
        history: History,
        token: str = "",
        *,
        listeners: int,
        prefix: str = "",
        client_warnings: ClientWarnings | None = None,
    ) -> None:
        """
        :param history: what was published before, for clients that come back.
        :param token: what clients need to know to publish; empty for nothing.
        :param listeners: clients that may wait or be streamed to at a time.
        """
        life, numbers = token_hex(8), count(1)
        self._bus = bus
        self._new_id: Callable[[], str] = lambda: f"{life}-{next(numbers)}"
        self.prefix = prefix
        client_warnings = client_warnings or _client_warnings()
        self.warn = client_warnings.warn
        self.application = OpenTopics(bus, time.time, self._new_id, token)
        self.pending = PendingRequests(
            application=self.application,
            hub=hub,
            history=history,
            flusher=Flusher(time.monotonic, partial(reactor.callLater, 0), client_warnings.failed),
            later=reactor.callLater,
            clock=time.monotonic,
            warn=self.warn,
            failed=client_warnings.failed,
            settings=HttpServerSettings(HTTP_MAX_LISTENERS=listeners),
        )
        self._looking = LoopingCall(self.pending.tick)
        self._looking.clock = reactor

    def start(self) -> None:
        """Begin to look after the clients that wait."""
        self._looking.start(self.pending.wheel.tick)

    def let_go(self) -> None:
        """Answer the clients that wait, and end the event streams."""
        for client in list(self.pending.pending):
            client.close()

    def stop(self) -> None:
        """Let the clients that wait go."""
        if self._looking.running:
            self._looking.stop()
        self.let_go()


class LocalTopics(SiteTopics):
    """Those of one process, with a hub and a bus of their own."""

    def __init__(self, reactor: Any, token: str = "", *, topics: int = 10_000, listeners: int = 10_000) -> None:
        """
        :param token: what clients need to know to publish; empty for nothing.
        :param topics: how many last values are kept; beyond it the oldest is forgotten.
        :param listeners: clients that may wait or be streamed to at a time.
        """
        client_warnings = _client_warnings()
        history = History(time.monotonic)
        hub = Hub(client_warnings.failed, last_messages=topics, history=history)
        bus = Loopback()
        super().__init__(reactor, hub, bus, history, token, listeners=listeners, client_warnings=client_warnings)

    def start(self) -> None:
        """Begin to take messages and to deliver them."""
        self._bus.start(self._receive, lambda: None)
        super().start()

    def stop(self) -> None:
        """Let the clients that wait go; nothing is published any more."""
        super().stop()
        self._bus.stop()

    def say(self, topic: str, body: bytes, content_type: str = "text/plain; charset=utf-8") -> Deferred[None]:
        """Publish. Fires when the bus has taken it; fails with :class:`~fanout.bus.interface.BusError`."""
        headers = (("content-type", content_type),)
        return self._bus.publish(Message(topic, body, self._new_id(), int(time.time()), headers))

    def last(self, topic: str) -> bytes | None:
        """The last value of a topic; None when it has none."""
        message = self.pending.hub.last(topic)
        return None if message is None else message.body

    def _receive(self, message: Message) -> None:
        self.pending.hub.publish(message.topic, message)


def _client_warnings() -> ClientWarnings:
    return ClientWarnings(ClientCounters(), log)


def host_names(names: Iterable[str]) -> HostNames:
    """The names under which a server answers: those given, and that of this machine."""
    return HostNames([*names, os.uname().nodename])


async def end_in_order(listening: Any, site: HttpSite, topics: SiteTopics, grace_seconds: float) -> None:
    """Take no more clients, and let the running answers end; returns when all connections are closed.

    :param listening: the port.
    :param grace_seconds: after which the rest is cut off.
    """
    await maybeDeferred(listening.stopListening)
    gone = site.let_go(grace_seconds)
    topics.let_go()
    await gone
    topics.stop()


def serve(
    reactor: Any,
    rows: Iterable[Route],
    topics: LocalTopics,
    *,
    ip: str = "127.0.0.1",
    port: int = 8000,
    names: Iterable[str] = (),
) -> None:
    """Serve until a signal ends the process.

    :param topics: that handlers publish on, and clients listen to.
    :param port: 0 for a free one; the log says which.
    :param names: under which it answers, besides addresses, ``localhost`` and the name of this machine; ``*`` for all.
    :raises twisted.internet.error.CannotListenError: the port is taken.
    """
    set_up_logs()
    dispatcher = Dispatcher(Routes(rows), topics.pending, host_names=host_names(names))
    site = HttpSite(
        reactor,
        dispatcher,
        ConnectionLimit(ConnectionSettings(CONNECT_RATE=0)),
        SiteLimits(),
        topics.warn,
        pages=ErrorPages(),
        headers=(NO_SNIFFING,),
        check=dispatcher.check,
    )
    listening = ports.listen(reactor, ip, port, site)
    topics.start()
    host: Any = listening.getHost()  # type: ignore[no-untyped-call]

    def stop() -> Deferred[Any]:
        return Deferred.fromCoroutine(end_in_order(listening, site, topics, SiteServer().grace_seconds))

    def reload() -> None:
        log.warning("reload.ignored", advice="there are no settings to read again")

    where = f"{host.host}:{host.port}"
    reactor.callWhenRunning(log.info, "web.ready", address=where)
    Service(reactor, Notify(os.environ), stop=stop, reload=reload, status=lambda: f"serving at {where}").run()
