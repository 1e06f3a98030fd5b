"""The operators' listeners of a node and of the watchdog: their checks, metrics and routes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog

from fanout.application.observer import ClientCounters, ClientWarnings
from fanout.bus.interface import Bus, CountedBus
from fanout.cache.memcached import Memcached
from fanout.hub.hub import Hub
from fanout.journal.journal import Journal
from fanout.listeners.tls import Certificates, ListenerWrapper
from fanout.metrics.health import Condition
from fanout.metrics.prometheus import (
    BUS,
    CLIENT_COUNTERS,
    CLIENTS,
    CONNECTION_LIMIT,
    FLUSHER,
    HISTORY,
    HUB,
    INPUT_MEMORY,
    JOURNAL,
    LOGIN_QUEUE,
    LOGIN_THROTTLE,
    MEMCACHED,
    RABBITMQ,
    RETAINED_SHARES,
    SITE,
    SUBSCRIPTION_LIMIT,
    TASKS,
    TURNS,
    Metrics,
)
from fanout.metrics.traffic import ClientCounts, Rates
from fanout.process.supervised_tasks import TaskState
from radiovis.admin.api import NodeApi, NodeView
from radiovis.admin.journal_search import JournalApi
from radiovis.admin.listener import Admin, AdminPorts, Check
from radiovis.admin.metrics import (
    DIRECTORY,
    PREFLIGHT,
    PUBLISHING,
    SCHEDULE,
    STATIONS_FILE,
    TOPIC_RESOLUTION,
    WATCHDOG,
)
from radiovis.directory.interface import Directory, OutageReport
from radiovis.directory.stations_file import StationsFile
from radiovis.events import MonitoringEvents
from radiovis.http.pages import admin_pages
from radiovis.node.build import ApplicationParts, Core, Observability
from radiovis.node.servers import Servers, make_listener_wrapper
from radiovis.settings import Settings
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.watchdog import Watchdog

RATES_SECONDS = 1_800
"""Seconds of the dashboard's charts. Half an hour, in 360 points, shows how an incident began."""
_RATES_INTERVAL = 5.0  # seconds

log = structlog.get_logger(__name__)


def node_admin(
    reactor: Any,
    settings: Settings,
    ports: AdminPorts,
    core: Core,
    parts: ApplicationParts,
    servers: Servers,
    observability: Observability,
) -> Admin | None:
    """The operators' listener of a node; None if it is turned off.

    :raises SettingsError: others could read it without a token.
    """
    if not ports.wanted:
        return None
    wrapper = servers.listener_wrapper
    optional = optional_checks(core.memcached, parts.file, observability.monitoring, wrapper.certificates)
    admin = Admin(reactor, settings, ports, "server.py", [*_node_checks(core, parts), *optional], wrapper)
    client_counts = ClientCounts(
        core.hub, servers.stomp.connections, servers.pending_requests.pending, servers.websockets.sockets
    )
    rates = _rates(core.hub, client_counts)
    admin.loops.append((rates.sample, rates.interval))
    _add_shared(admin.metrics, core.bus, core.memcached, parts.directory)
    _add_servers(admin.metrics, servers, client_counts, observability)
    _add_stations(admin.metrics, parts)
    view = _view(admin, core, parts, client_counts, rates)
    admin.routes += [*admin_pages(), *NodeApi(view).routes()]
    _add_journal(admin, None if parts.watchdog is None else parts.watchdog.journal)
    return admin


def operators_listener_wrapper(reactor: Any, settings: Settings, ports: AdminPorts) -> ListenerWrapper | None:
    """TLS for a program that only accepts operators; None without such a port.

    :raises SettingsError: the certificate cannot be used, or is missing.
    """
    if not ports.secure:
        return None
    return make_listener_wrapper(reactor, settings, ClientWarnings(ClientCounters(), log).warn)


def _add_journal(admin: Admin, journal: Journal | None) -> None:
    if journal is not None:
        admin.routes += JournalApi(journal, time.time).routes()
        admin.metrics.add(JOURNAL, journal)


