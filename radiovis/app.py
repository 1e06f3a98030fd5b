"""The composition root: the only file that knows every part and joins them to a node."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from fanout.doors import port
from fanout.doors.application import Application
from fanout.doors.counted_application import CountedApplication
from fanout.doors.http import HttpSite
from fanout.doors.keepalive import keep_alive
from fanout.doors.observer import Observer, Observers
from fanout.doors.stomp import Connection, StompDoor
from fanout.doors.stomp_tcp import StompFactory
from fanout.doors.tally import Tally
from fanout.hub import Hub
from fanout.message import Message
from fanout.outbox import Flusher
from fanout.throttle import Throttle
from fanout.wheel import Wheel
from radiovis import door_parts, parts
from radiovis.admin_parts import node_admin
from radiovis.application import RadioVIS
from radiovis.directory.interface import Directory, DirectoryError
from radiovis.last_slides import LastSlides
from radiovis.places import Place, places
from radiovis.publishing import Publishing
from radiovis.receiving import Receiving
from radiovis.reloading import Reloading, Take, node_takes
from radiovis.settings import Settings
from radiovis.tuning import Tuning
from radiovis.watchdog.app import standing_alone
from radiovis.web import public_site
from radiovis.worker import Birth

_LAST_SLIDE_DELAY = 0.05  # seconds a burst on one topic may last to be written to memcached once
_ALONE = Birth()
_ON_THE_WAY_SECONDS = 1.0  # that a message may take over the bus while others already keep it
_CATCH_UP_DELAY = 0.5  # seconds after which the others have written what was published just before we heard again

log = structlog.get_logger(__name__)


class Node:
    """One front-end: everything between the sockets of its clients and the bus."""

    def __init__(self, reactor: Any, settings: Settings, *, fake: bool = False, birth: Birth = _ALONE) -> None:
        """
        :param fake: ``--test`` mode: the fake directory, and the port of contract §1.12.
        :param birth: for one of several workers: which it is, and the sockets it shares.
        :raises StationsFileError: the stations file cannot be used.
        :raises SettingsError: the operators' pages would be open to others.
        :raises CertificateError: a certificate cannot be used.
        """
        self._reactor = reactor
        self._settings = settings
        self._fake = fake
        self._birth = birth
        self._places = places(settings, fake=fake)
        self._serves_http = any(place.door == "http" for place in self._places.values())
        self._throttle = Throttle(time.monotonic)
        self._memcached = parts.memcached(reactor, settings)
        self._stations = None if fake else parts.stations_file(reactor, settings, self._refresh)
        self._bus = parts.bus(reactor, settings)
        self._monitoring = parts.monitoring(reactor, settings)
        self._tally = Tally()
        self._observer: Observer = Observers(self._tally, self._monitoring) if self._monitoring else self._tally
        directory = self._directory()
        self._tuning = Tuning(directory, self._retune)
        self._gate = door_parts.gate(settings)
        self._entrance = door_parts.entrance(reactor, settings, self._complain)
        history = door_parts.history(settings)
        self._hub = Hub(
            self._failed,
            last_messages=settings.MAX_LAST_MESSAGES,
            last_octets=settings.MAX_LAST_MESSAGES_BYTES,
            history=history if self._serves_http else None,  # nobody would ask for it
        )
        self._last_slides = LastSlides(
            self._memcached,
            lambda write: reactor.callLater(_LAST_SLIDE_DELAY, write),
            settings.LAST_SLIDE_SECONDS,
        )
        self._receiving = Receiving(self._tuning, self._hub, self._last_slides, log, self._observer)
        publishing = Publishing(directory, self._tuning, reactor.seconds, lambda: str(uuid.uuid4()))
        throttle = door_parts.login_throttle(reactor, settings)
        application = RadioVIS(directory, self._tuning, publishing, self._last_slides, self._bus, throttle, log)
        self._door = self._stomp_door(CountedApplication(application, self._tally))
        self._websockets = door_parts.websockets(reactor, settings, self._complain, self._failed)
        self._listening = door_parts.listening(reactor, settings, self._door, history, self._failed)
        self._drain = door_parts.drain(reactor, settings, self._door, self._listening, self._websockets)
        self._wall = door_parts.wall(settings, self._listening, directory, self._tuning)
        self._watchdog = (
            standing_alone(reactor, settings, self._bus, directory, self._tuning, fake=fake)
            if settings.STANDALONE
            else None
        )
        self._admin = node_admin(
            reactor,
            settings,
            door=self._door,
            listening=self._listening,
            websockets=self._websockets,
            gate=self._gate,
            tally=self._tally,
            bus=self._bus,
            memcached=self._memcached,
            directory=directory,
            tuning=self._tuning,
            watchdog=self._watchdog,
            fake=fake,
        )
        self._loops = (
            (self._door.look, self._door.wheel.tick),
            (self._listening.look, self._listening.wheel.tick),
            (self._websockets.look, self._websockets.wheel.tick),
            (self._refresh, settings.FB_CHANNEL_CACHE),
        )
        self._running: list[LoopingCall] = []
        self._ports: list[Any] = []

    def _directory(self) -> Directory:
        if self._fake:
            return parts.fake_directory(self._settings)
        return self._stations or parts.plugit(self._reactor, self._settings, self._memcached)

    def _stomp_door(self, application: Application) -> StompDoor:
        settings = self._settings
        wheel: Wheel[Connection] = Wheel()
        flusher = Flusher(
            time.monotonic,
            lambda flush: self._reactor.callLater(0, flush),
            self._failed,
            limit=settings.OUTBOX_BYTES,
            total_limit=settings.OUTBOX_TOTAL_BYTES,
            policy=settings.SLOW_CLIENTS,
        )
        return StompDoor(
            application=application,
            hub=self._hub,
            flusher=flusher,
            wheel=wheel,
            limits=parts.limits(settings),
            manners=parts.manners(settings),
            clock=time.monotonic,
            log=log,
            complain=self._complain,
            write_timeout=settings.WRITE_TIMEOUT,
            quota=door_parts.quota(settings),
            observer=self._observer,
            delivery_observer=self._monitoring.delivery_observer if self._monitoring is not None else None,
        )

    # Life

    def start(self) -> None:
        """Listen, and begin to hear the bus.

        :raises twisted.internet.error.CannotListenError: a port is taken.
        """
        self._listen()
        if self._monitoring is not None:
            self._monitoring.start()
        self._bus.start(self._hear, self._hear_again)
        if self._watchdog is not None:
            self._watchdog.start()
        if self._stations is not None:
            self._stations.start()
        self._entrance.start()
        for function, interval in self._loops:
            loop = LoopingCall(function)
            loop.clock = self._reactor
            loop.start(interval)
            self._running.append(loop)

    def _listen(self) -> None:
        settings = self._settings
        factory = StompFactory(self._reactor, self._door, self._gate, linger=settings.LINGER_SECONDS)
        doors: dict[str, Any] = {"stomp": factory}
        if self._serves_http:
            websockets = door_parts.websocket_routes(self._door, self._websockets)
            root = public_site(self._listening, settings, self._wall, websockets)
            limits = door_parts.http_limits(settings)
            doors["http"] = HttpSite(self._reactor, root, self._gate, limits, self._complain)
        addresses = {name: self._open(name, place, doors[place.door]) for name, place in self._places.items()}
        if self._admin is not None and (address := self._admin.start(self._birth.sockets.get("admin"))):
            addresses["admin"] = address
        # Not before the reactor runs: a SIGTERM that came in between would find no handler.
        self._reactor.callWhenRunning(log.info, "server.ready", **addresses)

    def _open(self, name: str, place: Place, factory: Any) -> str:
        factory = self._entrance.secure(factory) if place.secure else self._entrance.plain(factory)
        slice_, inherited = self._settings.ACCEPT_SLICE, self._birth.sockets.get(name)
        if inherited is None:
            listening = port.listen(self._reactor, place.ip, place.port, factory, slice_)
        else:
            listening = port.adopt(self._reactor, inherited, factory, slice_)
        keep_alive(listening.socket, self._settings.TCP_KEEPALIVE_SECONDS)
        self._ports.append(listening)
        host: Any = listening.getHost()  # type: ignore[no-untyped-call]
        return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"

    def stop(self) -> Deferred[Any]:
        """Take no more clients, let those here go, have the bus take what is on its way. Fires when all is done."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._admin is not None:
            self._admin.drain()
        closing = [maybeDeferred(listening.stopListening) for listening in self._ports]
        await self._drain.leave()
        if self._stations is not None:
            self._stations.stop()
        self._entrance.stop()
        if self._watchdog is not None:
            closing.append(Deferred.fromCoroutine(self._watchdog.stop()))
        await DeferredList([*closing, self._bus.stop()], consumeErrors=True)
        await self._drain.gone()
        for loop in self._running:
            loop.stop()
        await self._last_slides.write()
        for part in (self._memcached, self._monitoring, self._admin):
            if part is not None:
                stopped: Awaitable[Any] = part.stop()
                await stopped
        log.info("server.stopped")

    def reloading(self, read: Callable[[], Settings], take_logs: Take) -> Reloading:
        """What a SIGHUP calls.

        :param read: reads the settings as at the start.
        :param take_logs: sets up the logs anew.
        """
        takes = node_takes(self._door, self._listening, self._websockets, self._drain)
        takes |= {"LOG_LEVEL": take_logs, "LOG_FORMAT": take_logs}
        files = [part.reload for part in (self._stations, self._entrance.certificates) if part is not None]
        return Reloading(self._settings, read, takes, files)

    def status(self) -> str:
        """How it is doing, in one line for people."""
        return f"{self._drain.clients} clients; bus: {self._bus.state().reason}"

    # What happens meanwhile

    def _refresh(self) -> None:
        """Read the registered topics anew. The directory says itself when it is down."""
        refreshed = Deferred.fromCoroutine(self._read_stations())
        refreshed.addErrback(lambda failure: failure.trap(DirectoryError))
        refreshed.addErrback(_report, "tuning.failed")

    async def _read_stations(self) -> None:
        await self._tuning.refresh()
        await self._wall.refresh()

    def _retune(self) -> None:
        """The directory has changed: live subscriptions move to where they belong now (contract §2, change 1)."""
        for cohort in self._hub.cohorts():
            topic = self._tuning.resolve_again(cohort.form.destination)
            if topic != cohort.topic:
                log.info("subscription.moved", destination=cohort.form.destination, clients=len(cohort.members))
                self._hub.move(cohort, topic)

    def _hear(self, message: Message) -> None:
        self._receiving.receive(message)
        if self._watchdog is not None:
            self._watchdog.hear(message)

    def _hear_again(self) -> None:
        self._reactor.callLater(_CATCH_UP_DELAY, self._catch_up)

    def _catch_up(self) -> None:
        caught_up = self._receiving.catch_up(lambda: deferLater(self._reactor, _ON_THE_WAY_SECONDS))
        Deferred.fromCoroutine(caught_up).addErrback(_report, "catch_up.failed")

    def _complain(self, event: str, address: str, **fields: Any) -> None:
        """A client's fault: one line per second and address, so that a flood of faults is no flood of lines."""
        self._tally.complained(event, fields)
        if self._throttle.allow(address):
            log.warning(event, address=address, held_back=self._throttle.held_back(address), **fields)

    def _failed(self, part: object, error: Exception) -> None:
        log.error("client.failed", part=type(part).__name__, exc_info=error)


def _report(failure: Failure, event: str) -> None:
    log.error(event, exc_info=(failure.type, failure.value, failure.getTracebackObject()))
