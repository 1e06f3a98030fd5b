"""A queue of the model broker (:class:`Queue`), of any type, and what is in it and consumes it.

What it keeps of RabbitMQ: see :mod:`.cluster`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pika.spec import BasicProperties

if TYPE_CHECKING:
    from tests.simulation.channel import Channel
    from tests.simulation.cluster import Cluster, Node
    from tests.simulation.session import Session
    from tests.simulation.world import World

PERSISTENT = 2
SEGMENT_OCTETS = 500_000_000
"""Of a stream that was declared without a size of its own; as RabbitMQ."""
KEPT_SECONDS = 5.0
"""A stream deletes nothing that is newer."""


@dataclass(eq=False, slots=True)
class Stored:
    """A message as the broker has it.

    :ivar head: payload of the content header frame, passed on as it came.
    """

    exchange: str
    key: str
    head: bytes
    body: bytes
    _persistent: bool | None = None

    @property
    def persistent(self) -> bool:
        if self._persistent is None:
            self._persistent = self.properties().delivery_mode == PERSISTENT
        return self._persistent

    def properties(self) -> BasicProperties:
        properties = BasicProperties()
        properties.decode(self.head[12:])
        return properties


@dataclass(eq=False, slots=True)
class Item:
    """A message in a queue. :ivar number: its place."""

    number: int
    message: Stored
    redelivered: bool = False

    def __lt__(self, other: Item) -> bool:
        return self.number < other.number


_NUMBER: Callable[[Item], int] = attrgetter("number")


@dataclass(eq=False, slots=True)
class Consumer:
    """:ivar room: how many more messages it may have without acknowledgement; None without a limit.
    :ivar position: of a stream: the least number of the next item.
    """

    channel: Channel
    tag: str
    no_ack: bool
    room: int | None
    position: int = 0
    exclusive: bool = False


@dataclass(eq=False, slots=True)
class Publishing:
    """A publish until its confirm. :ivar left: how many queues have not taken it yet."""

    channel: Channel
    tag: int
    message: Stored
    left: int
    refused: bool = False

    def settle(self, taken: bool = True) -> None:
        self.left -= 1
        self.refused = self.refused or not taken
        if self.left <= 0:
            self.channel.settled(self)


class Segments:
    """How a stream forgets: while it is larger than it may be, the oldest segment is deleted as a whole.

    But not what came in the last :data:`KEPT_SECONDS`. The streams here are small, and the product's has room for
    80,000 messages: it may well lose what a node misses while it is away, but not what comes while the node reads.
    """

    def __init__(self, world: World, arguments: dict[str, Any]) -> None:
        self._world = world
        self._most: int | None = arguments.get("x-max-length-bytes")
        self._size: int = arguments.get("x-stream-max-segment-size-bytes", SEGMENT_OCTETS)
        self._octets, self._counts, self._ended = deque([0]), deque([0]), deque([0.0])

    def add(self, message: Stored) -> int:
        """A message is added. :return: how many of the oldest ones are deleted."""
        if self._octets[-1] >= self._size:
            self._octets.append(0)
            self._counts.append(0)
            self._ended.append(0.0)
        self._ended[-1] = self._world.now
        self._octets[-1] += len(message.head) + len(message.body)
        self._counts[-1] += 1
        deleted = 0
        while self._most is not None and len(self._octets) > 1 and sum(self._octets) > self._most:
            if self._ended[0] > self._world.now - KEPT_SECONDS:
                break
            self._ended.popleft()
            self._octets.popleft()
            deleted += self._counts.popleft()
        return deleted


class Queue:
    """A queue of any type.

    :ivar owner: the connection of an exclusive queue.
    :ivar available: whether its messages can be had now.
    :ivar electing: whether the nodes are choosing another home for it.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        home: Node,
        owner: Session | None,
        *,
        durable: bool,
        auto_delete: bool,
        arguments: dict[str, Any],
    ) -> None:
        self.name, self.home, self.owner = name, home, owner
        self.durable, self.auto_delete, self.arguments = durable, auto_delete, arguments
        self.kind = arguments.get("x-queue-type", "classic")
        self.single = bool(arguments.get("x-single-active-consumer"))
        self.available = True
        self.electing = False
        self.deleted = False
        self.consumers: list[Consumer] = []
        self.items: deque[Item] = deque()
        self.incoming: dict[Publishing, None] = {}
        self.had_consumer = False
        self._cluster = cluster
        self._numbers = count()
        self._segments = Segments(cluster.world, arguments) if self.is_stream else None
        self._used_at = cluster.world.now
        self._expires_later()

    @property
    def replicated(self) -> bool:
        return self.kind != "classic"

    @property
    def takes(self) -> bool:
        """Whether publishes are routed to it; one without a majority does not confirm them until it has one."""
        return self.available or self.replicated

    @property
    def is_stream(self) -> bool:
        return self.kind == "stream"

    # Messages

    def accept(self, publishing: Publishing) -> None:
        """A publish reaches the queue."""
        if publishing not in self.incoming or not self.available:
            return  # It is gone, and that was settled; or it waits for a majority.
        del self.incoming[publishing]
        longest = self.arguments.get("x-max-length")
        full = longest is not None and len(self.items) >= longest and not self.is_stream
        if full and self.arguments.get("x-overflow") == "reject-publish":
            publishing.settle(taken=False)
            return
        if full:
            self.items.popleft()
        self.items.append(Item(next(self._numbers), publishing.message))
        if self._segments is not None:
            for _ in range(self._segments.add(publishing.message)):
                self.items.popleft()
        publishing.settle()
        self.pump()

    def pump(self) -> None:
        """Give messages to consumers with room."""
        if not self.available:
            return
        if self.is_stream:
            for consumer in list(self.consumers):
                self._stream_to(consumer)
            return
        while self.items:
            consumer = self._next_consumer()
            if consumer is None:
                return
            item = self.items.popleft()
            if consumer.room is not None:
                consumer.room -= 1
            consumer.channel.deliver(self, consumer, item)

    def _next_consumer(self) -> Consumer | None:
        candidates = self.consumers[:1] if self.single else self.consumers
        for consumer in candidates:
            if consumer.room is None or consumer.room > 0:
                if not self.single:
                    self.consumers.remove(consumer)
                    self.consumers.append(consumer)
                return consumer
        return None

    def _stream_to(self, consumer: Consumer) -> None:
        """Each broker node has the stream, and its clients read it there."""
        if not self._cluster.together(self.home, consumer.channel.session.node):
            return
        while consumer.room is None or consumer.room > 0:
            item = self._at(consumer.position)
            if item is None:
                return
            consumer.position = item.number + 1
            if consumer.room is not None:
                consumer.room -= 1
            consumer.channel.deliver(self, consumer, item)

    def _at(self, number: int) -> Item | None:
        """The first item of a stream with this number or a higher one: some are missing."""
        if not self.items or self.items[-1].number < number:
            return None
        return self.items[bisect_left(self.items, number, key=_NUMBER)]

    def acknowledged(self, consumer: Consumer) -> None:
        if consumer.room is not None:
            consumer.room += 1
        self.pump()

    def give_back(self, items: list[Item]) -> None:
        """What was not acknowledged returns to its place."""
        if self.deleted or self.is_stream:
            return
        waiting = list(self.items)
        for item in items:
            item.redelivered = True
            insort(waiting, item)
        self.items = deque(waiting)
        if not self.available and not self.replicated:
            self.stop_home()
        self.pump()

    # Consumers

    def add(self, consumer: Consumer, arguments: dict[str, Any]) -> None:
        if self.is_stream:
            consumer.position = self._offset(arguments.get("x-stream-offset", "next"))
        self.consumers.append(consumer)
        self.had_consumer = True
        self._used_at = self._cluster.world.now

    def _offset(self, wanted: Any) -> int:
        if wanted in ("last", "next"):
            return self.items[-1].number + (wanted == "next") if self.items else 0
        return wanted if isinstance(wanted, int) else 0  # As for a time stamp: everything kept is younger.

    def remove(self, consumer: Consumer) -> None:
        if consumer not in self.consumers:
            return
        self.consumers.remove(consumer)
        self._used_at = self._cluster.world.now
        if self.auto_delete and not self.consumers and not self.deleted:
            self._cluster.delete(self)
        else:
            self.pump()

    def _expires_later(self) -> None:
        expires = self.arguments.get("x-expires")
        if expires is not None:
            self._cluster.world.later(expires / 1000, self._expire, expires / 1000)

    def _expire(self, seconds: float) -> None:
        if self.deleted:
            return
        if not self.consumers and self.available and self._cluster.world.now - self._used_at >= seconds:
            self._cluster.delete(self)
        else:
            self._expires_later()

    # Life of the home node

    def stop_home(self) -> None:
        """The node is down: messages in memory only are lost."""
        self.available = False
        self._settle_incoming()
        self.items = deque(item for item in self.items if self.durable and item.message.persistent)

    def go_on(self) -> None:
        """It is available again."""
        self.available, self.electing = True, False
        if self.is_stream:
            next(self._numbers)  # An election leaves a gap.
        for publishing in list(self.incoming):
            self.accept(publishing)
        self.pump()

    def _settle_incoming(self) -> None:
        incoming, self.incoming = self.incoming, {}
        for publishing in incoming:
            publishing.settle()

    def gone(self) -> None:
        self.deleted, self.available = True, False
        self._settle_incoming()
        self.items.clear()
