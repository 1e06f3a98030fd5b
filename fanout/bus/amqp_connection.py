"""One AMQP connection from connect to close (:class:`AmqpConnection`), and channels on it (:class:`AmqpChannel`).

The subclasses decide what the connection is for: see :mod:`fanout.bus.connection_pair` and :mod:`fanout.bus.publisher`.

Pika does the AMQP. Its ``TwistedProtocolConnection`` is used for the socket, and its plain ``Channel``, with callbacks,
for everything else. Pika's ``TwistedChannel`` is not used: it keeps received messages in an unbounded queue, and it
searches all unconfirmed publishes at every confirm.

This file, and no other one, uses three private names of pika, because pika has no public ones for the same purpose.
``_impl`` is the plain connection behind the protocol; pika gives no access to it before a channel is open, and a
refused login never opens a channel. ``_error`` is the reason why pika closes the socket, which pika itself overwrites
when the socket is closed. ``_frame_buffer`` begins with the frame that pika could not read.

**Headers that pika cannot decode.** Any AMQP client can publish a header table that RabbitMQ passes on and pika
refuses, such as a timestamp beyond all calendars. The frame is complete, so we know where the next one begins, and only
this message is lost. We replace the header frame by one with the same body size and no properties. The message then
reaches the consumer, which counts it as malformed and acknowledges it, as it does with every message without a topic.
Any other frame that cannot be decoded, such as a method frame or a frame without its end octet, ends the connection,
because the octets after it cannot be trusted.
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
# A peer that does not read would otherwise keep the last octets, and with them the socket, for ever.
CLOSE_SECONDS = 3.0
# Pika copies the rest of its buffer after every frame, and Twisted reads up to 64 KiB at once. If pika gets pieces of
# this size it has little to copy. This saves 5 % of the CPU time of a confirmed publish.
READ_BYTES = 4096
# The exceptions that pika raises for octets it cannot decode. It raises RecursionError for thousands of nested tables.
UNREADABLE = (AMQPError, ArithmeticError, LookupError, OSError, RecursionError, ValueError, struct.error)
# Class, weight, body size and property flags: the payload of a header frame has at least this many octets.
HEADER_BYTES = 14


def broker_endpoint(reactor: Any, settings: BrokerSettings) -> BrokerHosts:
    """The endpoint through which a client connects to the broker, over TCP or TLS.

    :raises CertificateError: the file of RABBITMQ_CA or RABBITMQ_CERT cannot be used.
    """
    authorities = settings.RABBITMQ_CA if settings.RABBITMQ_TLS else None
    own = settings.RABBITMQ_CERT
    return endpoint_of(reactor, settings.RABBITMQ_HOST, settings.RABBITMQ_PORT, authorities, own)


def endpoint_of(reactor: Any, hosts: str, port: int, authorities: str | None, own: str = "") -> BrokerHosts:
    """The client endpoint of each host, with the host's name.

    :param hosts: see :func:`~fanout.bus.broker_settings.hosts_and_ports`.
    :param port: port of the hosts that are given without one.
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
    """Connects, logs in, and records why the connection ended.

    :ivar lost: fires with the reason, as text for people, when the socket of an established connection is closed.
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
        """Connect, log in, and make the connection ready. This has no time limit, and raises the error of the step that
        failed.
        """
        await connectProtocol(endpoint, self)
        await self._opened
        await self._make_ready()

    async def _make_ready(self) -> None:
        """Open channels and declare the exchange and the queue that the subclass needs. Raises the error of the step
        that failed.
        """
        raise NotImplementedError

    def open_channel(self, opened: Callable[[Channel], None], closed: Callable[[Channel, Exception], None]) -> Channel:
        """Open one more channel for another user of this connection.

        :param opened: called with the channel when it is open.
        :param closed: called with the reason when the channel is closed, and also when the connection is lost.
        :raises BusError: there is no connection.
        """
        if not self.is_open:
            raise BusError("not connected to the broker")
        channel: Channel = self._impl.channel(on_open_callback=opened)
        channel.add_on_close_callback(lambda channel, reason: closed(channel, self._closed_by_broker(reason)))
        return channel

    def _closed_by_broker(self, reason: Exception) -> Exception:
        """The reason why a channel was closed. When the broker has closed the connection, pika only says that the
        socket is closed.
        """
        cause: Any = self._cause
        by_broker = isinstance(cause, ConnectionClosedByBroker) and not isinstance(reason, ChannelClosedByBroker)
        known: Exception = cause if by_broker else reason
        return known

    def close(self) -> None:
        """Close the connection with AMQP's closing handshake, then close the socket. :attr:`lost` fires afterwards."""
        if self.is_open:
            super().close()
            self._abort_later()
        else:
            self.abort(ConnectionAbortedError("closed"))

    def abort(self, error: BaseException) -> Deferred[str]:
        """Close the socket at once. Returns :attr:`lost`, which fires even if the connection was never established.

        :param error: the reason. It is ignored if the connection is already ending for another reason.
        """
        self._cause = self._cause or error
        if self.transport is not None:
            self.transport.abortConnection()
        elif not self.lost.called:
            self.lost.callback(self._why())
        return self.lost

    @property
    def refused(self) -> bool:
        """Whether the broker refuses our login. If so, an immediate retry does not help."""
        if not isinstance(self._cause, ConnectionClosedByBroker | ChannelClosedByBroker):
            return False
        return self._cause.reply_code in (ACCESS_REFUSED, NOT_ALLOWED)

    def _why(self) -> str:
        """The reason, as text for people, why the connection ended or could not be made."""
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
        """Make sure that the exchange exists, and return an open channel: AMQP closes the channel that asked for a
        missing one.

        An exchange that an operator has created is used as it is, whatever its durability. Only a missing exchange is
        declared: as a fan-out exchange, and durable unless configured otherwise, so that it still exists after a
        restart of the broker. Names that begin with ``amq.`` belong to the broker and always exist (AMQP 0-9-1, 3.1.3).
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
        """Send a request to the broker. The steps of opening run one after another, so only one reply is awaited at a
        time.
        """
        self._reply = Deferred()
        method(**arguments, callback=self._reply.callback)
        return self._reply

    def _on_channel_closed(self, _channel: Channel, reason: Exception) -> None:
        """While the connection is being opened, the current step fails. Later, the connection is closed, because it is
        useless without the channel that the broker closed.
        """
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
        """Pass the octets to pika. If it cannot decode a header, only that message is lost; see the head of this
        file.
        """
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
                data = b""  # Pika has these octets in its buffer already.
            else:
                return

    def _set_header_aside(self, error: Exception) -> bool:
        """If pika's buffer begins with a header frame that pika cannot decode, replace it by one without properties.

        :return: whether it was replaced. If not, the error belongs to another frame, or a callback raised it.
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
    """Replace the first frame, which cannot be decoded, by a header without properties if it is the header of a
    message.

    Only a complete frame is decoded. ``InvalidFrameError`` means that the frame does not end where it should.
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
    """The part of a transport that pika needs. It joins everything that pika writes within one reactor turn.

    Pika writes each of a message's three frames separately. Twisted sends nothing before the next turn either, so
    joining costs no time, and it saves up to 7 % of the CPU time of a confirmed publish.
    """

    def __init__(self, reactor: Any, transport: Any, closing: Callable[[], None]) -> None:
        """:param closing: called when pika closes the transport, because the wait for the peer needs a time limit."""
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
        """Discard the octets that are not sent yet."""
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
    """The broker refused a request and, as AMQP demands, closed the channel or the connection. The text is the
    broker's.

    :ivar code: the reply code (AMQP 0-9-1, 1.2 "reply-code").
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class AmqpChannel:
    """Sends one request to the broker at a time. After a refusal the channel is closed and cannot be used any more.

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
        """Whether the channel is open."""
        return bool(self.raw.is_open)

    async def ask(self, method: str, **arguments: Any) -> Any:
        """Call a method of pika's channel, and wait for the broker's answer.

        :raises Refusal: the broker refused the request.
        :raises BusError: the connection is lost.
        """
        if not self.is_open:
            raise BusError("the channel is closed")
        reply: Deferred[Any] = Deferred()
        self._reply = reply
        getattr(self.raw, method)(**arguments, callback=reply.callback)
        return await reply

    def close(self) -> None:
        """Close the channel if it is still open."""
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
