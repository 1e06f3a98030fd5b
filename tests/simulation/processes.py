"""The product's processes, made of its own parts: front-end nodes and watchdogs.

Only what is outside the product is replaced: the network, the memcached, the directory and the disk of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from twisted.internet.defer import Deferred

from fanout.bus.broker_settings import Broker, RetryPolicy
from fanout.bus.leader import BrokerLeader, LeaderNames
from fanout.bus.queues import QueueNames
from fanout.bus.rabbitmq import RabbitMQ
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.subscriber import Cohort, Subscriber
from radiovis.directory.interface import Channel, Default
from radiovis.last_slides import LastSlides
from radiovis.node.consumer import BusConsumer, TopicReceiver
from radiovis.node.fallback_daemon import CLUSTER_EXCHANGE, HEARTBEAT_SECONDS, LAST_RETRY_SECONDS
from radiovis.node.restore import Restore
from radiovis.settings import WatchdogSettings
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.log import Entry, LogFull, LogState
from radiovis.watchdog.sources import QueueSource
from radiovis.watchdog.startup import StartupState
from radiovis.watchdog.watchdog import Watchdog
from tests.simulation.cluster import Cluster
from tests.simulation.network import Endpoint, Network
from tests.simulation.world import Process, World

EXCHANGE, QUEUE = "amq.fanout", "fallbacklogs"
WATCHED = "/topic/id/watched.example/sid/"
SETTINGS = WatchdogSettings(FB_QUEUE=QUEUE, FB_FALLBACK_CHECK=3, FB_FALLBACK_TIME=6, FB_CHANNEL_CACHE=600)
NODE_HEARTBEAT = 5
ANSWER_SECONDS = (0.0005, 0.002, 0.02)
"""Of memcached, and of the log's disk."""

log = structlog.get_logger()


class Memory:
    """A memcached of its own machine, which outlives all processes. As :class:`fanout.cache.memcached.Memcached`.

    :ivar written: called with each value that is written, and the one it replaces.
    :ivar forgot: called when everything is gone. :ivar forgot_at: when that was last.
    """

    def __init__(self, world: World) -> None:
        self.values: dict[str, bytes] = {}
        self.versions: dict[str, bytes] = {}
        self.started = float("-inf")
        self.world = world
        self.forgot_at = 0.0
        self.written: Callable[[bytes, bytes | None], None] = lambda value, before: None
        self.forgot: Callable[[], None] = lambda: None

    def write(self, key: str, value: bytes, version: bytes | None) -> bool:
        """Unless it was changed since this version."""
        if self.versions.get(key) != version:
            return False
        self.written(value, self.values.get(key))
        self.values[key] = value
        self.versions[key] = b"%d" % (int(version or b"0") + 1)
        return True

    def forget(self) -> None:
        """It starts anew, empty."""
        self.values.clear()
        self.versions.clear()
        self.forgot_at = self.world.now
        self.forgot()

    def seen_by(self, process: Process) -> Any:
        return _MemoryClient(self, process)


class _MemoryClient:
    down: tuple[str, ...] = ()

    def __init__(self, memory: Memory, process: Process) -> None:
        self._memory = memory
        self._process = process

    def get(self, key: str) -> Deferred[bytes | None]:
        return self._ask(lambda: self._memory.values.get(key))

    def get_many(self, keys: list[str]) -> Deferred[dict[str, bytes]]:
        return self._ask(lambda: {key: self._memory.values[key] for key in keys if key in self._memory.values})

    def uptime(self) -> Deferred[float]:
        return self._ask(lambda: self._memory.world.now - self._memory.started)

    def gets_many(self, keys: list[str]) -> Deferred[dict[str, tuple[bytes, bytes]]]:
        values, versions = self._memory.values, self._memory.versions
        return self._ask(lambda: {key: (values[key], versions[key]) for key in keys if key in values})

    def cas_many(self, items: Mapping[str, tuple[bytes, bytes | None]], seconds: int) -> Deferred[list[str]]:
        return self._ask(lambda: [key for key, item in items.items() if not self._memory.write(key, *item)])

    def _ask(self, question: Callable[[], Any]) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self._memory.world.later(self._seconds(), self._ask_now, question, answer)
        return answer

    def _ask_now(self, question: Callable[[], Any], answer: Deferred[Any]) -> None:
        self._memory.world.later(self._seconds(), self._process.call, answer.callback, question())

    def _seconds(self) -> float:
        return self._memory.world.rng.choice(ANSWER_SECONDS)


