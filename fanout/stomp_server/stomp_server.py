"""The objects that all STOMP connections of a node share, and the interfaces of transports and connections.

    octets → session → event → application, hub → answer → outbox → octets

A transport (``transports.py``) carries the octets of one client. ``connection.py`` processes the events of its session.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

from fanout.application.interface import Application
from fanout.application.observer import DeliveryObserver, Observer
from fanout.hub.hub import Hub
from fanout.hub.outbox import Flusher, OutboxSettings
from fanout.hub.subscriber import Framing
from fanout.hub.timer_wheel import Scheduled, Wheel
from fanout.listeners.client_limits import FairTurns, InputMemory, SubscriptionLimit, SubscriptionSettings, Worker
from fanout.stomp.limits import SessionOptions, StompLimits, StompLimitSettings, StompSettings

_WITHDRAWN = "A password, certificate or network of this login is not valid any more; connect again with a valid one."
MANY = 100
"""Clients that disconnect without a DISCONNECT in one tick of the wheel. From this number on they are logged as a
warning, because a network with many clients has failed. Single ones are common, and logged at DEBUG."""


class StompServerSettings(OutboxSettings, SubscriptionSettings, StompLimitSettings, StompSettings):
    """All settings that a STOMP server reads."""

    def doubts(self) -> tuple[str, ...]:
        """Warn if a slow client would be disconnected because of a single frame of the largest size."""
        if self.OUTBOX_BYTES >= self.MAX_FRAME_BYTES:
            return super().doubts()
        doubt = (
            f"OUTBOX_BYTES = {self.OUTBOX_BYTES} is less than MAX_FRAME_BYTES = {self.MAX_FRAME_BYTES}: "
            "a client that gets one large message counts as one that reads too slowly."
        )
        return (doubt, *super().doubts())


class Transport(Protocol):
    """Carries the octets of one client.

    :ivar kind: the protocol and the transport, in one word; see :attr:`Subscriber.protocol`.
    :ivar framing: a function that puts octets into a message of the transport; None if the transport has no messages.
        It may change until the first octets of the client have come, so it is read again at each use.
    """

    kind: str

    @property
    def framing(self) -> Framing | None: ...

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The certificates of the client; see :func:`~fanout.listeners.tls.client_certificates`."""
        ...

    def write(self, data: bytes) -> None:
        """Send octets, after those of earlier calls. They are already framed."""
        ...

    def pause(self) -> None:
        """Pause reading from the client."""
        ...

    def resume(self) -> None:
        """Continue to read from the client."""
        ...

    def finish(self) -> None:
        """Close the connection when everything written was sent, without a TCP reset that could destroy it."""
        ...

    def abort(self) -> None:
        """Close the connection immediately. Its ``gone`` is called later, not before this returns."""
        ...


class ServedConnection(Scheduled, Protocol):
    """The part of a connection that the server, the metrics and the shutdown use."""

    @property
    def address(self) -> str:
        """The client's IP address."""
        ...

    @property
    def protocol(self) -> str:
        """The protocol and the transport of the client, as a label of metrics."""
        ...

    @property
    def version(self) -> str:
        """The version of STOMP; empty until it was agreed on."""
        ...

    @property
    def login(self) -> str:
        """The login of the client; empty if it has not logged in."""
        ...

    def close(self, summary: str, detail: str = "") -> None:
        """Close the connection from the server's side. The client gets an ERROR with the reason, except in STOMP 1.0.

        :param summary: a few words for the ``message`` header.
        :param detail: text for the body; empty to repeat the summary.
        """
        ...


class StompServer:
    """The objects that all STOMP connections of a node share. New limits and options apply to later connections.

    :ivar limits: the limits of each session, from the settings.
    :ivar session_options: the options of each session, from the settings.
    :ivar observer: its methods are called when clients connect, subscribe, unsubscribe and disconnect.
    :ivar delivery_observer: is called for every message to every client; None if not needed. It costs a call per
        delivery.
    :ivar subscription_limit: limits the number of subscriptions.
    :ivar input_memory: limits the memory of unfinished input.
    :ivar turns: limits how many frames are processed in one turn of the reactor.
    :ivar connections: the open connections.
    :ivar vanished: clients that disconnected without a DISCONNECT since the last tick.
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
        :param settings: limits, heart-beats, and so on.
        :param product: name/version, for the ``server`` header of CONNECTED.
        :param application: decides about logins, topics and publications.
        :param hub: delivers messages to subscribers.
        :param flusher: flushes the outboxes at the end of a turn of the reactor.
        :param clock: a monotonic clock in seconds; the wheel and the flusher use the same.
        :param log: a structlog logger.
        :param warn: logs a client's fault; called with event name, address and fields. It limits its lines for each
            kind and address.
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
        """The settings. A new WRITE_TIMEOUT applies immediately, other values to later connections."""
        return self._settings

    @settings.setter
    def settings(self, settings: StompServerSettings) -> None:
        self._settings = settings
        self.limits = StompLimits.of(settings)
        self.session_options = SessionOptions.of(settings, self._product)

    def tick(self) -> None:
        """Call ``on_timer`` of every connection that is due. Must be called once per tick of the wheel."""
        self.wheel.turn(self.clock(), self._failed)
        if self.vanished >= MANY:
            self.log.warning("clients.vanished", clients=self.vanished, left=len(self.connections))
        self.vanished = 0

    def end_logins(self, logins: Collection[str]) -> None:
        """Close the connections of logins that are not valid any more. A client that has a valid password connects
        again.
        """
        ended = [connection for connection in self.connections if connection.login in logins]
        for connection in ended:
            self.log.info("login.withdrawn", address=connection.address, login=connection.login)
            connection.close("Login withdrawn", _WITHDRAWN)

    def _failed(self, connection: Worker | ServedConnection, error: Exception) -> None:
        self.log.error("client.failed", address=connection.address, exc_info=error)
