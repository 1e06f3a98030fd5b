"""The last message of each topic, shared by the nodes through memcached (contract §2, change 6).

Every node receives every message, and every node writes it: the octets are the same, so their order does not matter.
Messages are written after a short delay, so that a topic that changes fast is written once. Without memcached nothing
is shared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from fanout.cache.memcached import Memcached, cache_key
from fanout.hub.message import Message

DELAY = 0.05
"""Seconds a topic waits before it is written: a burst on it is then written once."""
KEPT_SECONDS = 86_400
"""Seconds, a day, that memcached keeps a message for nodes that have none. A topic that says nothing for longer is off
the air; without a limit memcached would keep the topics of stations that no longer exist."""
_WAITING = 10_000  # topics; further ones are written with their next message
_ENCODING = "latin-1"  # one character per octet, so that any body fits into JSON


class LastSlides:
    """Writes last messages for the other nodes, and reads those they wrote.

    :ivar is_shared: whether there is a memcached; without one all of this does nothing.
    """

    def __init__(self, clock: Any, memcached: Memcached | None) -> None:
        """
        :param clock: Twisted's reactor.
        :param memcached: None for a node by itself.
        """
        self._clock = clock
        self._memcached = memcached
        self.is_shared = memcached is not None
        self._waiting: dict[str, Message] = {}
        self._asked: dict[str, list[Deferred[Message | None]]] = {}

    def keep(self, topic: str, message: Message) -> None:
        """Share the new last message of a topic. Returns at once. If memcached fails, other nodes miss it."""
        if self._memcached is None or len(self._waiting) >= _WAITING:
            return
        if not self._waiting:
            self._clock.callLater(DELAY, self.write)
        self._waiting[topic] = message

    def write(self) -> Deferred[Any]:
        """Write the messages that wait, now; fires when memcached has answered. Also called at the end of the node."""
        waiting, self._waiting = self._waiting, {}
        if self._memcached is None:
            return succeed(None)
        values = {_key(topic): encode(topic, each) for topic, each in waiting.items()}
        return self._memcached.set_many(values, KEPT_SECONDS)

    async def recall(self, topic: str) -> Message | None:
        """The last message of a topic; None if no node wrote one, or memcached does not answer.

        Callers that ask for a topic at the same time share one look-up, and get the same object.
        """
        if self._memcached is None:
            return None
        answer: Deferred[Message | None] = Deferred()
        askers = self._asked.setdefault(topic, [])
        askers.append(answer)
        if len(askers) == 1:
            looked_up = Deferred.fromCoroutine(self._look_up(topic))
            looked_up.addBoth(self._answer, topic)
        return await answer

    async def _look_up(self, topic: str) -> Message | None:
        assert self._memcached is not None
        return decode(topic, await self._memcached.get(_key(topic)))

    def _answer(self, outcome: Message | Failure | None, topic: str) -> None:
        for asker in self._asked.pop(topic):
            asker.callback(outcome)

    async def recall_many(self, topics: Iterable[str]) -> dict[str, Message]:
        """The last messages of several topics; topics without one are left out."""
        return {} if self._memcached is None else await recall_many(self._memcached, topics)


async def recall_many(memcached: Memcached, topics: Iterable[str]) -> dict[str, Message]:
    """The last messages of several topics, as the nodes wrote them; topics without one are left out."""
    keys = {_key(topic): topic for topic in topics}
    values: dict[str, bytes] = await memcached.get_many(list(keys))
    found = {keys[key]: decode(keys[key], value) for key, value in values.items()}
    return {topic: message for topic, message in found.items() if message is not None}


def _key(topic: str) -> str:
    return cache_key("radiovis", "last", topic)


def encode(topic: str, message: Message) -> bytes:
    """A last message as it lies in memcached: JSON, because a pickle could run code of another program."""
    body = message.body.decode(_ENCODING)
    return json.dumps([topic, message.topic, body, message.message_id, message.when, message.headers]).encode()


def decode(topic: str, value: bytes | None) -> Message | None:
    """The message that :func:`encode` wrote; None for anything else."""
    if value is None:
        return None
    try:
        key, published, body, message_id, when, headers = json.loads(value)
        pairs = tuple((_text(name), _text(text)) for name, text in headers)
        message = Message(_text(published), _text(body).encode(_ENCODING), _text(message_id), int(when), pairs)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return message if key == topic else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
