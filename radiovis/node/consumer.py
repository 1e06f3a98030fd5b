"""What a node does with the messages of the bus, with those of its journal, and with a change of the stations.

A message goes to the guest application whose topic it is; if there is none, it gets its canonical key and goes to the
hub, to memcached for the other nodes, and to the watchdog of a stand-alone node. Three rules hold:

- Messages of one topic reach the hub in the order of the bus. A message of a country whose code is unknown waits until
  the directory has answered, and so do all later messages of that country.
- A stand-alone node begins with the last messages in its journal. What came since its start is newer, and stays.
- A node that was cut off from the bus catches up from memcached. What is still on its way over the bus is left alone;
  otherwise subscribers would see it twice, or see an older value after a newer one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from fanout.application.guests import Guest
from fanout.application.observer import Observer, Report
from fanout.bus.interface import Bus
from fanout.hub.hub import MAX_LAST_MESSAGES, Hub, RetainedSettings
from fanout.hub.message import Message
from radiovis import topics
from radiovis.directory.interface import DirectoryError
from radiovis.http.wall import Wall
from radiovis.last_slides import LastSlides
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.log import LogError
from radiovis.watchdog.watchdog import Watchdog

_WAITING = 1_000
"""Messages of one country that wait for its code. The directory answers within seconds, or fails."""
_CATCH_UP_DELAY = 0.5
"""Seconds. By then the other nodes have written to memcached what was published just before we could hear again."""
_ON_THE_WAY_SECONDS = 1.0
"""How long a message may take over the bus after another node has already kept it."""

RESTORE_SECONDS = 5.0
"""Longest wait in seconds for the journal at the start, when a client asks for the last message of a topic. Reading it
takes half a second for 256 MiB, and far longer if it is damaged. Clients themselves give up after about ten."""
_RESTORED_AT_ONCE = 500
"""Messages put into the hub in one turn of the reactor, which takes a few milliseconds."""

log = structlog.get_logger(__name__)


class TopicReceiver:
    """Gives each message its canonical key and hands it to the hub, in the order of the bus for every topic."""

    def __init__(
        self, resolver: TopicResolver, hub: Hub, last_slides: LastSlides, log: Any, observer: Observer | None = None
    ) -> None:
        """:param observer: is told how many clients each message was given to; None saves the call."""
        self._resolver = resolver
        self._hub = hub
        self._last_slides = last_slides
        self._log = log
        self._observer = observer
        self._waiting: dict[str, deque[Message]] = {}

    def receive(self, message: Message) -> None:
        """For :meth:`fanout.bus.Bus.start`."""
        country = topics.country_of(message.topic)
        if country is not None and country in self._waiting:
            self._waiting[country].append(message)
            return
        key = self._resolver.canonical_if_known(message.topic)
        if key is not None:
            self._publish(key, message)
        elif country is not None:
            self._wait(country, message)

    def _wait(self, country: str, message: Message) -> None:
        """The country is unknown: its messages wait until the directory has answered."""
        self._waiting[country] = deque([message], maxlen=_WAITING)
        looked_up = Deferred.fromCoroutine(self._resolver.canonical(message.topic))
        looked_up.addErrback(lambda failure: self._log.error("country.failed", reason=failure.getErrorMessage()))
        looked_up.addCallback(lambda _: self._release(country))

    def _release(self, country: str) -> None:
        """The directory has answered. A country without a code is its own key, as for its subscribers."""
        pending = self._waiting.pop(country)
        for message in pending:
            self._publish(self._resolver.canonical_as_known(message.topic), message)

    async def catch_up(self, moment: Callable[[], Awaitable[object]]) -> None:
        """Show subscribers what the other nodes have kept while this node was cut off from the bus.

        Another node may have kept a message that is still on its way to this node. So a topic on which the bus brings
        one in the meantime is left alone.

        :param moment: waits for as long as a message may take over the bus.
        """
        before = {topic: self._hub.last(topic) for topic in self._hub.topics()}
        kept = await self._last_slides.recall_many(before)
        await moment()
        for key, message in kept.items():
            last = self._hub.last(key)
            if last is before[key] and (last is None or _is_news(message, last)):
                self._offer(key, message)

    def _publish(self, key: str, message: Message) -> None:
        self._offer(key, message)
        if self._last_slides.is_shared:
            self._last_slides.keep(key, message)

    def _offer(self, key: str, message: Message) -> None:
        clients = self._hub.publish(key, message)
        if clients and self._observer is not None:
            self._observer.delivered(key, clients)


def _is_news(message: Message, last: Message) -> bool:
    return message.message_id != last.message_id and message.when >= last.when


class BusConsumer:
    """Hands the messages of the bus to guests, receiver and watchdog."""

    def __init__(
        self,
        reactor: Any,
        receiver: TopicReceiver,
        watchdog: Watchdog | None,
        report: Report,
        guests: Sequence[Guest] = (),
    ) -> None:
        """
        :param watchdog: of a stand-alone node; the watchdog of a cluster has a queue of its own.
        :param guests: a message that one of them takes goes nowhere else.
        """
        self._reactor = reactor
        self._receiver = receiver
        self._watchdog = watchdog
        self._report = report
        self._guests = guests

    def start(self, bus: Bus) -> None:
        """Receive from now on."""
        bus.start(self._receive, self._reconnected)

    def _receive(self, message: Message) -> None:
        if any(guest.hear(message) for guest in self._guests):
            if self._watchdog is not None:
                self._watchdog.log(message)
            return
        self._receiver.receive(message)
        if self._watchdog is not None:
            self._watchdog.hear(message)

    def _reconnected(self) -> None:
        """The connection to the bus is back."""
        self._reactor.callLater(_CATCH_UP_DELAY, self._catch_up)

    def _catch_up(self) -> None:
        caught_up = self._receiver.catch_up(lambda: deferLater(self._reactor, _ON_THE_WAY_SECONDS))
        Deferred.fromCoroutine(caught_up).addErrback(self._report, "catch_up.failed")


class JournalRestore:
    """Gives a stand-alone node the last message of each topic that its journal has: after a restart, new subscribers
    get it at once, as from memcached in a cluster.

    The journal's thread reads it while the node begins to listen. Clients that subscribe meanwhile are answered, and
    :meth:`recall` waits for the message of their topic, but not longer than :data:`RESTORE_SECONDS`; what is read later
    is offered to them. So it makes no difference to a client when it comes.
    """

    def __init__(
        self,
        reactor: Any,
        settings: RetainedSettings,
        hub: Hub,
        resolver: TopicResolver,
        guests: Sequence[Guest],
        watchdog: Watchdog,
    ) -> None:
        """:param watchdog: has the journal."""
        self._reactor = reactor
        self._octets = settings.MAX_LAST_MESSAGES_BYTES
        self._hub = hub
        self._resolver = resolver
        self._guests = guests
        self._watchdog = watchdog
        self._restored: dict[str, Message] = {}
        self._asking: list[Deferred[None]] = []
        self._is_answered = False

    def start(self, report: Report) -> None:
        """Begin to read. To be called before the watchdog asks the journal when topics were last alive."""
        timer = self._reactor.callLater(RESTORE_SECONDS, self._answer)
        restored = Deferred.fromCoroutine(self._restore())
        restored.addErrback(report, "journal.not_restored")
        restored.addBoth(lambda _: timer.cancel() if timer.active() else None)
        restored.addBoth(lambda _: self._answer())
        restored.addBoth(lambda _: self._restored.clear())

    async def recall(self, topic: str) -> Message | None:
        """For :class:`~radiovis.application.SlideMemory`: a message from before the start, if it is still the last."""
        if self._is_answered:
            return None
        answer: Deferred[None] = Deferred()
        self._asking.append(answer)
        await answer
        message = self._restored.get(topic)
        return message if message is not None and self._hub.last(topic) is message else None

    async def _restore(self) -> None:
        try:
            messages = await self._watchdog.latest(MAX_LAST_MESSAGES, self._octets)
        except LogError as error:
            log.warning("journal.not_restored", reason=str(error), consequence="topics are empty until they are sent")
            return
        for first in range(0, len(messages), _RESTORED_AT_ONCE):
            for message in messages[first : first + _RESTORED_AT_ONCE]:
                await self._put(message)
            await deferLater(self._reactor, 0)
        if messages:
            log.info("journal.restored", topics=len(messages))

    async def _put(self, message: Message) -> None:
        """Retain a message, unless there is a newer one."""
        if self._has_newer(message.topic) or any(guest.hear(message) for guest in self._guests):
            return
        key = await self._resolver.canonical(message.topic)
        if self._has_newer(key):
            return
        put = self._hub.publish if self._is_answered else self._hub.remember
        put(key, message)
        self._restored[key] = message

    def _has_newer(self, key: str) -> bool:
        """Whether a message came since the start. If two topics of the journal are one by now, the later one counts."""
        last = self._hub.last(key)
        return last is not None and last is not self._restored.get(key)

    def _answer(self) -> None:
        """Answer those that wait; nobody waits from now on."""
        self._is_answered = True
        asking, self._asking = self._asking, []
        for each in asking:
            each.callback(None)


class StationsRefresh:
    """Keeps a node's topics as the directory has them."""

    def __init__(self, resolver: TopicResolver, wall: Wall, report: Report) -> None:
        self._resolver = resolver
        self._wall = wall
        self._report = report

    def refresh(self) -> None:
        """Read the registered topics anew. The directory says itself when it is down."""
        refreshed = Deferred.fromCoroutine(self._refresh())
        refreshed.addErrback(lambda failure: failure.trap(DirectoryError))
        refreshed.addErrback(self._report, "tuning.failed")

    async def _refresh(self) -> None:
        await self._resolver.refresh()
        await self._wall.refresh()


def move_subscriptions(hub: Hub, resolver: TopicResolver, log: Any) -> None:
    """Move live subscriptions to their topics of today (contract §2, change 1); the resolver calls it on a change."""
    for cohort in hub.cohorts():
        topic = resolver.resolve_again(cohort.form.destination)
        if topic != cohort.topic:
            log.info("subscription.moved", destination=cohort.form.destination, clients=len(cohort.members))
            hub.move(cohort, topic)