class ScriptedDirectory:
    """One station with defaults, and any number of topics without."""

    async def topics(self) -> tuple[Channel, ...]:
        return (Channel(WATCHED, 1),)

    async def gcc(self, country: str) -> str | None:
        return None

    async def default(self, channel: int) -> Default | None:
        return Default(image="http://watched.example/default.png", text="default")


class Disk:
    """The disk of the logs of all watchdogs.

    :ivar refusing: whether it is full.
    :ivar entries: in the order they were stored; copies of a serial are stored once, as the journal does.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.refusing = False
        self.entries: list[Entry] = []
        self._serials: set[str] = set()

    def store(self, entry: Entry) -> None:
        if not entry.serial or entry.serial not in self._serials:
            self._serials.add(entry.serial)
            self.entries.append(entry)


class DiskLog:
    """The log of one watchdog. A :class:`radiovis.watchdog.log.Log`."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._process = process
        self._ready = 0.0
        self._pending: dict[Deferred[None], Entry] = {}

    def add(self, entry: Entry) -> Deferred[None]:
        added: Deferred[None] = Deferred(lambda _: None)
        world = self._disk.world
        self._ready = max(self._ready, world.now + world.rng.choice(ANSWER_SECONDS))
        self._pending[added] = entry
        world.at(self._ready, self._process.call, self._write, added)
        return added

    def _write(self, added: Deferred[None]) -> None:
        """An entry that fails takes all that wait behind it with it, as in the journal: no newer one gets before it."""
        if added not in self._pending:
            return
        if not self._disk.refusing:
            self._disk.store(self._pending.pop(added))
            _answer(added)
            return
        pending, self._pending = self._pending, {}
        for each in pending:
            _answer(each, LogFull("the disk is full"))

    async def cleanup(self, max_age: int) -> int:
        return 0

    def state(self) -> LogState:
        return LogState()

    async def stop(self) -> None:
        """There is nothing to close."""


class Radio(Subscriber):
    """A client that notes what it is shown."""

    __slots__ = ("shown",)
    protocol, address = "stomp", "192.0.2.1"

    def __init__(self) -> None:
        self.shown: list[Message] = []

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        self.shown.append(message)


class _Plain:
    """A form of messages without any framing."""

    def __init__(self, destination: str) -> None:
        self.destination = destination

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        return message.body


class _Ear:
    """Notes what the bus brings, before anything else."""

    def __init__(self, heard: Callable[[Message], None]) -> None:
        self._heard = heard

    def hear(self, message: Message) -> bool:
        self._heard(message)
        return False


class Machine:
    """What every process of the product here has: a process, an endpoint, a bus.

    :ivar stopping: whether it was asked to end.
    """

    def __init__(self, name: str, parts: Parts, first_broker: int) -> None:
        self.name = name
        self.parts = parts
        self.stopping = False
        self.process = Process(parts.world, name)
        nodes = parts.cluster.nodes
        order = nodes[first_broker % len(nodes) :] + nodes[: first_broker % len(nodes)]
        self._endpoint = Endpoint(parts.network, self.process, order)
        self.bus: RabbitMQ = self._make_bus()

    def _make_bus(self) -> RabbitMQ:
        raise NotImplementedError

    @property
    def running(self) -> bool:
        return not self.process.dead and not self.process.paused

    @property
    def broker_nodes(self) -> list[Any]:
        """The broker nodes at the other ends of its connections, while both ends are whole."""
        alive = [each for each in self.parts.network.of(self.process) if each.alive]
        return [each.server.protocol.node for each in alive if each.server.protocol is not None]


