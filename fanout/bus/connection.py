"""One connection to RabbitMQ, from its first octet to its last. What it is for is its subclasses' business.

Pika's channels are used with callbacks rather than with its ``TwistedChannel``: that one keeps received messages in a
queue without bound, and looks through all unconfirmed publishes at every confirm.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pika.adapters.twisted_connection import TwistedProtocolConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker
from pika.frame import decode_frame
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import ITCPTransport
from twisted.python.failure import Failure

from fanout.bus.config import Broker
from fanout.bus.express import Express
from fanout.bus.interface import BusError

# AMQP 0-9-1, 1.2 "reply-code".
ACCESS_REFUSED, NOT_FOUND, NOT_ALLOWED = 403, 404, 530
# A peer that does not read keeps the last octets, and with them the socket, for ever.
HANG_UP_SECONDS = 3.0
# What pika raises for octets it cannot make sense of; RecursionError for thousands of tables in tables.
UNREADABLE = (AMQPError, ArithmeticError, LookupError, OSError, RecursionError, ValueError, struct.error)


class AmqpConnection(TwistedProtocolConnection):  # type: ignore[misc]  # Pika ships no types.
    """Connects, logs in, and knows why it ended.

    :ivar lost: fires with the reason, in words, when an established connection's socket is gone.
    :ivar unreadable: called with the number of the channel before a message pika cannot decode ends the connection;
        what is sent then still reaches the broker.
    """

    transport: Any

    def __init__(self, reactor: Any, broker: Broker) -> None:
        super().__init__(broker.parameters(), custom_reactor=reactor)
        self._impl = Express(
            broker.parameters(),
            on_open_callback=self._on_connection_ready,
            on_open_error_callback=self._on_connection_failed,
            on_close_callback=self._on_connection_closed,
            custom_reactor=reactor,
        )
        self._reactor = reactor
        self._broker = broker
        self.lost: Deferred[str] = Deferred()
        self.unreadable: Callable[[int], None] = lambda _channel: None
        self._cause: BaseException | None = None
        self._opened: Deferred[Any] = self.ready  # Pika drops its own reference once it has fired.
        self._reply: Deferred[Any] | None = None
        self._cannot_read = False
        self._hang_up_call: Any = None

    # From the outside

    async def open(self, endpoint: Any) -> None:
        """Connect, log in, and make ready. No limit in time. Raises whatever went wrong."""
        await connectProtocol(endpoint, self)
        await self._opened
        await self._make_ready()

    async def _make_ready(self) -> None:
        """What this connection is for: channels, exchange, queue. Raises whatever went wrong."""
        raise NotImplementedError

    def open_channel(self, opened: Callable[[Channel], None], closed: Callable[[Channel, Exception], None]) -> Channel:
        """One more channel, for whatever else is to be said to this broker; ``closed`` also tells of a lost connection.

        :raises BusError: there is no connection.
        """
        if not self.is_open:
            raise BusError("not connected to the broker")
        channel: Channel = self._impl.channel(on_open_callback=opened)
        channel.add_on_close_callback(closed)
        return channel

    def close(self) -> None:
        """Say goodbye, then disconnect; :attr:`lost` fires."""
        if self.is_open:
            super().close()
            self._hang_up_later()
        else:
            self.abort(ConnectionAbortedError("closed"))

    def abort(self, error: BaseException) -> Deferred[str]:
        """Disconnect at once. Returns :attr:`lost`, which fires also if there never was a connection.

        :param error: why; unless the connection is on its way out for another reason already.
        """
        self._cause = self._cause or error
        if self.transport is not None:
            self.transport.abortConnection()
        elif not self.lost.called:
            self.lost.callback(self._why())
        return self.lost

    @property
    def refused(self) -> bool:
        """Whether the broker does not let us in: trying again soon will not help."""
        if not isinstance(self._cause, ConnectionClosedByBroker | ChannelClosedByBroker):
            return False
        return self._cause.reply_code in (ACCESS_REFUSED, NOT_ALLOWED)

    def _why(self) -> str:
        """In words, why the connection ended or could not be made."""
        cause, broker = self._cause, self._broker
        if not isinstance(cause, ConnectionClosedByBroker):
            return str(cause) or type(cause).__name__
        if cause.reply_code == ACCESS_REFUSED:
            return f"the broker does not accept the password of user {broker.user!r}"
        if cause.reply_code == NOT_ALLOWED:
            return (
                f"the broker does not let user {broker.user!r} into virtual host {broker.vhost!r}: {cause.reply_text}"
            )
        return f"the broker closed the connection: {cause.reply_text}"

    # Opening, step by step

    async def _find_exchange(self, channel: Channel) -> Channel:
        """Make sure the exchange is there, and return a channel that survived it: AMQP closes the one that asked.

        The original never declares it (contract 1.6), and we do not either where an operator has made it, of
        whatever durability. Only one that is missing is declared, as a fan-out; a durable one, unless told otherwise,
        so that a second node finds it after a restart of the broker. Names in ``amq.`` are the broker's own and always
        there (AMQP 0-9-1, 3.1.3).
        """
        name = self._broker.exchange
        if name.startswith("amq."):
            return channel
        try:
            await self._call(channel.exchange_declare, exchange=name, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code != NOT_FOUND:
                raise
            channel = await self._open_channel()
            await self._call(
                channel.exchange_declare, exchange=name, exchange_type="fanout", durable=self._broker.durable
            )
        return channel

    async def _open_channel(self) -> Channel:
        self._reply = Deferred()
        channel: Channel = self._impl.channel(on_open_callback=self._reply.callback)
        channel.add_on_close_callback(self._on_channel_closed)
        await self._reply
        return channel

    def _call(self, method: Callable[..., Any], **arguments: Any) -> Deferred[Any]:
        """Ask the broker; the steps of opening come one after another, so one reply is awaited at a time."""
        self._reply = Deferred()
        method(**arguments, callback=self._reply.callback)
        return self._reply

    def _on_channel_closed(self, _channel: Channel, reason: Exception) -> None:
        """A channel we closed ourselves needs nothing; else a step of opening fails, or the connection has no use."""
        if self._reply is not None and not self._reply.called:
            self._reply.errback(reason)
        elif isinstance(reason, ChannelClosedByBroker):
            self.abort(reason)

    # The socket

    def makeConnection(self, transport: Any) -> None:
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        super().makeConnection(_Transport(transport, self._pika_closes))

    def dataReceived(self, data: bytes) -> None:
        """A header pika cannot read, such as a timestamp beyond all calendars, ends the connection and nothing else."""
        if self._cannot_read:
            return
        try:
            super().dataReceived(data)
        except UNREADABLE as error:
            self._cannot_read = True
            self._cause = self._cause or ConnectionAbortedError(f"pika cannot read what the broker sent: {error!r}")
            self.unreadable(self._unreadable_channel())
            self.transport.loseConnection()

    def _unreadable_channel(self) -> int:
        """From the frame that is still first in pika's buffer (AMQP 0-9-1, 4.2.3); 0 if it was read after all."""
        frame = bytes(self._impl._frame_buffer)  # noqa: SLF001  Pika tells nobody else.
        try:
            decode_frame(frame)
        except UNREADABLE:
            return int(struct.unpack_from(">BH", frame)[1])
        return 0

    def connectionLost(self, reason: Failure) -> None:
        if self._hang_up_call is not None and self._hang_up_call.active():
            self._hang_up_call.cancel()
        self._cause = self._cause or reason.value
        super().connectionLost(reason)
        self.transport = None
        if not self.lost.called:
            self.lost.callback(self._why())

    def _pika_closes(self) -> None:
        """Keep the reason: pika itself overwrites it with the end of the socket."""
        self._cause = self._cause or self._impl._error  # noqa: SLF001  Nowhere else.
        self._hang_up_later()

    def _hang_up_later(self) -> None:
        if self._hang_up_call is None:
            silent = TimeoutError("the broker did not say goodbye")
            self._hang_up_call = self._reactor.callLater(HANG_UP_SECONDS, self.abort, silent)


class _Transport:
    """What pika needs of a transport, and a word when it asks for its end: waiting for that must have an end, too."""

    def __init__(self, transport: Any, closing: Callable[[], None]) -> None:
        self.write = transport.write
        self.abortConnection = transport.abortConnection
        self._transport = transport
        self._closing = closing

    def loseConnection(self) -> None:
        self._closing()
        self._transport.loseConnection()
