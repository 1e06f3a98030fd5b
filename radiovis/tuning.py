"""What a topic means here: country codes, ``*`` frequencies, and what is registered (contract §1.8).

The client keeps its own spelling outside; inside there is one key. A country is looked up once and then known, so
messages and subscriptions that were resolved before are resolved again without waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fanout.doors.application import Refused
from radiovis import topics
from radiovis.directory.interface import Channel, Directory, DirectoryError

_MISSHAPED = Refused(
    "Your destination does not match required format.",
    "An FM topic is /topic/fm/<gcc>/<pi>/<frequency>/<image or text>, such as /topic/fm/4e1/4000/09580/image.",
)


class Tuning:
    """Resolves topics to keys of the hub."""

    def __init__(self, directory: Directory, changed: Callable[[], None]) -> None:
        """:param changed: called when the directory has changed in a way that may move live subscriptions."""
        self._directory = directory
        self._changed = changed
        self._gcc: dict[str, str] = {}
        self._listed: frozenset[str] = frozenset()
        self._registered: frozenset[str] = frozenset()

    async def canonical(self, topic: str) -> str:
        """One spelling for all spellings of a topic. A country that cannot be looked up stays as it is (§1.8)."""
        country = topics.country_of(topic)
        if country is not None and country not in self._gcc:
            await self._learn(country)
        return self.canonical_as_known(topic)

    def canonical_as_known(self, topic: str) -> str:
        """As :meth:`canonical`, at once: a country that was never looked up with success stays as it is."""
        country = topics.country_of(topic)
        return topics.canonical(topic, self._gcc.get(country) if country else None)

    def canonical_if_known(self, topic: str) -> str | None:
        """As :meth:`canonical`, at once; None when the country was never looked up with success."""
        country = topics.country_of(topic)
        return self.canonical_as_known(topic) if country is None or country in self._gcc else None

    async def resolve(self, destination: str) -> str:
        """The key for somebody who wants to listen.

        :raises Refused: an FM topic without all its parts.
        """
        return self._resolve(await self.canonical(destination))

    def resolve_again(self, destination: str) -> str:
        """The key a destination has now, for somebody who listens to it already."""
        topic = self.canonical_as_known(destination)
        try:
            return self._resolve(topic)
        except Refused:
            return topic  # a `*` that was registered when it was asked for, and is no longer

    def _resolve(self, topic: str) -> str:
        """An FM radio gets its own frequency when that is listed, else the station's ``*`` if it registered one.

        The original sent every unlisted frequency to ``*``, registered or not (§1.8); who published to an exact
        frequency without a default picture was never heard.
        """
        if not topics.is_fm(topic) or topics.channel_of(topic) in self._listed:
            return topic
        if not topics.has_fm_shape(topic):
            raise _MISSHAPED
        wildcard = topics.any_frequency(topic)
        return wildcard if topics.channel_of(wildcard) in self._registered else topic

    async def refresh(self) -> None:
        """Read the registered channels anew, and every country met so far.

        :raises DirectoryError: then everything stays as it was.
        """
        channels = await self._directory.topics()
        before = dict(self._gcc), self._listed, self._registered
        for country in list(self._gcc):
            await self._learn(country)
        self._listed = frozenset([await self.canonical(each.topic) for each in _listed(channels)])
        self._registered = frozenset([await self.canonical(each.topic) for each in channels])
        if before != (self._gcc, self._listed, self._registered):
            self._changed()

    async def _learn(self, country: str) -> None:
        try:
            gcc = await self._directory.gcc(country)
        except DirectoryError:
            return  # what was known stays; what was not is asked again next time. The directory logs its outages.
        if gcc is not None:
            self._gcc[country] = gcc


def _listed(channels: Iterable[Channel]) -> list[Channel]:
    return [each for each in channels if each.listed]
