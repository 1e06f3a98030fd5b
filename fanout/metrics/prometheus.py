"""Metrics for Prometheus: tables of values that are read from the parts of a process at each scrape.

Nothing is counted in this module, so it does not slow down any message. A part keeps plain numbers; a table gives the
name and meaning of each, and the function that reads it::

    metrics = Metrics()
    metrics.add(HUB, hub)
    metrics.text()

Labels have few values: never a topic, an address or a login. Names follow Prometheus' conventions: ``fanout_`` for the
engine, base units, ``_total`` for values that only grow.

All metrics of the engine are defined below, in one table for each kind of part.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from fanout.application.login_throttle import LoginQueue, LoginThrottle
from fanout.application.observer import ClientCounters
from fanout.bus.interface import Bus, CountedBus
from fanout.cache.memcached import Memcached
from fanout.http.auth import OperatorAuth
from fanout.http.http_server import HttpSite
from fanout.hub.history import History
from fanout.hub.hub import Hub
from fanout.hub.outbox import Flusher
from fanout.journal.journal import Journal
from fanout.listeners.client_limits import ConnectionLimit, FairTurns, InputMemory, SubscriptionLimit
from fanout.listeners.tls import Certificates
from fanout.metrics.traffic import ClientCounts, ReactorLag
from fanout.process.supervised_tasks import TaskState

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_FAMILIES: dict[str, Any] = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}

S = TypeVar("S")
Values = float | Mapping[Any, float]


@dataclass(frozen=True, slots=True)
class Measure(Generic[S]):
    """One metric of parts of type ``S``.

    :ivar kind: ``counter`` for a value that only grows, otherwise ``gauge``.
    :ivar name: name of the metric.
    :ivar help: one sentence.
    :ivar read: returns the value. For a metric with labels it returns values by the label's value, or by a tuple of
        several values.
    :ivar labels: the names of its labels.
    """

    kind: Literal["counter", "gauge"]
    name: str
    help: str
    read: Callable[[S], Values]
    labels: tuple[str, ...] = ()

    def family(self, part: S) -> Metric:
        """The current values of a part."""
        family = _FAMILIES[self.kind](self.name, self.help, labels=self.labels)
        for labels, value in self._samples(part):
            family.add_metric(labels, value)
        return cast("Metric", family)

    def _samples(self, part: S) -> Iterator[tuple[tuple[str, ...], float]]:
        values = self.read(part)
        if not isinstance(values, Mapping):
            yield (), values
            return
        for key, value in values.items():
            yield (key,) if isinstance(key, str) else key, value


Table = Sequence[Measure[S]]


class _Part(Generic[S]):
    """A collector, in the terms of prometheus-client."""

    def __init__(self, table: Table[S], part: S) -> None:
        self._table = table
        self._part = part

    def collect(self) -> Iterator[Metric]:
        for measure in self._table:
            yield measure.family(self._part)

    def describe(self) -> Iterator[Metric]:
        """Names without values: nothing is read before a scrape."""
        for measure in self._table:
            yield _FAMILIES[measure.kind](measure.name, measure.help, labels=measure.labels)


class Metrics:
    """All metrics of a process, including its memory and its file descriptors."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.add(PROCESS, OwnProcess())

    def add(self, table: Table[S], part: S) -> None:
        """Add the metrics of a part.

        :param table: how the values are read.
        :raises ValueError: a name exists already.
        """
        self._registry.register(_Part(table, part))

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return generate_latest(self._registry)


def reference(tables: Mapping[str, Table[Any]]) -> str:
    """A manual page of tables, by heading, in Markdown."""
    lines = []
    for heading, table in tables.items():
        lines += [f"## {heading}", "", "| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
        for each in table:
            labels = ", ".join(f"`{label}`" for label in each.labels)
            lines.append(f"| `{each.name}` | {each.kind} | {labels} | {each.help} |")
        lines.append("")
    lines += ["## The process", "", "| metric | type | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{each.name}` | {each.kind} | {each.help} |" for each in PROCESS]
    return "\n".join(lines) + "\n"


class OwnProcess:
    """The kernel's counters of this process.

    prometheus-client's collector has the same metrics, but none of them without ``/proc/stat``, which systemd may hide
    (``ProcSubset=pid``).
    """

    def stat(self, field: int) -> int:
        """A field of ``/proc/self/stat`` by its number in proc(5). The second field may contain spaces."""
        return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[field - 3])

    @property
    def started(self) -> float:
        """Start of the process as Unix time in seconds."""
        running = time.clock_gettime(time.CLOCK_BOOTTIME) - self.stat(22) / _TICKS
        return time.time() - running


