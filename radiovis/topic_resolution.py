"""The meaning of a destination: resolves country codes, ``*`` frequencies and registered channels (contract §1.8).

The domain name of a service over IP may be registered with its labels reversed (contract §2, change 15).
The client keeps its own spelling. The hub has one key for all spellings. The code of a country is looked up once and
kept, so a topic that was resolved before is resolved again without waiting.
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

# Clients may ask for any of 676 countries. Each refresh looks up only this many of those that had no code.
_ASKED_AGAIN = 10


class _IdChannels:
    """The registered channels of services over IP. PlugIt reverses their domain names (contract §2, change 15).

    :ivar reversed: the channels with reversed labels. Most directories have none.
    """

    def __init__(self, channels: Iterable[str] = ()) -> None:
        known = frozenset(channels)
        self.reversed = frozenset(each for each in known if topics.labels_reversed(each) is None)
        self._others = known - self.reversed
        self._longest = max(map(len, known), default=0)

    def registered(self, topic: str) -> str:
        """The topic. Its labels are reversed if it is only in a channel that is registered with reversed labels."""
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
        """:param changed: called when a change in the directory may move live subscriptions."""
        self.loaded = False
        self._directory = directory
        self._changed = changed
        self._gcc: dict[str, str] = {}
        self._unknown: dict[str, None] = {}  # looked up without success, the oldest look-up first
        self._listed: frozenset[str] = frozenset()
        self._registered: frozenset[str] = frozenset()
        self._ids = _IdChannels()

    async def canonical(self, topic: str) -> str:
        """The canonical spelling of a topic. A country that cannot be looked up stays as it is (contract §1.8)."""
        country = topics.country_of(topic)
        if country is not None and country not in self._gcc:
            await self._learn(country)
        return self.canonical_as_known(topic)

    def canonical_as_known(self, topic: str) -> str:
        """The same as :meth:`canonical`, without a look-up. A country without a known code stays as it is."""
        if self._ids.reversed:
            topic = self._ids.registered(topic)
        country = topics.country_of(topic)
        return topics.canonical(topic, self._gcc.get(country) if country else None)

    def canonical_if_known(self, topic: str) -> str | None:
        """The same as :meth:`canonical`, without a look-up. None if the code of the country is not known."""
        country = topics.country_of(topic)
        return self.canonical_as_known(topic) if country is None or country in self._gcc else None

    async def resolve(self, destination: str) -> str:
        """The key of the hub for a client that subscribes.

        :raises Refused: an FM topic does not have the required shape.
        """
        return self._resolve(await self.canonical(destination))

    def resolve_again(self, destination: str) -> str:
        """The current key of a destination, for a client that is already subscribed."""
        topic = self.canonical_as_known(destination)
        try:
            return self._resolve(topic)
        except Refused:
            return topic  # a `*` topic that was registered at SUBSCRIBE, and no longer is

    def _resolve(self, topic: str) -> str:
        """The key of a topic. An FM topic keeps its frequency if its channel is listed.

        Otherwise the key has ``*`` for the frequency if the station registered such a channel. The original used ``*``
        for every unlisted frequency (contract §1.8), so messages to an exact frequency without a default slide reached
        no radio.

        :raises Refused: an unlisted FM topic does not have the required shape.
        """
        if not topics.is_fm(topic) or topics.channel_of(topic) in self._listed:
            return topic
        if not topics.has_fm_shape(topic):
            raise _MISSHAPED
        wildcard = topics.any_frequency(topic)
        return wildcard if topics.channel_of(wildcard) in self._registered else topic

    async def refresh(self) -> None:
        """Read the registered channels again, and look up the codes of countries again.

        A country may have a code since the last look-up, or the directory may have been down when a radio asked.

        :raises DirectoryError: the channels could not be read; nothing was changed.
        """
        channels = await self._directory.topics()
        for country in [*self._gcc, *islice(self._unknown, _ASKED_AGAIN)]:
            if not await self._learn(country):
                break  # the directory is down; each further look-up might take as long as this one
        known = [(await self._canonical_of_registered(each.topic), each.listed) for each in channels]
        self._set_channels(
            frozenset(topic for topic, _ in known), frozenset(topic for topic, listed in known if listed)
        )
        self.loaded = True

    async def _canonical_of_registered(self, channel: str) -> str:
        """The canonical spelling of a registered channel. A service over IP keeps the order of its labels."""
        return channel if topics.is_id(channel) else await self.canonical(channel)

    def _set_channels(self, registered: frozenset[str], listed: frozenset[str]) -> None:
        """Replace the channels, and call ``changed`` in the same step, so that no subscription comes in between."""
        before = self._registered, self._listed
        self._registered, self._listed = registered, listed
        self._ids = _IdChannels(filter(topics.is_id, registered))
        if before != (registered, listed):
            self._changed()

    async def _learn(self, country: str) -> bool:
        """Look up the code of a country. A known code is kept if the look-up fails. The directory logs its outages.

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
