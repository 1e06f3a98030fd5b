"""The bus of a stand-alone node: it delivers each published message to the same node, and needs no broker."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import structlog
from twisted.internet.defer import Deferred, fail, succeed

from fanout.bus.interface import BusError, BusState
from fanout.hub.message import Message
from fanout.process.logs import Throttle

log = structlog.get_logger()

# A receiver that publishes in answer to a message needs room for a few messages; ten thousand mean an endless loop.
MAX_WAITING = 10_000


class Loopback:
    """A :class:`~fanout.bus.interface.Bus` within one process.

    :param max_waiting: how many messages may wait that were published during the delivery of another one.
    """

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._receive: Callable[[Message], None] | None = None
        self._waiting: deque[Message] = deque()
        self._delivering = False
        self._throttle = Throttle(time.monotonic)

    def start(self, receive: Callable[[Message], None], connected: Callable[[], Deferred[None] | None]) -> None:
        """See :meth:`Bus.start <fanout.bus.interface.Bus.start>`; ``connected`` is called before this returns."""
        self._receive = receive
        connected()

    def publish(self, message: Message) -> Deferred[None]:
        """Deliver a message to this node. It is delivered before this returns, or after the delivery that is in
        progress.
        """
        if self._receive is None:
            return fail(BusError("the bus is not running"))
        if len(self._waiting) >= self._max_waiting:
            return fail(BusError(f"{self._max_waiting} messages are already waiting for delivery in this node"))
        self._waiting.append(message)
        if not self._delivering:
            self._deliver()
        return succeed(None)

    def state(self) -> BusState:
        """The bus is connected from start to stop."""
        running = self._receive is not None
        reason = "in this process: this node is stand-alone" if running else "the bus is not running"
        return BusState(running, reason, len(self._waiting))

    def stop(self) -> Deferred[None]:
        """Stop delivering. Messages that are waiting for the current delivery to end are not delivered either."""
        self._receive = None
        self._waiting.clear()
        return succeed(None)

    def _deliver(self) -> None:
        """Deliver in the order of publishing: a message that the receiver publishes waits until the receiver has
        returned.
        """
        self._delivering = True
        try:
            while self._waiting and self._receive is not None:
                message = self._waiting.popleft()
                try:
                    self._receive(message)
                except Exception as error:  # noqa: BLE001 - it is logged.
                    self._receive_failed(message, error)
        finally:
            self._delivering = False

    def _receive_failed(self, message: Message, error: Exception) -> None:
        """Log an error of the receiver. The same bug may come with every message."""
        key = (type(error), str(error))
        if self._throttle.allow(key):
            held_back = self._throttle.held_back(key)
            log.error("bus.receive_failed", topic=message.topic, exc_info=error, held_back=held_back)
