"""Runs a server with one call, for small programs.

:func:`serve` serves a table of routes. :func:`end_in_order` disconnects its clients. :func:`host_names` returns the
host names that such a server accepts. :class:`SiteTopics` contains the topics of a site and the objects that serve
them; :class:`LocalTopics` is the same for one process without other nodes.
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
    :ivar pending: the requests that wait for messages; for a :class:`~fanout.http.dispatch.Dispatcher`.
    :ivar warn: logs a client's fault, with at most one line per second and address.
    :ivar prefix: the prefix of topics in the hub; the name on the site follows.
    :ivar largest: gives the maximum number of octets of a value; None if there is only the limit of a body.
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
        :param reactor: Twisted's reactor.
        :param hub: delivers the messages.
        :param bus: carries the messages between nodes.
        :param history: the messages of the last minutes, for clients that reconnect.
        :param token: the token that a client needs to publish; empty if it needs none.
        :param listeners: the maximum number of polls and event streams at a time.
        :param prefix: the prefix of topics in the hub.
        :param client_warnings: logs clients' faults; made here if not given.
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
        """Start the timers of the clients that wait."""
        self._looking.start(self.pending.wheel.tick)

    def let_go(self) -> None:
        """Answer the polls, and end the event streams."""
        for client in list(self.pending.pending):
            client.close()

    def stop(self) -> None:
        """Stop the timers, answer the polls, and end the event streams."""
        if self._looking.running:
            self._looking.stop()
        self.let_go()


class LocalTopics(SiteTopics):
    """The topics of one process, with their own hub and bus."""

    def __init__(self, reactor: Any, token: str = "", *, topics: int = 10_000, listeners: int = 10_000) -> None:
        """
        :param reactor: Twisted's reactor.
        :param token: the token that a client needs to publish; empty if it needs none.
        :param topics: the maximum number of topics whose last value is kept; above it, the oldest value is dropped.
        :param listeners: the maximum number of polls and event streams at a time.
        """
        client_warnings = _client_warnings()
        history = History(time.monotonic)
        hub = Hub(client_warnings.failed, last_messages=topics, history=history)
        bus = Loopback()
        super().__init__(reactor, hub, bus, history, token, listeners=listeners, client_warnings=client_warnings)

    def start(self) -> None:
        """Start the bus, and the timers of the clients that wait."""
        self._bus.start(self._receive, lambda: None)
        super().start()

    def stop(self) -> None:
        """Stop the timers, answer the polls, end the event streams, and stop the bus."""
        super().stop()
        self._bus.stop()

    def say(self, topic: str, body: bytes, content_type: str = "text/plain; charset=utf-8") -> Deferred[None]:
        """Publish a value. Fires when the bus has accepted it; fails with :class:`~fanout.bus.interface.BusError`.

        :param topic: the topic in the hub.
        :param body: the value.
        :param content_type: the media type of the value.
        """
        headers = (("content-type", content_type),)
        return self._bus.publish(Message(topic, body, self._new_id(), int(time.time()), headers))

    def last(self, topic: str) -> bytes | None:
        """The last value of a topic; None if it has none."""
        message = self.pending.hub.last(topic)
        return None if message is None else message.body

    def _receive(self, message: Message) -> None:
        self.pending.hub.publish(message.topic, message)


def _client_warnings() -> ClientWarnings:
    return ClientWarnings(ClientCounters(), log)


def host_names(names: Iterable[str]) -> HostNames:
    """The host names that a server accepts: the given ones, and the name of this machine."""
    return HostNames([*names, os.uname().nodename])


async def end_in_order(listening: Any, site: HttpSite, topics: SiteTopics, grace_seconds: float) -> None:
    """Stop listening, and complete the running answers. Returns when all connections are closed.

    :param listening: the port.
    :param site: the site at this port.
    :param topics: the topics of the site.
    :param grace_seconds: seconds after which the remaining connections are aborted.
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

    :param reactor: Twisted's reactor.
    :param rows: the routes.
    :param topics: the topics of the site.
    :param ip: the address to listen on.
    :param port: the port to listen on; 0 for a free port, which the log shows.
    :param names: accepted host names in addition to IP addresses, ``localhost`` and the name of this machine; ``*`` for
        every name.
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
