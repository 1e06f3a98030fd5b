"""Joins the parts of the watchdog: for ``fallback.py`` with a cluster, and for a node without a broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from fanout.bus.interface import Bus, BusError
from fanout.bus.leader import Alone, Leader
from fanout.bus.queues import Delivered
from fanout.hub.message import Message
from fanout.journal.journal import Journal, JournalSettings
from fanout.process.supervised_tasks import Supervisor, SupervisorPolicy, TaskState
from radiovis.directory.interface import Directory, DirectoryError
from radiovis.preflight.message_check import Preflight
from radiovis.schedule.held_slides import HeldSlides, LocalSlideStore
from radiovis.schedule.trigger_time import SlideIntake
from radiovis.settings import Settings, WatchdogSettings
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.broker_liveness import BrokerLiveness
from radiovis.watchdog.log import HasJournal, JournalLog, Log, LogCleanup, LogError, LogState
from radiovis.watchdog.sources import Keys, LogTaker, Source, TapSource
from radiovis.watchdog.stale_topics import StaleTopics
from radiovis.watchdog.startup import StartupState
from radiovis.watchdog.status import Report
from radiovis.watchdog.topic_deadlines import Staleness
from radiovis.watchdog.topic_listing import Recall, TopicListing

_LOOK_SECONDS = 1.0  # between two claims: a standby acts at most this long after the leader's end
_STOP_SECONDS = 5.0  # time limit of the current rounds at the stop
_SCHEDULE_SECONDS = 1.0  # between two checks of the store of held slides
_TICK_SECONDS = 0.1  # between two checks for due held slides: too short to notice
_LEAST_LEADERLESS_SECONDS = 10.0  # before an alarm: a frozen leader is replaced within 8 s, and heart-beats take 1 s


def fake_settings(settings: Settings) -> Settings:
    """The settings of ``--test``, some of which have names of their own (contract §1.12)."""
    return settings.model_copy(
        update={
            "FB_FALLBACK_CHECK": settings.TEST_FB_FALLBACK_CHECK,
            "FB_FALLBACK_TIME": settings.TEST_FB_FALLBACK_TIME,
            "FB_LOGS_CLEANUP": settings.TEST_FB_LOGS_CLEANUP,
            "FB_QUEUE": settings.TEST_FB_QUEUE,
        }
    )


class Watchdog:
    """The four tasks, which run concurrently over one bus."""

    def __init__(
        self,
        reactor: Any,
        settings: WatchdogSettings,
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
        :param reactor: Twisted's reactor.
        :param settings: the settings of the watchdog.
        :param bus: the bus.
        :param leader: the election.
        :param directory: the stations.
        :param resolver: finds canonical topics.
        :param entries: the log; stopped with the watchdog.
        :param recall: returns the last known messages of topics from before the start.
        :param source: makes the source of log entries; its argument adds a message to the log.
        :param schedule: sends held messages; None if radios do that.
        :param preflight: checks the defaults; None to send them without a check.
        """
        self._bus, self._leader, self._entries = bus, leader, entries
        keys = Keys(resolver)
        self._staleness = Staleness(settings)
        self._source = source(LogTaker(keys, entries, time.time).take)
        self._listing = TopicListing(directory, resolver, self._staleness, recall, reactor.seconds)
        self._liveness = BrokerLiveness(
            bus, leader, self._source, self._staleness, keys, reactor.seconds, self._act_at_once
        )
        self._stale = StaleTopics(self._staleness, self._listing, directory, bus, leader, reactor, settings, preflight)
        self._cleanup = LogCleanup(entries, leader, settings)
        self._settings = settings
        self.schedule = schedule
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor
        self._supervisor = Supervisor(reactor, SupervisorPolicy(explained=(BusError, DirectoryError, LogError)))

    def start(self) -> None:
        """Start the tasks."""
        spawn, settings = self._supervisor.spawn, self._settings
        self._topic_listing = spawn("topic_listing", self._reload, settings.FB_CHANNEL_CACHE)
        self._broker_liveness = spawn("broker_liveness", self._liveness.check, _LOOK_SECONDS, after=_LOOK_SECONDS)
        self._stale_topics = spawn("stale_topics", self._stale.check, settings.FB_FALLBACK_CHECK)
        self._log_cleanup = spawn("log_cleanup", self._cleanup.clean, settings.FB_LOGS_CLEANUP)
        if self.schedule is not None:
            self._scheduled = spawn("schedule", self.schedule.send_due, _SCHEDULE_SECONDS)
            self._ticking.start(_TICK_SECONDS, now=False)

    async def _reload(self) -> None:
        """Reload the list of topics. The first list is checked for stale topics at once."""
        first = not self._listing.channels
        await self._listing.reload()
        if first and self._listing.channels:
            self._stale_topics.hurry()

    def _act_at_once(self) -> None:
        """Called when this process has become the leader."""
        self._stale_topics.hurry()
        self._log_cleanup.hurry()
        if self.schedule is not None:
            self._scheduled.hurry()

    def _tick(self) -> None:
        """Send held slides in time. After a failure the supervisor decides when to try again."""
        if self.schedule is not None and self.schedule.is_due and not self._scheduled.state.failing:
            self._scheduled.hurry()

    def hear(self, message: Message) -> None:
        """A message was received; see :meth:`fanout.bus.interface.Bus.start`."""
        self._liveness.heard(message)
        self._source.hear(message)
        if self.schedule is not None:
            self.schedule.heard(message)

    def log(self, message: Message) -> None:
        """A message of another application on this node was received. It is only logged."""
        self._source.hear(message)

    def hear_again(self) -> None:
        """This node receives from the bus, again or for the first time; see :meth:`fanout.bus.interface.Bus.start`."""
        self._liveness.heard_again()
        self._broker_liveness.hurry()

    def directory_changed(self) -> None:
        """Read the list of topics now."""
        self._topic_listing.hurry()

    def report(self) -> Report:
        """The complete state, for the status command and health pages, as JSON values."""
        return {
            "leading": self._leader.leading,
            "leaderless": {"seconds": round(self.leaderless, 1), "alarm": self.is_leaderless},
            "topics": len(self._staleness),
            "bus": asdict(self._bus.state()),
            "log": {"waiting": self.log_waiting, **asdict(self.log_state()), "lost": self.log_lost},
            "tasks": [asdict(state) for state in self._supervisor.states()],
            "schedule": None if self.schedule is None else self.schedule.report(),
        }

    def tasks(self) -> tuple[TaskState, ...]:
        """The states of the tasks."""
        return self._supervisor.states()

    def log_state(self) -> LogState:
        """The state of the log."""
        return self._entries.state()

    @property
    def log_waiting(self) -> int:
        """How many entries are not in the log yet: those in the broker's queue and in progress; 0 on a standby."""
        return self._source.waiting

    @property
    def log_lost(self) -> int:
        """How many entries since the start will never be logged because there was no room, as far as this can be
        noticed.
        """
        return self._source.lost

    @property
    def leading(self) -> bool:
        """Whether this watchdog is the leader."""
        return self._leader.leading

    @property
    def leaderless(self) -> float:
        """Seconds since this watchdog last knew of a leader; 0 or little while it leads itself."""
        return self._leader.leaderless

    @property
    def is_leaderless(self) -> bool:
        """Whether there was no leader for two check periods, as far as this watchdog knows. Topics then get no
        defaults.
        """
        return self.leaderless > max(2 * self._settings.FB_FALLBACK_CHECK, _LEAST_LEADERLESS_SECONDS)

    @property
    def journal(self) -> Journal | None:
        """The journal, if the log is one and can be searched."""
        return self._entries.journal if isinstance(self._entries, HasJournal) else None

    def latest(self, limit: int, octets: int) -> Deferred[list[Message]]:
        """The last message of each topic in the log; none if the log cannot be searched.

        See :meth:`JournalLog.latest <radiovis.watchdog.log.JournalLog.latest>`.
        """
        return self._entries.latest(limit, octets) if isinstance(self._entries, HasJournal) else succeed([])

    async def stop(self) -> None:
        """Finish the current rounds, then the entries of the log."""
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
    slide_intake: SlideIntake | None,
    preflight: Preflight | None,
) -> Watchdog:
    """The watchdog in a node without a broker.

    :param fake: whether the node runs with ``--test``.
    :param slide_intake: the store of held messages; None if radios hold them.
    :param preflight: checks the defaults; None to send them without a check.
    """
    kept, leader = journal(reactor, settings), Alone()
    return Watchdog(
        reactor,
        fake_settings(settings) if fake else settings,
        bus=bus,
        leader=leader,
        directory=directory,
        resolver=resolver,
        entries=JournalLog(kept, time.time),
        recall=StartupState(None, kept, settings, reactor.seconds).recall,
        source=lambda take: TapSource(reactor, take),
        schedule=_schedule(slide_intake, bus, leader),
        preflight=preflight,
    )


def _schedule(slide_intake: SlideIntake | None, bus: Bus, leader: Leader) -> HeldSlides | None:
    """The sender of held slides, if the node's own intake is also the store of these slides."""
    if not isinstance(slide_intake, LocalSlideStore):
        return None
    return HeldSlides(slide_intake, bus, leader, clock=time.time, wall=time.time)


def journal(reactor: Any, settings: JournalSettings) -> Journal:
    """The log if there is no PlugIt."""
    return Journal(reactor, settings)