_TICKS = os.sysconf("SC_CLK_TCK")
PROCESS: Table[OwnProcess] = (
    Measure("gauge", "process_virtual_memory_bytes", "Virtual memory size in bytes.", lambda own: own.stat(23)),
    Measure(
        "gauge",
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        lambda own: own.stat(24) * resource.getpagesize(),
    ),
    Measure(
        "gauge",
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        lambda own: own.started,
    ),
    Measure(
        "counter",
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        lambda _: time.process_time(),
    ),
    Measure(
        "gauge",
        "process_open_fds",
        "Number of open file descriptors.",
        lambda _: len(os.listdir("/proc/self/fd")),  # noqa: PTH208 (pathlib would make an object for each connection)
    ),
    Measure(
        "gauge",
        "process_max_fds",
        "Maximum number of open file descriptors.",
        lambda _: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    ),
)

HUB: Table[Hub] = (
    Measure("gauge", "fanout_topics", "Topics with at least one subscriber.", lambda hub: len(hub.topics())),
    Measure("gauge", "fanout_last_messages", "Topics with a retained message.", lambda hub: len(hub.remembered)),
    Measure(
        "gauge", "fanout_last_messages_bytes", "Memory of the retained messages.", lambda hub: hub.remembered_octets
    ),
    Measure(
        "counter", "fanout_messages_total", "Messages received over the bus, from all nodes.", lambda hub: hub.messages
    ),
    Measure(
        "counter", "fanout_deliveries_total", "Messages delivered, counted for each client.", lambda hub: hub.deliveries
    ),
    Measure(
        "counter",
        "fanout_delivered_bytes_total",
        "Octets of the bodies of these deliveries.",
        lambda hub: hub.delivered_octets,
    ),
)
RETAINED_SHARES: Table[Hub] = (
    Measure(
        "gauge",
        "fanout_last_messages_owners",
        "Publishers of the retained messages; a topic without a known publisher counts as one.",
        lambda hub: hub.remembered_owners,
    ),
    Measure(
        "counter",
        "fanout_last_messages_displaced_total",
        "Retained messages dropped because their publisher used the most memory (MAX_LAST_MESSAGES_BYTES).",
        lambda hub: hub.displaced,
    ),
)
HISTORY: Table[History] = (
    Measure("gauge", "fanout_history_messages", "Messages kept for clients that reconnect.", len),
    Measure(
        "gauge",
        "fanout_history_bytes",
        "Memory of the kept messages (limit: HISTORY_BYTES).",
        lambda history: history.octets,
    ),
    Measure(
        "counter",
        "fanout_history_displaced_total",
        "Messages of the history dropped because their publisher used the most memory.",
        lambda history: history.displaced,
    ),
)
SITE: Table[HttpSite] = (
    Measure(
        "gauge",
        "fanout_http_bodies_bytes",
        "Octets of the bodies of HTTP requests that are being read or handled.",
        lambda site: site.bodies.used,
    ),
    Measure(
        "counter",
        "fanout_http_bodies_refused_total",
        "Requests refused because the bodies of their address used too much of the memory for bodies.",
        lambda site: site.bodies.refused,
    ),
    Measure(
        "gauge",
        "fanout_http_answers_bytes",
        "Octets of long HTTP responses that their clients have not read yet.",
        lambda site: site.answers.used,
    ),
    Measure(
        "counter",
        "fanout_http_answers_refused_total",
        "Requests answered with 503 because unread responses of their address used too much of the memory.",
        lambda site: site.answers.refused,
    ),
    Measure(
        "gauge",
        "fanout_http_clients_waiting_for_turn",
        "HTTP clients that wait for their turn because they sent more requests than fit into a reactor turn.",
        lambda site: site.turns.waiting,
    ),
    Measure(
        "counter",
        "fanout_http_waits_for_turn_total",
        "How often an HTTP client with many requests had to wait for its turn.",
        lambda site: site.turns.waits,
    ),
)
JOURNAL: Table[Journal] = (
    Measure("gauge", "fanout_journal_waiting", "Records that wait for the disk.", lambda journal: journal.waiting),
    Measure(
        "counter",
        "fanout_journal_displaced_total",
        "Records dropped because the file was full and their publisher used most of it (JOURNAL_MAX_BYTES).",
        lambda journal: journal.displaced,
    ),
)
CLIENTS: Table[ClientCounts] = (
    Measure(
        "gauge",
        "fanout_clients",
        "Connected clients. The version is that of STOMP; it is empty for other protocols and before CONNECT.",
        lambda client_counts: client_counts.clients(),
        ("protocol", "version"),
    ),
    Measure(
        "gauge",
        "fanout_subscriptions",
        "Subscriptions of all clients.",
        lambda client_counts: client_counts.subscriptions(),
    ),
)
SUBSCRIPTION_LIMIT: Table[SubscriptionLimit] = (
    Measure(
        "counter",
        "fanout_subscriptions_refused_total",
        "Subscriptions refused because of a limit, of the node or of an address (MAX_SUBSCRIPTIONS_*).",
        lambda subscription_limit: subscription_limit.refused,
        ("limit",),
    ),
)
CERTIFICATES: Table[Certificates] = (
    Measure(
        "gauge",
        "fanout_certificate_expires_timestamp_seconds",
        "Unix time at which the listeners' certificate expires; subtract time() for the remaining seconds.",
        lambda certificates: certificates.expires,
    ),
)
CONNECTION_LIMIT: Table[ConnectionLimit] = (
    Measure(
        "counter",
        "fanout_connections_refused_total",
        "Connections refused by a limit: of the node, of an address, or of its rate (MAX_CONNECTIONS*, CONNECT_*).",
        lambda connection_limit: connection_limit.refused,
        ("limit",),
    ),
    Measure(
        "gauge",
        "fanout_connections",
        "Open connections of all protocols.",
        lambda connection_limit: connection_limit.total,
    ),
    Measure(
        "counter",
        "fanout_connections_closed_for_others_total",
        "Connections closed because the node was full and their address had the most (MAX_CONNECTIONS).",
        lambda connection_limit: connection_limit.closed_for_others,
    ),
)
INPUT_MEMORY: Table[InputMemory] = (
    Measure(
        "gauge",
        "fanout_input_bytes",
        "Memory of incomplete input of clients: parts of frames and requests, transactions, waiting frames.",
        lambda input_memory: input_memory.total,
    ),
    Measure(
        "counter",
        "fanout_input_refused_total",
        "Clients disconnected because all incomplete input exceeded its limit and theirs was the largest.",
        lambda input_memory: input_memory.refused,
    ),
)
TURNS: Table[FairTurns] = (
    Measure(
        "gauge",
        "fanout_clients_waiting_for_turn",
        "Clients that wait for their turn because they sent more frames than fit into a turn of the reactor.",
        lambda turns: turns.waiting,
    ),
    Measure(
        "counter",
        "fanout_waits_for_turn_total",
        "How often a client had to wait for its turn.",
        lambda turns: turns.waits,
    ),
)
LOGIN_QUEUE: Table[LoginQueue] = (
    Measure(
        "gauge",
        "fanout_logins_waiting",
        "Logins that wait for their check, from addresses known for the same name and from other addresses.",
        lambda queue: queue.waiting(),
        ("kind",),
    ),
    Measure(
        "counter",
        "fanout_logins_crowded_out_total",
        "Logins refused because too many were waiting for their check.",
        lambda queue: queue.put_off,
    ),
)
LOGIN_THROTTLE: Table[LoginThrottle] = (
    Measure(
        "counter",
        "fanout_logins_put_off_total",
        "Logins refused without a check because too many logins of their address failed (LOGIN_FAILURES).",
        lambda throttle: throttle.put_off,
    ),
)
OPERATORS: Table[OperatorAuth] = (
    Measure(
        "counter",
        "fanout_operator_access_total",
        "Operators' requests: accepted, refused because of a wrong token, or not checked after too many of these.",
        lambda auth: auth.outcomes,
        ("outcome",),
    ),
)
FLUSHER: Table[Flusher] = (
    Measure(
        "counter",
        "fanout_dropped_messages_total",
        "Messages dropped for clients that read too slowly (SLOW_CLIENTS).",
        lambda flusher: flusher.dropped,
    ),
    Measure(
        "gauge",
        "fanout_outboxes_bytes",
        "Octets that wait for slow clients (limit: OUTBOX_TOTAL_BYTES).",
        lambda flusher: flusher.held,
    ),
)
CLIENT_COUNTERS: Table[ClientCounters] = (
    Measure(
        "counter",
        "fanout_session_events_total",
        "STOMP sessions opened and closed.",
        lambda counters: counters.sessions,
        ("event",),
    ),
    Measure(
        "counter",
        "fanout_subscription_events_total",
        "Subscriptions of STOMP clients made and ended.",
        lambda counters: counters.subscriptions,
        ("event",),
    ),
    Measure(
        "counter",
        "fanout_logins_total",
        "Logins: accepted, refused, or unanswered because the directory is down or the address has to wait.",
        lambda counters: counters.logins,
        ("outcome",),
    ),
    Measure(
        "counter",
        "fanout_publishes_total",
        "Messages of this node's publishers: accepted, forbidden, not answered by the directory, refused by the bus.",
        lambda counters: counters.publishes,
        ("outcome",),
    ),
    Measure(
        "counter",
        "fanout_published_bytes_total",
        "Octets of the bodies of accepted messages.",
        lambda counters: counters.published_octets,
    ),
    Measure(
        "counter",
        "fanout_faults_total",
        "Faults of clients, by the text of the ERROR or the log event; client.slow means a disconnected client.",
        lambda counters: counters.faults,
        ("kind",),
    ),
)
BUS: Table[Bus] = (
    Measure(
        "gauge",
        "fanout_bus_connected",
        "Whether this node exchanges messages with the other nodes (1) or not (0).",
        lambda bus: bus.state().connected,
    ),
    Measure(
        "gauge",
        "fanout_bus_caught_up",
        "Whether this node has the messages published before it was connected (1) or not (0).",
        lambda bus: bus.state().caught_up,
    ),
    Measure(
        "gauge",
        "fanout_bus_waiting",
        "Messages that were accepted from publishers and are not yet confirmed.",
        lambda bus: bus.state().waiting,
    ),
)
_BROKER = {
    "connects": "Connections made to the broker.",
    "received": "Messages received from the broker.",
    "malformed": "Received messages dropped because they were malformed.",
    "duplicates": "Received messages dropped because they were second copies.",
    "published": "Messages sent to the broker, including repeats after an outage.",
    "confirmed": "Messages confirmed by the broker.",
    "failed": "Messages that failed, with an error for their publisher.",
    "returned": "Messages for which the broker had no queue.",
    "missed": "Messages of other nodes that this node missed because it was too slow or disconnected.",
    "replayed": "Missed messages that this node read from the stream after it was connected.",
}


