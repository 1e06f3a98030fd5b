"""What all STOMP connections of a node share.

    octets → session → event → application, hub → answer → outbox → octets

TCP (``tcp.py``) is one transport, WebSocket (``websocket.py``) another; each brings its own :class:`Transport`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fanout.application.interface import Application
from fanout.application.observer import DeliveryObserver, NoObserver, Observer
from fanout.hub.hub import Framing, Hub
from fanout.hub.outbox import Flusher
from fanout.hub.wheel import Wheel
from fanout.listeners.limits import SubscriptionLimit
from fanout.stomp.limits import SessionOptions, StompLimits
from fanout.stomp_server.connection import Connection, ObservedConnection

MANY = 100
"""Clients that vanish in the same tick of the wheel, which are worth a line: a mast, or an address behind which many
are, went with them. Single ones are ordinary, and told at DEBUG."""


class Transport(Protocol):
    """What carries one client's octets.

    :ivar kind: what it carries over what, in a word, for whoever counts clients.
    :ivar framing: makes messages of the octets, where the carrier has such; asked for anew with each use, but settled
        when the client's first octets have come.
    """

    kind: str

    @property
    def framing(self) -> Framing | None: ...

    def write(self, data: bytes) -> None:
        """Send octets, after those handed over before; in their envelopes."""
        ...

    def pause(self) -> None:
        """Read no more from the client for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def finish(self) -> None:
        """Close once everything written has gone out, without a reset that would erase it."""
        ...

    def abort(self) -> None:
        """Close at once. The connection's ``gone`` is called later, not before this returns."""
        ...


@dataclass(eq=False, slots=True)
class StompServer:
    """What all STOMP connections of a node share. Limits and manners may be replaced; who comes then has the new ones.

    :ivar clock: seconds, monotonic; the wheel's and the flusher's too.
    :ivar observer: is told of every client.
    :ivar delivery_observer: is told of every message to every client, if there is one: dear.
    :ivar write_timeout: seconds a client may leave its transport full before it is cut off.
    :ivar subscription_limit: how many subscriptions there may be.
    :ivar warn: logs a client's fault: event name, address, fields. Limits itself to a line per second, kind and
        address.
    :ivar log: a structlog logger.
    :ivar vanished: clients that went without a word since the last look.
    """

    application: Application
    hub: Hub
    flusher: Flusher
    wheel: Wheel[Connection]
    limits: StompLimits
    session_options: SessionOptions
    clock: Callable[[], float]
    log: Any
    warn: Callable[..., None]
    write_timeout: float = 60.0
    observer: Observer = field(default_factory=NoObserver)
    delivery_observer: DeliveryObserver | None = None
    subscription_limit: SubscriptionLimit = field(default_factory=SubscriptionLimit)
    connections: set[Connection] = field(default_factory=set)
    vanished: int = 0

    def connect(self, wire: Transport, address: str, port: int) -> Connection:
        """A client has come.

        :param address: its IP address.
        :param port: and its port there, for whom an address is too little.
        """
        kind = Connection if self.delivery_observer is None else ObservedConnection
        return kind(self, wire, address, port)

    def tick(self) -> None:
        """Look at every connection that is due. To be called once per tick of the wheel."""
        self.wheel.turn(self.clock(), self._failed)
        if self.vanished >= MANY:
            self.log.warning("clients.vanished", clients=self.vanished, left=len(self.connections))
        self.vanished = 0

    def _failed(self, connection: Connection, error: Exception) -> None:
        self.log.error("client.failed", address=connection.address, exc_info=error)
