"""The last message of each topic, shared by the nodes through memcached (contract §2, change 6).

Every node hears every message, and each writes what it heard: the same octets, so it does not matter who is last.
Writing waits a moment, so that a topic that changes fast is written once. Without memcached all of this does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from fanout.cache.memcached import Memcached, cache_key
from fanout.hub.message import Message

_WAITING = 10_000  # topics; beyond it the rest of a burst is left to the next message of each
_ENCODING = "latin-1"  # one character per octet, so that any body fits into JSON


class LastSlides:
    """Keeps last messages where the other nodes find them, and finds those they kept."""

    def __init__(self, memcached: Memcached | None, later: Callable[[Callable[[], object]], object], life: int) -> None:
        """
        :param later: calls its argument after a moment; that long a written topic may lag behind.
        :param life: seconds memcached keeps a message.
        """
        self._memcached = memcached
        self._later = later
        self._life = life
        self._waiting: dict[str, Message] = {}
        self._asked: dict[str, list[Deferred[Message | None]]] = {}

    def keep(self, topic: str, message: Message) -> None:
        """A topic has a new last message. Returns at once; what memcached does not take is lost only to other nodes."""
        if self._memcached is None or len(self._waiting) >= _WAITING:
            return
        if not self._waiting:
            self._later(self.write)
        self._waiting[topic] = message

    def write(self) -> Deferred[Any]:
        """Write what waits now: the moment is over, or the node ends. Fires when memcached has answered."""
        waiting, self._waiting = self._waiting, {}
        if self._memcached is None:
            return succeed(None)
        values = {_key(topic): encode(topic, each) for topic, each in waiting.items()}
        return self._memcached.set_many(values, self._life)

    async def recall(self, topic: str) -> Message | None:
        """The last message another node kept; None when there is none, or memcached does not answer.

        Everybody who asks for a topic at the same time gets the same object, for one look-up.
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
        """The last messages of several topics, as far as they were kept."""
        if self._memcached is None:
            return {}
        keys = {_key(topic): topic for topic in topics}
        values: dict[str, bytes] = await self._memcached.get_many(list(keys))
        found = {keys[key]: decode(keys[key], value) for key, value in values.items()}
        return {topic: message for topic, message in found.items() if message is not None}


def _key(topic: str) -> str:
    return cache_key("radiovis", "last", topic)


def encode(topic: str, message: Message) -> bytes:
    """A last message as memcached keeps it: JSON, never a pickle that would run code of whoever wrote it."""
    body = message.body.decode(_ENCODING)
    return json.dumps([topic, message.topic, body, message.message_id, message.when, message.headers]).encode()


def decode(topic: str, value: bytes | None) -> Message | None:
    """What :func:`encode` made of a message; None for anything else that may stand there."""
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
