"""HTTP calls of PlugIt's API (contract §3): attempts, time-outs, limited answers, and errors without secrets.

:mod:`radiovis.directory.plugit` knows the methods and the meaning of their answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
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

from radiovis.directory.interface import DirectoryError
from radiovis.settings import DirectorySettings

MAX_ANSWER = 2**20
"""Longest answer in bytes: about 20,000 channels."""
MAX_CALLS = 64
"""How many calls are made at the same time; further ones wait. PlugIt is a web application with some tens of
processes."""
LOGINS_AT_ONCE = 48
"""How many of these calls may check logins. The other calls are for stations that are already logged in, even during a
flood of logins."""
MOST_WAITING = 1_000
"""How many calls may wait for their turn while PlugIt is slow; further ones fail at once. Every login that PlugIt has
accepted may ask for its station's channels at the same moment. A waiting call takes some kilobytes."""
ATTEMPTS = 3
"""How often a request is sent before it counts as failed. A restart of PlugIt takes longer than a radio could wait;
three attempts are enough for a lost connection or a short overload."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds between the attempts. They double each time, with up to a second of jitter to spread the nodes."""

_NETWORK = (ConnectError, ConnectionClosed, DNSLookupError, RequestTransmissionFailed, ResponseFailed, DeferredTimeout)


class _Unreachable(DirectoryError):
    """There was no answer; another attempt may succeed."""


