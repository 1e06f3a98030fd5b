"""The results of slide fetches by URL: a slide is fetched once, however many publish it, and remembered for a while."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from fanout.cache.bounded_dict import BoundedDict
from radiovis.slides.fetch import SECONDS, Slide, host_of, share

GOOD_SECONDS = 300.0
"""Seconds a good slide is not fetched again, however often it is published. Not longer, because another picture may be
stored under the same URL."""
BAD_SECONDS = 10.0
"""Seconds a bad slide counts as bad. Not longer, because a publisher publishes a corrected slide again at once."""
KEPT = 1_000
"""URLs that are remembered; beyond it the oldest are forgotten."""
UNDER_WAY = 200
"""URLs that are fetched or wait for a slot, at most half of them of one host; further ones are not fetched. Each ends
within a limited time."""

_LAST_MOMENT = 0.05
"""Seconds of margin, so that a fetch that had a slot at once ends by its own time-out, and not by the one here."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one URL.

    :ivar complaints: what is wrong with the slide; empty if a radio can show it.
    :ivar looked: whether it was fetched. If not, the complaints say why.
    """

    complaints: tuple[str, ...]
    looked: bool = True


class SlideVerdicts:
    """Has slides fetched, and remembers the results.

    :ivar fetched: how many were fetched since the start.
    """

    def __init__(self, clock: Any, fetch: Callable[[str], Awaitable[Slide]]) -> None:
        """
        :param clock: Twisted's reactor.
        :param fetch: fetches and checks a slide, within :data:`~radiovis.slides.fetch.SECONDS` from its slot; never
            fails. One URL has as long, the wait for a slot included.
        """
        self._clock = clock
        self._fetch = fetch
        self._known: BoundedDict[str, tuple[float, Verdict]] = BoundedDict(KEPT)
        self._under_way: dict[str, list[Deferred[Verdict]]] = {}
        self._hosts: Counter[str] = Counter()  # of those URLs
        self.fetched = 0

    @property
    def under_way(self) -> int:
        """How many are fetched, or wait for a slot."""
        return len(self._under_way)

    def of(self, url: str) -> Deferred[Verdict]:
        """The verdict on a URL: at once if it is known, otherwise within the time for a slide. Never fails."""
        asked: Deferred[Verdict] = Deferred()
        until, known = self._known.get(url, (0.0, None))
        if known is not None and self._clock.seconds() < until:
            asked.callback(known)
        elif url in self._under_way:
            self._under_way[url].append(asked)
        elif self._is_busy(host_of(url)):
            asked.callback(Verdict(("not looked at: too many slides are waiting to be",), looked=False))
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
        self._hosts -= Counter((host_of(url),))  # keeps no zeros
        for asked in self._under_way.pop(url):
            asked.callback(verdict)

    def _out_of_time(self, _: object, __: float) -> Verdict:
        """A fetch that begins at once has ended by its own time-out before. This one waited for a slot."""
        complaint = f"not looked at: too many slides are waiting, and it was not complete within {SECONDS:g} s"
        return Verdict((complaint,), looked=False)

    def _remember(self, verdict: Verdict, url: str) -> None:
        lifetime = BAD_SECONDS if verdict.complaints else GOOD_SECONDS
        self._known[url] = (self._clock.seconds() + lifetime, verdict)
