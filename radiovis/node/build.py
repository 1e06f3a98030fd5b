"""Makes single parts of a node from the settings. ``node.py`` joins them; ``servers.py`` makes the servers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any

import treq.client
from beaker.cache import CacheManager
from beaker.util import parse_cache_config_options
from twisted.python.threadpool import ThreadPool
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool

from fanout.application.guests import Guest, Host, invite
from fanout.application.interface import Application
from fanout.application.login_throttle import LoginQueue, LoginThrottle
from fanout.application.observer import ClientCounters, ClientWarnings, Observer
from fanout.bus.amqp_connection import endpoint_of
from fanout.bus.amqp_message import MessageLimits
from fanout.bus.broker_settings import Broker, RetryPolicy
from fanout.bus.interface import BrokerBus, Bus
from fanout.bus.loopback import Loopback
from fanout.bus.publisher import Publisher
from fanout.bus.rabbitmq import rabbitmq
from fanout.cache import beaker_backend
from fanout.cache.memcached import Memcached
from fanout.hub.history import History
from fanout.hub.hub import Hub
from fanout.hub.outbox import Flusher
from fanout.listeners.tls import trust
from fanout.settings import SettingsError
from radiovis.directory.cached import CachedDirectory
from radiovis.directory.fake import FakeDirectory
from radiovis.directory.interface import Directory
from radiovis.directory.plugit import PlugIt
from radiovis.directory.plugit_http import LOGINS_AT_ONCE, PlugItCalls
from radiovis.directory.stations_file import StationsFile, checks_at_once
from radiovis.events import MonitoringEvents
from radiovis.last_slides import LastSlides
from radiovis.node.restore import JournalReading, Restore
from radiovis.preflight.message_check import CheckedApplication, Preflight
from radiovis.preflight.slide_verdicts import SlideVerdicts
from radiovis.publish_rights import PublishRights
from radiovis.schedule.broker_store import BrokerIntake
from radiovis.schedule.disk_store import DiskSlideStore
from radiovis.schedule.trigger_time import ScheduledApplication, SlideIntake
from radiovis.settings import Settings
from radiovis.slides.fetch import AT_ONCE, SlideFetch
from radiovis.slides.public_addresses import PublicAddresses, system_lookup
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.watchdog import Watchdog

MONITORING_MESSAGES = 10_000
"""How many events are kept while the monitoring broker is down; beyond this number the oldest are dropped. This is
three minutes of 50 events per second: enough for a restart of that broker."""
MONITORING_OCTETS = 16_777_216
"""Octets of the same events, 16 MiB. They are statistics, and must not take the memory that clients need."""
MONITORING_LAST_RETRY_SECONDS = 30.0
"""Longest pause in seconds before reconnecting to the monitoring broker. Nothing depends on it, so it need not be
short; the original always waited this long."""
_MONITORING_STOP_SECONDS = 2.0  # time limit for the last events when a node stops


def memcached(reactor: Any, settings: Settings) -> Memcached | None:
    """The memcached that the nodes share; None for a stand-alone node."""
    if settings.STANDALONE or not settings.MEMCACHED_HOST:
        return None
    return Memcached(reactor, settings.MEMCACHED_HOST)


def bus(reactor: Any, settings: Settings, limits: MessageLimits) -> Bus:
    """The bus: RabbitMQ, or loopback if there is no broker."""
    if settings.STANDALONE or settings.RABBITMQ_LOOPBACK:
        return Loopback()
    name = f"radiovis {settings.STOMP_IP}:{settings.STOMP_PORT}"
    return rabbitmq(reactor, settings, name, limits=limits, stream=settings.RABBITMQ_STREAM)


def hub(
    settings: Settings, failed: Callable[[object, Exception], None], history: History | None, flusher: Flusher
) -> Hub:
    """The index of subscribers and retained messages.

    :param failed: called with a subscriber that raised, and the exception.
    :param history: None if no HTTP client can ask for it.
    :param flusher: flushes the outboxes.
    """
    return Hub(failed, settings, history=history, at_end_of_turn=flusher.first)


def guests(reactor: Any, settings: Settings, hub: Hub, bus: Bus, limits: MessageLimits) -> list[Guest]:
    """The guest applications of ``WITH``.

    :raises SettingsError: one does not exist, or cannot run.
    """
    return invite(settings.WITH, Host(reactor, hub, bus, os.environ, limits))


def monitoring_events(reactor: Any, settings: Settings, announce: str = "servers") -> MonitoringEvents | None:
    """The events for the monitoring broker; None if monitoring is off.

    :param announce: the kind of process that the first event names.
    """
    if not settings.MONITORING_ENABLED:
        return None
    broker = Broker(
        user=settings.MONITORING_USER,
        password=settings.MONITORING_PASSWORD.get_secret_value(),
        vhost=settings.MONITORING_VHOST,
        exchange=settings.MONITORING_EXCHANGE,
        durable=False,  # contract §1.11
        name=f"radiovis monitoring {settings.MONITORING_SERVER_ID}",
    )
    retry_policy = RetryPolicy(
        last_retry=MONITORING_LAST_RETRY_SECONDS,
        stop=_MONITORING_STOP_SECONDS,
        messages=MONITORING_MESSAGES,
        octets=MONITORING_OCTETS,
    )
    authorities = settings.MONITORING_CA if settings.MONITORING_TLS else None
    endpoint = endpoint_of(reactor, settings.MONITORING_HOST, settings.MONITORING_PORT, authorities)
    publisher = Publisher(reactor, endpoint, broker, settings.MONITORING_QUEUE, retry_policy)
    return MonitoringEvents(reactor, publisher, settings, announce=announce)


def login_queue(settings: Settings, throttle: LoginThrottle) -> LoginQueue:
    """The queue in which the logins of all servers wait for their check."""
    return LoginQueue(checks_at_once() if settings.STATIONS_FILE else LOGINS_AT_ONCE, throttle.knows)


def stations_file(
    reactor: Any, settings: Settings, changed: Callable[[], None], queue: LoginQueue | None = None
) -> StationsFile | None:
    """The stations of ``STATIONS_FILE``, already read; None if the setting is empty.

    :param changed: called when the file has changed.
    :param queue: the queue in which logins wait; None for a process without logins.
    :raises StationsFileError: the file cannot be used.
    """
    if not settings.STATIONS_FILE:
        return None
    stations = StationsFile(settings.STATIONS_FILE, reactor, on_change=changed, queue=queue)
    stations.load()
    return stations


def fake_directory(settings: Settings) -> Directory:
    """The directory of ``--test`` mode (contract §1.12)."""
    return FakeDirectory(settings)


def plugit(reactor: Any, settings: Settings, memcached: Memcached | None, queue: LoginQueue) -> Directory:
    """PlugIt over HTTP, with the caches.

    :param queue: the queue in which logins wait.
    """
    return cached(plugit_api(reactor, settings, queue), settings, memcached)


def plugit_api(reactor: Any, settings: Settings, queue: LoginQueue | None = None) -> PlugIt:
    """PlugIt over HTTP, which also stores a log.

    :param queue: the queue in which logins wait; None for a process without logins.
    :raises CertificateError: the file of DIRECTORY_CA cannot be used.
    """
    policy = BrowserLikePolicyForHTTPS(trust(settings.DIRECTORY_CA))
    client = treq.client.HTTPClient(Agent(reactor, policy, pool=HTTPConnectionPool(reactor)))
    return PlugIt(PlugItCalls(client, settings, reactor), settings, queue)


def cached(api: Directory, settings: Settings, memcached: Memcached | None) -> Directory:
    """A directory with the caches of this process and of all nodes."""
    beaker_backend.register()
    caches = CacheManager(**parse_cache_config_options(settings.CACHE_OPTS))
    return CachedDirectory(
        api,
        settings,
        time.time,
        cache=caches.get_cache("radiovis.directory"),
        shared=None if memcached is None else beaker_backend.SharedCache(memcached, "radiovis"),
    )


@dataclass(frozen=True, slots=True)
class Observability:
    """Counts, logs and reports what clients do.

    :ivar monitoring: sends events to the monitoring broker; None if monitoring is off.
    :ivar observer: gets reports about clients: the counters, and monitoring if it is on.
    """

    client_counters: ClientCounters
    client_warnings: ClientWarnings
    monitoring: MonitoringEvents | None
    observer: Observer


@dataclass(frozen=True, slots=True)
class Core:
    """Transports and stores messages.

    :ivar memcached: shared by the nodes; None for a stand-alone node.
    :ivar limits: the limits of a message on the bus.
    :ivar flusher: writes the waiting octets of clients, once per turn of the reactor.
    :ivar guests: further applications that share the hub and the bus.
    """

    memcached: Memcached | None
    limits: MessageLimits
    bus: Bus
    history: History
    flusher: Flusher
    hub: Hub
    guests: Sequence[Guest]
    last_slides: LastSlides


@dataclass(frozen=True, slots=True)
class ApplicationParts:
    """The parts of RadioVIS on this node: stations, topics, rights, and extensions of a publish.

    :ivar file: the directory if it is a stations file; None for PlugIt.
    :ivar publishing: decides what stations may publish.
    :ivar application: RadioVIS as the servers use it.
    :ivar preflight: checks slides; None if it is off.
    :ivar watchdog: the watchdog of a stand-alone node; in a cluster it is a separate process.
    :ivar restore: has the retained messages from before the start.
    :ivar journal_reading: reads them on a stand-alone node; in a cluster the bus does.
    """

    file: StationsFile | None
    directory: Directory
    resolver: TopicResolver
    throttle: LoginThrottle
    login_queue: LoginQueue
    publishing: PublishRights
    application: Application
    preflight: Preflight | None
    watchdog: Watchdog | None
    restore: Restore
    journal_reading: JournalReading | None


def preflight(reactor: Any, settings: Settings) -> Preflight | None:
    """The check of slides; None if it is off."""
    if settings.PREFLIGHT == "off":
        return None
    lookup = system_lookup(reactor, _lookups(AT_ONCE))
    fetch = SlideFetch(reactor, dial=PublicAddresses(reactor, settings, lookup).dial)
    return Preflight(settings, SlideVerdicts(reactor, fetch.get), reactor)


class _Unawaited(ThreadPool):
    """Threads that do not delay the end of the process, because the answer of a name server may take half a minute."""

    threadFactory: Any = staticmethod(partial(Thread, daemon=True))


def _lookups(threads: int) -> ThreadPool:
    pool = _Unawaited(0, threads, name="preflight")
    pool.start()
    return pool


def slide_intake(
    reactor: Any, settings: Settings, bus: Bus, limits: MessageLimits, *, fake: bool
) -> SlideIntake | None:
    """The store in which a node puts messages that are to be shown later; None if receivers do that themselves.

    :param limits: the limits of a message.
    :param fake: whether the node runs with ``--test``.
    :raises SettingsError: there is neither a broker nor a disk that could hold them.
    """
    if settings.SCHEDULE == "pass":
        return None
    if settings.STANDALONE:
        return DiskSlideStore(reactor, settings)
    if not isinstance(bus, BrokerBus):
        raise SettingsError("SCHEDULE = server: without a broker, messages can only be held with --standalone.")
    return BrokerIntake(reactor, bus, held_queue(settings, fake=fake), limits)


def held_queue(settings: Settings, *, fake: bool) -> str:
    """The name of the broker's queue of held messages.

    :param fake: whether the node runs with ``--test``.
    """
    return f"{settings.TEST_FB_QUEUE if fake else settings.FB_QUEUE}.held"


def extended(application: Application, slide_intake: SlideIntake | None, preflight: Preflight | None) -> Application:
    """The application, wrapped by schedule and preflight if there are such parts."""
    if slide_intake is not None:
        application = ScheduledApplication(application, slide_intake, time.time)
    if preflight is not None:
        application = CheckedApplication(application, preflight)
    return application