def _counter(name: str) -> Callable[[CountedBus], float]:
    return lambda bus: float(getattr(bus.counters, name))


RABBITMQ: Table[CountedBus] = tuple(
    Measure("counter", f"fanout_rabbitmq_{name}_total", text, _counter(name)) for name, text in _BROKER.items()
)
_CALLS = ("calls", "failures", "skipped", "refused", "reconnects", "overflow")
MEMCACHED: Table[Memcached] = (
    Measure(
        "gauge", "fanout_memcached_servers_down", "memcached servers that do not answer.", lambda each: len(each.down)
    ),
    Measure(
        "counter",
        "fanout_memcached_calls_total",
        "Calls: answered, failed, skipped in an outage, values refused, reconnects, skipped because of too many.",
        lambda each: {name: each.counts[name] for name in _CALLS},
        ("outcome",),
    ),
)
LAG: Table[ReactorLag] = (
    Measure(
        "gauge",
        "fanout_loop_lag_worst_seconds",
        "Longest delay of the event loop in the last minute.",
        lambda lag: lag.worst,
    ),
    Measure("counter", "fanout_loop_lag_seconds_total", "Sum of the delays of the event loop.", lambda lag: lag.total),
)
TaskStates = Callable[[], Sequence[TaskState]]
TASKS: Table[TaskStates] = (
    Measure(
        "gauge",
        "fanout_task_failing",
        "Whether the last round of a task failed (1) or not (0).",
        lambda states: {state.name: state.failing for state in states()},
        ("task",),
    ),
    Measure(
        "counter",
        "fanout_task_restarts_total",
        "How often a task was run again after a failure.",
        lambda states: {state.name: state.restarts for state in states()},
        ("task",),
    ),
    Measure(
        "gauge",
        "fanout_task_last_success_timestamp_seconds",
        "Unix time of the last successful round of a task; 0 if there was none.",
        lambda states: {state.name: state.last_success or 0.0 for state in states()},
        ("task",),
    ),
)
Build = dict[str, str]
BUILD: Table[Build] = (
    Measure(
        "gauge",
        "fanout_build_info",
        "Always 1; the labels contain the program and the versions.",
        lambda build: {tuple(build.values()): 1.0},
        ("program", "version", "python", "twisted"),
    ),
)
