"""Metrics for Prometheus: tables of what can be read off the parts of a process, read at each scrape.

Nothing is counted here, so nothing on the way of a message gets slower. A part keeps plain numbers; a table says what
each is called, what it means, and how it is read::

    metrics = Metrics()
    metrics.add(HUB, hub)
    metrics.text()

Labels have few values: never a topic, an address or a login. Names follow Prometheus' conventions: ``fanout_`` for the
engine, base units, ``_total`` for what only grows.

Every metric of the engine stands below, in one table for each kind of part.
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

    :ivar kind: ``counter`` for what only grows, otherwise ``gauge``.
    :ivar help: one sentence.
    :ivar read: the value; for a metric with labels, values by the label's value, or by a tuple of several.
    :ivar labels: the names of its labels.
    """

    kind: Literal["counter", "gauge"]
    name: str
    help: str
    read: Callable[[S], Values]
    labels: tuple[str, ...] = ()

    def family(self, part: S) -> Metric:
        """Its values of this moment."""
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
    """What prometheus-client calls a collector."""

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
    """All metrics of a process, its memory and its file descriptors included."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.add(PROCESS, OwnProcess())

    def add(self, table: Table[S], part: S) -> None:
        """Tell what this table reads off this part, too. :raises ValueError: a name is there already."""
        self._registry.register(_Part(table, part))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)


def reference(tables: Mapping[str, Table[Any]]) -> str:
    """A manual page of tables, by heading (Markdown)."""
    lines = []
    for heading, table in tables.items():
        lines += [f"## {heading}", "", "| metric | type | labels | what it tells |", "| --- | --- | --- | --- |"]
        for each in table:
            labels = ", ".join(f"`{label}`" for label in each.labels)
            lines.append(f"| `{each.name}` | {each.kind} | {labels} | {each.help} |")
        lines.append("")
    lines += ["## The process", "", "| metric | type | what it tells |", "| --- | --- | --- |"]
    lines += [f"| `{each.name}` | {each.kind} | {each.help} |" for each in PROCESS]
    return "\n".join(lines) + "\n"


class OwnProcess:
    """What the kernel counts of this process.

    prometheus-client's collector has the same metrics, and none of them without ``/proc/stat``, which systemd hides
    (``ProcSubset=pid``).
    """

    def stat(self, field: int) -> int:
        """A field of ``/proc/self/stat`` by its number in proc(5); the second may have spaces in it."""
        return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[field - 3])

    @property
    def started(self) -> float:
        """Unix time in seconds."""
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
        lambda _: len(os.listdir("/proc/self/fd")),  # noqa: PTH208  (as many objects as connections otherwise)
    ),
    Measure(
        "gauge",
        "process_max_fds",
        "Maximum number of open file descriptors.",
        lambda _: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    ),
)

HUB: Table[Hub] = (
    Measure("gauge", "fanout_topics", "Topics somebody listens to.", lambda hub: len(hub.topics())),
    Measure("gauge", "fanout_last_messages", "Topics whose last message is kept.", lambda hub: len(hub.remembered)),
    Measure("gauge", "fanout_last_messages_bytes", "Memory of these.", lambda hub: hub.remembered_octets),
    Measure(
        "counter", "fanout_messages_total", "Messages that came over the bus, of all nodes.", lambda hub: hub.messages
    ),
    Measure(
        "counter", "fanout_deliveries_total", "Messages given to clients, counted for each.", lambda hub: hub.deliveries
    ),
    Measure("counter", "fanout_delivered_bytes_total", "Bodies of these deliveries.", lambda hub: hub.delivered_octets),
)
RETAINED_SHARES: Table[Hub] = (
    Measure(
        "gauge",
        "fanout_last_messages_owners",
        "Publishers that have last messages; a topic whose publisher is not known counts as one.",
        lambda hub: hub.remembered_owners,
    ),
    Measure(
        "counter",
        "fanout_last_messages_displaced_total",
        "Last messages dropped because their publisher had most of them (MAX_LAST_MESSAGES_BYTES).",
        lambda hub: hub.displaced,
    ),
)
HISTORY: Table[History] = (
    Measure("gauge", "fanout_history_messages", "Messages kept for clients that come back.", len),
    Measure("gauge", "fanout_history_bytes", "Memory of these, of HISTORY_BYTES.", lambda history: history.octets),
    Measure(
        "counter",
        "fanout_history_displaced_total",
        "Of these, dropped because their publisher had most of that memory.",
        lambda history: history.displaced,
    ),
)
SITE: Table[HttpSite] = (
    Measure(
        "gauge",
        "fanout_http_bodies_bytes",
        "Bodies of HTTP requests that are read or worked on.",
        lambda site: site.bodies.used,
    ),
    Measure(
        "counter",
        "fanout_http_bodies_refused_total",
        "Requests refused because the bodies of their address took too much of that memory.",
        lambda site: site.bodies.refused,
    ),
    Measure(
        "gauge",
        "fanout_http_answers_bytes",
        "Long answers to HTTP requests that their clients have not read.",
        lambda site: site.answers.used,
    ),
    Measure(
        "counter",
        "fanout_http_answers_refused_total",
        "Requests answered with 503 because the answers that their address did not read took too much of that memory.",
        lambda site: site.answers.refused,
    ),
    Measure(
        "gauge",
        "fanout_http_clients_waiting_for_turn",
        "Clients that sent more requests in a row than fit into a turn of the reactor, and wait for theirs.",
        lambda site: site.turns.waiting,
    ),
    Measure(
        "counter",
        "fanout_http_waits_for_turn_total",
        "How often a client with requests in a row had to wait for its turn.",
        lambda site: site.turns.waits,
    ),
)
JOURNAL: Table[Journal] = (
    Measure("gauge", "fanout_journal_waiting", "Records that wait for the disk.", lambda journal: journal.waiting),
    Measure(
        "counter",
        "fanout_journal_displaced_total",
        "Records dropped because their publisher had most octets of the full file (JOURNAL_MAX_BYTES).",
        lambda journal: journal.displaced,
    ),
)
CLIENTS: Table[ClientCounts] = (
    Measure(
        "gauge",
        "fanout_clients",
        "Clients that are connected; the version is of STOMP, and empty for the others and before CONNECT.",
        lambda client_counts: client_counts.clients(),
        ("protocol", "version"),
    ),
    Measure(
        "gauge",
        "fanout_subscriptions",
        "Topics listened to, counted for each client.",
        lambda client_counts: client_counts.subscriptions(),
    ),
)
SUBSCRIPTION_LIMIT: Table[SubscriptionLimit] = (
    Measure(
        "counter",
        "fanout_subscriptions_refused_total",
        "Subscriptions that were too many: for the node, or for their address (MAX_SUBSCRIPTIONS_*).",
        lambda subscription_limit: subscription_limit.refused,
        ("limit",),
    ),
)
CERTIFICATES: Table[Certificates] = (
    Measure(
        "gauge",
        "fanout_certificate_expires_timestamp_seconds",
        "Until when the certificate of all listeners is valid, Unix time; less time() it is the seconds left.",
        lambda certificates: certificates.expires,
    ),
)
CONNECTION_LIMIT: Table[ConnectionLimit] = (
    Measure(
        "counter",
        "fanout_connections_refused_total",
        "Connections that were too many: for the node, for their address, or too fast (MAX_CONNECTIONS*, CONNECT_*).",
        lambda connection_limit: connection_limit.refused,
        ("limit",),
    ),
    Measure(
        "gauge",
        "fanout_connections",
        "Connections that are open, of all protocols.",
        lambda connection_limit: connection_limit.total,
    ),
    Measure(
        "counter",
        "fanout_connections_closed_for_others_total",
        "Connections of the address with the most that were closed because the node was full (MAX_CONNECTIONS).",
        lambda connection_limit: connection_limit.closed_for_others,
    ),
)
INPUT_MEMORY: Table[InputMemory] = (
    Measure(
        "gauge",
        "fanout_input_bytes",
        "Memory of what clients sent and is not complete: parts of frames and requests, transactions, waiting frames.",
        lambda input_memory: input_memory.total,
    ),
    Measure(
        "counter",
        "fanout_input_refused_total",
        "Clients that were closed because all together had sent too much of that, and they most.",
        lambda input_memory: input_memory.refused,
    ),
)
TURNS: Table[FairTurns] = (
    Measure(
        "gauge",
        "fanout_clients_waiting_for_turn",
        "Clients that sent more frames than fit into a turn of the reactor, and wait for theirs.",
        lambda turns: turns.waiting,
    ),
    Measure("counter", "fanout_waits_for_turn_total", "How often a client had to wait.", lambda turns: turns.waits),
)
LOGIN_QUEUE: Table[LoginQueue] = (
    Measure(
        "gauge",
        "fanout_logins_waiting",
        "Logins that wait for their check: of addresses that have logged in with the same name before, and strangers.",
        lambda queue: queue.waiting(),
        ("kind",),
    ),
    Measure(
        "counter",
        "fanout_logins_crowded_out_total",
        "Logins refused because too many waited for their check; the address with most of them loses its latest.",
        lambda queue: queue.put_off,
    ),
)
LOGIN_THROTTLE: Table[LoginThrottle] = (
    Measure(
        "counter",
        "fanout_logins_put_off_total",
        "Logins that were refused, unchecked, because their address had failed too often (LOGIN_FAILURES).",
        lambda throttle: throttle.put_off,
    ),
)
OPERATORS: Table[OperatorAuth] = (
    Measure(
        "counter",
        "fanout_operator_access_total",
        "Requests of operators: accepted, refused for a wrong token, or put off as there were too many wrong ones.",
        lambda auth: auth.outcomes,
        ("outcome",),
    ),
)
FLUSHER: Table[Flusher] = (
    Measure(
        "counter",
        "fanout_dropped_messages_total",
        "Messages that clients did not get because they read too slowly (SLOW_CLIENTS).",
        lambda flusher: flusher.dropped,
    ),
    Measure(
        "gauge",
        "fanout_outboxes_bytes",
        "What waits for slow clients, of OUTBOX_TOTAL_BYTES.",
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
        "Messages of this node's publishers: accepted, forbidden, unanswered by the directory, not taken by the bus.",
        lambda counters: counters.publishes,
        ("outcome",),
    ),
    Measure(
        "counter",
        "fanout_published_bytes_total",
        "Bodies of the accepted ones.",
        lambda counters: counters.published_octets,
    ),
    Measure(
        "counter",
        "fanout_faults_total",
        "What clients did wrong, by the words of the ERROR or the event in the log; client.slow is one cut off.",
        lambda counters: counters.faults,
        ("kind",),
    ),
)
BUS: Table[Bus] = (
    Measure(
        "gauge",
        "fanout_bus_connected",
        "Whether messages travel between the nodes (1) or not (0).",
        lambda bus: bus.state().connected,
    ),
    Measure(
        "gauge",
        "fanout_bus_caught_up",
        "Whether this node has what was published before it was connected (1) or not (0).",
        lambda bus: bus.state().caught_up,
    ),
    Measure(
        "gauge",
        "fanout_bus_waiting",
        "Messages accepted from publishers and not yet confirmed.",
        lambda bus: bus.state().waiting,
    ),
)
_BROKER = {
    "connects": "Connections made to the broker.",
    "received": "Messages the broker has sent.",
    "malformed": "Of these, dropped as they were no messages of ours.",
    "duplicates": "Of these, dropped as second copies.",
    "published": "Messages handed to the broker, repeats after an outage included.",
    "confirmed": "Messages the broker has confirmed.",
    "failed": "Messages whose publisher was told that they failed.",
    "returned": "Messages the broker had no queue for.",
    "missed": "Messages of other nodes that did not come: this node was too slow, or away.",
    "replayed": "Messages this node did not receive, and read from the stream after it was connected.",
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
        "Calls: answered, failed, skipped in an outage, values refused, connections made anew, too many at once.",
        lambda each: {name: each.counts[name] for name in _CALLS},
        ("outcome",),
    ),
)
LAG: Table[ReactorLag] = (
    Measure(
        "gauge",
        "fanout_loop_lag_worst_seconds",
        "How late the event loop came round at worst in the last minute.",
        lambda lag: lag.worst,
    ),
    Measure("counter", "fanout_loop_lag_seconds_total", "How late it came round, added up.", lambda lag: lag.total),
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
        "How often a task was tried again after a failure.",
        lambda states: {state.name: state.restarts for state in states()},
        ("task",),
    ),
    Measure(
        "gauge",
        "fanout_task_last_success_timestamp_seconds",
        "When a round of a task last ended well, Unix time; 0 for never.",
        lambda states: {state.name: state.last_success or 0.0 for state in states()},
        ("task",),
    ),
)
Build = dict[str, str]
BUILD: Table[Build] = (
    Measure(
        "gauge",
        "fanout_build_info",
        "Always 1; the labels tell what runs.",
        lambda build: {tuple(build.values()): 1.0},
        ("program", "version", "python", "twisted"),
    ),
)