class BadStatus(DirectoryError):
    """An answer with a status other than 200.

    :ivar status: the HTTP status code.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class _BodyTooLarge(Exception):
    """The answer is longer than the limit."""


def _read_body(response: IResponse, limit: int) -> Deferred[bytes]:
    """The complete body. treq's ``content`` has no limit, and does not close the connection when it is cancelled.

    :param limit: bytes; one more closes the connection and fails with :class:`_BodyTooLarge`.
    """
    collector = _Collector(limit)
    response.deliverBody(collector)
    return collector.body


class _Collector(Protocol):
    def __init__(self, limit: int) -> None:
        self.body: Deferred[bytes] = Deferred(lambda _: self._close())
        self._limit = limit
        self._received = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > self._limit:
            self._received.clear()
            self._close()
            if not self.body.called:
                self.body.errback(_BodyTooLarge(f"an answer of more than {self._limit} bytes"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.body.called:
            return
        # PotentialDataLoss: an HTTP/1.0 answer without a length ends with its connection. The JSON shows whether it is
        # complete.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.body.callback(bytes(self._received))
        else:
            self.body.errback(reason)

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class PlugItCalls:
    """Calls PlugIt's methods by their names.

    Each call is a GET with a form in its *body*, because PlugIt reads it there (contract §3; fault 9 of §2: a proxy in
    between must pass on such a body). The text of an error names the method and the host, never the path, which
    contains the API's secret.

    :ivar settings: may be replaced at any time; a new ``RADIODNS_API_URL`` has no effect.
    """

    def __init__(self, client: HTTPClient, settings: DirectorySettings, reactor: Any) -> None:
        """
        :param client: for example ``HTTPClient(Agent(reactor))``.
        :param settings: ``RADIODNS_API_URL``, and ``DIRECTORY_TIMEOUT`` for one attempt, from connecting to the last
            byte. Up to :data:`ATTEMPTS` attempts are made while the network fails or PlugIt answers 5xx.
        :param reactor: Twisted's reactor.
        :raises ValueError: ``RADIODNS_API_URL`` is not a URL.
        """
        self.settings = settings
        base_url = settings.RADIODNS_API_URL.get_secret_value()
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("RADIODNS_API_URL must begin with http:// or https:// and a host")
        self._client = client
        self._base_url = base_url if base_url.endswith("/") else base_url + "/"
        self._host = f"{parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"
        self._secrets = _secrets(parts.path)
        self._reactor = reactor
        self._turns = DeferredSemaphore(MAX_CALLS)

    async def ask(self, method: str, **fields: str) -> dict[str, Any]:
        """Call a method. Returns its answer, a JSON object.

        :raises BadStatus: the last attempt returned a status other than 200.
        :raises DirectoryError: there was no answer, or an invalid one, or :data:`MOST_WAITING` calls wait for their
            turn.
        """
        waiting = len(self._turns.waiting)
        if waiting >= MOST_WAITING:
            raise DirectoryError(f"{method} at {self._host}: {waiting} calls are already waiting for their turn")
        retrying = AsyncRetrying(
            sleep=lambda seconds: deferLater(self._reactor, seconds),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential_jitter(initial=FIRST_PAUSE, max=LONGEST_PAUSE),
            retry=retry_if_exception(lambda error: _is_retried(method, error)),
            reraise=True,
        )
        await self._turns.acquire()
        try:
            answer: dict[str, Any] = await retrying(self._ask_once, method, fields)
            return answer
        finally:
            self._turns.release()

    async def _ask_once(self, method: str, fields: Mapping[str, str]) -> dict[str, Any]:
        exchange = Deferred.fromCoroutine(self._exchange(method, fields))
        exchange.addTimeout(self.settings.DIRECTORY_TIMEOUT, self._reactor, onTimeoutCancel=_too_late)
        try:
            status, body = await exchange
        except _BodyTooLarge as error:
            raise self.invalid(method, str(error)) from None
        except _NETWORK as error:
            if isinstance(_innermost(error), (CancelledError, ConnectingCancelledError, ConnectionAborted)):
                raise CancelledError from None  # The caller has cancelled the call: no further attempt.
            raise _Unreachable(f"{method} at {self._host}: {self._cleaned(_reason(error))}") from None
        if status != 200:
            raise BadStatus(f"{method} at {self._host}: HTTP status {status}", status)
        return self._decoded(method, body)

    async def _exchange(self, method: str, fields: Mapping[str, str]) -> tuple[int, bytes]:
        response = await self._client.get(
            self._base_url + method,
            data=dict(fields),
            allow_redirects=False,  # A redirect would send passwords to another server.
            unbuffered=True,
            reactor=self._reactor,
        )
        return response.code, await _read_body(response, MAX_ANSWER)

    def _decoded(self, method: str, body: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            # Not for check_auth: a debug page may repeat the form, and with it the password.
            begin = (
                "" if method == "check_auth" else f" beginning {self._cleaned(body[:200].decode('utf-8', 'replace'))!r}"
            )
            raise self.invalid(method, f"{len(body)} bytes{begin}, not a JSON object")
        return answer

    def invalid(self, method: str, what: str) -> DirectoryError:
        """An error for an invalid answer.

        :param what: what is wrong, without secrets.
        """
        return DirectoryError(f"{method} at {self._host}: the answer is invalid: {what}")

    def _cleaned(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text[:80]


def _secrets(path: str) -> list[str]:
    """The secret parts of the base URL: its path and the last part of the path, as written and decoded."""
    last = path.rstrip("/").rpartition("/")[2]
    return sorted({secret for secret in (path.rstrip("/"), last, unquote(last)) if secret}, key=len, reverse=True)


def _is_retried(method: str, error: BaseException) -> bool:
    if method == "get_gcc" and isinstance(error, BadStatus) and error.status == 500:
        return False
    return isinstance(error, _Unreachable) or (isinstance(error, BadStatus) and error.status >= 500)


def _too_late(_: object, seconds: float) -> None:
    raise DeferredTimeout(f"no complete answer within {seconds:g} s")


def _innermost(error: BaseException) -> BaseException:
    """The error of the connection, without the errors in which Twisted wraps it."""
    reasons = getattr(error, "reasons", None)
    return _innermost(reasons[-1].value) if reasons else error


def _reason(error: BaseException) -> str:
    cause = _innermost(error)
    return str(cause) or type(cause).__name__
