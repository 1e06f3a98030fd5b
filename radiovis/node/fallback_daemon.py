"""``fallback.py``: the watchdog as a separate process, for a cluster."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import structlog
from twisted.internet.defer import Deferred

from fanout.bus.amqp_connection import broker_endpoint
from fanout.bus.amqp_message import MessageLimits
from fanout.bus.broker_settings import RetryPolicy, broker
from fanout.bus.leader import BrokerLeader, LeaderNames
from fanout.bus.queues import Delivered, QueueNames
from fanout.bus.rabbitmq import RabbitMQ
from fanout.journal.journal import Journal
from fanout.metrics.health import Health
from radiovis.admin.listener import AdminPorts
from radiovis.directory.interface import Directory
from radiovis.node import build
from radiovis.node.admin_parts import operators_listener_wrapper, optional_checks, watchdog_admin
from radiovis.node.reload import Reloading, Take, log_takes, secret_takes, watchdog_takes
from radiovis.schedule.broker_store import BrokerSlideStore
from radiovis.schedule.held_slides import HeldSlides
from radiovis.settings import Settings
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.log import DatagramLog, JournalLog, Log
from radiovis.watchdog.plugit_log import PlugItLog
from radiovis.watchdog.sources import QueueSource, Source
from radiovis.watchdog.startup import StartupState
from radiovis.watchdog.status import Report, StatusSocket
from radiovis.watchdog.watchdog import Watchdog, fake_settings, journal

HEARTBEAT_SECONDS = 2
"""Seconds between AMQP heart-beats of the watchdog. A frozen leader is replaced after two to four of them, so within 8
s. With the 10 s of RABBITMQ_HEARTBEAT, silent topics would wait up to 40 s for their defaults."""
CLUSTER_EXCHANGE = "radiovis.cluster"
"""The exchange for the leader's heart-beats. It is not RABBITMQ_EXCHANGE, because a watchdog of an earlier version
would log the heart-beats, and nodes would warn about messages without a topic."""
LAST_RETRY_SECONDS = 2.0
"""Longest pause in seconds before another attempt to connect. There are few watchdogs, so their attempts need not be
spread as widely as those of the nodes."""

log = structlog.get_logger(__name__)


class Fallback:
    """The daemon: a watchdog for a cluster."""

    def __init__(self, reactor: Any, settings: Settings, *, fake: bool = False) -> None:
        """
        :param reactor: Twisted's reactor.
        :param settings: the settings of the process.
        :param fake: whether it runs with ``--test``: the fake directory, its own queue, and datagrams as a log
            (contract §1.12).
        :raises StationsFileError: the stations file cannot be used.
        :raises SettingsError: the operators' listener would be open to others, or its certificate cannot be used.
        """
        self._reactor = reactor
        self._given = settings
        self._settings = fake_settings(settings) if fake else settings
        self._fake = fake
        self._stations = None if fake else build.stations_file(reactor, settings, self._directory_changed)
        self._memcached = build.memcached(reactor, settings)
        self._monitoring = build.monitoring_events(reactor, settings, announce="fallbacks")
        self._limits = MessageLimits(settings)
        self._bus = self._make_bus()
        directory, entries, kept = self._directory_and_log()
        self._watchdog = self._make_watchdog(directory, entries, kept)
        ports = AdminPorts.of(settings, "FB_", fake=fake)
        self._listener_wrapper = operators_listener_wrapper(reactor, settings, ports)
        certificates = None if self._listener_wrapper is None else self._listener_wrapper.certificates
        optional = optional_checks(self._memcached, self._stations, self._monitoring, certificates)
        self._optional = Health(optional)
        self._admin = watchdog_admin(
            reactor,
            settings,
            ports,
            self._listener_wrapper,
            optional=optional,
            bus=self._bus,
            memcached=self._memcached,
            directory=directory,
            watchdog=self._watchdog,
        )
        self._status = StatusSocket(reactor, settings.FB_STATUS_SOCKET, self._report)

    def _make_bus(self) -> RabbitMQ:
        settings = self._settings
        login = replace(broker(settings, f"radiovis fallback {settings.FB_QUEUE}"), heartbeat=HEARTBEAT_SECONDS)
        # A default is right at this moment only: after a reconnect another watchdog or the station may have sent a
        # message.
        retry_policy = RetryPolicy(outlast=False, last_retry=LAST_RETRY_SECONDS)
        return RabbitMQ(self._reactor, broker_endpoint(self._reactor, settings), login, retry_policy, self._limits)

    def _make_watchdog(self, directory: Directory, entries: Log, kept: Journal | None) -> Watchdog:
        queue = self._settings.FB_QUEUE
        leader = BrokerLeader(self._reactor, self._bus, LeaderNames(f"{queue}.leader", queue, CLUSTER_EXCHANGE))
        return Watchdog(
            self._reactor,
            self._settings,
            bus=self._bus,
            leader=leader,
            directory=directory,
            resolver=TopicResolver(directory, lambda: None),
            entries=entries,
            recall=StartupState(self._memcached, kept, self._settings, self._reactor.seconds).recall,
            source=self._queue_source,
            schedule=self._schedule(leader),
            preflight=build.preflight(self._reactor, self._settings),
        )

    def _schedule(self, leader: BrokerLeader) -> HeldSlides | None:
        if self._settings.SCHEDULE == "pass":
            return None
        queue = build.held_queue(self._settings, fake=self._fake)
        store = BrokerSlideStore(self._reactor, self._bus, queue, self._limits)
        return HeldSlides(store, self._bus, leader, clock=time.time, wall=time.time)

    def _directory_and_log(self) -> tuple[Directory, Log, Journal | None]:
        reactor, settings = self._reactor, self._settings
        if self._fake:
            return build.fake_directory(settings), DatagramLog(reactor), None
        if self._stations is not None:
            kept = journal(reactor, settings)
            return self._stations, JournalLog(kept, time.time), kept
        api = build.plugit_api(reactor, settings)
        directory = build.cached(api, settings, self._memcached)
        return directory, PlugItLog(api, reactor, settings), None

    def _queue_source(self, take: Callable[[Delivered], Deferred[None]]) -> Source:
        names = QueueNames(self._settings.FB_QUEUE, self._settings.RABBITMQ_EXCHANGE, auto_delete=self._fake)
        remote = not self._fake and self._stations is None
        return QueueSource(self._reactor, self._bus, names, take, remote=remote, limits=self._limits)

    def _directory_changed(self) -> None:
        self._watchdog.directory_changed()

    # Life

    def start(self) -> None:
        """Start to receive from the bus, and start the tasks.

        :raises twisted.internet.error.CannotListenError: the operators' port is taken, and was set by the operator.
        """
        addresses = self._admin.start() if self._admin is not None else {}
        self._watchdog.start()
        self._bus.start(self._watchdog.hear, self._watchdog.hear_again)
        for part in (self._stations, self._monitoring, self._status, self._listener_wrapper):
            if part is not None:
                part.start()
        log.info("fallback.ready", queue=self._settings.FB_QUEUE, **addresses)

    def reloading(self, read: Callable[[], Settings], take_logs: Take) -> Reloading:
        """The function that a SIGHUP calls.

        :param read: reads the settings as at the start.
        :param take_logs: configures the logs again.
        """
        takes = {**log_takes(take_logs), **watchdog_takes(self._limits)}
        takes |= secret_takes(take_logs, self._admin, self._bus)
        files = [part.reload for part in (self._stations, self._listener_wrapper) if part is not None]
        return Reloading(self._given, read, takes, files)

    def _report(self) -> Report:
        """The state for the status command, which must work without an operators' listener, too."""
        return {**self._watchdog.report(), "degraded": self._optional.report()["degraded"]}

    def status(self) -> str:
        """The state in one line, for systemd."""
        return f"{'leading' if self._watchdog.leading else 'standing by'}; broker: {self._bus.state().reason}"

    def stop(self) -> Deferred[None]:
        """Finish the current work. The Deferred fires when all is done."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        log.info("fallback.stopping")
        if self._admin is not None:
            self._admin.drain()
        for each in (self._stations, self._listener_wrapper, self._status):
            if each is not None:
                each.stop()
        await self._watchdog.stop()
        await self._bus.stop()
        for part in (self._memcached, self._monitoring, self._admin):
            if part is not None:
                stopped: Awaitable[None] = part.stop()
                await stopped
        log.info("fallback.stopped")
