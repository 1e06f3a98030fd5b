"""What a topic means here: country codes, ``*`` frequencies, and what is registered (contract §1.8).

The domain name of a service on IP may be registered with its labels reversed (contract §2, change 15).
The client keeps its own spelling outside; inside there is one key. A country is looked up once and then known, so
messages and subscriptions that were resolved before are resolved again without waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from fanout.application.interface import Refused
from radiovis import topics
from radiovis.directory.interface import Directory, DirectoryError

_MISSHAPED = Refused(
    "Your destination does not match required format.",
    "An FM topic is /topic/fm/<gcc>/<pi>/<frequency>/<image or text>, such as /topic/fm/4e1/4000/09580/image.",
)

# Anybody may ask for any of 676 countries; those without a code are asked for again a few at a time.
_ASKED_AGAIN = 10


class _IdChannels:
    """The registered channels of services on IP, whose domain names PlugIt reverses (contract §2, change 15).

    :ivar reversed: those with reversed labels; most directories have none.
    """

    def __init__(self, channels: Iterable[str] = ()) -> None:
        known = frozenset(channels)
        self.reversed = frozenset(each for each in known if topics.labels_reversed(each) is None)
        self._others = known - self.reversed
        self._longest = max(map(len, known), default=0)

    def registered(self, topic: str) -> str:
        """The topic with reversed labels, if it lies in a channel that is registered so, and in no other one."""
        other = topics.labels_reversed(topic)
        if other is None:
            return topic
        found = False
        for prefix in topics.prefixes(topic, self._longest):
            if prefix in self._others:
                return topic
            found = found or topics.labels_reversed(prefix) in self.reversed
        return other if found else topic


class TopicResolver:
    """Resolves topics to keys of the hub.

    :ivar loaded: whether the registered channels have been read.
    """

    def __init__(self, directory: Directory, changed: Callable[[], None]) -> None:
        """:param changed: called when the directory has changed in a way that may move live subscriptions."""
        self.loaded = False
        self._directory = directory
        self._changed = changed
        self._gcc: dict[str, str] = {}
        self._unknown: dict[str, None] = {}  # asked for in vain, the longest ago first
        self._listed: frozenset[str] = frozenset()
        self._registered: frozenset[str] = frozenset()
        self._ids = _IdChannels()

    async def canonical(self, topic: str) -> str:
        """One spelling for all spellings of a topic. A country that cannot be looked up stays as it is (§1.8)."""
        country = topics.country_of(topic)
        if country is not None and country not in self._gcc:
            await self._learn(country)
        return self.canonical_as_known(topic)

    def canonical_as_known(self, topic: str) -> str:
        """As :meth:`canonical`, at once: a country that was never looked up with success stays as it is."""
        if self._ids.reversed:
            topic = self._ids.registered(topic)
        country = topics.country_of(topic)
        return topics.canonical(topic, self._gcc.get(country) if country else None)

    def canonical_if_known(self, topic: str) -> str | None:
        """As :meth:`canonical`, at once; None when the country was never looked up with success."""
        country = topics.country_of(topic)
        return self.canonical_as_known(topic) if country is None or country in self._gcc else None

    async def resolve(self, destination: str) -> str:
        """The key for a client that subscribes.

        :raises Refused: an FM topic without all its parts.
        """
        return self._resolve(await self.canonical(destination))

    def resolve_again(self, destination: str) -> str:
        """The key a destination has now, for a client that is subscribed to it."""
        topic = self.canonical_as_known(destination)
        try:
            return self._resolve(topic)
        except Refused:
            return topic  # a `*` that was registered when it was asked for, and is no longer

    def _resolve(self, topic: str) -> str:
        """An FM radio gets its own frequency when that is listed, else the station's ``*`` if it registered one.

        The original sent every unlisted frequency to ``*``, registered or not (§1.8); what was published to an exact
        frequency without a default picture reached no radio.
        """
        if not topics.is_fm(topic) or topics.channel_of(topic) in self._listed:
            return topic
        if not topics.has_fm_shape(topic):
            raise _MISSHAPED
        wildcard = topics.any_frequency(topic)
        return wildcard if topics.channel_of(wildcard) in self._registered else topic

    async def refresh(self) -> None:
        """Read the registered channels anew, and the countries met so far.

        A country without a code may have got one, or the directory was down when a radio asked for it.

        :raises DirectoryError: then everything stays as it was.
        """
        channels = await self._directory.topics()
        for country in [*self._gcc, *islice(self._unknown, _ASKED_AGAIN)]:
            if not await self._learn(country):
                break  # it is down, and each further question might take as long as this one
        known = [(await self._canonical_of_registered(each.topic), each.listed) for each in channels]
        self._set_channels(
            frozenset(topic for topic, _ in known), frozenset(topic for topic, listed in known if listed)
        )
        self.loaded = True

    async def _canonical_of_registered(self, channel: str) -> str:
        """A registered channel with a domain name stays: one with its labels reversed is another one."""
        return channel if topics.is_id(channel) else await self.canonical(channel)

    def _set_channels(self, registered: frozenset[str], listed: frozenset[str]) -> None:
        """In one step with the call of ``changed``: a subscription in between would be resolved differently."""
        before = self._registered, self._listed
        self._registered, self._listed = registered, listed
        self._ids = _IdChannels(filter(topics.is_id, registered))
        if before != (registered, listed):
            self._changed()

    async def _learn(self, country: str) -> bool:
        """Ask for a country's code. What was known stays known; the directory logs its outages.

        :return: whether the directory answered.
        """
        gcc, answered = None, True
        try:
            gcc = await self._directory.gcc(country)
        except DirectoryError:
            answered = False
        met = country in self._gcc or country in self._unknown
        self._unknown.pop(country, None)
        if gcc is None:
            if country not in self._gcc:
                self._unknown[country] = None
        elif gcc != self._gcc.get(country):
            self._gcc[country] = gcc
            if met:
                self._changed()
        return answered
