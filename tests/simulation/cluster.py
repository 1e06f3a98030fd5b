"""A model of a RabbitMQ cluster: nodes, exchanges, bindings (:class:`Cluster`). Queues are in :mod:`.queues`, the AMQP
is in :mod:`.session` and :mod:`.channel`.

What it keeps of RabbitMQ, because the product depends on it:

- A queue lives on one node, its home. When that node dies, transient queues are gone, durable ones come back with their
  persistent messages.
- Quorum queues and streams are on every node; their home is their leader. When it dies, the others elect another one,
  if they are more than half of all nodes (:data:`ELECTION_SECONDS`). Until then nothing is confirmed, and nothing
  answers; a stream answers that it is down. What was confirmed is never lost.
- A stream gives each message an offset; an election leaves a gap. Consumers read it on the node that they are connected
  to. It deletes its oldest messages by whole segments.
- An exclusive queue belongs to a connection and ends with it; others get RESOURCE_LOCKED. Under the Khepri rule
  (``khepri``; RabbitMQ 4.2 and later) one whose node died stays locked until that node is back.
- A publish is confirmed when every queue has it. Messages of one channel reach a queue in order, those of several
  channels in any: each queue may get them in another order.
- What is not acknowledged when its channel ends goes back to its old place in the queue.
- A channel does one thing after another: one that waits for an answer of another node does nothing else.
- While nodes do not reach each other (:meth:`Cluster.part`), what is on its way between them waits, and nobody can
  declare or bind anything, but for a majority under Khepri.
- A node that is cut off from the majority for :data:`TICK_SECONDS` stops (``pause_minority``), and its clients lose
  their connections.

The model knows no name of the product: it is told names as any broker is.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.simulation.network import Network
from tests.simulation.queues import Item, Publishing, Queue, Stored
from tests.simulation.world import Process, World

if TYPE_CHECKING:
    from tests.simulation.channel import Channel
    from tests.simulation.session import Session

NOT_FOUND, RESOURCE_LOCKED, PRECONDITION_FAILED, ACCESS_REFUSED = 404, 405, 406, 403
HAND_OVER = (0.0001, 0.0005, 0.002, 0.02)
"""Seconds between a channel and a queue."""
ELECTION_SECONDS = (0.02, 0.2, 1.0, 2.5)
"""How long quorum queues and streams are without a leader."""
TICK_SECONDS = 6.0
"""After so long without an answer a node counts as dead to the others; RabbitMQ's ``net_ticktime`` is longer."""


class Refused(Exception):
    """The broker closes the channel."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class NoAnswerYet(Exception):
    """The channel waits: for a majority, or for nodes that it does not reach."""


class Node:
    """A broker node.

    :ivar process: killed when the node dies; another one when it is back.
    :ivar alone_since: when it was last cut off from the others.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.name = name
        self.cluster = cluster
        self.process = Process(cluster.world, name)
        self.sessions: list[Session] = []
        self.alone_since = 0.0

    @property
    def up(self) -> bool:
        return not self.process.dead

    def accept(self, end: Any) -> None:
        """A client connects."""
        self.sessions.append(self.cluster.make_session(self, end))


