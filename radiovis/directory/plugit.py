"""The directory behind PlugIt, the web platform where stations are registered: what its answers mean, contract §3."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import unquote, urlsplit

import structlog
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionClosed,
    DNSLookupError,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from radiovis.directory.interface import Channel, Default, DirectoryError
from radiovis.directory.stations import checked_prefix

# Reading an HTTP answer of bounded size.


class BodyTooLarge(Exception):
    """The answer is longer than the reader wants to keep."""


def read_body(response: IResponse, limit: int) -> Deferred[bytes]:
    """The whole body. treq's ``content`` neither bounds it nor lets go of the connection when it is cancelled.

    :param limit: bytes; one more closes the connection and fails with :class:`BodyTooLarge`.
    """
    collector = _Collector(limit)
    response.deliverBody(collector)
    return collector.body


class _Collector(Protocol):
    def __init__(self, limit: int) -> None:
        self.body: Deferred[bytes] = Deferred(lambda _: self._hang_up())
        self._limit = limit
        self._received = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > self._limit:
            self._received.clear()
            self._hang_up()
            if not self.body.called:
                self.body.errback(BodyTooLarge(f"an answer of more than {self._limit} bytes"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.body.called:
            return
        # PotentialDataLoss: an HTTP/1.0 answer without a length ends with its connection. JSON shows if it is whole.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.body.callback(bytes(self._received))
        else:
            self.body.errback(reason)

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


# Calls of PlugIt's HTTP API (contract §3): attempts, time-outs, and errors that tell no secret.
#
# What the answers mean stands in ``plugit.py``.

TIMEOUT = 5.0
"""Seconds for one attempt, from connecting to the last byte. The original waited for ever (contract §2, fault 9)."""
ATTEMPTS = 3
MAX_ANSWER = 2**20
"""Bytes of one answer: some 20,000 channels."""
MAX_CALLS = 64
"""Calls under way at once: a flood of logins must not fill the memory while PlugIt is slow."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds between the attempts; doubled each time, with up to a second of jitter for the other nodes' sake."""

_NETWORK = (ConnectError, ConnectionClosed, DNSLookupError, RequestTransmissionFailed, ResponseFailed, DeferredTimeout)


class _Unreachable(DirectoryError):
    """No answer came; another attempt may bring one."""


