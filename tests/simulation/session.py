"""The broker's end of one AMQP connection: octets in, octets out (:class:`Session`). Its channels: :mod:`.channel`.

Frames are decoded and encoded with :mod:`pika.spec`. The content of a message is passed on as it came.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pika import frame, spec
from pika.spec import Channel as ChannelClass
from pika.spec import Connection as ConnectionClass
from twisted.python.failure import Failure

from tests.simulation.channel import Channel
from tests.simulation.cluster import Cluster, Node

HEAD = struct.Struct(">BHI")
FRAME_MAX = 131_072
_ACK = struct.Struct(">IQB")
_ACK_FRAME = struct.Struct(">BHIIQB")
"""Most frames are acknowledgements: pika takes three times as long for them."""
_END = bytes([spec.FRAME_END])
_START = frame.Method(
    0,
    ConnectionClass.Start(
        server_properties={
            "product": "model",
            "capabilities": {
                "publisher_confirms": True,
                "basic.nack": True,
                "consumer_cancel_notify": True,
                "connection.blocked": True,
                "exchange_exchange_bindings": True,
                "authentication_failure_close": True,
            },
        }
    ),
).marshal()
_TUNE = frame.Method(0, ConnectionClass.Tune(2047, FRAME_MAX, 60)).marshal()
_HEARTBEAT = frame.Heartbeat().marshal()


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return HEAD.pack(kind, channel, len(payload)) + payload + _END


def _ack(payload: bytes) -> Any:
    """The method if it is an acknowledgement."""
    if len(payload) != _ACK.size:
        return None
    index, tag, multiple = _ACK.unpack(payload)
    return spec.Basic.Ack(tag, bool(multiple)) if index == spec.Basic.Ack.INDEX else None


class Session:
    """One connection. A Peer of its end.

    :ivar blocked: whether it is not read, because of the alarm.
    """

    def __init__(self, node: Node, end: Any) -> None:
        self.node = node
        self.cluster: Cluster = node.cluster
        self.blocked = False
        self.closed = False
        self.channels: dict[int, Channel] = {}
        self._end = end
        self._buffer = b""
        self._out: list[bytes] = []
        self._heartbeat = 0
        self._heard = self._sent = self.cluster.world.now
        end.protocol = self

    @property
    def connection(self) -> Any:
        """The end of the network's connection."""
        return self._end

    # Octets

    def dataReceived(self, data: bytes) -> None:
        self._heard = self.cluster.world.now
        self._buffer += data
        self._read()
        self.flush()

    def _read(self) -> None:
        buffer, position = self._buffer, 0
        while not self.blocked and not self.closed and len(buffer) - position >= 8:
            if buffer.startswith(b"AMQP", position):
                position += 8
                self._out.append(_START)
                continue
            kind, channel, size = HEAD.unpack_from(buffer, position)
            end = position + 7 + size
            if len(buffer) <= end:
                break
            payload = buffer[position + 7 : end]
            position = end + 1
            self._on_frame(kind, channel, payload)
        self._buffer = buffer[position:]

    def _on_frame(self, kind: int, channel: int, payload: bytes) -> None:
        if kind == spec.FRAME_METHOD:
            method = _ack(payload)
            if method is None:
                method = spec.methods[struct.unpack_from(">I", payload)[0]]()
                method.decode(payload, 4)
            self._on_method(channel, method)
        elif kind != spec.FRAME_HEARTBEAT and channel in self.channels:
            self.channels[channel].on_content(kind, payload)

    def _on_method(self, number: int, method: Any) -> None:
        if number == 0:
            _CONNECTION.get(type(method), _ignore)(self, method)
            return
        if isinstance(method, ChannelClass.Open):
            self.channels[number] = Channel(self, number)
            self.send(number, ChannelClass.OpenOk())
            return
        channel = self.channels.get(number)
        if channel is not None:
            channel.on_method(method)

    def send(self, channel: int, method: Any) -> None:
        self._out.append(frame.Method(channel, method).marshal())

    def send_ack(self, channel: int, tag: int) -> None:
        self._out.append(_ACK_FRAME.pack(spec.FRAME_METHOD, channel, _ACK.size, spec.Basic.Ack.INDEX, tag, 0) + _END)

    def send_content(self, channel: int, method: Any, head: bytes, body: bytes) -> None:
        self._out.append(frame.Method(channel, method).marshal())
        self._out.append(_frame(spec.FRAME_HEADER, channel, head))
        for start in range(0, len(body), FRAME_MAX - 8):
            self._out.append(_frame(spec.FRAME_BODY, channel, body[start : start + FRAME_MAX - 8]))

    def flush(self) -> None:
        if self._out and not self.closed:
            self._sent = self.cluster.world.now
            self._end.write(b"".join(self._out))
        self._out.clear()

    # The connection

    def on_start_ok(self, _method: Any) -> None:
        self._out.append(_TUNE)

    def on_tune_ok(self, method: Any) -> None:
        self._heartbeat = method.heartbeat
        if self._heartbeat:
            self.cluster.world.later(self._heartbeat / 2, self._beat, self.node.process)

    def on_open(self, _method: Any) -> None:
        self.send(0, ConnectionClass.OpenOk())

    def on_close(self, _method: Any) -> None:
        self.send(0, ConnectionClass.CloseOk())
        self.flush()
        self._end.loseConnection()
        self.drop()

    def _beat(self, process: Any) -> None:
        if not self.closed and not process.dead:
            process.call(self._check)
            self.cluster.world.later(self._heartbeat / 2, self._beat, process)

    def _check(self) -> None:
        now = self.cluster.world.now
        if self.closed:
            return
        if now - self._heard > 2 * self._heartbeat and not self.blocked:
            self._end.abortConnection()
            self.drop()
        elif now - self._sent >= self._heartbeat / 2:
            self._out.append(_HEARTBEAT)
            self.flush()

    def block(self) -> None:
        """It publishes while the alarm is on: it is told, and read no more."""
        self.blocked = True
        self.send(0, ConnectionClass.Blocked("low on memory"))

    def unblock(self) -> None:
        if self.blocked and not self.closed:
            self.blocked = False
            self._heard = self.cluster.world.now
            self.send(0, ConnectionClass.Unblocked())
            self._read()
            self.flush()

    def connectionLost(self, reason: Failure) -> None:
        self.drop()

    def drop(self) -> None:
        """The connection is over: channels and exclusive queues end with it."""
        if self.closed:
            return
        self.flush()
        self.closed = True
        if self in self.node.sessions:
            self.node.sessions.remove(self)
        for channel in list(self.channels.values()):
            channel.end()
        for queue in [each for each in self.cluster.queues.values() if each.owner is self]:
            if queue.home.up:
                self.cluster.delete(queue)


def _ignore(_self: Any, _method: Any) -> None:
    """A method that needs no answer."""


_CONNECTION: dict[type, Callable[[Session, Any], None]] = {
    ConnectionClass.StartOk: Session.on_start_ok,
    ConnectionClass.TuneOk: Session.on_tune_ok,
    ConnectionClass.Open: Session.on_open,
    ConnectionClass.Close: Session.on_close,
}
