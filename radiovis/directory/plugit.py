"""The directory behind PlugIt, the web platform where stations are registered: its HTTP API, contract §3."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
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
from twisted.internet.task import deferLater
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from radiovis.directory.http_body import BodyTooLarge, read_body
from radiovis.directory.interface import Channel, Default, DirectoryError
from radiovis.directory.prefix import checked_prefix

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

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Unreachable(DirectoryError):
    """No answer came; another attempt may bring one."""


class _Status(DirectoryError):
    """An answer other than 200."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class PlugIt:
    """A :class:`~radiovis.directory.interface.Directory` and
    :class:`~radiovis.directory.interface.LogStore` over PlugIt's HTTP API.

    Every call is a GET with a form in its *body*, because that is where PlugIt looks (contract §3; fault 9 of §2: a
    proxy in between must let such a body pass). Every method raises
    :class:`~radiovis.directory.interface.DirectoryError`, whose text names the method and the host, never the path:
    that holds the API's secret.
    """

    def __init__(
        self,
        client: HTTPClient,
        base_url: str,
        reactor: Any,
        *,
        image_locations: str = "",
        timeout: float = TIMEOUT,
        attempts: int = ATTEMPTS,
        max_answer: int = MAX_ANSWER,
        max_calls: int = MAX_CALLS,
    ) -> None:
        """
        :param client: for example ``HTTPClient(Agent(reactor))``.
        :param base_url: ``http://<host>/…/api/<secret>/``, the setting ``RADIODNS_API_URL``.
        :param image_locations: the setting ``FB_IMAGE_LOCATIONS``: what to put before a default picture's file name;
            empty to use the address PlugIt gives.
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
        self._image_locations = image_locations
        self._timeout = timeout
        self._attempts = attempts
        self._max_answer = max_answer
        self._max_calls = max_calls
        self._calls = 0
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
        answer = await self._ask("check_auth", username=login, password=passcode, ip=address)
        return bool(self._part(answer, "check_auth", "result", bool))

    async def channels(self, station: str) -> tuple[str, ...]:
        """The topic prefixes a station may publish to. PlugIt answers 500 for an unknown station."""
        answer = await self._ask("get_channels", station_id=station)
        rows = self._part(answer, "get_channels", "list", list)
        return tuple(dict.fromkeys(topic for topic, _ in self._rows("get_channels", [[row, 0] for row in rows])))

    async def gcc(self, country: str) -> str | None:
        """The GCC of a country code; None if unknown, for which PlugIt has no other sign than 500."""
        try:
            answer = await self._ask("get_gcc", cc=country)
        except _Status as error:
            if error.status == 500:
                return None
            raise
        gcc: str = self._part(answer, "get_gcc", "gcc", str).lower()
        if not re.fullmatch(r"[0-9a-f]{3}", gcc):
            raise self._nonsense("get_gcc", f"gcc is {gcc[:20]!r}, not three hex digits")
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
        answer = await self._ask("get_channel_default", id=str(channel))
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
        await self._ask(
            "add_log",
            topic=topic,
            message=body.decode("utf-8", "replace"),
            headers=json.dumps([list(header) for header in headers]),
            timestamp=str(timestamp),
        )

    async def cleanup_logs(self, max_age: int) -> None:
        """Drop the log entries older than this many seconds."""
        await self._ask("cleanup_logs", max_age=str(max_age))

    async def _ask(self, method: str, **fields: str) -> dict[str, Any]:
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
            raise self._nonsense(method, str(error)) from None
        except _NETWORK as error:
            if isinstance(_innermost(error), (CancelledError, ConnectingCancelledError, ConnectionAborted)):
                raise CancelledError from None  # The caller gave up: no reason to try again.
            raise _Unreachable(f"{method} at {self._host}: {self._cleaned(_reason(error))}") from None
        if status != 200:
            raise _Status(f"{method} at {self._host}: HTTP status {status}", status)
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
            raise self._nonsense(method, f"{len(body)} bytes{begin}, not a JSON object")
        return answer

    async def _channel_ids(self, method: str) -> dict[str, int]:
        answer = await self._ask(method)
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
            raise self._nonsense(method, f"{name!r} is {came}")
        return answer[name]

    def _text(self, info: dict[str, Any], name: str) -> str | None:
        """A text, or None where PlugIt has null or nothing (contract §2, fault 12)."""
        text: str | None = self._part({name: None, **info}, "get_channel_default", name, (str, type(None)))
        return text or None

    def _nonsense(self, method: str, what: str) -> DirectoryError:
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
    if method == "get_gcc" and isinstance(error, _Status) and error.status == 500:
        return False
    return isinstance(error, _Unreachable) or (isinstance(error, _Status) and error.status >= 500)


def _too_late(_: object, seconds: float) -> None:
    raise DeferredTimeout(f"no whole answer within {seconds:g} s")


def _innermost(error: BaseException) -> BaseException:
    """What happened to the connection, out of what Twisted wraps around it."""
    reasons = getattr(error, "reasons", None)
    return _innermost(reasons[-1].value) if reasons else error


def _reason(error: BaseException) -> str:
    cause = _innermost(error)
    return str(cause) or type(cause).__name__


def _row(row: Any) -> tuple[str, int]:
    match row:
        case [str() as topic, int() as id] if not isinstance(id, bool):
            return checked_prefix(topic), id
    raise ValueError(f"{str(row)[:80]!r} is not a topic and a number")
