"""The retained message of each topic, shared by the nodes through memcached (contract §2, change 6).

Every node receives every message and offers it to memcached after a short delay, so that a topic that changes fast is
written once. Without memcached nothing is shared.

**An older message must not replace a newer one.** A node may receive a message late, because its network is slow or it
was frozen for a minute. It must not replace a message that the other nodes have written meanwhile. So a node reads the
stored value, and writes only if it was not changed since then (``gets`` and ``cas`` of memcached's protocol). It
replaces the stored value if that is

- missing, or cannot be read;
- a message of the same publisher with a lower number (:func:`fanout.bus.duplicates.is_later`). A message with a higher
  number is not replaced. So all that follows concerns messages of different publishers, or of devices, which do not
  number their messages;
- a message that the node received earlier than its own. The order of the bus counts, whatever the publishers' clocks
  say: they may differ by seconds, or be set back;
- a message that the node has not received, and that was published in an earlier second (``when``). It is from before
  this node received from the bus;
- a message from the future, by this node's clock. Its ``when`` is meaningless.

Any other message that the node has not received is assumed to be on its way to this node, and is not replaced. When it
arrives, it is the newer one. If a clock is wrong, an older message may still replace a newer one, for as long as the
node is late: the node writes the newer one when it receives it.

**Later than the shown message** (:meth:`LastSlides.is_later`). A node that was disconnected compares the stored message
with the last message that it has shown. For two messages of the same publisher the numbers decide. Otherwise a message
that the node has received is not later, because a message stays stored until the next one is written. A message that
the node has not received is later if it replaced the last stored message, whatever the publishers' clocks say. In all
other cases ``when`` decides.

Why is it not written only by the node that published it? Devices publish without a node, and a node that is frozen
between its publish and its write would be late itself. Why does ``when`` alone not decide? It has whole seconds, and
clocks may be wrong. Why is there no number from the broker? A fan-out exchange does not number messages.

**Cost.** All topics of :data:`DELAY` are read in one round trip. The first node writes them, with a round trip for each
topic; the others find the message already stored.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

from fanout.bus.duplicates import is_later
from fanout.cache.bounded_dict import BoundedDict
from fanout.cache.memcached import Memcached, Versioned, cache_key
from fanout.hub.hub import MAX_LAST_MESSAGES
from fanout.hub.message import Message

DELAY = 0.05
"""Seconds that a topic waits before it is written, so that a burst on it is written once."""
KEPT_SECONDS = 86_400
"""Seconds, a day, for which memcached keeps a message for nodes without it. A topic without a message for longer is off
the air. Without a limit memcached would keep the topics of stations that no longer exist."""
AHEAD_SECONDS = 5
"""Seconds by which a publisher's clock may be fast and its order still counts: machines with synchronized clocks differ
by less."""
RECENT = 10_000
"""How many recently received messages are recognised in memcached at least, in addition to the last one of each topic.
Other nodes write within tenths of a second, in which far fewer messages arrive."""
_WAITING, _WAITING_OCTETS = 10_000, 33_554_432  # topics, and octets; others are written with their next message
_AT_ONCE = 500  # topics in one read: the answer contains complete messages
_ATTEMPTS = 3  # to write while others write at the same time; their messages are as new
_ENCODING = "latin-1"  # one character per octet, so that any body fits into JSON


class LastSlides:
    """Writes retained messages for the other nodes, and reads those of other nodes. See the head of this file.

    :ivar is_shared: whether there is a memcached; without one this object does nothing.
    """

    def __init__(self, clock: Any, memcached: Memcached | None, unix_time: Callable[[], float] = time.time) -> None:
        """
        :param clock: Twisted's reactor.
        :param memcached: None for a stand-alone node.
        :param unix_time: seconds since 1970, the clock of the messages.
        """
        self._clock = clock
        self._memcached = memcached
        self._unix_time = unix_time
        self.is_shared = memcached is not None
        self._heard = _Heard()
        self._waiting: dict[str, Message] = {}
        self._waiting_octets = 0
        self._writing = DeferredLock()
        self._asked: dict[str, list[Deferred[Message | None]]] = {}

    def keep(self, topic: str, message: Message) -> None:
        """Share the new last message of a topic. Returns at once. If memcached fails, other nodes do not get it."""
        if self._memcached is None:
            return
        self._heard.add(topic, message)
        if not self._waiting:
            self._waiting_octets = 0
            self._clock.callLater(DELAY, self.write)
        before = self._waiting.get(topic)
        more = message.weight - (0 if before is None else before.weight)
        if before is None and (len(self._waiting) >= _WAITING or self._waiting_octets + more > _WAITING_OCTETS):
            return
        self._waiting_octets += more
        self._waiting[topic] = message

    def write(self) -> Deferred[None]:
        """Write the waiting messages now. The Deferred fires when memcached has answered. Also called when the node
        ends.
        """
        return self._writing.run(lambda: Deferred.fromCoroutine(self._write()))

    async def _write(self) -> None:
        """Write the waiting messages. Messages that arrive meanwhile wait for the next write."""
        waiting, self._waiting = self._waiting, {}
        topics = iter(waiting)
        while some := list(islice(topics, _AT_ONCE)):
            await self._write_some({_key(topic): topic for topic in some}, waiting)

    async def _write_some(self, topics: Mapping[str, str], messages: dict[str, Message]) -> None:
        """:param topics: the topics by their keys.
        :param messages: the message of each topic; newer ones are put in.
        """
        assert self._memcached is not None
        left = topics
        for _ in range(_ATTEMPTS):
            found = await self._memcached.gets_many(list(left))
            news = self._news(left, messages, found)
            refused = await self._memcached.cas_many(news, KEPT_SECONDS) if news else []
            for key, topic in left.items():
                is_there = key not in refused if key in news else _is_same(topic, messages[topic], found[key][0])
                self._heard.offered(topic, messages[topic], is_there=is_there)
            left = {key: topics[key] for key in refused}
            if not left:
                break

    def _news(
        self, topics: Mapping[str, str], messages: dict[str, Message], found: Mapping[str, Versioned]
    ) -> dict[str, tuple[bytes, bytes | None]]:
        """The values to write, by key, each with the version that it replaces."""
        news: dict[str, tuple[bytes, bytes | None]] = {}
        for key, topic in topics.items():
            value, version = found.get(key, (None, None))
            message = messages[topic] = self._waiting.pop(topic, messages[topic])  # It may have been replaced.
            if self._is_news(topic, message, decode(topic, value)):
                news[key] = encode(topic, message), version
        return news

    def _is_news(self, topic: str, ours: Message, theirs: Message | None) -> bool:
        """Whether our message must replace the stored one. See the head of this file."""
        if theirs is None:
            return True
        if _identity(topic, theirs) == _identity(topic, ours):
            return False
        later = is_later(ours.serial, theirs.serial)
        if later is not None:
            return later
        if self._heard.knows(topic, theirs):
            return True
        return theirs.when < ours.when or theirs.when > self._unix_time() + AHEAD_SECONDS

    async def recall(self, topic: str) -> Message | None:
        """The retained message of a topic; None if no node wrote one, or memcached does not answer.

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

    def is_later(self, topic: str, message: Message, last: Message) -> bool:
        """Whether a stored message is later than one that was shown. See the head of this file."""
        later = is_later(message.serial, last.serial)
        if later is not None:
            return later
        if message.message_id == last.message_id or self._heard.knows(topic, message):
            return False
        return message.when >= last.when or self._heard.was_there(topic, last)

    async def recall_many(self, topics: Iterable[str]) -> dict[str, Message]:
        """The retained messages of several topics; topics without one are left out."""
        return {} if self._memcached is None else await recall_many(self._memcached, topics)