class Cluster:
    """All nodes together, and what they share.

    :ivar khepri: whether the Khepri rule holds.
    :ivar apart: nodes that do not reach the others.
    :ivar alarm: whether memory or disk is short: connections that publish are blocked.
    :ivar losing: processes whose next confirm is lost together with its connection.
    :ivar stored: called with each publish that the exchange takes, and with its session.
    :ivar confirmed: called with each publish when its confirm is sent.
    :ivar acknowledged: called with what a consumer has acknowledged, and its queue.
    """

    def __init__(self, world: World, network: Network, nodes: int, make_session: Any, *, khepri: bool) -> None:
        self.world, self.network, self.khepri = world, network, khepri
        self.make_session = make_session
        self.nodes = [Node(self, f"broker{number}") for number in range(nodes)]
        self.exchanges: dict[str, tuple[str, bool]] = {
            "": ("direct", True),
            "amq.direct": ("direct", True),
            "amq.fanout": ("fanout", True),
        }
        self.queues: dict[str, Queue] = {}
        self.bindings: list[tuple[str, Queue, str]] = []
        self.apart: set[Node] = set()
        self.alarm = False
        self.losing: set[Process] = set()
        self.stored: Callable[[Stored, Session], None] = lambda message, session: None
        self.confirmed: Callable[[Stored], None] = lambda message: None
        self.acknowledged: Callable[[Queue, Item], None] = lambda queue, item: None
        self._names = count(1)
        self._held: list[tuple[Queue, Publishing]] = []
        self._stopped: list[Node] = []

    def together(self, one: Node, other: Node) -> bool:
        """Whether two nodes reach each other."""
        return one is other or (one in self.apart) == (other in self.apart)

    def majority(self) -> list[Node]:
        """The nodes that are up, reach each other, and are more than half of all; empty if there are not so many."""
        for apart in (False, True):
            side = [node for node in self.nodes if node.up and (node in self.apart) == apart]
            if 2 * len(side) > len(self.nodes):
                return side
        return []

    # Declarations. Each raises Refused or NoAnswerYet.

    def declare_exchange(self, session: Session, method: Any) -> None:
        known = self.exchanges.get(method.exchange)
        if known is None and method.passive:
            raise Refused(NOT_FOUND, f"NOT_FOUND - no exchange '{method.exchange}' in vhost '/'")
        if known is None:
            self._check_writable(session.node)
            self.exchanges[method.exchange] = (method.type, method.durable)
        elif not method.passive and known != (method.type, method.durable):
            text = f"PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{method.exchange}'"
            raise Refused(PRECONDITION_FAILED, text)

    def _check_writable(self, node: Node) -> None:
        """All nodes that count as alive have to agree, or under Khepri the majority."""
        others = [each for each in self.nodes if each.up and not self.together(node, each)]
        if others and not (self.khepri and node in self.majority()):
            raise NoAnswerYet

    def declare_queue(self, session: Session, method: Any) -> Queue:
        if method.passive or method.queue in self.queues:
            queue = self.queue(session, method.queue)
            self._check_equal(queue, method)
            return queue
        self._check_writable(session.node)
        name = method.queue or f"amq.gen-{next(self._names)}"
        queue = self.queues[name] = Queue(
            self,
            name,
            session.node,
            session if method.exclusive else None,
            durable=method.durable,
            auto_delete=method.auto_delete,
            arguments=dict(method.arguments or {}),
        )
        queue.available = not queue.replicated or bool(self.majority())
        return queue

    def _check_equal(self, queue: Queue, method: Any) -> None:
        if method.passive:
            return
        for name, old, new in (
            ("durable", queue.durable, method.durable),
            ("exclusive", queue.owner is not None, method.exclusive),
            ("auto_delete", queue.auto_delete, method.auto_delete),
            ("arguments", queue.arguments, dict(method.arguments or {})),
        ):
            if old != new:
                text = f"PRECONDITION_FAILED - inequivalent arg '{name}' for queue '{queue.name}' in vhost '/'"
                raise Refused(PRECONDITION_FAILED, text)

    def queue(self, session: Session, name: str) -> Queue:
        """A queue that this connection may use."""
        queue = self.queues.get(name)
        if queue is None:
            raise Refused(NOT_FOUND, f"NOT_FOUND - no queue '{name}' in vhost '/'")
        if queue.owner is not None and queue.owner is not session:
            text = f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '/'"
            raise Refused(RESOURCE_LOCKED, text)
        if not queue.available and (not queue.replicated or (queue.is_stream and queue.electing)):
            text = f"NOT_FOUND - home node '{queue.home.name}' of durable queue '{name}' is down or inaccessible"
            raise Refused(NOT_FOUND, text)
        if not queue.available or not self.together(session.node, queue.home):
            raise NoAnswerYet
        return queue

    def bind(self, session: Session, queue: Queue, exchange: str, key: str) -> None:
        if exchange not in self.exchanges:
            raise Refused(NOT_FOUND, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'")
        self._check_writable(session.node)
        if (exchange, queue, key) not in self.bindings:
            self.bindings.append((exchange, queue, key))

    def unbind(self, session: Session, queue: Queue, exchange: str, key: str) -> None:
        self._check_writable(session.node)
        self.bindings = [each for each in self.bindings if each != (exchange, queue, key)]

    def delete(self, queue: Queue) -> None:
        """Its consumers are told."""
        if self.queues.pop(queue.name, None) is None:
            return
        self.bindings = [each for each in self.bindings if each[1] is not queue]
        queue.gone()
        self._cancel_consumers(queue)

    def _cancel_consumers(self, queue: Queue) -> None:
        consumers, queue.consumers = queue.consumers, []
        for consumer in consumers:
            consumer.channel.cancelled(consumer)

    # Messages

    def route(self, message: Stored) -> list[Queue]:
        """The queues that get it."""
        if message.exchange == "":
            queue = self.queues.get(message.key)
            return [queue] if queue is not None and queue.takes else []
        kind = self.exchanges[message.exchange][0]
        found = [
            queue
            for exchange, queue, key in self.bindings
            if exchange == message.exchange and queue.takes and (kind == "fanout" or key == message.key)
        ]
        return list(dict.fromkeys(found))

    def hand_over(self, queue: Queue, publishing: Publishing, when: float) -> None:
        queue.incoming[publishing] = None
        self.world.at(when, self._arrive, queue, publishing)

    def _arrive(self, queue: Queue, publishing: Publishing) -> None:
        if self.apart and not self.together(publishing.channel.session.node, queue.home):
            self._held.append((queue, publishing))
        else:
            queue.home.process.call(queue.accept, publishing)

    def _go_on(self) -> None:
        """What was waiting for other nodes is tried again."""
        held, self._held = self._held, []
        for queue, publishing in held:
            self._arrive(queue, publishing)
        for queue in list(self.queues.values()):
            if queue.is_stream:
                queue.pump()
        for channel in self._channels():
            channel.session.node.process.call(channel.resume)

    def _channels(self) -> list[Channel]:
        return [each for node in self.nodes for session in node.sessions for each in session.channels.values()]

    # Life of nodes

    def kill(self, node: Node) -> None:
        """The node dies: its clients' connections are reset."""
        node.process.kill()
        for connection in self.network.of(node.process):
            connection.hang_up(node.process)
        self._forget_held(node)
        for queue in [each for each in self.queues.values() if each.home is node and each.available]:
            self._home_died(queue)
        sessions, node.sessions = node.sessions, []
        for session in sessions:
            session.drop()
        self._elect()
        self._go_on()

    def _forget_held(self, node: Node) -> None:
        for queue, publishing in self._held:
            if publishing.channel.session.node is node:
                queue.incoming.pop(publishing, None)
        self._held = [each for each in self._held if each[1].channel.session.node is not node]

    def _home_died(self, queue: Queue) -> None:
        if queue.replicated:
            queue.available = False
            return
        if queue.durable:
            queue.give_back([item for channel in self._channels() for item in channel.detach(queue)])
        queue.stop_home()
        if not queue.durable and not (queue.owner is not None and self.khepri):
            self.delete(queue)
        else:
            self._cancel_consumers(queue)

    def _elect(self) -> None:
        """Quorum queues and streams need a home in the majority."""
        side = self.majority()
        for queue in [each for each in self.queues.values() if each.replicated]:
            if not side:
                queue.available = queue.electing = False
            elif queue.home not in side or not (queue.available or queue.electing):
                queue.available, queue.electing = False, True
                queue.home = queue.home if queue.home in side else side[0]
                self.world.later(self.world.faults.choice(ELECTION_SECONDS), self._elected, queue, queue.home)

    def _elected(self, queue: Queue, home: Node) -> None:
        if queue.electing and queue.home is home and home in self.majority():
            queue.go_on()
            self._go_on()

    def revive(self, node: Node) -> None:
        """The node is back, with its disk. One that does not reach the others waits for them."""
        if node.up or node in self.apart:
            return
        self.world.say("%s is back", node.name)
        node.process = Process(self.world, node.name)
        for queue in [each for each in self.queues.values() if each.home is node]:
            if queue.owner is not None or not queue.durable:
                self.delete(queue)
            elif not queue.replicated:
                queue.go_on()
        self._elect()
        self._go_on()

    # Nodes that do not reach each other

    def isolate(self, node: Node) -> None:
        """The other nodes and all clients get no answer from it; after a while it stops."""
        node.process.pause()
        node.alone_since = self.world.now
        self.world.later(TICK_SECONDS, self._tick, node, self.world.now)

    def _tick(self, node: Node, since: float) -> None:
        if node.alone_since == since and node.up and node.process.paused:
            self.kill(node)

    def heal(self, node: Node) -> None:
        if node.up:
            node.process.resume()
        else:
            self.revive(node)

    def part(self, node: Node) -> None:
        """It does not reach the other nodes. Clients reach it."""
        self.apart.add(node)
        node.alone_since = self.world.now
        self._elect()
        self.world.later(TICK_SECONDS, self._tick_apart, node, self.world.now)

    def _tick_apart(self, node: Node, since: float) -> None:
        if node not in self.apart or node.alone_since != since:
            return
        side = self.majority()
        for each in [each for each in self.nodes if each.up and each not in side]:
            self.world.say("%s stops: it has no majority", each.name)
            self._stopped.append(each)
            self.kill(each)

    def rejoin(self, node: Node) -> None:
        """It reaches the others again. Those that had stopped begin again."""
        self.apart.discard(node)
        stopped, self._stopped = self._stopped, []
        for each in [node, *stopped]:
            self.revive(each)
        self._elect()
        self._go_on()

    # The alarm

    def set_alarm(self, alarm: bool) -> None:
        self.alarm = alarm
        if not alarm:
            for node in self.nodes:
                for session in list(node.sessions):
                    node.process.call(session.unblock)