class BadStatus(DirectoryError):
    """An answer other than 200.

    :ivar status: of HTTP.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class PlugItCalls:
    """Calls PlugIt's methods by their names.

    Each call is a GET with a form in its *body*, because that is where PlugIt looks (contract §3; fault 9 of §2: a
    proxy in between must let such a body pass). The text of an error names the method and the host, never the path:
    that holds the API's secret.
    """

    def __init__(
        self,
        client: HTTPClient,
        base_url: str,
        reactor: Any,
        *,
        timeout: float = TIMEOUT,
        attempts: int = ATTEMPTS,
        max_answer: int = MAX_ANSWER,
        max_calls: int = MAX_CALLS,
    ) -> None:
        """
        :param client: for example ``HTTPClient(Agent(reactor))``.
        :param base_url: ``http://<host>/…/api/<secret>/``, the setting ``RADIODNS_API_URL``.
        :param timeout: seconds for one attempt.
        :param attempts: how often a call is tried while the network fails or PlugIt answers 5xx.
        :param max_answer: bytes of one answer.
        :param max_calls: calls under way at once; further ones fail at once.
        :raises ValueError: for a base URL that is none.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("RADIODNS_API_URL must begin with http:// or https:// and a host")
        self._client = client
        self._base_url = base_url if base_url.endswith("/") else base_url + "/"
        self._host = f"{parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"
        self._secrets = _secrets(parts.path)
        self._reactor = reactor
        self._timeout = timeout
        self._attempts = attempts
        self._max_answer = max_answer
        self._max_calls = max_calls
        self._calls = 0

    async def ask(self, method: str, **fields: str) -> dict[str, Any]:
        """The answer, a JSON object.

        :raises BadStatus: the last attempt brought another status than 200.
        :raises DirectoryError: no answer came, or none that makes sense, or too many calls wait for theirs.
        """
        if self._calls >= self._max_calls:
            raise DirectoryError(f"{method} at {self._host}: {self._calls} calls are waiting for an answer already")
        retrying = AsyncRetrying(
            sleep=lambda seconds: deferLater(self._reactor, seconds),
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential_jitter(initial=FIRST_PAUSE, max=LONGEST_PAUSE),
            retry=retry_if_exception(lambda error: _worth_another(method, error)),
            reraise=True,
        )
        self._calls += 1
        try:
            answer: dict[str, Any] = await retrying(self._ask_once, method, fields)
            return answer
        finally:
            self._calls -= 1

    async def _ask_once(self, method: str, fields: Mapping[str, str]) -> dict[str, Any]:
        exchange = Deferred.fromCoroutine(self._exchange(method, fields))
        exchange.addTimeout(self._timeout, self._reactor, onTimeoutCancel=_too_late)
        try:
            status, body = await exchange
        except BodyTooLarge as error:
            raise self.nonsense(method, str(error)) from None
        except _NETWORK as error:
            if isinstance(_innermost(error), (CancelledError, ConnectingCancelledError, ConnectionAborted)):
                raise CancelledError from None  # The caller gave up: no reason to try again.
            raise _Unreachable(f"{method} at {self._host}: {self._cleaned(_reason(error))}") from None
        if status != 200:
            raise BadStatus(f"{method} at {self._host}: HTTP status {status}", status)
        return self._decoded(method, body)

    async def _exchange(self, method: str, fields: Mapping[str, str]) -> tuple[int, bytes]:
        response = await self._client.get(
            self._base_url + method,
            data=dict(fields),
            allow_redirects=False,  # A redirect would carry passwords to wherever it points.
            unbuffered=True,
            reactor=self._reactor,
        )
        return response.code, await read_body(response, self._max_answer)

    def _decoded(self, method: str, body: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            # Not even the beginning for check_auth: a debug page may repeat the form, and with it the password.
            begin = (
                "" if method == "check_auth" else f" beginning {self._cleaned(body[:200].decode('utf-8', 'replace'))!r}"
            )
            raise self.nonsense(method, f"{len(body)} bytes{begin}, not a JSON object")
        return answer

    def nonsense(self, method: str, what: str) -> DirectoryError:
        """An error for an answer that is none.

        :param what: it is instead; holds no secret.
        """
        return DirectoryError(f"{method} at {self._host}: the answer makes no sense: {what}")

    def _cleaned(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text[:80]


def _secrets(path: str) -> list[str]:
    """What must not be seen of the base URL: its path and the last part of it, as written and as decoded."""
    last = path.rstrip("/").rpartition("/")[2]
    return sorted({secret for secret in (path.rstrip("/"), last, unquote(last)) if secret}, key=len, reverse=True)


def _worth_another(method: str, error: BaseException) -> bool:
    if method == "get_gcc" and isinstance(error, BadStatus) and error.status == 500:
        return False
    return isinstance(error, _Unreachable) or (isinstance(error, BadStatus) and error.status >= 500)


def _too_late(_: object, seconds: float) -> None:
    raise DeferredTimeout(f"no whole answer within {seconds:g} s")


def _innermost(error: BaseException) -> BaseException:
    """What happened to the connection, out of what Twisted wraps around it."""
    reasons = getattr(error, "reasons", None)
    return _innermost(reasons[-1].value) if reasons else error


def _reason(error: BaseException) -> str:
    cause = _innermost(error)
    return str(cause) or type(cause).__name__


log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class PlugIt:
    """A :class:`~radiovis.directory.interface.Directory` and
    :class:`~radiovis.directory.interface.LogStore` over PlugIt's HTTP API.

    Every method raises :class:`~radiovis.directory.interface.DirectoryError`.
    """

    def __init__(self, calls: PlugItCalls, *, image_locations: str = "") -> None:
        """
        :param image_locations: the setting ``FB_IMAGE_LOCATIONS``: what to put before a default picture's file name;
            empty to use the address PlugIt gives.
        """
        self._calls = calls
        self._image_locations = image_locations
        self._bad_rows: dict[str, int] = {}
        self._odd_rows: dict[tuple[str, str], int] = {}

    @property
    def bad_rows(self) -> int:
        """How many rows of the latest lists made no sense and were left out."""
        return sum(self._bad_rows.values())

    async def check_auth(self, login: str, passcode: str, address: str) -> bool:
        """Whether this login may publish from this address."""
        try:
            (login + passcode).encode()
        except UnicodeEncodeError:
            return False  # Octets that are no UTF-8; a form could not carry them, and no password holds them.
        answer = await self._calls.ask("check_auth", username=login, password=passcode, ip=address)
        return bool(self._part(answer, "check_auth", "result", bool))

    async def channels(self, station: str) -> tuple[str, ...]:
        """The topic prefixes a station may publish to. PlugIt answers 500 for an unknown station."""
        answer = await self._calls.ask("get_channels", station_id=station)
        rows = self._part(answer, "get_channels", "list", list)
        return tuple(dict.fromkeys(topic for topic, _ in self._rows("get_channels", [[row, 0] for row in rows])))

    async def gcc(self, country: str) -> str | None:
        """The GCC of a country code; None if unknown, for which PlugIt has no other sign than 500."""
        try:
            answer = await self._calls.ask("get_gcc", cc=country)
        except BadStatus as error:
            if error.status == 500:
                return None
            raise
        gcc: str = self._part(answer, "get_gcc", "gcc", str).lower()
        if not re.fullmatch(r"[0-9a-f]{3}", gcc):
            raise self._calls.nonsense("get_gcc", f"gcc is {gcc[:20]!r}, not three hex digits")
        return gcc

    async def topics(self) -> tuple[Channel, ...]:
        """Every channel; *listed* are those PlugIt has a default picture for. Without the list of all these must do."""
        listed = await self._channel_ids("get_all_vis_channels")
        try:
            known = await self._channel_ids("get_all_channels")
        except DirectoryError as error:
            log.warning("directory.partial", error=str(error), used="get_all_vis_channels")
            known = {}
        return tuple(Channel(topic, id, topic in listed) for topic, id in (listed | known).items())

    async def default(self, channel: int) -> Default | None:
        """What a silent channel shows."""
        answer = await self._calls.ask("get_channel_default", id=str(channel))
        info = self._part(answer, "get_channel_default", "info", (dict, type(None)))
        if not info:
            return None
        filename, url, text, link = (
            self._text(info, key) for key in ("filename", "public_url", "radiotext", "radiolink")
        )
        image = (self._image_locations + filename if filename else None) if self._image_locations else url
        return Default(image, text, link) if image or text or link else None

    async def add_log(self, topic: str, body: bytes, headers: Sequence[tuple[str, str]], timestamp: int) -> None:
        """Keep a message in PlugIt's log; after a lost answer it may stand there twice."""
        await self._calls.ask(
            "add_log",
            topic=topic,
            message=body.decode("utf-8", "replace"),
            headers=json.dumps([list(header) for header in headers]),
            timestamp=str(timestamp),
        )

    async def cleanup_logs(self, max_age: int) -> None:
        """Drop the log entries older than this many seconds."""
        await self._calls.ask("cleanup_logs", max_age=str(max_age))

    async def _channel_ids(self, method: str) -> dict[str, int]:
        answer = await self._calls.ask(method)
        answered = self._part(answer, method, "list", list)
        rows = self._rows(method, answered)
        found = dict(reversed(rows))  # Of duplicates the first stays; PlugIt's order does not matter.
        twice = [topic for topic, id in rows if found[topic] != id]
        self._tell("directory.listed_twice", method, twice, "the first id counts")
        bare = [row[0] for row in answered if isinstance(row, list) and row and not str(row[0]).endswith("/")]
        self._tell("directory.no_trailing_slash", method, bare, "taken as if it had one")
        return found

    def _tell(self, event: str, method: str, found: list[str], consequence: str) -> None:
        """Log a mistake in PlugIt's lists that costs nothing: not with every list, but when their number changes."""
        if len(found) != self._odd_rows.get((event, method), 0):
            log.warning(event, method=method, rows=len(found), first=found[:1], consequence=consequence)
        self._odd_rows[event, method] = len(found)

    def _rows(self, method: str, rows: list[Any]) -> list[tuple[str, int]]:
        """The rows that are a topic and a number; how many are not is kept, and logged when it changes."""
        good, bad = [], []
        for row in rows:
            try:
                good.append(_row(row))
            except ValueError as error:
                bad.append(str(error))
        if len(bad) != self._bad_rows.get(method, 0):
            log.warning("directory.bad_rows", method=method, rows=len(bad), first=bad[:1])
        self._bad_rows[method] = len(bad)
        return good

    def _part(self, answer: dict[str, Any], method: str, name: str, kind: Any) -> Any:
        if name not in answer or not isinstance(answer[name], kind):
            came = type(answer[name]).__name__ if name in answer else "missing"
            raise self._calls.nonsense(method, f"{name!r} is {came}")
        return answer[name]

    def _text(self, info: dict[str, Any], name: str) -> str | None:
        """A text, or None where PlugIt has null or nothing (contract §2, fault 12)."""
        text: str | None = self._part({name: None, **info}, "get_channel_default", name, (str, type(None)))
        return text or None


def _row(row: Any) -> tuple[str, int]:
    match row:
        case [str() as topic, int() as id] if not isinstance(id, bool):
            return checked_prefix(topic), id
    raise ValueError(f"{str(row)[:80]!r} is not a topic and a number")


# The directory's answers as JSON, for the caches: what is read back is checked, for others may have written it.

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One sort of question.

    :ivar name: part of its keys in the caches.
    :ivar shared: whether nodes tell each other through memcached. Not for what decides who may publish: memcached
        has no passwords.
    :ivar settled: whether an answer, once there, changes so rarely that other nodes take it without asking again.
    :ivar to_json: the answer as something JSON can hold.
    :ivar from_json: the other way; raises ValueError or TypeError for anything else.
    """

    name: str
    shared: bool
    settled: bool
    to_json: Callable[[T], Any]
    from_json: Callable[[Any], T]


def _read_channels(answer: Any) -> tuple[str, ...]:
    return tuple(checked_prefix(_text(topic)) for topic in _list(answer))


def _read_gcc(answer: Any) -> str | None:
    if answer is not None and not (isinstance(answer, str) and len(answer) == 3):
        raise ValueError("no GCC")
    return answer


def _write_topics(topics: tuple[Channel, ...]) -> list[Any]:
    return [[channel.topic, channel.id, channel.listed, channel.name] for channel in topics]


def _read_topics(answer: Any) -> tuple[Channel, ...]:
    return tuple(_read_channel(row) for row in _list(answer))


def _read_channel(row: Any) -> Channel:
    match row:
        case [str() as topic, int() as id, bool() as listed, str() as name]:
            return Channel(checked_prefix(topic), id, listed, name)
    raise ValueError("no channel")


def _write_default(default: Default | None) -> list[Any] | None:
    return [default.image, default.text, default.link] if default else None


def _read_default(answer: Any) -> Default | None:
    if answer is None:
        return None
    image, text, link = (part if part is None else _text(part) for part in _list(answer))
    return Default(image, text, link)


def _list(answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise TypeError("no list")
    return answer


def _text(answer: Any) -> str:
    if not isinstance(answer, str):
        raise TypeError("no text")
    return answer


CHANNELS: Kind[tuple[str, ...]] = Kind("channels", False, False, list, _read_channels)
GCC: Kind[str | None] = Kind("gcc", True, True, lambda gcc: gcc, _read_gcc)
TOPICS: Kind[tuple[Channel, ...]] = Kind("topics", True, False, _write_topics, _read_topics)
DEFAULT: Kind[Default | None] = Kind("default", True, False, _write_default, _read_default)