def _view(admin: Admin, core: Core, parts: ApplicationParts, client_counts: ClientCounts, rates: Rates) -> NodeView:
    watchdog = parts.watchdog
    return NodeView(
        hub=core.hub,
        client_counts=client_counts,
        bus=core.bus,
        health=admin.health,
        rates=rates,
        tasks=_no_tasks if watchdog is None else watchdog.tasks,
        journal=watchdog is not None and watchdog.journal is not None,
        preflight=parts.preflight,
        schedule=None if watchdog is None else watchdog.schedule,
        clock=time.time,
        started=time.time(),
    )


def watchdog_admin(
    reactor: Any,
    settings: Settings,
    ports: AdminPorts,
    listener_wrapper: ListenerWrapper | None,
    *,
    optional: Sequence[Check],
    bus: Bus,
    memcached: Memcached | None,
    directory: Directory,
    watchdog: Watchdog,
) -> Admin | None:
    """The operators' listener of ``fallback.py``; None if it is turned off.

    :param listener_wrapper: adds TLS to the port with TLS.
    :param optional: see :func:`optional_checks`.
    :raises SettingsError: others could read it without a token.
    """
    if not ports.wanted:
        return None
    checks: list[Check] = [
        partial(_bus, bus),
        partial(_tasks, watchdog, needed=True),
        partial(_leader, watchdog),
        partial(_log, watchdog),
        *optional,
    ]
    admin = Admin(reactor, settings, ports, "fallback.py", checks, listener_wrapper)
    _add_shared(admin.metrics, bus, memcached, directory)
    _add_watchdog(admin.metrics, watchdog)
    _add_journal(admin, watchdog.journal)
    return admin


# Checks


def _node_checks(core: Core, parts: ApplicationParts) -> list[Check]:
    checks: list[Check] = [partial(_bus, core.bus), _directory_check(parts.directory, parts.resolver)]
    if parts.watchdog is not None:
        checks.append(partial(_tasks, parts.watchdog, needed=False))
    return checks


def optional_checks(
    memcached: Memcached | None,
    stations: StationsFile | None,
    monitoring: MonitoringEvents | None,
    certificates: Certificates | None,
) -> list[Check]:
    """Checks of parts without which a process is degraded, but still serves its clients. None means that the process
    does not have the part.
    """
    checks: list[Check] = []
    if memcached is not None:
        checks.append(partial(_memcached, memcached))
    if stations is not None:
        checks.append(partial(_stations_file, stations))
    if monitoring is not None:
        checks.append(partial(_monitoring, monitoring))
    if certificates is not None:
        checks.append(partial(_certificate, certificates))
    return checks


def _bus(bus: Bus) -> Condition:
    """The condition of the bus. A node that has not caught up would send clients values that are out of date."""
    state = bus.state()
    return Condition("bus", state.connected and state.caught_up, state.reason)


def _memcached(memcached: Memcached) -> Condition:
    down = ", ".join(memcached.down)
    return Condition("memcached", not down, f"{down} does not answer" if down else "answers", needed=False)


def _stations_file(stations: StationsFile) -> Condition:
    reason = f"{stations.refused}; the previous stations stay in use" if stations.refused else "in use"
    return Condition("stations_file", not stations.refused, reason, needed=False)


def _monitoring(monitoring: MonitoringEvents) -> Condition:
    """The condition of monitoring. The number of waiting events is left out, because the dashboard would announce a new
    reason each time it updates.
    """
    state, settings = monitoring.state(), monitoring.settings
    where = f"{settings.MONITORING_HOST}, port {settings.MONITORING_PORT}"
    return Condition("monitoring", state.connected, f"the broker at {where}: {state.reason}", needed=False)


def _certificate(certificates: Certificates) -> Condition:
    problem = certificates.problem(time.time())
    return Condition("certificate", not problem, problem or "valid", needed=False)


