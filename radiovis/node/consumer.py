"""Handles the messages of the bus on a node, and changes of the stations.

A message goes to the guest application that owns its topic. If there is none, the message gets its canonical key and
goes to the hub, to memcached for the other nodes, and to the watchdog of a stand-alone node. Three rules hold:

- Messages of one topic reach the hub in the order of the bus. A message of a country with an unknown code waits until
  the directory has answered, and so do all later messages of that country.
- A node that was disconnected from the bus gets the messages it missed from the stored messages of the bus
  (:class:`~fanout.bus.interface.RememberingBus`), before anything new. Clients that subscribed meanwhile may have got
  some of them from memcached: no message is shown twice, and no older one after a newer one. At the start of the node
  these are not missed messages, but the retained ones: see :mod:`radiovis.node.restore`.
- If the stored messages are incomplete, or there are none, the node catches up from memcached. Messages that are still
  on their way over the bus are skipped; otherwise subscribers would get them twice, or get an older value after a newer
  one. A message from memcached may arrive over the bus much later, if its publisher got no confirm and sends it again.
  The publisher's numbers tell whether this message, or a later one, was already shown.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from fanout.application.guests import Guest
from fanout.application.observer import Observer, Report
from fanout.bus.duplicates import is_later
from fanout.bus.interface import Bus, RememberingBus, Replay
from fanout.cache.bounded_dict import BoundedDict
from fanout.hub.hub import MAX_LAST_MESSAGES, Hub
from fanout.hub.message import Message
from fanout.process.logs import Throttle
from radiovis import topics
from radiovis.directory.interface import LONGEST_TEXT_BODY, DirectoryError, body_fault
from radiovis.http.wall import Wall
from radiovis.last_slides import LastSlides
from radiovis.node.restore import Restore
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.watchdog import Watchdog

LastShown = Mapping[str, Message | None]
"""The last message of each topic with subscribers."""
Put = Callable[[str, Message], int]
"""Retains a message under its canonical key, and offers it to subscribers. Returns their number."""

_WAITING = 1_000
"""How many new messages of one country may wait for its code. The directory answers within seconds, or fails."""
_WAITING_OCTETS = 33_554_432
"""How many octets the new messages of all countries may have that wait for a code: as many as a station may publish in
a second (:data:`radiovis.publish_rights.PUBLISH_OCTETS`)."""
_CATCH_UP_DELAY = 0.5
"""Seconds after which the other nodes have written to memcached the messages published just before we received
again."""
_ON_THE_WAY_SECONDS = 1.0
"""Seconds that a message may take over the bus after another node has already stored it."""
_AT_ONCE = 200
"""How many missed messages are handled in one turn of the reactor. Clients and the bus wait for this many at most."""
_LONG_TEXT_SECONDS = 60.0
"""Seconds between two log lines about too long texts of a topic."""

log = structlog.get_logger(__name__)


class _Country:
    """Messages that wait for the code of one country, in the order of the bus.

    :ivar kept: missed messages read from the bus, and those that arrived before them: none of these is dropped.
    :ivar new: messages that arrived since then.
    :ivar octets: the weight of the new ones.
    :ivar dropped: how many of the new ones were dropped for later ones.
    """

    def __init__(self) -> None:
        self.kept: list[tuple[Message, Put]] = []
        self.new: deque[tuple[Message, Put]] = deque()
        self.octets = 0
        self.dropped = 0

    def drop_oldest(self) -> None:
        self.octets -= self.new.popleft()[0].weight
        self.dropped += 1


class WaitingMessages:
    """Messages of the countries whose code the directory was asked for.

    New messages are limited, for each country (:data:`_WAITING`) and for all together (:data:`_WAITING_OCTETS`). Beyond
    the limit the country with the most loses its oldest, because a later message of a topic matters more than an
    earlier one.
    """

    def __init__(self) -> None:
        self._countries: dict[str, _Country] = {}

    def __contains__(self, country: str | None) -> bool:
        return country in self._countries

    def add(self, country: str, message: Message, put: Put) -> None:
        """Add a new message."""
        waiting = self._countries.setdefault(country, _Country())
        waiting.new.append((message, put))
        waiting.octets += message.weight
        if len(waiting.new) > _WAITING:
            waiting.drop_oldest()
        while sum(each.octets for each in self._countries.values()) > _WAITING_OCTETS:
            max(self._countries.values(), key=lambda each: each.octets).drop_oldest()

    def add_missed(self, country: str, missed: list[Message], put: Put) -> None:
        """Add missed messages after those that wait already. Their number is limited when they are read."""
        waiting = self._countries.setdefault(country, _Country())
        waiting.kept += [*waiting.new, *((message, put) for message in missed)]
        waiting.new.clear()
        waiting.octets = 0

    def take(self, country: str) -> tuple[list[tuple[Message, Put]], int]:
        """Remove and return all messages that wait for this code, and the number of dropped ones."""
        waiting = self._countries.pop(country)
        return [*waiting.kept, *waiting.new], waiting.dropped


class TopicReceiver:
    """Gives each message its canonical key and passes it to the hub, in the order of the bus for every topic."""

    def __init__(
        self, resolver: TopicResolver, hub: Hub, last_slides: LastSlides, log: Any, observer: Observer | None = None
    ) -> None:
        """:param resolver: finds canonical topics.
        :param hub: gets the messages.
        :param last_slides: stores the retained messages for all nodes.
        :param log: the logger.
        :param observer: gets the number of clients for each message; None saves the call.
        """
        self._resolver = resolver
        self._hub = hub
        self._last_slides = last_slides
        self._log = log
        self._observer = observer
        self._throttle = Throttle(time.monotonic)
        self._waiting = WaitingMessages()
        self._looked_up: dict[str, Deferred[Any]] = {}
        self._told: BoundedDict[str, str] = BoundedDict(MAX_LAST_MESSAGES)  # serials of messages from memcached
        self._long_texts = Throttle(time.monotonic, _LONG_TEXT_SECONDS)

    def receive(self, message: Message) -> None:
        """Handle a message of the bus; see :meth:`fanout.bus.Bus.start`."""
        country = topics.country_of(message.topic)
        if country is not None and country in self._waiting:
            self._waiting.add(country, message, self._hub.publish)
            return
        key = self._resolver.canonical_if_known(message.topic)
        if key is not None:
            self._show(key, message, self._hub.publish)
        elif country is not None:
            self._waiting.add(country, message, self._hub.publish)
            self._look_up(country, message.topic)

    def _look_up(self, country: str, topic: str) -> None:
        """Ask the directory for an unknown country. Its messages wait for the answer."""
        looked_up = self._looked_up[country] = Deferred.fromCoroutine(self._resolver.canonical(topic))
        looked_up.addErrback(self._not_looked_up, country)
        looked_up.addCallback(lambda _: self._release(country))

    def _not_looked_up(self, failure: Failure, country: str) -> None:
        """Each message of an unknown country asks the directory again, also while that is down."""
        if self._throttle.allow(country):
            held_back = self._throttle.held_back(country)
            reason = failure.getErrorMessage()
            self._log.error("country.failed", country=country, reason=reason, held_back=held_back)

    def _release(self, country: str) -> None:
        """Show the messages that waited for the directory's answer. A country without a code is its own key, as for its
        subscribers.
        """
        del self._looked_up[country]
        waiting, dropped = self._waiting.take(country)
        if dropped:
            self._log.warning("country.dropped", country=country, messages=dropped)
        for message, put in waiting:
            self._show(self._resolver.canonical_as_known(message.topic), message, put)

    def released(self) -> Deferred[Any]:
        """A Deferred that fires when all messages that wait now for the code of their country are shown."""
        return DeferredList(list(self._looked_up.values()))

    async def catch_up(self, moment: Callable[[], Awaitable[object]]) -> None:
        """Show subscribers the messages that other nodes stored while this node was disconnected from the bus.

        Another node may have stored a message that is still on its way to this node. Therefore a topic is skipped if
        the bus delivers a message on it in the meantime.

        :param moment: waits for as long as a message may take over the bus.
        """
        before = self.last_shown()
        kept = await self._last_slides.recall_many(before)
        await moment()
        for key, message in kept.items():
            last = self._hub.last(key)
            if self._was_shown(key, message.serial):
                continue
            if last is before[key] and (last is None or self._last_slides.is_later(key, message, last)):
                self._offer(key, message, self._hub.publish)
                if message.serial:
                    self._told[key] = message.serial

    @property
    def can_catch_up(self) -> bool:
        """Whether the nodes share their retained messages."""
        return self._last_slides.is_shared

    def last_shown(self) -> LastShown:
        """The last message that subscribers got, for each topic with subscribers. Call this before :meth:`replay`."""
        return {topic: self._hub.last(topic) for topic in self._hub.topics()}

    async def replay(
        self, messages: Sequence[Message], before: LastShown, put: Put, next_turn: Callable[[], Awaitable[object]]
    ) -> None:
        """Show subscribers the missed messages, and retain them.

        :param messages: the messages in their order.
        :param before: the result of :meth:`last_shown` before the first of them was read.
        :param put: retains a message and offers it to subscribers.
        :param next_turn: waits for the next turn of the reactor: there may be as many messages as topics.
        """
        numbers: dict[tuple[str, str, bytes], tuple[int, int]] = {}
        unknown: dict[str, list[Message]] = defaultdict(list)
        for number, message in enumerate(messages):
            key = self._resolver.canonical_if_known(message.topic)
            if key is not None:
                numbers[key, message.message_id, message.body] = number, message.when
            if number % _AT_ONCE == _AT_ONCE - 1:
                await next_turn()
        for number, message in enumerate(messages):
            key = self._resolver.canonical_if_known(message.topic)
            if key is None:
                unknown[topics.country_of(message.topic) or ""].append(message)
            elif self._is_unseen(key, message, number, numbers, before):
                self._show(key, message, put)
            if number % _AT_ONCE == _AT_ONCE - 1:
                await next_turn()
        for country, missed in unknown.items():
            self._waiting.add_missed(country, missed, put)
            if country not in self._looked_up:
                self._look_up(country, missed[0].topic)

    def _is_unseen(
        self,
        key: str,
        message: Message,
        number: int,
        numbers: Mapping[tuple[str, str, bytes], tuple[int, int]],
        before: LastShown,
    ) -> bool:
        """Whether a message is later than those that subscribers got. They may have got it, or a later one, from
        memcached. :meth:`_show` handles messages from memcached of an earlier reading.

        :param numbers: the position and "when" of all missed messages. The positions are in the order of the bus;
            clocks may be wrong.
        """
        last = self._hub.last(key)
        if last is None:
            return True
        later = is_later(message.serial, last.serial)
        if later is not None:
            return later
        seen, when = numbers.get((key, last.message_id, last.body), (None, 0))
        if last is before.get(key):  # It came from the bus, or from memcached after an earlier reading failed.
            return seen is None or when != last.when or number > seen
        if seen is not None:
            return number > seen
        return message.when >= last.when or not any(self._hub.listeners(key))

    def _show(self, key: str, message: Message, put: Put) -> None:
        if not self._was_shown(key, message.serial):
            self._offer(key, message, put)
        if self._last_slides.is_shared:
            self._last_slides.keep(key, message)

    def _was_shown(self, key: str, serial: str) -> bool:
        """Whether this message, or a later one of its publisher, was shown because it was in memcached. Messages of
        other publishers may have been shown since then.
        """
        if not serial:
            return False
        told = self._told.get(key)
        if told is not None:
            later = is_later(serial, told)
            if later:
                del self._told[key]  # The publisher has published a later message.
            if later is not None:
                return not later
        last = self._hub.last(key)
        return last is not None and is_later(serial, last.serial) is False

    def _offer(self, key: str, message: Message, put: Put) -> None:
        if len(message.body) > LONGEST_TEXT_BODY and message.origin is None:
            self._check_text(message)
        clients = put(key, message)
        if clients and self._observer is not None:
            self._observer.delivered(key, clients)

    def _check_text(self, message: Message) -> None:
        """Nobody has checked a message without an origin: a device has published it to the broker, or the watchdog. It
        is shown nevertheless, as other nodes may run another version.
        """
        fault = body_fault(message.topic, message.body)
        if fault and self._long_texts.allow(message.topic):
            self._log.warning("bus.long_text", topic=message.topic, reason=f"its text {fault}")


class BusConsumer:
    """Passes the messages of the bus to guests, receiver and watchdog."""

    def __init__(
        self,
        reactor: Any,
        receiver: TopicReceiver,
        restore: Restore,
        watchdog: Watchdog | None,
        report: Report,
        guests: Sequence[Guest] = (),
    ) -> None:
        """
        :param reactor: Twisted's reactor.
        :param receiver: gets the messages of RadioVIS.
        :param restore: gets the first missed messages of the bus.
        :param watchdog: the watchdog of a stand-alone node; the watchdog of a cluster has a queue of its own.
        :param report: logs an error.
        :param guests: a message that one of them accepts goes nowhere else.
        """
        self._reactor = reactor
        self._receiver = receiver
        self._restore = restore
        self._watchdog = watchdog
        self._report = report
        self._guests = guests

    def start(self, bus: Bus) -> None:
        """Receive from now on, missed messages before all others."""
        self._bus = bus
        if isinstance(bus, RememberingBus):
            bus.remember(self._begin_replay)
        bus.start(self._receive, self._reconnected)

    def _receive(self, message: Message) -> None:
        if any(guest.hear(message) for guest in self._guests):
            if self._watchdog is not None:
                self._watchdog.log(message)
            return
        self._receiver.receive(message)
        if self._watchdog is not None:
            self._watchdog.hear(message)

    def _begin_replay(self) -> Replay:
        return partial(self._replay, self._receiver.last_shown())

    async def _replay(self, before: LastShown, messages: Sequence[Message]) -> None:
        """Handle the messages that this node missed, after the bus has read them."""
        others = []
        for number, message in enumerate(messages):
            if not any(guest.hear(message) for guest in self._guests):
                others.append(message)
            if number % _AT_ONCE == _AT_ONCE - 1:
                await self._wait()
        await self._receiver.replay(others, before, self._restore.put, self._wait)
        if self._bus.state().connected:  # Otherwise it was read in part; the next connection reads the rest.
            self._receiver.released().addCallback(lambda _: self._restore.end())

    def _reconnected(self) -> Deferred[None]:
        """Catch up: the connection to the bus works, and the bus does not know the missed messages. Fires when they are
        shown.
        """
        if self._watchdog is None:  # The journal of a stand-alone node is read meanwhile.
            self._restore.end()
        caught_up = Deferred.fromCoroutine(self._catch_up())
        return caught_up.addErrback(self._report, "catch_up.failed")

    async def _catch_up(self) -> None:
        if self._receiver.can_catch_up:
            await self._wait(_CATCH_UP_DELAY)
            await self._receiver.catch_up(lambda: self._wait(_ON_THE_WAY_SECONDS))

    def _wait(self, seconds: float = 0.0) -> Deferred[None]:
        return deferLater(self._reactor, seconds)


class StationsRefresh:
    """Keeps the topics of a node in accordance with the directory."""

    def __init__(self, resolver: TopicResolver, wall: Wall, report: Report) -> None:
        self._resolver = resolver
        self._wall = wall
        self._report = report

    def refresh(self) -> None:
        """Read the registered topics again. The directory itself logs when it is down."""
        refreshed = Deferred.fromCoroutine(self._refresh())
        refreshed.addErrback(lambda failure: failure.trap(DirectoryError))
        refreshed.addErrback(self._report, "tuning.failed")

    async def _refresh(self) -> None:
        await self._resolver.refresh()
        await self._wall.refresh()


def move_subscriptions(hub: Hub, resolver: TopicResolver, log: Any) -> None:
    """Move subscriptions to their current topics (contract §2, change 1). The resolver calls this when topics
    change.
    """
    for cohort in hub.cohorts():
        topic = resolver.resolve_again(cohort.form.destination)
        if topic != cohort.topic:
            log.info("subscription.moved", destination=cohort.form.destination, clients=len(cohort.members))
            hub.move(cohort, topic)
