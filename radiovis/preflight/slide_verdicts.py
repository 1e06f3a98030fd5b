"""The results of slide fetches by URL. A slide is fetched once for all its publishers, and its result is cached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from fanout.cache.bounded_dict import BoundedDict
from radiovis.slides.fetch import SECONDS, Slide, host_of, share

GOOD_SECONDS = 300.0
"""Seconds for which the result of a good slide is kept. They are limited, because another picture may be stored under
the same URL."""
BAD_SECONDS = 10.0
"""Seconds for which the result of a bad slide is kept. They are few, because publishers correct a slide and publish it
again soon."""
KEPT = 1_000
"""URLs whose results are kept. Above this number the oldest results are dropped."""
UNDER_WAY = 200
"""URLs that are being fetched or wait for a slot; at most half of them are of one host. Above this number URLs are not
fetched. Each fetch ends within a limited time."""

_LAST_MOMENT = 0.05
"""Seconds of margin. With it, a fetch that got a slot at once ends by its own time-out, and not by the one here."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one URL.

    :ivar complaints: the problems of the slide; empty if a radio can show it.
    :ivar looked: whether the slide was fetched. If not, the complaints give the reason.
    """

    complaints: tuple[str, ...]
    looked: bool = True


class SlideVerdicts:
    """Fetches slides, and caches the results.

    :ivar fetched: number of fetches since the start.
    """

    def __init__(self, clock: Any, fetch: Callable[[str], Awaitable[Slide]]) -> None:
        """
        :param clock: Twisted's reactor.
        :param fetch: fetches and checks a slide. It never fails, and ends within
            :data:`~radiovis.slides.fetch.SECONDS` after it gets a slot. A verdict may take this time including the wait
            for the slot.
        """
        self._clock = clock
        self._fetch = fetch
        self._known: BoundedDict[str, tuple[float, Verdict]] = BoundedDict(KEPT)
        self._under_way: dict[str, list[Deferred[Verdict]]] = {}
        self._hosts: Counter[str] = Counter()  # number of these URLs for each host
        self.fetched = 0

    @property
    def under_way(self) -> int:
        """Number of URLs that are being fetched or wait for a slot."""
        return len(self._under_way)

    def of(self, url: str) -> Deferred[Verdict]:
        """The verdict on a URL: at once if it is cached, otherwise within the time for a slide. Never fails."""
        asked: Deferred[Verdict] = Deferred()
        until, known = self._known.get(url, (0.0, None))
        if known is not None and self._clock.seconds() < until:
            asked.callback(known)
        elif url in self._under_way:
            self._under_way[url].append(asked)
        elif self._is_busy(host_of(url)):
            asked.callback(Verdict(("not checked: too many slides wait for a check",), looked=False))
        else:
            self._under_way[url] = [asked]
            self._look(url)
        return asked

    def _is_busy(self, host: str) -> bool:
        return len(self._under_way) >= UNDER_WAY or self._hosts[host] >= share(UNDER_WAY)

    def _look(self, url: str) -> None:
        self.fetched += 1
        self._hosts[host_of(url)] += 1
        fetched = Deferred.fromCoroutine(self._fetched(url))
        fetched.addTimeout(SECONDS + _LAST_MOMENT, self._clock, self._out_of_time).addCallback(self._found, url)

    async def _fetched(self, url: str) -> Verdict:
        return Verdict((await self._fetch(url)).complaints)

    def _found(self, verdict: Verdict, url: str) -> None:
        if verdict.looked:
            self._remember(verdict, url)
        self._hosts -= Counter((host_of(url),))  # this operator removes entries of 0
        for asked in self._under_way.pop(url):
            asked.callback(verdict)

    def _out_of_time(self, _: object, __: float) -> Verdict:
        """The verdict on a slide that waited too long for a slot. Other fetches end earlier by their own time-out."""
        complaint = f"not checked: too many slides wait, and the fetch was not complete within {SECONDS:g} s"
        return Verdict((complaint,), looked=False)

    def _remember(self, verdict: Verdict, url: str) -> None:
        lifetime = BAD_SECONDS if verdict.complaints else GOOD_SECONDS
        self._known[url] = (self._clock.seconds() + lifetime, verdict)
