"""One AMQP connection from connect to close (:class:`AmqpConnection`), and channels on it (:class:`AmqpChannel`).

What the connection is for is decided by its subclasses: see :mod:`fanout.bus.connection_pair` and
:mod:`fanout.bus.publisher`.

Pika does the AMQP. Its ``TwistedProtocolConnection`` is used for the socket, and its plain ``Channel``, with callbacks,
for everything else. Pika's ``TwistedChannel`` is not used: it keeps received messages in a queue without a bound, and
searches all unconfirmed publishes at every confirm.

Three private names of pika are used, all in this file, because no public one leads there. ``_impl`` is the plain
connection behind the protocol; pika does not show it before a channel is open, and a refused login never gets that
far. ``_error`` is the reason why pika closes the socket, which pika itself overwrites when the socket is closed.
``_frame_buffer`` begins with the frame that pika could not read.

**Headers that pika cannot decode.** Any AMQP client can publish a header table that RabbitMQ passes on and pika
refuses, such as a timestamp beyond all calendars. The frame is whole, so it is known where the next one begins, and
only this message is lost: the header frame is replaced by one with the same body size and no properties. The message
then reaches its receiver, which counts it as malformed and acknowledges it like any other that has no topic. Anything
else that cannot be decoded, such as a method or a frame without its end, ends the connection: what follows could not
be trusted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import structlog
from pika.adapters.twisted_connection import TwistedProtocolConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker, InvalidFrameError
from pika.frame import Header, decode_frame
from pika.spec import FRAME_END_SIZE, FRAME_HEADER, FRAME_HEADER_SIZE, BasicProperties
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.interfaces import ITCPTransport
from twisted.python.failure import Failure

from fanout.bus.broker_settings import Broker, BrokerHosts, BrokerSettings, hosts_and_ports
from fanout.bus.interface import BrokerConnection, BusError
from fanout.listeners.tls import secure_endpoint
from fanout.process.logs import Throttle

log = structlog.get_logger()

# AMQP 0-9-1, 1.2 "reply-code".
ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED, PRECONDITION_FAILED, NOT_ALLOWED = 403, 404, 405, 406, 530
# A peer that does not read keeps the last octets, and with them the socket, for ever.
CLOSE_SECONDS = 3.0
# Pika copies the rest of its buffer after every frame, and Twisted reads up to 64 KiB at once. In pieces of this size
# pika has little to copy, which saves 5 % of the CPU time of a confirmed publish.
READ_BYTES = 4096
# What pika raises for octets it cannot decode; RecursionError for thousands of nested tables.
UNREADABLE = (AMQPError, ArithmeticError, LookupError, OSError, RecursionError, ValueError, struct.error)
# Class, weight, body size and property flags: a header frame's payload has at least so many octets.
HEADER_BYTES = 14


def broker_endpoint(reactor: Any, settings: BrokerSettings) -> BrokerHosts:
    """What a client of the broker connects to, TCP or TLS.

    :raises CertificateError: RABBITMQ_CA or RABBITMQ_CERT cannot be used.
    """
    authorities = settings.RABBITMQ_CA if settings.RABBITMQ_TLS else None
    own = settings.RABBITMQ_CERT
    return endpoint_of(reactor, settings.RABBITMQ_HOST, settings.RABBITMQ_PORT, authorities, own)


def endpoint_of(reactor: Any, hosts: str, port: int, authorities: str | None, own: str = "") -> BrokerHosts:
    """The client endpoint of each host, with the host's name.

    :param hosts: see :func:`~fanout.bus.broker_settings.hosts_and_ports`.
    :param authorities: see :func:`~fanout.listeners.tls.trust`; None for a connection without TLS.
    :param own: see :func:`~fanout.listeners.tls.secure_endpoint`.
    :raises CertificateError: one of the files cannot be used.
    """
    endpoints = tuple(
        (
            f"[{host}]:{number}" if ":" in host else f"{host}:{number}",
            HostnameEndpoint(reactor, host, number)
            if authorities is None
            else secure_endpoint(reactor, host, number, authorities, own),
        )
        for host, number in hosts_and_ports(hosts, port)
    )
    return BrokerHosts(endpoints)


class AmqpConnection(TwistedProtocolConnection):  # type: ignore[misc]  # Pika ships no types.
    """Connects, logs in, and knows why it ended.

    :ivar lost: fires with the reason, for people, when the socket of an established connection is gone.
    """

    transport: Any

    def __init__(self, reactor: Any, broker: Broker) -> None:
        super().__init__(broker.parameters(), custom_reactor=reactor)
        self._reactor = reactor
        self._broker = broker
        self.lost: Deferred[str] = Deferred()
        self._cause: BaseException | None = None
        self._opened: Deferred[Any] = self.ready  # Pika drops its own reference once it has fired.
        self._reply: Deferred[Any] | None = None
        self._cannot_read = False
        self._throttle = Throttle(reactor.seconds)
        self._abort_call: Any = None

    # For callers

    async def open(self, endpoint: Any) -> None:
        """Connect, log in, and make ready. Has no time limit. Raises whatever went wrong."""
        await connectProtocol(endpoint, self)
        await self._opened
        await self._make_ready()

    async def _make_ready(self) -> None:
        """Open channels and declare exchange and queue, as the subclass needs them. Raises whatever went wrong."""
        raise NotImplementedError

    def open_channel(self, opened: Callable[[Channel], None], closed: Callable[[Channel, Exception], None]) -> Channel:
        """Open one more channel, for other users of this connection; ``closed`` also reports a lost connection.

        :raises BusError: there is no connection.
        """
        if not self.is_open:
            raise BusError("not connected to the broker")
        channel: Channel = self._impl.channel(on_open_callback=opened)
        channel.add_on_close_callback(lambda channel, reason: closed(channel, self._closed_by_broker(reason)))
        return channel

    def _closed_by_broker(self, reason: Exception) -> Exception:
        """Why a channel ended. When the broker has closed the connection, pika only says that the socket is closed."""
        cause: Any = self._cause
        by_broker = isinstance(cause, ConnectionClosedByBroker) and not isinstance(reason, ChannelClosedByBroker)
        known: Exception = cause if by_broker else reason
        return known

    def close(self) -> None:
        """Close the connection in the AMQP way, then the socket; :attr:`lost` fires."""
        if self.is_open:
            super().close()
            self._abort_later()
        else:
            self.abort(ConnectionAbortedError("closed"))

    def abort(self, error: BaseException) -> Deferred[str]:
        """Close the socket at once. Returns :attr:`lost`, which fires also if there never was a connection.

        :param error: the reason; ignored if the connection is already ending for another one.
        """
        self._cause = self._cause or error
        if self.transport is not None:
            self.transport.abortConnection()
        elif not self.lost.called:
            self.lost.callback(self._why())
        return self.lost

    @property
    def refused(self) -> bool:
        """Whether the broker refuses our login: trying again soon will not help."""
        if not isinstance(self._cause, ConnectionClosedByBroker | ChannelClosedByBroker):
            return False
        return self._cause.reply_code in (ACCESS_REFUSED, NOT_ALLOWED)

    def _why(self) -> str:
        """For people: why the connection ended or could not be made."""
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
        """Make sure the exchange exists, and return an open channel: AMQP closes the one that asked in vain.

        An exchange that an operator has made is used as it is, whatever its durability. Only a missing one is
        declared, as a fan-out, and durable unless told otherwise, so that a second node finds it after a restart of
        the broker. Names in ``amq.`` are the broker's own and always there (AMQP 0-9-1, 3.1.3).
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
        """Ask the broker; the steps of opening run one after another, so one reply is awaited at a time."""
        self._reply = Deferred()
        method(**arguments, callback=self._reply.callback)
        return self._reply

    def _on_channel_closed(self, _channel: Channel, reason: Exception) -> None:
        """While opening, the current step fails; later, a connection whose channel the broker closed is useless."""
        if self._reply is not None and not self._reply.called:
            self._reply.errback(reason)
        elif isinstance(reason, ChannelClosedByBroker):
            self.abort(reason)

    # The socket

    def makeConnection(self, transport: Any) -> None:
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        super().makeConnection(_Transport(self._reactor, transport, self._pika_closes))

    def dataReceived(self, data: bytes) -> None:
        """A header that pika cannot decode costs its message; see the head of this file."""
        for start in range(0, len(data), READ_BYTES):
            self._read(data[start : start + READ_BYTES])

    def _read(self, data: bytes) -> None:
        while not self._cannot_read:
            try:
                super().dataReceived(data)
            except UNREADABLE as error:
                if not self._set_header_aside(error):
                    self._cannot_read = True
                    self._cause = self._cause or ConnectionAbortedError(f"pika cannot read from the broker: {error!r}")
                    self.transport.loseConnection()
                data = b""  # It is in pika's buffer already.
            else:
                return

    def _set_header_aside(self, error: Exception) -> bool:
        """If pika's buffer begins with a header that it cannot decode, replace it by one without properties.

        :return: whether it was one. If not, the error is of another frame, or was raised by a callback.
        """
        buffer = self._impl._frame_buffer  # noqa: SLF001  See the head of this file.
        replaced = _without_properties(buffer)
        if replaced == buffer:
            return False
        self._impl._frame_buffer = replaced  # noqa: SLF001
        if self._throttle.allow("unreadable"):
            held_back = self._throttle.held_back("unreadable")
            log.warning("bus.unreadable", reason=repr(error), connection=self._broker.name, held_back=held_back)
        return True

    def connectionLost(self, reason: Failure) -> None:
        if self._abort_call is not None and self._abort_call.active():
            self._abort_call.cancel()
        self._cause = self._cause or reason.value
        super().connectionLost(reason)
        self.transport.drop()
        self.transport = None
        if not self.lost.called:
            self.lost.callback(self._why())

    def _pika_closes(self) -> None:
        self._cause = self._cause or self._impl._error  # noqa: SLF001  See the head of this file.
        self._abort_later()

    def _abort_later(self) -> None:
        if self._abort_call is None:
            silent = TimeoutError("the broker did not close the connection")
            self._abort_call = self._reactor.callLater(CLOSE_SECONDS, self.abort, silent)