class FrontEnd(Machine):
    """A node of the cluster with one radio on each topic."""

    def __init__(self, name: str, parts: Parts, first_broker: int, topics: list[str]) -> None:
        super().__init__(name, parts, first_broker)
        clock = self.process.clock
        self.ended = 0.0
        self.heard: list[tuple[float, Message]] = []
        self.caught_up_since: float | None = None
        self.hub = Hub(_raise)
        self.last_slides = LastSlides(clock, parts.memory.seen_by(self.process), parts.world.wall)
        receiver = TopicReceiver(TopicResolver(parts.directory, lambda: None), self.hub, self.last_slides, log)
        self._restore = Restore(clock, self.hub, self.last_slides)
        self._consumer = BusConsumer(clock, receiver, self._restore, None, parts.report, [_Ear(self._hear)])
        self.radios = {topic: Radio() for topic in topics}

    def _make_bus(self) -> RabbitMQ:
        broker = Broker(exchange=EXCHANGE, heartbeat=NODE_HEARTBEAT, name=self.name)
        return RabbitMQ(self.process.clock, self._endpoint, broker, chance=self.parts.world.rng.random)

    def start(self) -> None:
        self._restore.start()
        for topic, radio in self.radios.items():
            self.hub.join(topic, _Plain(topic), radio)
            self.recall(topic)
        self._consumer.start(self.bus)

    def stop(self, done: Callable[[], object]) -> None:
        """End in order, as after SIGTERM."""
        if not self.stopping:
            self.stopping = True
            stopped = self.bus.stop()
            stopped.addCallback(lambda _: self.last_slides.write())
            stopped.addCallbacks(lambda _: done(), self.parts.report)

    def recall(self, topic: str) -> None:
        """As a SUBSCRIBE does when the hub knows nothing."""
        Deferred.fromCoroutine(self.hub.recall(topic, self._restore.recall)).addErrback(self.parts.report)

    def _hear(self, message: Message) -> None:
        self.heard.append((self.parts.world.now, message))

    @property
    def connected_throughout(self) -> bool:
        """Whether it has never lost the broker since it first connected."""
        return self.bus.counters.connects == 1 and self.bus.connection is not None


class WatchdogMachine(Machine):
    """``fallback.py`` as :mod:`radiovis.node.fallback_daemon` puts it together."""

    def __init__(self, name: str, parts: Parts, first_broker: int) -> None:
        super().__init__(name, parts, first_broker)
        clock = self.process.clock
        self.leader = BrokerLeader(clock, self.bus, LeaderNames(f"{QUEUE}.leader", QUEUE, CLUSTER_EXCHANGE))
        directory: Any = parts.directory
        self.watchdog = Watchdog(
            clock,
            SETTINGS,
            bus=self.bus,
            leader=self.leader,
            directory=directory,
            resolver=TopicResolver(directory, lambda: None),
            entries=DiskLog(parts.disk, self.process),  # type: ignore[arg-type]
            recall=StartupState(
                parts.memory.seen_by(self.process), None, SETTINGS, clock.seconds, parts.world.wall
            ).recall,
            source=self._source,
        )
        self.watchdog._stale._unix_time = parts.world.wall  # A default argument has the real clock.

    def _make_bus(self) -> RabbitMQ:
        broker = Broker(exchange=EXCHANGE, heartbeat=HEARTBEAT_SECONDS, name=self.name)
        policy = RetryPolicy(outlast=False, last_retry=LAST_RETRY_SECONDS)
        return RabbitMQ(self.process.clock, self._endpoint, broker, policy, chance=self.parts.world.rng.random)

    def _source(self, take: Any) -> QueueSource:
        return QueueSource(self.process.clock, self.bus, QueueNames(QUEUE, EXCHANGE), take)

    def start(self) -> None:
        self.watchdog.start()
        self.bus.start(self.watchdog.hear, self.watchdog.hear_again)

    @property
    def leading(self) -> bool:
        """Whether it believes that it leads, can act, and the broker's majority would hear it."""
        if not self.running or not self.leader.leading:
            return False
        nodes, majority = self.broker_nodes, self.parts.cluster.majority()
        return len(nodes) >= 2 and all(node in majority and not node.process.paused for node in nodes)

    @property
    def alarm(self) -> bool:
        """Whether it reports that nobody leads."""
        return self.watchdog.is_leaderless


class Parts:
    """What all processes share: the world outside the product. :ivar errors: exceptions in the product."""

    def __init__(self, world: World, network: Network, cluster: Cluster) -> None:
        self.world, self.network, self.cluster = world, network, cluster
        self.memory = Memory(world)
        self.disk = Disk(world)
        self.directory: Any = ScriptedDirectory()
        self.errors: list[str] = []

    def report(self, failure: Any, *_: object) -> None:
        """A fault inside the product."""
        self.errors.append(failure.getTraceback())


def _raise(_member: object, error: Exception) -> None:
    raise error


def _answer(added: Deferred[None], error: Exception | None = None) -> None:
    if added.called:
        return  # The caller has given it up.
    if error is None:
        added.callback(None)
    else:
        added.errback(error)
