"""Joins the watchdog's parts: for the daemon (``daemon.py``), and for a node that stands alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from fanout.bus.interface import Bus, BusError
from fanout.bus.leader import Alone, Leader
from fanout.bus.queues import Delivered
from fanout.hub.message import Message
from fanout.journal.journal import Journal
from fanout.process.supervisor import RetryPolicy, Supervisor, TaskState
from radiovis.directory.interface import Directory, DirectoryError
from radiovis.preflight.message_check import Preflight
from radiovis.schedule.held_slides import HeldSlides
from radiovis.schedule.interface import LocalSlideStore, SlideIntake
from radiovis.settings import Settings
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.broker_liveness import BrokerLiveness
from radiovis.watchdog.journal_log import JournalLog
from radiovis.watchdog.log import Log, LogCleanup, LogError, LogState
from radiovis.watchdog.sources import Keys, LogTaker, Source, TapSource
from radiovis.watchdog.stale_topics import StaleTopics
from radiovis.watchdog.staleness import Staleness
from radiovis.watchdog.startup import StartupState
from radiovis.watchdog.status import Report
from radiovis.watchdog.topic_listing import Recall, TopicListing

_LOOK_SECONDS = 1.0  # between two attempts to lead: a standby acts that long after the leader has gone
_STOP_SECONDS = 5.0  # for the rounds under way
_SCHEDULE_SECONDS = 1.0  # between two looks whether the shelf is there
_TICK_SECONDS = 0.1  # between two looks whether something is due: nobody sees a slide that is so late


@dataclass(frozen=True, slots=True)
class Timing:
    """When the tasks do what; all in seconds. See the settings ``FB_…``."""

    reload: float
    check: float
    retry_policy: float
    repeat: float
    cleanup: float
    max_age: int


def timing(settings: Settings, *, fake: bool) -> Timing:
    """As the settings say; in ``--test`` mode some have a name of their own (contract §1.12)."""
    return Timing(
        reload=settings.FB_CHANNEL_CACHE,
        check=settings.TEST_FB_FALLBACK_CHECK if fake else settings.FB_FALLBACK_CHECK,
        retry_policy=settings.TEST_FB_FALLBACK_TIME if fake else settings.FB_FALLBACK_TIME,
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
        resolver: TopicResolver,
        entries: Log,
        recall: Recall,
        source: Callable[[Callable[[Delivered], Deferred[None]]], Source],
        schedule: HeldSlides | None = None,
        preflight: Preflight | None = None,
    ) -> None:
        """
        :param schedule: what sends held messages; None where that is left to the radios.
        :param preflight: what looks at the defaults; None for nobody.
        :param entries: the log; stopped with the watchdog.
        :param recall: what is remembered of topics from before the start.
        :param source: makes the source of the log's entries; it is given who takes them.
        """
        self._bus, self._leader, self._entries = bus, leader, entries
        keys = Keys(resolver)
        self._silence = Staleness(timing.retry_policy, timing.repeat)
        self._source = source(LogTaker(keys, entries, time.time).take)
        self._listing = TopicListing(directory, resolver, self._silence, recall, reactor.seconds)
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
            retry_policy=timing.retry_policy,
            reload=timing.reload,
            preflight=preflight,
        )
        self._cleanup = LogCleanup(entries, leader, timing.max_age)
        self._timing = timing
        self.schedule = schedule
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor
        self._supervisor = Supervisor(reactor, RetryPolicy(explained=(BusError, DirectoryError, LogError)))

    def start(self) -> None:
        """Begin the tasks."""
        spawn, timing = self._supervisor.spawn, self._timing
        self._topic_listing = spawn("topic_listing", self._reload, timing.reload)
        self._broker_liveness = spawn("broker_liveness", self._liveness.check, _LOOK_SECONDS, after=_LOOK_SECONDS)
        self._stale_topics = spawn("stale_topics", self._stale.check, timing.check)
        self._log_cleanup = spawn("log_cleanup", self._cleanup.clean, timing.cleanup)
        if self.schedule is not None:
            self._scheduled = spawn("schedule", self.schedule.send_due, _SCHEDULE_SECONDS)
            self._ticking.start(_TICK_SECONDS, now=False)

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
        if self.schedule is not None:
            self._scheduled.hurry()

    def _tick(self) -> None:
        """What fails is tried again in the supervisor's time, not in ours."""
        if self.schedule is not None and self.schedule.is_due and not self._scheduled.state.failing:
            self._scheduled.hurry()

    def hear(self, message: Message) -> None:
        """For :meth:`fanout.bus.interface.Bus.start`: a message came."""
        self._liveness.heard(message)
        self._source.hear(message)
        if self.schedule is not None:
            self.schedule.heard(message)

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
            "schedule": None if self.schedule is None else self.schedule.report(),
        }

    def tasks(self) -> tuple[TaskState, ...]:
        """How the tasks are doing."""
        return self._supervisor.states()

    def log_state(self) -> LogState:
        """How the log is doing."""
        return self._entries.state()

    @property
    def leading(self) -> bool:
        """Whether this is the one that acts."""
        return self._leader.leading

    @property
    def journal(self) -> Journal | None:
        """The log, where it is a journal that can be looked into."""
        return self._entries.journal if isinstance(self._entries, JournalLog) else None

    async def stop(self) -> None:
        """Finish what is in hand: rounds, then entries of the log."""
        if self._ticking.running:
            self._ticking.stop()
        await self._supervisor.stop(_STOP_SECONDS)
        if self.schedule is not None:
            await self.schedule.stop()
        await self._source.stop()
        await self._entries.stop()


def standing_alone(
    reactor: Any,
    settings: Settings,
    bus: Bus,
    directory: Directory,
    resolver: TopicResolver,
    *,
    fake: bool,
    entrance: SlideIntake | None,
    preflight: Preflight | None,
) -> Watchdog:
    """The watchdog inside a node without a broker.

    :param fake: ``--test`` mode.
    :param entrance: where messages that wait are put; None where that is left to the radios.
    """
    kept, leader = journal(reactor, settings), Alone()
    return Watchdog(
        reactor,
        timing(settings, fake=fake),
        bus=bus,
        leader=leader,
        directory=directory,
        resolver=resolver,
        entries=JournalLog(kept, time.time),
        recall=StartupState(None, kept, reactor.seconds).recall,
        source=lambda take: TapSource(reactor, take),
        schedule=_schedule(settings, entrance, bus, leader),
        preflight=preflight,
    )


def _schedule(settings: Settings, entrance: SlideIntake | None, bus: Bus, leader: Leader) -> HeldSlides | None:
    if not isinstance(entrance, LocalSlideStore):
        return None
    return HeldSlides(entrance, bus, leader, settings, clock=time.time, wall=time.time)


def journal(reactor: Any, settings: Settings) -> Journal:
    """The log where there is no PlugIt."""
    return Journal(reactor, settings)