class _Heard:
    """Recognises received messages: recent ones, and for each topic the one that was last offered to memcached."""

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._before: set[int] = set()
        self._offered: BoundedDict[str, tuple[int, bool]] = BoundedDict(MAX_LAST_MESSAGES)

    def add(self, topic: str, message: Message) -> None:
        """A message was received."""
        if len(self._recent) >= RECENT:
            self._recent, self._before = set(), self._recent
        self._recent.add(_identity(topic, message))

    def offered(self, topic: str, message: Message, *, is_there: bool) -> None:
        """A message was offered to memcached, where it may be stored for a day.

        :param is_there: whether it was written, or found there.
        """
        self._offered[topic] = _identity(topic, message), is_there

    def was_there(self, topic: str, message: Message) -> bool:
        """Whether memcached is known to have had this message as the last one of its topic."""
        return self._offered.get(topic) == (_identity(topic, message), True)

    def knows(self, topic: str, message: Message) -> bool:
        """Whether this message was received."""
        identity = _identity(topic, message)
        return identity in self._recent or identity in self._before or identity == self._offered.get(topic, (None,))[0]


def _identity(topic: str, message: Message) -> int:
    """A number that is the same for two copies of a message, in this process. An id is not enough, because publishers
    reuse ids.
    """
    return hash((topic, message.message_id, message.when, message.body))


def _is_same(topic: str, message: Message, value: bytes) -> bool:
    """Whether the stored value is this message."""
    found = decode(topic, value)
    return found is not None and _identity(topic, found) == _identity(topic, message)


async def recall_many(memcached: Memcached, topics: Iterable[str]) -> dict[str, Message]:
    """The retained messages of several topics, as the nodes wrote them; topics without one are left out."""
    keys = {_key(topic): topic for topic in topics}
    values: dict[str, bytes] = await memcached.get_many(list(keys))
    found = {keys[key]: decode(keys[key], value) for key, value in values.items()}
    return {topic: message for topic, message in found.items() if message is not None}


def _key(topic: str) -> str:
    return cache_key("radiovis", "last", topic)


def encode(topic: str, message: Message) -> bytes:
    """A retained message as it is stored in memcached: JSON, because a pickle could run code of another program.

    Nodes of earlier versions can only read it without its serial. If it has one, they treat it as missing, and write it
    again.
    """
    body = message.body.decode(_ENCODING)
    serial = [message.serial] if message.serial else []
    return json.dumps([topic, message.topic, body, message.message_id, message.when, message.headers, *serial]).encode()


def decode(topic: str, value: bytes | None) -> Message | None:
    """The message that :func:`encode` wrote; None for any other value."""
    if value is None:
        return None
    try:
        key, published, body, message_id, when, headers, *more = json.loads(value)
        pairs = tuple((_text(name), _text(text)) for name, text in headers)
        serial = _text(*more) if more else ""
        message = Message(_text(published), _text(body).encode(_ENCODING), _text(message_id), int(when), pairs, serial)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return message if key == topic else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