def _directory_check(directory: Directory, resolver: TopicResolver) -> Check:
    """The condition of the directory. A node that knows its stations continues while the directory is down: all nodes
    lose the directory at the same time, and without any node the radios would lose more than new logins.
    """

    def check() -> Condition:
        if not resolver.loaded:
            return Condition("directory", False, "the stations have not been read yet")
        if isinstance(directory, OutageReport) and directory.down:
            return Condition("directory", False, "does not answer; its earlier answers stay in use", needed=False)
        return Condition("directory", True, "the stations are known")

    return check


def _tasks(watchdog: Watchdog, *, needed: bool) -> Condition:
    failing = [f"{task.name}: {task.last_error}" for task in watchdog.tasks() if task.failing]
    role = "acts" if watchdog.leading else "stands by"
    return Condition("watchdog", not failing, "; ".join(failing) or role, needed)


def _leader(watchdog: Watchdog) -> Condition:
    """Whether any watchdog leads. This one may stand by for good reasons, so the condition is not needed for
    readiness.
    """
    if watchdog.is_leaderless:
        reason = f"no watchdog has led for {watchdog.leaderless:.0f} s: no topic gets its default, nothing is logged"
        return Condition("leader", False, reason, needed=False)
    return Condition("leader", True, "this one leads" if watchdog.leading else "another one leads", needed=False)


def _log(watchdog: Watchdog) -> Condition:
    state = watchdog.log_state()
    return Condition("log", not state.error, state.error or f"{watchdog.log_waiting} entries wait", needed=False)


# Metrics


def _add_shared(metrics: Metrics, bus: Bus, memcached: Memcached | None, directory: Directory) -> None:
    metrics.add(BUS, bus)
    if isinstance(bus, CountedBus):
        metrics.add(RABBITMQ, bus)
    if memcached is not None:
        metrics.add(MEMCACHED, memcached)
    if isinstance(directory, OutageReport):
        metrics.add(DIRECTORY, directory)


def _add_servers(metrics: Metrics, servers: Servers, client_counts: ClientCounts, observability: Observability) -> None:
    metrics.add(HUB, servers.stomp.hub)
    metrics.add(RETAINED_SHARES, servers.stomp.hub)
    metrics.add(HISTORY, servers.pending_requests.history)
    metrics.add(SITE, servers.site)
    metrics.add(FLUSHER, servers.stomp.flusher)
    metrics.add(CLIENTS, client_counts)
    metrics.add(CONNECTION_LIMIT, servers.connection_limit)
    metrics.add(SUBSCRIPTION_LIMIT, servers.stomp.subscription_limit)
    metrics.add(INPUT_MEMORY, servers.stomp.input_memory)
    metrics.add(TURNS, servers.stomp.turns)
    metrics.add(CLIENT_COUNTERS, observability.client_counters)


def _add_stations(metrics: Metrics, parts: ApplicationParts) -> None:
    metrics.add(TOPIC_RESOLUTION, parts.resolver)
    metrics.add(LOGIN_QUEUE, parts.login_queue)
    metrics.add(LOGIN_THROTTLE, parts.throttle)
    if parts.file is not None:
        metrics.add(STATIONS_FILE, parts.file)
    metrics.add(PUBLISHING, parts.publishing)
    if parts.preflight is not None:
        metrics.add(PREFLIGHT, parts.preflight)
    if parts.watchdog is not None:
        _add_watchdog(metrics, parts.watchdog)


def _add_watchdog(metrics: Metrics, watchdog: Watchdog) -> None:
    metrics.add(WATCHDOG, watchdog)
    if watchdog.schedule is not None:
        metrics.add(SCHEDULE, watchdog.schedule)
    metrics.add(TASKS, watchdog.tasks)


def _rates(hub: Hub, client_counts: ClientCounts) -> Rates:
    return Rates(
        time.time,
        {"messages": lambda: hub.messages, "deliveries": lambda: hub.deliveries},
        {"clients": client_counts.total},
        interval=_RATES_INTERVAL,
        kept=int(RATES_SECONDS / _RATES_INTERVAL),
    )


def _no_tasks() -> Sequence[TaskState]:
    return ()
