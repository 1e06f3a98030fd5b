"""Joins the watchdog's parts: for ``fallback.py``, and for a node that stands alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint

from fanout.bus.durable_queue import Delivered, DurableQueue, QueueNames
from fanout.bus.interface import Bus, BusError
from fanout.bus.rabbitmq import RabbitMQ
from fanout.journal import Journal
from fanout.message import Message
from fanout.supervisor import Manners, Supervisor
from radiovis import parts
from radiovis.directory.interface import Directory, DirectoryError
from radiovis.directory.plugit import PlugIt
from radiovis.settings import Settings
from radiovis.tuning import Tuning
from radiovis.watchdog.broker_liveness import BrokerLiveness
from radiovis.watchdog.datagram_log import DatagramLog
from radiovis.watchdog.journal_log import JournalLog
from radiovis.watchdog.keys import Keys
from radiovis.watchdog.leader import Alone, BrokerLeader, Leader
from radiovis.watchdog.log import Log, LogError
from radiovis.watchdog.log_cleanup import LogCleanup
from radiovis.watchdog.memory import Memory
from radiovis.watchdog.silence import Silence
from radiovis.watchdog.sources import LogTaker, QueueSource, Source, TapSource
from radiovis.watchdog.spooled_log import SpooledLog
from radiovis.watchdog.stale_topics import StaleTopics
from radiovis.watchdog.status import Report, StatusSocket
from radiovis.watchdog.topic_listing import Recall, TopicListing

_LOOK_SECONDS = 1.0  # between two attempts to lead: a standby acts that long after the leader has gone
_LAST_RETRY = 2.0  # seconds between two attempts to connect: an idle watchdog is no cluster of radios to be spread
_STOP_SECONDS = 5.0  # for the rounds under way

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """When the tasks do what; all in seconds. See the settings ``FB_…``."""

    reload: float
    check: float
    patience: float
    repeat: float
    cleanup: float
    max_age: int


def timing(settings: Settings, *, fake: bool) -> Timing:
    """As the settings say; in ``--test`` mode some have a name of their own (contract §1.12)."""
    return Timing(
        reload=settings.FB_CHANNEL_CACHE,
        check=settings.TEST_FB_FALLBACK_CHECK if fake else settings.FB_FALLBACK_CHECK,
        patience=settings.TEST_FB_FALLBACK_TIME if fake else settings.FB_FALLBACK_TIME,
        repeat=settings.FB_REPEAT,
        cleanup=settings.TEST_FB_LOGS_CLEANUP if fake else settings.FB_LOGS_CLEANUP,
        max_age=settings.FB_LOGS_MAX_AGE,
    )


class Watchdog:
    """The four tasks, side by side over one bus."""

    def __init__(
        self,
        reactor: Any,
        timing: Timing,
        *,
        bus: Bus,
        leader: Leader,
        directory: Directory,
        tuning: Tuning,
        entries: Log,
        recall: Recall,
        source: Callable[[Callable[[Delivered], Deferred[None]]], Source],
    ) -> None:
        """
        :param entries: the log; stopped with the watchdog.
        :param recall: what is remembered of topics from before the start.
        :param source: makes the source of the log's entries; it is given who takes them.
        """
        self._bus, self._leader, self._entries = bus, leader, entries
        keys = Keys(tuning)
        self._silence = Silence(timing.patience, timing.repeat)
        self._source = source(LogTaker(keys, entries, reactor.seconds).take)
        self._listing = TopicListing(directory, tuning, self._silence, recall, reactor.seconds)
        self._liveness = BrokerLiveness(
            bus, leader, self._source, self._silence, keys, reactor.seconds, self._act_at_once
        )
        self._stale = StaleTopics(
            self._silence,
            self._listing,
            directory,
            bus,
            leader,
            reactor,
            check=timing.check,
            patience=timing.patience,
            reload=timing.reload,
        )
        self._cleanup = LogCleanup(entries, leader, timing.max_age)
        self._timing = timing
        self._supervisor = Supervisor(reactor, Manners(explained=(BusError, DirectoryError, LogError)))

    def start(self) -> None:
        """Begin the tasks."""
        spawn, timing = self._supervisor.spawn, self._timing
        self._topic_listing = spawn("topic_listing", self._reload, timing.reload)
        self._broker_liveness = spawn("broker_liveness", self._liveness.look, _LOOK_SECONDS, after=_LOOK_SECONDS)
        self._stale_topics = spawn("stale_topics", self._stale.look, timing.check)
        self._log_cleanup = spawn("log_cleanup", self._cleanup.clean, timing.cleanup)

    async def _reload(self) -> None:
        """The first list is not kept waiting for the next check."""
        first = not self._listing.channels
        await self._listing.reload()
        if first and self._listing.channels:
            self._stale_topics.hurry()

    def _act_at_once(self) -> None:
        """This process has become the leader."""
        self._stale_topics.hurry()
        self._log_cleanup.hurry()

    def hear(self, message: Message) -> None:
        """For :meth:`fanout.bus.interface.Bus.start`: a message came."""
        self._liveness.heard(message)
        self._source.hear(message)

    def hear_again(self) -> None:
        """Likewise: the bus is heard, again or for the first time."""
        self._liveness.heard_again()
        self._broker_liveness.hurry()

    def directory_changed(self) -> None:
        """Read the list of topics now."""
        self._topic_listing.hurry()

    def report(self) -> Report:
        """How everything is doing, for the status command and health pages. All of it fits into JSON."""
        return {
            "leading": self._leader.leading,
            "topics": len(self._silence),
            "bus": asdict(self._bus.state()),
            "log": asdict(self._entries.state()),
            "tasks": [asdict(state) for state in self._supervisor.states()],
        }

    async def stop(self) -> None:
        """Finish what is in hand: rounds, then entries of the log."""
        await self._supervisor.stop(_STOP_SECONDS)
        await self._source.stop()
        await self._entries.stop()


def standing_alone(
    reactor: Any, settings: Settings, bus: Bus, directory: Directory, tuning: Tuning, *, fake: bool
) -> Watchdog:
    """The watchdog inside a node without a broker.

    :param fake: ``--test`` mode.
    """
    journal = _journal(reactor, settings)
    return Watchdog(
        reactor,
        timing(settings, fake=fake),
        bus=bus,
        leader=Alone(),
        directory=directory,
        tuning=tuning,
        entries=JournalLog(journal, reactor.seconds),
        recall=Memory(None, journal, reactor.seconds).recall,
        source=lambda take: TapSource(reactor, take),
    )


def _journal(reactor: Any, settings: Settings) -> Journal:
    return Journal(reactor, settings.JOURNAL_FILE, max_bytes=settings.JOURNAL_MAX_BYTES)


class Fallback:
    """The daemon: a watchdog beside a cluster."""

    def __init__(self, reactor: Any, settings: Settings, *, fake: bool = False) -> None:
        """
        :param fake: ``--test`` mode: the fake directory, its own queue, and datagrams for a log (contract §1.12).
        :raises StationsFileError: the stations file cannot be used.
        """
        self._reactor = reactor
        self._settings = settings
        self._fake = fake
        self._stations = None if fake else parts.stations_file(reactor, settings, self._directory_changed)
        self._memcached = parts.memcached(reactor, settings)
        self._monitoring = parts.monitoring(reactor, settings, announce="fallbacks")
        self._bus = self._make_bus()
        self._spooled: SpooledLog | None = None
        self._watchdog = self._make_watchdog()
        self._status = StatusSocket(reactor, settings.FB_STATUS_SOCKET, self._watchdog.report)

    def _make_bus(self) -> RabbitMQ:
        settings = self._settings
        broker = replace(
            parts.broker(settings), name=f"radiovis fallback {self._queue_name}", heartbeat=settings.FB_HEARTBEAT
        )
        patience = parts.patience(settings)
        # A default is right at this moment only: after a reconnect somebody else may have sent it, or the station.
        patience = replace(patience, outlast=False, last_retry=min(patience.last_retry, _LAST_RETRY))
        endpoint = HostnameEndpoint(self._reactor, settings.RABBITMQ_HOST, settings.RABBITMQ_PORT)
        return RabbitMQ(self._reactor, endpoint, broker, patience)

    def _make_watchdog(self) -> Watchdog:
        directory, entries, journal = self._directory_and_log()
        return Watchdog(
            self._reactor,
            timing(self._settings, fake=self._fake),
            bus=self._bus,
            leader=BrokerLeader(self._bus, f"{self._queue_name}.leader"),
            directory=directory,
            tuning=Tuning(directory, lambda: None),
            entries=entries,
            recall=Memory(self._memcached, journal, self._reactor.seconds).recall,
            source=self._queue_source,
        )

    @property
    def _queue_name(self) -> str:
        return self._settings.TEST_FB_QUEUE if self._fake else self._settings.FB_QUEUE

    def _directory_and_log(self) -> tuple[Directory, Log, Journal | None]:
        reactor, settings = self._reactor, self._settings
        if self._fake:
            return parts.fake_directory(settings), DatagramLog(reactor), None
        if self._stations is not None:
            journal = _journal(reactor, settings)
            return self._stations, JournalLog(journal, reactor.seconds), journal
        api = parts.plugit_api(reactor, settings)
        # Half of FB_CHANNEL_CACHE: an answer that is asked for again just before it is too old would live twice.
        fresh = min(settings.DIRECTORY_FRESH_SECONDS, settings.FB_CHANNEL_CACHE / 2)
        return parts.cached(api, reactor, settings, self._memcached, fresh), self._spooled_log(api), None

    def _spooled_log(self, api: PlugIt) -> SpooledLog:
        settings = self._settings
        self._spooled = SpooledLog(
            api,
            Path(settings.FB_SPOOL_DIR),
            self._reactor,
            max_age=settings.FB_LOGS_MAX_AGE,
            max_bytes=settings.FB_SPOOL_BYTES,
        )
        return self._spooled

    def _queue_source(self, take: Callable[[Delivered], Deferred[None]]) -> Source:
        names = QueueNames(
            self._queue_name, self._settings.RABBITMQ_EXCHANGE, durable=not self._fake, auto_delete=self._fake
        )
        queue = DurableQueue(self._reactor, names, take, prefetch=self._settings.RABBITMQ_PREFETCH)
        return QueueSource(self._bus, queue)

    def _directory_changed(self) -> None:
        self._watchdog.directory_changed()

    # Life

    def start(self) -> None:
        """Begin to hear the bus, and the tasks."""
        self._watchdog.start()
        self._bus.start(self._watchdog.hear, self._watchdog.hear_again)
        for part in (self._stations, self._spooled, self._monitoring, self._status):
            if part is not None:
                part.start()
        log.info("fallback.ready", queue=self._queue_name)

    def stop(self) -> Deferred[None]:
        """Finish what is in hand; fires when all is done."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        log.info("fallback.stopping")
        if self._stations is not None:
            self._stations.stop()
        self._status.stop()
        await self._watchdog.stop()
        await self._bus.stop()
        for part in (self._memcached, self._monitoring):
            if part is not None:
                stopped: Awaitable[None] = part.stop()
                await stopped
