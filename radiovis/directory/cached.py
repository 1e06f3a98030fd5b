"""A directory that is asked no more than needed, and missed as little as possible while it is down."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import structlog
from beaker.cache import Cache
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fanout.cache.memcached import Memcached, cache_key
from radiovis.directory.interface import Channel, Default, Directory, DirectoryError
from radiovis.directory.plugit import CHANNELS, DEFAULT, GCC, TOPICS, Kind

FRESH = 60.0
"""Seconds an answer is taken without asking again: the original's in-process cache (contract §1.10)."""
SHARED = 600.0
"""Seconds memcached keeps an answer: the original's (contract §1.10)."""
STALE = 86400.0
"""Seconds an answer serves while the directory is down: an outage over night is survived."""
RETRY = 10.0
"""Seconds between two questions whose last one failed."""
GCC_LOOKUPS = 4
"""Look-ups of country codes under way at once: anybody may cause them, by subscribing (contract §2, fault 7)."""

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _CachedAnswer(Generic[T]):
    """An answer as it is kept in this process: given at ``at``, not to be asked again before ``until`` (Unix time)."""

    answer: T
    at: float
    until: float
    failing: bool = False


class _Busy(DirectoryError):
    """Not asked at all, so that it says nothing about how the directory is."""


class CachedDirectory:
    """A :class:`~radiovis.directory.interface.Directory` in front of another one.

    Each answer is kept by Beaker in the process and, but for the channels a station may publish to, shared with the
    other nodes through memcached. Callers who ask the same at the same time cause one question. When the directory
    fails, its last answer serves on; only the first caller waits for the failure, further attempts are made
    behind the callers' backs. Logins are always asked for anew.
    """

    def __init__(
        self,
        directory: Directory,
        cache: Cache,
        memcached: Memcached | None,
        now: Callable[[], float],
        *,
        fresh: float = FRESH,
        shared: float = SHARED,
        stale: float = STALE,
        retry: float = RETRY,
        gcc_lookups: int = GCC_LOOKUPS,
    ) -> None:
        """
        :param cache: a Beaker cache of a namespace nobody else uses in this process.
        :param memcached: shared with the other nodes; None without, and for a stations file, which every node has.
        :param now: seconds since 1970, by the machine's clock.
        :param fresh: seconds an answer is taken without asking again.
        :param shared: seconds memcached keeps an answer, and the other nodes take a country's code from it.
        :param stale: seconds an answer serves while the directory fails.
        :param retry: seconds between two questions whose last one failed.
        :param gcc_lookups: country codes asked for at once; further ones fail at once.
        """
        self._directory = directory
        self._cache = cache
        self._memcached = memcached
        self._now = now
        self._fresh, self._shared, self._stale, self._retry = fresh, shared, stale, retry
        self._gcc_lookups = gcc_lookups
        self._asking_gcc = 0
        self._flights: dict[tuple[int, str], list[Deferred[Any]]] = {}
        self._generation = 0
        self._forgotten_at = float("-inf")
        self._down = False

    @property
    def down(self) -> bool:
        """Whether the directory failed when it was asked last."""
        return self._down

    async def check_auth(self, login: str, passcode: str, address: str) -> bool:
        """Whether this login may publish from this address; never from a cache."""
        return await self._directory.check_auth(login, passcode, address)

    async def channels(self, station: str) -> tuple[str, ...]:
        """The topic prefixes a station may publish to."""
        return await self._answer(CHANNELS, station, partial(self._directory.channels, station))

    async def gcc(self, country: str) -> str | None:
        """The GCC of a country code; None for anything that is not two small letters, without asking."""
        if not re.fullmatch(r"[a-z]{2}", country):
            return None
        return await self._answer(GCC, country, partial(self._ask_gcc, country))

    async def topics(self) -> tuple[Channel, ...]:
        """Every registered channel."""
        return await self._answer(TOPICS, "all", self._directory.topics)

    async def default(self, channel: int) -> Default | None:
        """What a silent channel shows."""
        return await self._answer(DEFAULT, str(channel), partial(self._directory.default, channel))

    def forget(self) -> None:
        """Take none of the answers given so far any longer: the stations file has changed."""
        self._generation += 1
        self._forgotten_at = self._now()

    async def _ask_gcc(self, country: str) -> str | None:
        if self._asking_gcc >= self._gcc_lookups:
            raise _Busy(f"country {country}: {self._asking_gcc} other countries are being looked up already")
        self._asking_gcc += 1
        try:
            return await self._directory.gcc(country)
        finally:
            self._asking_gcc -= 1

    async def _answer(self, kind: Kind[T], subject: str, ask: Callable[[], Awaitable[T]]) -> T:
        key = cache_key("radiovis", kind.name, subject)
        known = self._kept(kind, key)
        if known and self._now() < known.until:
            return known.answer
        answer: Deferred[T] = self._join(key, partial(self._renew, kind, key, known, ask))
        if known and known.failing:
            answer.addErrback(_log_failure)
            return known.answer
        return await answer

    def _join(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """The outcome of this work, which is begun unless somebody waits for it already.

        Each caller has a Deferred of his own, so that one who gives up does not cancel the others.
        """
        flight = (self._generation, key)
        mine: Deferred[T] = Deferred()
        if flight in self._flights:
            self._flights[flight].append(mine)
        else:
            self._flights[flight] = [mine]
            Deferred.fromCoroutine(work()).addBoth(self._landed, flight)
        return mine

    def _landed(self, outcome: Any, flight: tuple[int, str]) -> None:
        for waiting in self._flights.pop(flight):
            waiting.callback(outcome)  # Does nothing for one who has given up.

    async def _renew(
        self, kind: Kind[T], key: str, known: _CachedAnswer[T] | None, ask: Callable[[], Awaitable[T]]
    ) -> T:
        now = self._now()  # Before asking: what is forgotten meanwhile must not come back with this answer.
        shared = await self._from_memcached(kind, key)
        if shared and (known is None or shared.at > known.at):
            known = shared
            if known.until > now:
                return self._keep(kind, key, known)
        try:
            answer = await ask()
        except DirectoryError as error:
            if not isinstance(error, _Busy):
                self._failed(error)
            if known is None:
                raise
            until = self._now() + self._retry
            return self._keep(kind, key, replace(known, until=until, failing=True))
        self._worked()
        if kind is GCC and answer is None and known:
            answer = known.answer  # PlugIt says the same of a country nobody knows and of a trouble of its own.
        self._share(kind, key, answer, now)
        return self._keep(kind, key, _CachedAnswer(answer, now, self._now() + self._fresh))

    def _kept(self, kind: Kind[T], key: str) -> _CachedAnswer[T] | None:
        """What Beaker has, unless it is of no use any more."""
        try:
            answer, at, until, failing = self._cache.get(key, expiretime=self._stale)
            entry = _CachedAnswer(kind.from_json(answer), float(at), float(until), bool(failing))
        except (KeyError, ValueError, TypeError):
            return None
        return entry if self._usable(entry.at) else None

    def _keep(self, kind: Kind[T], key: str, entry: _CachedAnswer[T]) -> T:
        kept = [kind.to_json(entry.answer), entry.at, entry.until, entry.failing]
        self._cache.put(key, kept, expiretime=self._stale)
        return entry.answer

    def _usable(self, at: float) -> bool:
        return at > self._forgotten_at and self._now() - at < self._stale

    async def _from_memcached(self, kind: Kind[T], key: str) -> _CachedAnswer[T] | None:
        """What the other nodes know; garbage counts as nothing."""
        value = await self._memcached.get(key) if self._memcached and kind.shared else None
        if value is None:
            return None
        now = self._now()
        try:
            content = json.loads(value)
            answer, at = kind.from_json(content["answer"]), min(float(content["at"]), now)  # Clocks differ.
        except (ValueError, TypeError, KeyError, RecursionError):
            log.warning("directory.garbage_in_memcached", key=key)
            return None
        until = min(now + self._fresh, at + (self._shared if kind.settled else self._fresh))
        return _CachedAnswer(answer, at, until) if self._usable(at) else None

    def _share(self, kind: Kind[T], key: str, answer: T, at: float) -> None:
        """Tell the other nodes. A country nobody knows is not worth it: there are many, and it may become known."""
        if self._memcached and kind.shared and (answer is not None or kind is not GCC):
            value = json.dumps({"answer": kind.to_json(answer), "at": at}).encode()
            self._memcached.set(key, value, int(self._shared)).addErrback(_log_failure)

    def _failed(self, error: DirectoryError) -> None:
        if not self._down:
            log.warning("directory.down", error=str(error))
        self._down = True

    def _worked(self) -> None:
        if self._down:
            log.info("directory.up")
        self._down = False


def _log_failure(failure: Failure) -> None:
    """For what nobody waits for. A directory that fails does not come here."""
    log.error("directory.bug", error=failure.getErrorMessage())
