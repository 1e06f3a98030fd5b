"""A channel of an open connection, for those who talk to the broker besides the bus itself."""

from __future__ import annotations

from typing import Any

from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from twisted.internet.defer import Deferred

from fanout.bus.connection import AmqpConnection
from fanout.bus.interface import BusError


class Refusal(BusError):
    """The broker refused what it was asked, and closed the channel as AMQP wants it. The text is the broker's.

    :ivar code: AMQP 0-9-1, 1.2 "reply-code".
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class AmqpChannel:
    """Asks the broker one thing at a time; a channel that was refused something is closed, and of no further use."""

    def __init__(self) -> None:
        self.raw: Channel
        self._reply: Deferred[Any] | None = None

    @classmethod
    async def open(cls, connection: AmqpConnection) -> AmqpChannel:
        """A new channel.

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
        """Give it back."""
        if self.is_open:
            self.raw.close()

    def _closed(self, _channel: Channel, reason: Exception) -> None:
        reply, self._reply = self._reply, None
        if reply is None or reply.called:
            return
        if isinstance(reason, ChannelClosedByBroker):
            reply.errback(Refusal(reason.reply_code, reason.reply_text))
        else:
            reply.errback(BusError(f"the connection was lost: {reason}"))
