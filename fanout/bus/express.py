"""Pika's connection, with less to do for the three frames every message consists of.

What goes in and out is what pika writes and expects, and anything but messages is left to pika. It only does less
work per message: it moves on in its buffer instead of copying the rest of it after each frame, asks for callbacks only
where there can be any, reads the three frames of a node's message in one piece (:mod:`fanout.bus.delivery`) and writes
those of a publish so, the first of them encoded once. The names are pika's own, which is pinned.
"""

from __future__ import annotations

import struct
from typing import Any

from pika.adapters.twisted_connection import _TwistedConnectionAdapter
from pika.frame import Body, Header, Method, decode_frame
from pika.spec import FRAME_BODY, FRAME_END_SIZE, FRAME_HEADER, FRAME_HEADER_SIZE, FRAME_METHOD, Basic, BasicProperties

from fanout.bus.delivery import Delivery, read

_HEAD = struct.Struct(">BHL")  # AMQP 0-9-1, 4.2.3: type, channel, size
_MESSAGE_TYPES = frozenset({FRAME_METHOD, FRAME_HEADER, FRAME_BODY})


class Express(_TwistedConnectionAdapter):  # type: ignore[misc]  # Pika ships no types.
    """Pika's connection for a busy exchange."""

    _frame_buffer: bytes

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._publish: tuple[tuple[int, str, str, bool], bytes] | None = None

    def _on_data_available(self, data_in: bytes) -> None:
        """Take whole frames off the front. What pika cannot read stays there, for whoever asks which it was."""
        buffer: bytes = self._frame_buffer + data_in
        start = 0
        self._frame_buffer = b""
        try:
            while found := _next(buffer, start):
                self.bytes_received += found[0] - start
                start, what = found
                (self._take if isinstance(what, Delivery) else self._process_frame)(what)
        finally:
            self._frame_buffer = buffer[start:]
        if start < len(buffer) and buffer[start] not in _MESSAGE_TYPES:
            super()._on_data_available(b"")

    def _take(self, delivery: Delivery) -> None:
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

    def _send_message(self, channel_number: int, method_frame: Any, content: tuple[BasicProperties, bytes]) -> None:
        """A body that fits one frame goes out together with what comes before it."""
        properties, body = content
        if not 0 < len(body) <= self._body_max_length or not isinstance(method_frame, Basic.Publish):
            super()._send_message(channel_number, method_frame, content)
            return
        head = Header(channel_number, len(body), properties).marshal()
        data = self._first(channel_number, method_frame) + head + Body(channel_number, body).marshal()
        self.frames_sent += 3
        self.bytes_sent += len(data)
        self._adapter_emit_data(data)

    def _first(self, channel_number: int, method: Basic.Publish) -> bytes:
        """The frame of the method: the same for every message to one exchange."""
        key = (channel_number, method.exchange, method.routing_key, method.mandatory)
        if self._publish is None or self._publish[0] != key:
            self._publish = key, Method(channel_number, method).marshal()
        return self._publish[1]


def _next(buffer: bytes, start: int) -> tuple[int, Any] | None:
    """Where what begins there ends, and a delivery or a frame; None if nothing whole does."""
    delivery = read(buffer, start)
    if delivery is not None:
        return delivery.end, delivery
    end = _end_of_frame(buffer, start)
    return (end, decode_frame(buffer[start:end])[1]) if end else None


def _end_of_frame(buffer: bytes, start: int) -> int:
    """Where a whole frame of a message's type ends; 0 if there is none."""
    if len(buffer) < start + FRAME_HEADER_SIZE or buffer[start] not in _MESSAGE_TYPES:
        return 0
    size = _HEAD.unpack_from(buffer, start)[2]
    end: int = start + FRAME_HEADER_SIZE + size + FRAME_END_SIZE
    return end if end <= len(buffer) else 0
