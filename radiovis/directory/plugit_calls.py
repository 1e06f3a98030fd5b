"""Calls of PlugIt's HTTP API (contract §3): attempts, time-outs, and errors that tell no secret.

What the answers mean stands in ``plugit.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

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
from radiovis.directory.interface import DirectoryError

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
