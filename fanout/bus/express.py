"""Pika's connection, with less to do for the three frames every message consists of.

What goes in and out is what pika writes and expects, and anything but messages and their confirms is left to pika. It
only does less work per message: it moves on in its buffer instead of copying the rest of it after each frame, asks for
callbacks only where there can be any, reads the three frames of a node's message in one piece
(:mod:`fanout.bus.delivery`), hands them and confirms (:mod:`fanout.bus.confirm`) straight to whoever asked for them,
and writes the frames of a publish in one piece, too, the first of them encoded once. The names are pika's own, which is
pinned.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pika.adapters.twisted_connection import _TwistedConnectionAdapter
from pika.channel import Channel
from pika.frame import Header, Method, decode_frame
from pika.spec import (
    FRAME_BODY,
    FRAME_END,
    FRAME_END_SIZE,
    FRAME_HEADER,
    FRAME_HEADER_SIZE,
    FRAME_METHOD,
    Basic,
    BasicProperties,
)

from fanout.bus import confirm, delivery
from fanout.bus.confirm import Confirm
from fanout.bus.delivery import Delivery

_HEAD = struct.Struct(">BHL")  # AMQP 0-9-1, 4.2.3: type, channel, size
_HEADER = struct.Struct(">BHLHHQ")  # type, channel, size; class, weight, size of the body
_BEFORE_PROPERTIES = _HEADER.size - FRAME_HEADER_SIZE
_ENDED = bytes((FRAME_END,))
_MESSAGE_TYPES = frozenset({FRAME_METHOD, FRAME_HEADER, FRAME_BODY})


class Express(_TwistedConnectionAdapter):  # type: ignore[misc]  # Pika ships no types.
    """Pika's connection for a busy exchange."""

    _frame_buffer: bytes

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._publish: tuple[tuple[int, str], bytes] | None = None
        self._takers: dict[int, Callable[[int, BasicProperties, bytes], None]] = {}
        self._confirmed: dict[int, Callable[[int, bool], None]] = {}

    def deliver(self, channel: Channel, take: Callable[[int, BasicProperties, bytes], None]) -> None:
        """Hand what a node has published, when it is delivered on this channel, straight to somebody.

        :param take: gets delivery tag, properties and body. Pika's consumer gets all else, such as what a device wrote.
        """
        self._takers[channel.channel_number] = take

    def confirm(self, channel: Channel, confirmed: Callable[[int, bool], None]) -> None:
        """Hand the broker's confirms on this channel straight to somebody, and refusals (``basic.nack``) as usual.

        :param confirmed: gets delivery tag and ``multiple``.
        """
        self._confirmed[channel.channel_number] = confirmed

    def publish(self, channel: Channel, exchange: str, properties: BasicProperties, body: bytes) -> None:
        """What ``channel.basic_publish`` does without a routing key and with ``mandatory``, so that what finds no queue
        comes back. A body that fits one frame goes out together with what comes before it.

        :param channel: is to be open.
        """
        if not 0 < len(body) <= self._body_max_length:
            channel.basic_publish(exchange, "", body, properties, mandatory=True)
            return
        number = channel.channel_number
        head = b"".join(properties.encode())
        start = _HEADER.pack(FRAME_HEADER, number, len(head) + _BEFORE_PROPERTIES, BasicProperties.INDEX, 0, len(body))
        size = _HEAD.pack(FRAME_BODY, number, len(body))
        data = b"".join((self._first(number, exchange), start, head, _ENDED, size, body, _ENDED))
        self.frames_sent += 3
        self.bytes_sent += len(data)
        self._adapter_emit_data(data)

    def _first(self, number: int, exchange: str) -> bytes:
        """The frame of the method: the same for every message to one exchange."""
        if self._publish is None or self._publish[0] != (number, exchange):
            method = Basic.Publish(exchange=exchange, mandatory=True)
            self._publish = (number, exchange), Method(number, method).marshal()
        return self._publish[1]

    def _on_data_available(self, data_in: bytes) -> None:
        """Take whole frames off the front. What pika cannot read stays there, for whoever asks which it was."""
        buffer: bytes = self._frame_buffer + data_in
        start = 0
        self._frame_buffer = b""
        try:
            while found := self._next(buffer, start):
                self.bytes_received += found[0] - start
                start, what = found
                self._take(what)
        finally:
            self._frame_buffer = buffer[start:]
        if start < len(buffer) and buffer[start] not in _MESSAGE_TYPES:
            super()._on_data_available(b"")

    def _next(self, buffer: bytes, start: int) -> tuple[int, Any] | None:
        """Where what begins there ends, and a delivery, a confirm or a frame; None if nothing whole does."""
        delivered = delivery.read(buffer, start)
        if delivered is not None and (delivered.channel in self._takers or delivered.method is not None):
            return delivered.end, delivered
        confirmed = confirm.read(buffer, start)
        if confirmed is not None and confirmed.channel in self._confirmed:
            return confirmed.end, confirmed
        end = _end_of_frame(buffer, start)
        return (end, decode_frame(buffer[start:end])[1]) if end else None

    def _take(self, what: Any) -> None:
        if isinstance(what, Confirm):
            self.frames_received += 1
            self._confirmed[what.channel](what.tag, what.multiple)
        elif not isinstance(what, Delivery):
            self._process_frame(what)
        elif take := self._takers.get(what.channel):
            self.frames_received += 3
            take(what.tag, what.properties, what.body)
        else:
            self._consume(what)

    def _consume(self, delivery: Delivery) -> None:
        """What pika does with the three frames of a message, one after the other."""
        self.frames_received += 3
        method = Method(delivery.channel, delivery.method)
        channel = self._channels.get(delivery.channel)
        if channel is None:
            self._deliver_frame_to_channel(method)  # which complains
        else:
            head = Header(delivery.channel, len(delivery.body), delivery.properties)
            channel._on_deliver(method, head, delivery.body)  # noqa: SLF001

    def _process_callbacks(self, frame_value: Any) -> bool:
        """Nobody can have asked to be called back for the parts of a message."""
        if frame_value.frame_type != FRAME_METHOD or isinstance(frame_value.method, Basic.Deliver):
            return False
        called: bool = super()._process_callbacks(frame_value)
        return called


def _end_of_frame(buffer: bytes, start: int) -> int:
    """Where a whole frame of a message's type ends; 0 if there is none."""
    if len(buffer) < start + FRAME_HEADER_SIZE or buffer[start] not in _MESSAGE_TYPES:
        return 0
    size = _HEAD.unpack_from(buffer, start)[2]
    end: int = start + FRAME_HEADER_SIZE + size + FRAME_END_SIZE
    return end if end <= len(buffer) else 0
