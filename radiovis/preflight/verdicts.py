"""What was found out about addresses: each is fetched once, however many publish it, and remembered for a while."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from radiovis.slides.fetch import Slide
from radiovis.slides.turns import host_of, share

BAD_SECONDS = 10.0
"""How long a bad slide counts as bad: who has mended it publishes it again at once."""
KEPT = 1_000
"""Addresses remembered; beyond it the oldest are forgotten."""
UNDER_WAY = 200
"""Addresses that are fetched or wait for their turn, half of them of one host; further ones are not looked at. Each has
its end in time."""

_LAST_MOMENT = 0.05
"""Seconds by which a fetch that had its turn at once is sure to end before its time here is over."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one address.

    :ivar complaints: what is wrong with the slide there; none: a radio can show it.
    :ivar looked: whether it could be looked at; the complaints then say why not.
    """

    complaints: tuple[str, ...]
    looked: bool = True


class Verdicts:
    """Asks for slides, and remembers those it was told of."""

    def __init__(self, clock: Any, fetch: Callable[[str], Awaitable[Slide]], *, seconds: float, kept: float) -> None:
        """
        :param clock: Twisted's reactor.
        :param fetch: fetches and looks at the slide of an address, within ``seconds`` from its turn; never fails.
        :param seconds: for one address, the wait for its turn included.
        :param kept: seconds a good slide counts as good without another look.
        """
        self._clock = clock
        self._fetch = fetch
        self._seconds = seconds
        self._kept = kept
        self._known: OrderedDict[str, tuple[float, Verdict]] = OrderedDict()
        self._under_way: dict[str, list[Deferred[Verdict]]] = {}
        self._hosts: Counter[str] = Counter()  # of those addresses
        self.fetched = 0

    @property
    def under_way(self) -> int:
        """How many are being looked at, or wait for it."""
        return len(self._under_way)

    def of(self, url: str) -> Deferred[Verdict]:
        """The verdict on an address, at once if it is known; in any case within the given time. Never fails."""
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
        looking = Deferred.fromCoroutine(self._fetched(url))
        looking.addTimeout(self._seconds + _LAST_MOMENT, self._clock, self._out_of_time).addCallback(self._found, url)

    async def _fetched(self, url: str) -> Verdict:
        return Verdict((await self._fetch(url)).complaints)

    def _found(self, verdict: Verdict, url: str) -> None:
        if verdict.looked:
            self._remember(verdict, url)
        self._hosts -= Counter((host_of(url),))  # keeps no zeros
        for asked in self._under_way.pop(url):
            asked.callback(verdict)

    def _out_of_time(self, _: object, __: float) -> Verdict:
        """A fetch that begins at once ends by itself before; this one waited for its turn, and was cut short."""
        complaint = f"not looked at: too many slides are waiting, and it was not complete within {self._seconds:g} s"
        return Verdict((complaint,), looked=False)

    def _remember(self, verdict: Verdict, url: str) -> None:
        lifetime = min(BAD_SECONDS, self._kept) if verdict.complaints else self._kept
        self._known[url] = (self._clock.seconds() + lifetime, verdict)
        self._known.move_to_end(url)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
