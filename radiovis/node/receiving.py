"""What comes from the bus, on its way to the hub."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred

from fanout.application.observer import Observer
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from radiovis import topics
from radiovis.last_slides import LastSlides
from radiovis.topic_resolution import TopicResolver

_PARKED = 1_000  # messages per country that wait for its code; the directory answers within seconds or fails


class Receiving:
    """Gives each message its key and hands it to the hub, in the order of the bus for every topic."""

    def __init__(
        self, resolver: TopicResolver, hub: Hub, last_slides: LastSlides, log: Any, observer: Observer | None = None
    ) -> None:
        """:param observer: is told how many clients each message was given to."""
        self._resolver = resolver
        self._hub = hub
        self._last_slides = last_slides
        self._log = log
        self._observer = observer or Observer()
        self._parked: dict[str, deque[Message]] = {}

    def receive(self, message: Message) -> None:
        """For :meth:`fanout.bus.Bus.start`."""
        country = topics.country_of(message.topic)
        if country is not None and country in self._parked:
            self._parked[country].append(message)
            return
        key = self._resolver.canonical_if_known(message.topic)
        if key is not None:
            self._publish(key, message)
        elif country is not None:
            self._park(country, message)

    def _park(self, country: str, message: Message) -> None:
        """The country was never met: what is said there waits until it was looked up."""
        self._parked[country] = deque([message], maxlen=_PARKED)
        looked_up = Deferred.fromCoroutine(self._resolver.canonical(message.topic))
        looked_up.addErrback(lambda failure: self._log.error("country.failed", reason=failure.getErrorMessage()))
        looked_up.addCallback(lambda _: self._release(country))

    def _release(self, country: str) -> None:
        """Unknown or not, the wait is over: a country without a code is its own key, as for its listeners."""
        pending = self._parked.pop(country)
        for message in pending:
            self._publish(self._resolver.canonical_as_known(message.topic), message)

    async def catch_up(self, moment: Callable[[], Awaitable[object]]) -> None:
        """The bus is heard again: show what the other nodes have kept meanwhile to those who missed it.

        Another node may have kept what is still on its way to us, so a topic the bus brings something about by then
        is left alone: otherwise its radios would be shown that twice, or before an older one.

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
        self._last_slides.keep(key, message)

    def _offer(self, key: str, message: Message) -> None:
        clients = self._hub.publish(key, message)
        if clients:
            self._observer.delivered(key, clients)


def _is_news(message: Message, last: Message) -> bool:
    return message.message_id != last.message_id and message.when >= last.when
