"""A directory with caches: few questions reach the real directory, and answers remain available during its outages.

Each answer is stored twice. This process stores it in a Beaker cache, which the setting ``CACHE_OPTS`` selects. The
nodes share it through a second Beaker cache, in memcached, whose calls are made in threads. Both keep it longer than it
is *fresh*:

* fresh (``DIRECTORY_FRESH_SECONDS``): the answer is returned without asking the directory.
* shared (:data:`SHARED_SECONDS`): an answer of another node is found in memcached. A country's code is then used
  without asking; any other answer only if it is fresh.
* stale (``DIRECTORY_STALE_SECONDS``): the answer is returned only while the directory fails.

Callers that ask the same question at the same time share one call. In an outage only the first caller waits for the
failure. Until the directory works again, callers get the stale answer at once, and a new attempt is made in the
background every :data:`RETRY` seconds.

Answers are stored as JSON. Values that are read back are checked, because other programs may write to memcached. Logins
are never cached. The channels to which a station may publish are not shared, because memcached has no passwords.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import structlog
from beaker.cache import Cache
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fanout.cache.beaker_backend import SharedCache
from fanout.cache.memcached import cache_key
from fanout.process.logs import Throttle
from radiovis.directory.interface import Channel, Default, Directory, DirectoryError, checked_prefix
from radiovis.settings import Settings

SHARED_SECONDS = 600
"""Seconds for which memcached keeps an answer for the other nodes, and for which a country's code from memcached is
used without asking. Ten minutes are enough for a node that starts while PlugIt is down, and a country's code hardly
ever changes."""
RETRY = 10.0
"""Seconds between two attempts while the directory fails."""
GCC_LOOKUPS = 4
"""How many country codes are looked up at the same time. Anonymous clients cause look-ups by subscribing (contract §2,
fault 7)."""

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _NotAsked(DirectoryError):
    """The directory was not asked, so the error says nothing about its health."""


@dataclass(frozen=True, slots=True)
class _Question(Generic[T]):
    """One kind of question.

    :ivar name: part of its keys in the caches.
    :ivar shared: whether nodes share the answers.
    :ivar settled: whether an answer changes so rarely that other nodes use it without asking, even if it is not fresh.
    :ivar to_json: converts an answer to a JSON value.
    :ivar from_json: converts it back; raises ValueError or TypeError for any other value.
    """

    name: str
    shared: bool
    settled: bool
    to_json: Callable[[T], Any]
    from_json: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class _CachedAnswer(Generic[T]):
    """An answer that was given at the time ``at``. The directory is not asked again before ``until``. Both are Unix
    times in seconds.

    :ivar failing: whether the directory failed when it was asked after that.
    """

    answer: T
    at: float
    until: float
    failing: bool = False


def _read_channels(answer: Any) -> tuple[str, ...]:
    return tuple(checked_prefix(_text(topic)) for topic in _list(answer))


def _read_gcc(answer: Any) -> str | None:
    if answer is not None and not (isinstance(answer, str) and len(answer) == 3):
        raise ValueError("not a GCC")
    return answer


def _write_topics(topics: tuple[Channel, ...]) -> list[Any]:
    return [[channel.topic, channel.id, channel.listed, channel.name] for channel in topics]


def _read_topics(answer: Any) -> tuple[Channel, ...]:
    return tuple(_read_channel(row) for row in _list(answer))


def _read_channel(row: Any) -> Channel:
    match row:
        case [str() as topic, int() as id, bool() as listed, str() as name]:
            return Channel(checked_prefix(topic), id, listed, name)
    raise ValueError("not a channel")


def _write_default(default: Default | None) -> list[Any] | None:
    return [default.image, default.text, default.link] if default else None


def _read_default(answer: Any) -> Default | None:
    if answer is None:
        return None
    image, text, link = (part if part is None else _text(part) for part in _list(answer))
    return Default(image, text, link)


def _list(answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise TypeError("not a list")
    return answer


def _text(answer: Any) -> str:
    if not isinstance(answer, str):
        raise TypeError("not a text")
    return answer


_CHANNELS: _Question[tuple[str, ...]] = _Question("channels", False, False, list, _read_channels)
_GCC: _Question[str | None] = _Question("gcc", True, True, lambda gcc: gcc, _read_gcc)
_TOPICS: _Question[tuple[Channel, ...]] = _Question("topics", True, False, _write_topics, _read_topics)
_DEFAULT: _Question[Default | None] = _Question("default", True, False, _write_default, _read_default)


class CachedDirectory:
    """A :class:`~radiovis.directory.interface.Directory` that caches the answers of another one.

    :ivar settings: may be replaced at any time.
    """

    def __init__(
        self,
        directory: Directory,
        settings: Settings,
        now: Callable[[], float],
        *,
        cache: Cache,
        shared: SharedCache | None,
    ) -> None:
        """
        :param directory: the real directory.
        :param settings: the ages of answers; also ``FB_CHANNEL_CACHE``, see :attr:`fresh`.
        :param now: Unix time in seconds, which the nodes compare with each other.
        :param cache: the Beaker cache of this process, with a namespace of its own.
        :param shared: the cache of all nodes; None for a node without memcached.
        """
        self.settings = settings
        self._directory = directory
        self._cache = cache
        self._shared = shared
        self._now = now
        self._gcc_lookups = 0
        self._waiting: dict[str, list[Deferred[Any]]] = {}
        self._down = self._told = False
        self._throttle = Throttle(time.monotonic)

    @property
    def down(self) -> bool:
        """Whether the directory failed when it was last asked."""
        return self._down

    @property
    def fresh(self) -> float:
        """Seconds for which an answer is returned without asking the directory.

        This is at most half of ``FB_CHANNEL_CACHE``, the interval at which the topics are read again. Otherwise an
        answer requested just before it is too old would be used for two intervals.
        """
        return min(self.settings.DIRECTORY_FRESH_SECONDS, self.settings.FB_CHANNEL_CACHE / 2)

    async def check_auth(self, login: str, passcode: str, address: str) -> bool:
        """Whether this login may publish from this address. The answer never comes from a cache."""
        return await self._directory.check_auth(login, passcode, address)

    async def channels(self, station: str) -> tuple[str, ...]:
        """The topic prefixes to which a station may publish."""
        return await self._answer(_CHANNELS, station, partial(self._directory.channels, station))

    async def gcc(self, country: str) -> str | None:
        """The GCC of a country code. Only two lower-case letters are looked up; for any other text the answer is None
        at once.
        """
        if not re.fullmatch(r"[a-z]{2}", country):
            return None
        return await self._answer(_GCC, country, partial(self._ask_gcc, country))

    async def topics(self) -> tuple[Channel, ...]:
        """Every registered channel."""
        return await self._answer(_TOPICS, "all", self._directory.topics)

    async def default(self, channel: int) -> Default | None:
        """The default of a stale channel."""
        return await self._answer(_DEFAULT, str(channel), partial(self._directory.default, channel))

    async def _ask_gcc(self, country: str) -> str | None:
        if self._gcc_lookups >= GCC_LOOKUPS:
            raise _NotAsked(f"country {country}: {self._gcc_lookups} other countries are already being looked up")
        self._gcc_lookups += 1
        try:
            return await self._directory.gcc(country)
        finally:
            self._gcc_lookups -= 1

    async def _answer(self, question: _Question[T], subject: str, ask: Callable[[], Awaitable[T]]) -> T:
        key = cache_key(question.name, subject)
        known = self._kept(question, key)
        if known and self._is_fresh(known):
            return known.answer
        answer: Deferred[T] = self._join(key, partial(self._renew, question, key, known, ask))
        if known and known.failing:
            answer.addErrback(_log_failure)
            return known.answer
        return await answer

    def _join(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """The result of this work, which is started unless another caller is already waiting for it.

        Each caller has a Deferred of its own, so that a caller that cancels does not cancel the others.
        """
        mine: Deferred[T] = Deferred()
        if key in self._waiting:
            self._waiting[key].append(mine)
        else:
            self._waiting[key] = [mine]
            Deferred.fromCoroutine(work()).addBoth(self._finish, key)
        return mine

    def _finish(self, outcome: Any, key: str) -> None:
        for caller in self._waiting.pop(key):
            caller.callback(outcome)  # Has no effect on a caller that has cancelled.

    async def _renew(
        self, question: _Question[T], key: str, known: _CachedAnswer[T] | None, ask: Callable[[], Awaitable[T]]
    ) -> T:
        theirs = await self._of_other_nodes(question, key)
        if theirs and (known is None or theirs.at > known.at):
            known = theirs
            if self._is_fresh(known):
                return self._keep(question, key, known)
        asked = self._now()
        try:
            answer = await ask()
        except DirectoryError as error:
            return self._keep(question, key, self._after_failure(known, error))
        self._set_down(None)
        if question is _GCC and answer is None and known:
            answer = known.answer  # PlugIt's answer for an unknown country is also that for an internal error.
        self._share(question, key, answer, asked)
        return self._keep(question, key, _CachedAnswer(answer, asked, self._now() + self.fresh))

    def _is_fresh(self, known: _CachedAnswer[T]) -> bool:
        """Whether the directory need not be asked. An answer from the future is not fresh, because the clock was set
        back.
        """
        return known.at <= self._now() < known.until

    def _after_failure(self, known: _CachedAnswer[T] | None, error: DirectoryError) -> _CachedAnswer[T]:
        """The last answer, to be used until the next attempt.

        :raises DirectoryError: there is no last answer.
        """
        if not isinstance(error, _NotAsked):
            self._set_down(error)
        if known is None:
            raise error
        return replace(known, until=self._now() + RETRY, failing=True)

    def _set_down(self, error: DirectoryError | None) -> None:
        """Log the start and the end of an outage, once each; if outages follow each other, at most one in a minute."""
        self._down = error is not None
        if error is None:
            if self._told:
                log.info("directory.up")
            self._told = False
        elif not self._told and self._throttle.allow("down"):
            self._told = True
            log.warning("directory.down", error=str(error), held_back=self._throttle.held_back("down"))

    # The cache of this process

    def _kept(self, question: _Question[T], key: str) -> _CachedAnswer[T] | None:
        try:
            answer, at, until, failing = self._cache.get(key, expiretime=self.settings.DIRECTORY_STALE_SECONDS)
            entry = _CachedAnswer(question.from_json(answer), float(at), float(until), bool(failing))
        except (KeyError, ValueError, TypeError):
            return None
        return entry if self._is_usable(entry.at) else None

    def _keep(self, question: _Question[T], key: str, entry: _CachedAnswer[T]) -> T:
        value = [question.to_json(entry.answer), entry.at, entry.until, entry.failing]
        self._cache.put(key, value, expiretime=self.settings.DIRECTORY_STALE_SECONDS)
        return entry.answer

    def _is_usable(self, at: float) -> bool:
        return self._now() - at < self.settings.DIRECTORY_STALE_SECONDS

    # The cache of all nodes

    async def _of_other_nodes(self, question: _Question[T], key: str) -> _CachedAnswer[T] | None:
        value = await self._shared.get(key) if self._shared and question.shared else None
        if value is None:
            return None
        now = self._now()
        try:
            content, then = value
            answer, at = question.from_json(content), min(float(then), now)  # The clocks of two nodes may differ.
        except (ValueError, TypeError):
            if self._throttle.allow("garbage"):
                log.warning("directory.garbage_in_memcached", key=key, held_back=self._throttle.held_back("garbage"))
            return None
        until = min(now + self.fresh, at + (SHARED_SECONDS if question.settled else self.fresh))
        return _CachedAnswer(answer, at, until) if self._is_usable(at) else None

    def _share(self, question: _Question[T], key: str, answer: T, at: float) -> None:
        """Share an answer with the other nodes. Unknown countries are not shared: there are many, and each may become
        known at any time.
        """
        if self._shared and question.shared and (answer is not None or question is not _GCC):
            self._shared.put(key, [question.to_json(answer), at], SHARED_SECONDS).addErrback(_log_failure)


def _log_failure(failure: Failure) -> None:
    """Log an error of a result for which no caller waits. A failure of the directory has been logged before."""
    log.error("directory.bug", error=failure.getErrorMessage())
