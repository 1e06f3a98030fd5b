"""The retained messages from before the start of a node. A client that subscribes during the start gets the retained
message of its topic, no matter whether it subscribed before or after that message was read.

:class:`Restore` gets these messages, and knows which clients wait for them. In a cluster they come from the stored
messages of the bus (:class:`~radiovis.node.consumer.BusConsumer`), on a stand-alone node from the journal
(:class:`JournalReading`). Both are read while the node starts to listen, in a second or two.

Meanwhile a SUBSCRIBE is answered, and :meth:`Restore.recall` looks for the retained message in memcached. If there is
none, it waits for the end of the reading, but at most :data:`RESTORE_SECONDS`. Messages read before that are retained
without being published: ``recall`` returns them to the clients that wait, and clients that want no retained message do
not get them. Messages read later are published, because nobody waits any more. A message that is newer than the one in
memcached, which clients have already got, is published as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from fanout.application.guests import Guest
from fanout.application.observer import Report
from fanout.hub.hub import MAX_LAST_MESSAGES, Hub, RetainedSettings
from fanout.hub.message import Message
from radiovis.last_slides import LastSlides
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.log import LogError
from radiovis.watchdog.watchdog import Watchdog

RESTORE_SECONDS = 5.0
"""Longest wait in seconds for the reading, when a client needs the retained message of a topic. The stream of a busy
cluster is read in 2 to 4 s, a journal of 256 MiB in half a second. It takes far longer if the journal is damaged or the
broker is down. Clients themselves give up after about ten seconds."""
_AT_ONCE = 500
"""How many messages are put into the hub in one turn of the reactor, which takes a few milliseconds."""

log = structlog.get_logger(__name__)


class Restore:
    """Retains the messages from before the start, and gives them to clients that subscribe. See the head of this
    file.
    """

    def __init__(self, reactor: Any, hub: Hub, last_slides: LastSlides) -> None:
        self._reactor = reactor
        self._hub = hub
        self._last_slides = last_slides
        self._retained: dict[str, Message] = {}
        self._published: dict[str, Message] = {}
        self._asking: list[Deferred[None]] = []
        self._recalls = 0
        self._is_answered = self._is_over = False
        self._timer: Any = None

    def start(self) -> None:
        """Start the time limit: clients wait for at most :data:`RESTORE_SECONDS`."""
        self._timer = self._reactor.callLater(RESTORE_SECONDS, self._answer)

    def end(self) -> None:
        """End the reading, because all is read or nothing can be read. It may be called again."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._answer()
        self._is_over = True
        self._forget()

    async def recall(self, topic: str) -> Message | None:
        """The last message of a topic for which the hub has none; see :meth:`Hub.recall
        <fanout.hub.hub.Hub.recall>`.
        """
        if self._is_answered:
            return await self._last_slides.recall(topic)
        self._recalls += 1
        try:
            message = await self._last_slides.recall(topic)
            if message is None or topic in self._retained:
                await self._answered()
            retained = self._retained.get(topic)
        finally:
            self._recalls -= 1
            self._forget()
        return retained if retained is not None and self._hub.last(topic) is retained else message

    def put(self, topic: str, message: Message) -> int:
        """Retain a message as the last one of a topic, and publish it if waiting clients were already answered.

        :return: to how many subscribers it was offered.
        """
        last = self._hub.last(topic)
        if not self._is_answered and (last is None or last is self._retained.get(topic)):
            self._retained[topic] = message
            self._hub.remember(topic, message)
            return 0
        if not self._is_over:
            self._published[topic] = message
        return self._hub.publish(topic, message)

    def has_put(self, topic: str) -> bool:
        """Whether the last message of a topic came from the reading, and is not a newer one."""
        last = self._hub.last(topic)
        return last is not None and last in (self._retained.get(topic), self._published.get(topic))

    def _answered(self) -> Deferred[None]:
        answered: Deferred[None] = Deferred()
        self._asking.append(answered)
        if self._is_answered:
            self._answer()
        return answered

    def _answer(self) -> None:
        """Answer the waiting calls; later calls do not wait."""
        self._is_answered = True
        asking, self._asking = self._asking, []
        for each in asking:
            each.callback(None)

    def _forget(self) -> None:
        """Drop the messages of the reading when no call needs them any more."""
        if self._is_over and not self._recalls:
            self._retained.clear()
            self._published.clear()


class JournalReading:
    """Reads the journal of a stand-alone node in its thread, and passes the last message of each topic to
    :class:`Restore`, unless a newer one has arrived since the start.
    """

    def __init__(
        self,
        reactor: Any,
        settings: RetainedSettings,
        hub: Hub,
        resolver: TopicResolver,
        guests: Sequence[Guest],
        watchdog: Watchdog,
        restore: Restore,
    ) -> None:
        """:param watchdog: has the journal."""
        self._reactor = reactor
        self._octets = settings.MAX_LAST_MESSAGES_BYTES
        self._hub = hub
        self._resolver = resolver
        self._guests = guests
        self._watchdog = watchdog
        self._restore = restore

    def start(self, report: Report) -> None:
        """Start to read. Call this before the watchdog asks the journal when topics were last alive."""
        read = Deferred.fromCoroutine(self._read())
        read.addErrback(report, "journal.not_restored")
        read.addBoth(lambda _: self._restore.end())

    async def _read(self) -> None:
        try:
            messages = await self._watchdog.latest(MAX_LAST_MESSAGES, self._octets)
        except LogError as error:
            log.warning(
                "journal.not_restored",
                reason=str(error),
                consequence="topics have no retained message until the next publish",
            )
            return
        for first in range(0, len(messages), _AT_ONCE):
            for message in messages[first : first + _AT_ONCE]:
                await self._put(message)
            await deferLater(self._reactor, 0)
        if messages:
            log.info("journal.restored", topics=len(messages))

    async def _put(self, message: Message) -> None:
        if self._has_newer(message.topic) or any(guest.hear(message) for guest in self._guests):
            return
        key = await self._resolver.canonical(message.topic)
        if not self._has_newer(key):
            self._restore.put(key, message)

    def _has_newer(self, key: str) -> bool:
        """Whether a message arrived since the start. If two topics of the journal have become one, the later message
        counts.
        """
        return self._hub.last(key) is not None and not self._restore.has_put(key)
