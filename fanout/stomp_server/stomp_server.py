"""What all STOMP connections of a node share.

    octets → session → event → application, hub → answer → outbox → octets

A transport (``transports.py``) carries the octets of one client. ``connection.py`` drives its session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from fanout.application.interface import Application
from fanout.application.observer import DeliveryObserver, Observer
from fanout.hub.hub import Hub
from fanout.hub.outbox import Flusher, OutboxSettings
from fanout.hub.subscriber import Framing
from fanout.hub.timer_wheel import Scheduled, Wheel
from fanout.listeners.client_limits import FairTurns, InputMemory, SubscriptionLimit, SubscriptionSettings, Worker
from fanout.stomp.limits import SessionOptions, StompLimits, StompLimitSettings, StompSettings

MANY = 100
"""Clients that vanish in one tick of the wheel. So many are logged: a network with many of them has failed. Single ones
are ordinary, and logged at DEBUG."""


class StompServerSettings(OutboxSettings, SubscriptionSettings, StompLimitSettings, StompSettings):
    """Everything that a STOMP server reads."""

    def doubts(self) -> tuple[str, ...]:
        """A client that is slow, and is sent one frame of the largest size, would be disconnected or get none."""
        if self.OUTBOX_BYTES >= self.MAX_FRAME_BYTES:
            return super().doubts()
        doubt = (
            f"OUTBOX_BYTES = {self.OUTBOX_BYTES} is less than MAX_FRAME_BYTES = {self.MAX_FRAME_BYTES}: "
            "a client that is sent one large message counts as one that reads too slowly."
        )
        return (doubt, *super().doubts())


class Transport(Protocol):
    """Carries the octets of one client.

    :ivar kind: the protocol and what it runs over, in a word; see :attr:`Subscriber.protocol`.
    :ivar framing: puts octets into the transport's messages; None where it has none. It may change until the client's
        first octets have come, so it is read again at each use.
    """

    kind: str

    @property
    def framing(self) -> Framing | None: ...

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """What the client has presented; see :func:`~fanout.listeners.tls.client_certificates`."""
        ...

    def write(self, data: bytes) -> None:
        """Send octets, after those given before. They are framed already."""
        ...

    def pause(self) -> None:
        """Stop reading from the client for now."""
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


class ServedConnection(Scheduled, Protocol):
    """What the server, metrics and shutdown need to know of a connection."""

    @property
    def address(self) -> str:
        """The client's IP address."""
        ...

    @property
    def protocol(self) -> str:
        """What it speaks, over which transport."""
        ...

    @property
    def version(self) -> str:
        """Of STOMP; empty until it has been agreed on."""
        ...

    def close(self, summary: str, detail: str = "") -> None:
        """End the connection from our side; the client is told why where its version allows that."""
        ...


class StompServer:
    """What all STOMP connections of a node share. New limits and options apply to clients that connect later.

    :ivar limits: of each session; made of the settings.
    :ivar session_options: what each session offers; made of the settings.
    :ivar observer: is told of every client.
    :ivar delivery_observer: is told of every message to every client, if there is one. This costs a call per delivery.
    :ivar subscription_limit: how many subscriptions there may be.
    :ivar input_memory: how much memory unfinished input may take.
    :ivar turns: how many frames are worked on in one turn of the reactor.
    :ivar connections: those that are open.
    :ivar vanished: clients that went without a DISCONNECT since the last tick.
    """

    def __init__(
        self,
        settings: StompServerSettings,
        product: str,
        *,
        application: Application,
        hub: Hub,
        flusher: Flusher,
        clock: Callable[[], float],
        log: Any,
        warn: Callable[..., None],
        observer: Observer | None = None,
        delivery_observer: DeliveryObserver | None = None,
        subscription_limit: SubscriptionLimit | None = None,
        input_memory: InputMemory | None = None,
        turns: FairTurns | None = None,
    ) -> None:
        """
        :param product: name/version, which clients are told.
        :param clock: seconds, monotonic; the wheel's and the flusher's too.
        :param log: a structlog logger.
        :param warn: logs a client's fault: event name, address, fields. Limits its lines for each kind and
            address.
        """
        self._product = product
        self.settings = settings
        self.application = application
        self.hub = hub
        self.flusher = flusher
        self.wheel: Wheel[ServedConnection] = Wheel()
        self.clock = clock
        self.log = log
        self.warn = warn
        self.observer = observer or Observer()
        self.delivery_observer = delivery_observer
        self.subscription_limit = subscription_limit or SubscriptionLimit(settings)
        self.input_memory = input_memory or InputMemory()
        self.turns = turns or FairTurns(flusher.at_end_of_turn, self._failed)
        self.connections: set[ServedConnection] = set()
        self.vanished = 0

    @property
    def settings(self) -> StompServerSettings:
        """Limits, heart-beats, and WRITE_TIMEOUT, which counts at once."""
        return self._settings

    @settings.setter
    def settings(self, settings: StompServerSettings) -> None:
        self._settings = settings
        self.limits = StompLimits.of(settings)
        self.session_options = SessionOptions.of(settings, self._product)

    def tick(self) -> None:
        """Look at every connection that is due. To be called once per tick of the wheel."""
        self.wheel.turn(self.clock(), self._failed)
        if self.vanished >= MANY:
            self.log.warning("clients.vanished", clients=self.vanished, left=len(self.connections))
        self.vanished = 0

    def _failed(self, connection: Worker | ServedConnection, error: Exception) -> None:
        self.log.error("client.failed", address=connection.address, exc_info=error)
