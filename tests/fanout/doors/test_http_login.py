"""Logging in over HTTP: what each answer of the application becomes."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial import unittest

from fanout.doors.application import Principal, Refused
from fanout.doors.http_endpoint import HttpError
from fanout.doors.http_login import log_in
from fanout.doors.login_throttle import TooManyFailures
from tests.web import basic


class Directory:
    """An application that knows one login, unless it cannot say."""

    def __init__(self, refused: Refused | None = None) -> None:
        self.refused = refused
        self.thinking: Deferred[None] | None = None
        self.answered = 0

    async def login(self, login: str, passcode: str, address: str) -> Principal | None:
        if self.thinking is not None:
            await self.thinking
        self.answered += 1
        if self.refused is not None:
            raise self.refused
        return Principal(login, address) if passcode == "secret" else None


class WithLogin:
    """A request's part that is looked at."""

    address = "192.0.2.1"

    def __init__(self, authorization: str | None) -> None:
        self._authorization = authorization

    def getHeader(self, name: str) -> str | None:
        return self._authorization if name == "authorization" else None


class TestLogIn(unittest.TestCase):
    def setUp(self) -> None:
        self.complaints: list[tuple[str, str, dict[str, Any]]] = []

    def log_in(self, authorization: str | None, refused: Refused | None = None) -> Any:
        request: Any = WithLogin(authorization)
        application: Any = Directory(refused)
        return log_in(application, self._complain, request, "stations")

    def _complain(self, event: str, address: str, **fields: Any) -> None:
        self.complaints.append((event, address, fields))

    async def assert_refused(self, status: int, authorization: str | None, refused: Refused | None = None) -> HttpError:
        with self.assertRaises(HttpError) as caught:
            await self.log_in(authorization, refused)
        self.assertEqual(caught.exception.status, status)
        return caught.exception

    async def test_one_who_is_known(self) -> None:
        self.assertEqual(await self.log_in(basic("a", "secret")), Principal("a", "192.0.2.1"))
        self.assertEqual(self.complaints, [])

    async def test_a_wrong_password_is_logged_without_it(self) -> None:
        error = await self.assert_refused(401, basic("a", "wrong"))
        self.assertEqual(error.headers, {"WWW-Authenticate": 'Basic realm="stations", charset="UTF-8"'})
        self.assertEqual(self.complaints, [("login.refused", "192.0.2.1", {"login": "a"})])

    async def test_none_at_all(self) -> None:
        for authorization in (None, "", "Bearer x", "Basic ?", basic("a", "secret").replace("Basic", "Digest")):
            await self.assert_refused(401, authorization)
        self.assertEqual(self.complaints, [])

    async def test_who_goes_meanwhile_does_not_keep_a_failure_from_counting(self) -> None:
        for refused in (None, TooManyFailures()):
            application: Any = Directory(refused)
            application.thinking = Deferred()
            request: Any = WithLogin(basic("a", "wrong"))
            logging_in = Deferred.fromCoroutine(log_in(application, self._complain, request, "stations"))
            logging_in.cancel()
            self.failureResultOf(logging_in, CancelledError)
            application.thinking.callback(None)
            self.assertEqual(application.answered, 1)

    async def test_too_many_failures_and_a_directory_that_is_away(self) -> None:
        error = await self.assert_refused(429, basic("a", "secret"), TooManyFailures())
        self.assertEqual(error.headers["Retry-After"], "60")
        await self.assert_refused(503, basic("a", "secret"), Refused("away", "Try later.", temporary=True))