def _without_properties(buffer: bytes) -> bytes:
    """Octets whose first frame cannot be decoded: with an empty one in its place if it is a message's header.

    A frame is tried only when it is whole. ``InvalidFrameError`` means that it does not end where it should.
    """
    try:
        decode_frame(buffer)
    except InvalidFrameError:
        return buffer
    except UNREADABLE:
        kind, channel, size = struct.unpack_from(">BHL", buffer)  # AMQP 0-9-1, 4.2.3
    else:
        return buffer
    if kind != FRAME_HEADER or size < HEADER_BYTES:
        return buffer
    class_id, _weight, body_size = struct.unpack_from(">HHQ", buffer, FRAME_HEADER_SIZE)  # 4.2.6.1
    if class_id != BasicProperties.INDEX:
        return buffer
    empty: bytes = Header(channel, body_size, BasicProperties()).marshal()
    return empty + buffer[FRAME_HEADER_SIZE + size + FRAME_END_SIZE :]


class _Transport:
    """What pika needs of a transport. Sends what pika writes in one reactor turn in one piece.

    Pika writes each of a message's three frames by itself. Twisted sends nothing before the next turn either, so
    joining costs no time, and saves up to 7 % of the CPU time of a confirmed publish.
    """

    def __init__(self, reactor: Any, transport: Any, closing: Callable[[], None]) -> None:
        """:param closing: called when pika closes the transport: waiting for the peer needs a time limit."""
        self._reactor = reactor
        self._transport = transport
        self._closing = closing
        self._waiting: list[bytes] = []
        self._flush_call: Any = None

    def write(self, data: bytes) -> None:
        if self._flush_call is None:
            self._flush_call = self._reactor.callLater(0, self._flush)
        self._waiting.append(data)

    def loseConnection(self) -> None:
        self._flush()
        self._closing()
        self._transport.loseConnection()

    def abortConnection(self) -> None:
        self.drop()
        self._transport.abortConnection()

    def drop(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        if self._flush_call is not None and self._flush_call.active():
            self._flush_call.cancel()
        self._flush_call = None

    def _flush(self) -> None:
        data = b"".join(self._waiting)
        self.drop()
        self._transport.write(data)


# Channels


class Refusal(BusError):
    """The broker refused a request, and closed the channel or the connection, as AMQP demands. The text is its own.

    :ivar code: AMQP 0-9-1, 1.2 "reply-code".
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class AmqpChannel:
    """One request to the broker at a time; after a refusal the channel is closed and of no further use.

    :ivar raw: pika's channel.
    """

    def __init__(self) -> None:
        self.raw: Channel
        self._reply: Deferred[Any] | None = None

    @classmethod
    async def open(cls, connection: BrokerConnection) -> AmqpChannel:
        """Open a new channel.

        :raises BusError: the connection is lost, or has no channel left.
        """
        channel = cls()
        opened: Deferred[Channel] = Deferred()
        channel._reply = opened
        channel.raw = connection.open_channel(opened.callback, channel._closed)
        await opened
        return channel

    @property
    def is_open(self) -> bool:
        """Whether it may be used."""
        return bool(self.raw.is_open)

    async def ask(self, method: str, **arguments: Any) -> Any:
        """Call a method of pika's channel, and wait for the broker's answer.

        :raises Refusal: the broker said no.
        :raises BusError: the connection is lost.
        """
        if not self.is_open:
            raise BusError("the channel is closed")
        reply: Deferred[Any] = Deferred()
        self._reply = reply
        getattr(self.raw, method)(**arguments, callback=reply.callback)
        return await reply

    def close(self) -> None:
        """Close it, if it is still open."""
        if self.is_open:
            self.raw.close()

    def _closed(self, _channel: Channel, reason: Exception) -> None:
        reply, self._reply = self._reply, None
        if reply is None or reply.called:
            return
        if isinstance(reason, ChannelClosedByBroker | ConnectionClosedByBroker):
            reply.errback(Refusal(reason.reply_code, reason.reply_text))
        else:
            reply.errback(BusError(f"the connection was lost: {reason}"))
