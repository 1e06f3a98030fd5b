"""The network: connections in memory whose octets take time, and can be held back or cut.

A :class:`Connection` has two ends. What is sent at one end arrives at the other in order, after a latency. While the
two processes cannot reach each other, octets wait, as TCP sends them again; a connection that one end gives up
meanwhile stays open at the other end, which learns it only when the network is whole again.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.simulation.world import Process, World

LATENCIES = (0.0002, 0.001, 0.004, 0.03)
"""Seconds of one way through the network."""


class Peer(Protocol):
    """What a connection gives octets to: the product's protocol, or the model's session."""

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


class Network:
    """Which processes reach each other.

    :ivar lag: seconds that octets take longer to processes that read slowly.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.connections: list[Connection] = []
        self.lag: dict[Process, float] = {}
        self._cut: set[tuple[Process, Process]] = set()

    def reachable(self, one: Process, other: Process) -> bool:
        return (one, other) not in self._cut

    def part(self, one: Process, other: Process) -> None:
        """Begin a partition."""
        self._cut |= {(one, other), (other, one)}

    def join(self, one: Process, other: Process) -> None:
        """End a partition: what was held back arrives."""
        self._cut -= {(one, other), (other, one)}
        for connection in self.of(one):
            connection.release()

    def latency(self, receiver: Process) -> float:
        return LATENCIES[int(self.world.rng.random() * len(LATENCIES))] + self.lag.get(receiver, 0.0)

    def of(self, process: Process) -> list[Connection]:
        """The connections with an end at this process."""
        self.connections = [each for each in self.connections if each.client.open or each.server.open]
        return [each for each in self.connections if process in (each.client.process, each.server.process)]


class End:
    """One end of a connection, and the transport of the protocol there."""

    def __init__(self, network: Network, process: Process) -> None:
        self.process = process
        self.other: End
        self.open = True
        self.protocol: Any = None
        self._network = network
        self._arrival = 0.0
        self._held: list[bytes | None] = []

    # As a transport

    def write(self, data: bytes) -> None:
        if self.open and data:
            self.other.arrive(data)

    def loseConnection(self) -> None:
        if self.open:
            self.other.arrive(None)
            self._end(error.ConnectionDone())

    def abortConnection(self) -> None:
        if self.open:
            self.other.arrive(None)
            self._end(error.ConnectionAborted())

    def _end(self, why: Exception) -> None:
        self.open = False
        world = self._network.world
        world.later(0, self.process.call, self.protocol.connectionLost, Failure(why))

    # As a receiver

    def arrive(self, data: bytes | None) -> None:
        """Octets are on their way to this end; None is the end of the stream."""
        if self._held or not self._network.reachable(self.process, self.other.process):
            self._held.append(data)
            return
        world = self._network.world
        self._arrival = max(self._arrival, world.now + self._network.latency(self.process))
        world.at(self._arrival, self._take, data)

    def release(self) -> None:
        if self._held and self._network.reachable(self.process, self.other.process):
            held, self._held = self._held, []
            for data in held:
                self.arrive(data)

    def forget_held(self) -> None:
        """The sender's machine is gone, with what it would have sent again."""
        self._held.clear()

    def _take(self, data: bytes | None) -> None:
        self.process.call(self._deliver, data)

    def _deliver(self, data: bytes | None) -> None:
        if not self.open:
            return
        if data is None:
            self.open = False
            self.protocol.connectionLost(Failure(error.ConnectionLost()))
        else:
            self.protocol.dataReceived(data)


class Connection:
    """Two ends."""

    def __init__(self, network: Network, client: Process, server: Process) -> None:
        self.client, self.server = End(network, client), End(network, server)
        self.client.other, self.server.other = self.server, self.client
        self._network = network
        network.connections.append(self)

    @property
    def alive(self) -> bool:
        """Whether both ends believe in it, and are still there."""
        ends = (self.client, self.server)
        return all(end.open and not end.process.dead for end in ends)

    def release(self) -> None:
        self.client.release()
        self.server.release()

    def cut(self) -> None:
        """Both ends lose it: a middlebox has forgotten it."""
        for end in (self.client, self.server):
            if end.open and not end.process.dead:
                end.other.arrive(None)

    def hang_up(self, process: Process) -> None:
        """This process is gone, and its kernel closes the socket."""
        end = self.client if self.client.process is process else self.server
        if end.open:
            end.open = False
            end.other.forget_held()
            end.other.arrive(None)


class Endpoint:
    """A client endpoint of Twisted for the broker nodes: the first one that answers, in the order given.

    :param nodes: each has ``process`` and ``accept(end)``.
    """

    def __init__(self, network: Network, process: Process, nodes: list[Any]) -> None:
        self._network = network
        self._process = process
        self._nodes = nodes
        self._first = 0

    def connect(self, factory: Any) -> Deferred[Any]:
        connected: Deferred[Any] = Deferred(lambda _: None)
        self._try(factory, connected, self._first, len(self._nodes))
        return connected

    def _try(self, factory: Any, connected: Deferred[Any], index: int, left: int) -> None:
        """A dead node refuses at once. One that cannot be reached, or is frozen, lets the caller wait."""
        world, node = self._network.world, self._nodes[index % len(self._nodes)]
        if not self._network.reachable(self._process, node.process) or node.process.paused:
            self._first = index + 1  # The next attempt goes to the next one.
            return
        if not node.process.dead:
            world.later(self._network.latency(self._process), self._establish, factory, connected, node)
        elif left > 1:
            self._try(factory, connected, index + 1, left - 1)
        else:
            world.later(0.001, self._process.call, _fail, connected, error.ConnectionRefusedError())

    def _establish(self, factory: Any, connected: Deferred[Any], node: Any) -> None:
        if node.process.dead:
            self._process.call(_fail, connected, error.ConnectionRefusedError())
            return
        if self._process.dead:
            return
        connection = Connection(self._network, self._process, node.process)
        node.accept(connection.server)
        self._process.call(self._made, factory, connected, connection)

    def _made(self, factory: Any, connected: Deferred[Any], connection: Connection) -> None:
        if connected.called:  # Its time was over.
            connection.client.open = False
            connection.server.arrive(None)
            return
        protocol = connection.client.protocol = factory.buildProtocol(None)
        protocol.makeConnection(connection.client)
        connected.callback(protocol)


def _fail(connected: Deferred[Any], why: Exception) -> None:
    if not connected.called:
        connected.errback(why)
