"""The canonical topic of whatever comes over the bus."""

from __future__ import annotations

import structlog

from radiovis import topics
from radiovis.directory.interface import DirectoryError
from radiovis.tuning import Tuning

log = structlog.get_logger(__name__)


class Keys:
    """Finds canonical topics, and asks for each country once: anybody may write of any, as often as he likes.

    What the directory did not know then it is asked for again with the list of topics.
    """

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._asked: set[str] = set()

    async def of(self, topic: str) -> str:
        """The canonical form; the topic as it is while its country is unknown."""
        country = topics.country_of(topic)
        if country is None or country in self._asked:
            return self._tuning.canonical_as_known(topic)
        try:
            key = await self._tuning.canonical(topic)
        except DirectoryError as error:
            log.warning("country.unknown", country=country, reason=str(error))
            key = topic
        self._asked.add(country)
        return key
