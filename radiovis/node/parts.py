"""Each part of a node, made as the settings say. ``app.py`` joins them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import treq.client
from beaker.cache import CacheManager
from beaker.util import parse_cache_config_options
from twisted.internet.endpoints import HostnameEndpoint
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool

from fanout.application.guests import Guest, Host, invite
from fanout.bus.config import Broker, RetryPolicy
from fanout.bus.interface import Bus
from fanout.bus.loopback import Loopback
from fanout.bus.publisher import Publisher
from fanout.bus.rabbitmq import rabbitmq
from fanout.cache import beaker_backend
from fanout.cache.memcached import Memcached
from fanout.hub.history import History
from fanout.hub.hub import Hub
from fanout.hub.outbox import Flusher
from fanout.listeners.certificates import secure_endpoint, trust
from radiovis.directory.cached import CachedDirectory
from radiovis.directory.fake import FakeDirectory
from radiovis.directory.interface import Directory
from radiovis.directory.plugit import PlugIt
from radiovis.directory.plugit_http import PlugItCalls
from radiovis.directory.stations_file import StationsFile
from radiovis.events import MonitoringEvents
from radiovis.last_slides import LastSlides
from radiovis.settings import Settings

_MONITORING_STOP_SECONDS = 2.0  # nobody should wait longer for the last events


def memcached(reactor: Any, settings: Settings) -> Memcached | None:
    """What the nodes share besides the bus; None for a node by itself."""
    if settings.STANDALONE or not settings.MEMCACHED_HOST:
        return None
    return Memcached(reactor, settings.MEMCACHED_HOST, timeout=settings.MEMCACHED_TIMEOUT)


def bus(reactor: Any, settings: Settings) -> Bus:
    """RabbitMQ, or no broker at all."""
    if settings.STANDALONE or settings.RABBITMQ_LOOPBACK:
        return Loopback()
    return rabbitmq(reactor, settings, f"radiovis {settings.STOMP_IP}:{settings.STOMP_PORT}")


def hub(
    settings: Settings, failed: Callable[[object, Exception], None], history: History | None, flusher: Flusher
) -> Hub:
    """Who listens to what, and what was said last.

    :param history: None where nobody would ask for it.
    """
    return Hub(failed, settings, history=history, at_end_of_turn=flusher.first)


def guests(reactor: Any, settings: Settings, hub: Hub, bus: Bus) -> list[Guest]:
    """The applications that run with this one. :raises SettingsError: there is none of that name, or it cannot run."""
    return invite(settings.WITH, Host(reactor, hub, bus, os.environ))


def last_slides(reactor: Any, settings: Settings, memcached: Memcached | None) -> LastSlides:
    """What the nodes keep for each other."""
    return LastSlides(reactor, settings, memcached)


def monitoring(reactor: Any, settings: Settings, announce: str = "servers") -> MonitoringEvents | None:
    """What tells the outside about this process; None when nobody asked for it.

    :param announce: as what the process says it has started.
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
        last_retry=settings.MONITORING_RETRY_MAX_SECONDS,
        stop=_MONITORING_STOP_SECONDS,
        messages=settings.MONITORING_BUFFER,
        octets=settings.MONITORING_BUFFER_BYTES,
    )
    where = (reactor, settings.MONITORING_HOST, settings.MONITORING_PORT)
    endpoint = secure_endpoint(*where, settings.MONITORING_CA) if settings.MONITORING_TLS else HostnameEndpoint(*where)
    publisher = Publisher(reactor, endpoint, broker, settings.MONITORING_QUEUE, retry_policy)
    return MonitoringEvents(reactor, publisher, settings, announce=announce)


def stations_file(reactor: Any, settings: Settings, changed: Callable[[], None]) -> StationsFile | None:
    """The stations of ``STATIONS_FILE``, read; None when the setting is empty.

    :raises StationsFileError: it cannot be used.
    """
    if not settings.STATIONS_FILE:
        return None
    stations = StationsFile(settings.STATIONS_FILE, reactor, on_change=changed)
    stations.load()
    return stations


def fake_directory(settings: Settings) -> Directory:
    """The directory of ``--test`` mode (contract §1.12)."""
    return FakeDirectory(settings)


def plugit(reactor: Any, settings: Settings, memcached: Memcached | None) -> Directory:
    """PlugIt over HTTP, behind the caches."""
    return cached(plugit_api(reactor, settings), settings, memcached)


def plugit_api(reactor: Any, settings: Settings) -> PlugIt:
    """PlugIt over HTTP, which also keeps a log.

    :raises CertificateError: DIRECTORY_CA cannot be used.
    """
    policy = BrowserLikePolicyForHTTPS(trust(settings.DIRECTORY_CA))
    client = treq.client.HTTPClient(Agent(reactor, policy, pool=HTTPConnectionPool(reactor)))
    return PlugIt(PlugItCalls(client, settings, reactor), settings)


def cached(api: Directory, settings: Settings, memcached: Memcached | None) -> Directory:
    """A directory behind the caches of this process and of all nodes."""
    beaker_backend.register()
    caches = CacheManager(**parse_cache_config_options(settings.CACHE_OPTS))
    return CachedDirectory(
        api,
        settings,
        time.time,
        cache=caches.get_cache("radiovis.directory"),
        shared=None if memcached is None else beaker_backend.SharedCache(memcached, "radiovis"),
    )
