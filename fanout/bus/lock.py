"""A lock on the broker: an exclusive queue, which one connection can have and which goes when that connection goes."""

from __future__ import annotations

from fanout.bus.amqp_channel import AmqpChannel, Refusal
from fanout.bus.amqp_connection import AmqpConnection

RESOURCE_LOCKED = 405  # AMQP 0-9-1, 1.2 "reply-code".


async def take_lock(connection: AmqpConnection, name: str) -> bool:
    """Take a lock, or make sure that it is still ours: whether this connection has it.

    The answer is the broker's and not a memory of ours, so it also tells a process that was stopped for a while that
    somebody else has taken over. A dead holder's lock is free as soon as the broker has noticed: at once when its
    socket closes, after two to three heart-beats when it is frozen or the network is gone.

    :param name: the lock's name; the broker lists it as a queue.
    :raises BusError: the broker refuses, or the connection is lost.
    """
    channel = await AmqpChannel.open(connection)
    try:
        await channel.ask("queue_declare", queue=name, exclusive=True)
    except Refusal as refusal:
        if refusal.code != RESOURCE_LOCKED:
            raise
        return False
    channel.close()
    return True
