"""The composition root: the only file that knows every part of Artcast. Its caller passes a hub and a bus."""

from __future__ import annotations

import time
from functools import partial
from typing import Any
from uuid import uuid4

import structlog
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.task import LoopingCall

from artcast.catalogue import Catalogue, Copies
from artcast.feed import Feed
from artcast.settings import ArtcastSettings
from artcast.site import Pages, Site
from fanout.application.interface import OpenTopics
from fanout.application.observer import ClientCounters, ClientWarnings
from fanout.bus.interface import Bus
from fanout.http.access_log import AccessLog, log_file
from fanout.http.dispatch import Dispatcher
from fanout.http.http_server import NO_SNIFFING, HttpSite
from fanout.http.limits import HttpServerSettings
from fanout.http.pending_requests import PendingRequests
from fanout.http.response import ErrorPages
from fanout.hub.history import History
from fanout.hub.hub import Hub
from fanout.hub.outbox import Flusher
from fanout.listeners import port
from fanout.listeners.address import Networks
from fanout.listeners.client_limits import ConnectionLimit, ConnectionSettings
from fanout.listeners.datagrams import DatagramPort
from fanout.listeners.port import keep_alive

log = structlog.get_logger(__name__)


class Artcast:
    """One server, which runs alone or as a guest (:class:`fanout.application.guests.Guest`) of another server."""

    def __init__(self, reactor: Any, settings: ArtcastSettings, hub: Hub, bus: Bus, *, hosted: bool = False) -> None:
        """
        :param reactor: Twisted's reactor.
        :param settings: the settings of Artcast.
        :param hub: the hub for the values.
        :param bus: the caller starts it, and passes its messages to :meth:`hear`.
        :param hosted: whether another application takes the messages that this one does not.
        """
        self._reactor = reactor
        self._settings = settings
        client_warnings = ClientWarnings(ClientCounters(), log)
        catalogue = Catalogue(settings.MAX_KEYS, self._full)
        feed = _feed(settings, hub, bus, catalogue, hosted=hosted)
        self.hear = feed.hear
        self._data, self._registrations = _ports(reactor, settings, feed)
        self._access = log_file(settings.ACCESS_LOG, settings.ACCESS_LOG_SIZE, settings.ACCESS_LOG_COUNT)
        self._pending = _pending(reactor, settings, hub, bus, client_warnings)
        self._http = self._site(catalogue, client_warnings)
        self._listening: Any = None
        self._look = LoopingCall(self._pending.tick)
        self._look.clock = reactor

    def _site(self, catalogue: Catalogue, client_warnings: ClientWarnings) -> HttpSite:
        settings = self._settings
        site = Site(
            catalogue,
            Pages(settings.TEMPLATES),
            prefix=settings.TOPIC_PREFIX,
            origin=settings.ACCESS_CONTROL_ALLOW_ORIGIN,
        )
        dispatcher = Dispatcher(site.routes(), self._pending)
        limits = ConnectionSettings(
            MAX_CONNECTIONS=settings.MAX_CONNECTIONS,
            MAX_CONNECTIONS_PER_ADDRESS=settings.MAX_CONNECTIONS_PER_ADDRESS,
            CONNECT_RATE=0,
        )
        return HttpSite(
            self._reactor,
            dispatcher,
            ConnectionLimit(limits),
            settings,
            client_warnings.warn,
            name="artcast",
            pages=ErrorPages(),
            headers=(NO_SNIFFING,),
            access=AccessLog(self._access, time.time, sizes=False),  # some programs cannot parse lines with sizes
            check=dispatcher.check,
            request_seconds=settings.REQUEST_TIMEOUT,
        )

    def start(self) -> dict[str, str]:
        """Start listening.

        :return: the listen addresses, by name.
        :raises twisted.internet.error.CannotListenError: a port is taken.
        """
        settings = self._settings
        self._listening = port.listen(self._reactor, settings.CLIENT_IP, settings.CLIENT_PORT, self._http)
        keep_alive(self._listening.socket, settings.GONE_SECONDS)
        here = self._listening.getHost()
        self._look.start(self._pending.wheel.tick)
        return {
            "client": f"{here.host}:{here.port}",
            "data": self._data.start(settings.DATA_PORT),
            "register": self._registrations.start(settings.REGISTER_PORT),
        }

    def stop(self) -> Deferred[None]:
        """Accept no more clients, and answer those that wait."""
        closing = [maybeDeferred(self._listening.stopListening), self._data.stop(), self._registrations.stop()]
        for poll in list(self._pending.pending):
            poll.close()
        self._look.stop()
        return DeferredList(closing, consumeErrors=True).addCallback(lambda _: self._access.close())

    def reload(self) -> None:
        """Handle a SIGHUP: the access log may have been renamed, so the next line opens a new file."""
        self._access.close()

    def status(self) -> str:
        """The state in one line for people."""
        return f"{len(self._pending.pending)} clients are waiting"

    def _full(self) -> None:
        log.error(
            "keys.full",
            limit=self._settings.MAX_KEYS,
            advice="further keys work, but are not listed; restrict SOURCES, or raise MAX_KEYS",
        )


def _feed(settings: ArtcastSettings, hub: Hub, bus: Bus, catalogue: Catalogue, *, hosted: bool) -> Feed:
    return Feed(
        hub,
        bus.publish,
        catalogue,
        Copies(time.monotonic, settings.COPY_SECONDS),
        prefix=settings.TOPIC_PREFIX,
        key_octets=settings.MAX_KEY_BYTES,
        now=time.time,
        clock=time.monotonic,
        hosted=hosted,
    )


def _ports(reactor: Any, settings: ArtcastSettings, feed: Feed) -> tuple[DatagramPort, DatagramPort]:
    """The ports for values and for registrations."""
    octets, networks = settings.MAX_DATAGRAM_BYTES, Networks.parse(settings.SOURCES) or None
    data, register = settings.DATA_GROUP, settings.REGISTER_GROUP
    return (
        DatagramPort(reactor, "data", feed.take_datum, group=data, octets=octets, networks=networks),
        DatagramPort(reactor, "register", feed.take_registration, group=register, octets=octets, networks=networks),
    )


def _pending(
    reactor: Any, settings: ArtcastSettings, hub: Hub, bus: Bus, client_warnings: ClientWarnings
) -> PendingRequests:
    return PendingRequests(
        application=OpenTopics(bus, time.time, lambda: str(uuid4())),  # no route allows a client to publish
        hub=hub,
        history=History(time.monotonic, messages_per_topic=1),
        flusher=Flusher(time.monotonic, partial(reactor.callLater, 0), client_warnings.failed),
        later=reactor.callLater,
        clock=time.monotonic,
        warn=client_warnings.warn,
        failed=client_warnings.failed,
        settings=HttpServerSettings(HTTP_MAX_LISTENERS=settings.MAX_POLLS),
    )
