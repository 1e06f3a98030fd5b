"""Logging in over HTTP: what each answer of the application becomes."""

from __future__ import annotations

import base64
from typing import Any

from structlog.testing import capture_logs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.application.interface import Peer, Principal, Refused
from fanout.application.login_throttle import TooManyFailures
from fanout.http.auth import OperatorAuth, is_loopback, log_in
from fanout.http.response import HttpError
from tests.web import basic as basic_login

TOKEN = "0123456789abcdef"


class Request:
    """A request with these headers."""

    def __init__(self, address: str = "192.0.2.1", **headers: str) -> None:
        self.address = address
        self._headers = headers

    def getHeader(self, name: str) -> str | None:
        return self._headers.get(name)

    def getRequestHostname(self) -> bytes:
        return self._headers.get("host", "127.0.0.1").encode()


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


class TestLoopback(unittest.TestCase):
    def test_which_addresses_are(self) -> None:
        for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST"):
            self.assertTrue(is_loopback(host), host)
        for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", "", "127.0.0.1.example.org", "fe80::1"):
            self.assertFalse(is_loopback(host), host)


class TestWithToken(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.guard = OperatorAuth(TOKEN, "operators", self.clock.seconds)

    def test_who_knows_it(self) -> None:
        for value in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic(f":{TOKEN}"), basic(f"anybody:{TOKEN}")):
            self.assertTrue(self.guard.allows(Request(authorization=value)), value)

    def test_from_any_host(self) -> None:
        self.assertTrue(self.guard.allows(Request(authorization=f"Bearer {TOKEN}", host="admin.example.org")))

    def test_who_does_not(self) -> None:
        for value in ("", TOKEN, "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Digest {TOKEN}"):
            self.assertFalse(self.guard.allows(Request(authorization=value)), value)
        for value in (
            basic(TOKEN),
            basic(f"{TOKEN}:"),
            basic(f"{TOKEN}:x"),
            "Basic ?",
            "Basic \xe4",
            "Bearer \xe4\u20ac",
        ):
            self.assertFalse(self.guard.allows(Request(authorization=value)), value)
        self.assertFalse(self.guard.allows(Request()))

    def test_a_browser_is_asked_for_it(self) -> None:
        refusal = self.guard.refusal(Request())
        self.assertEqual(refusal.status, 401)
        self.assertIn('Basic realm="operators"', refusal.headers["WWW-Authenticate"])


class TestGuesses(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.guard = OperatorAuth(TOKEN, "operators", self.clock.seconds)

    def ask(self, token: str, address: str = "192.0.2.1") -> int:
        """The status that a request gets."""
        request: Any = Request(address, authorization=f"Bearer {token}")
        return 200 if self.guard.allows(request) else self.guard.refusal(request).status

    def test_after_some_tries_even_the_right_one_has_to_wait(self) -> None:
        self.assertEqual([self.ask("wrong") for _ in range(6)], [401] * 5 + [429])
        self.assertEqual(self.ask(TOKEN), 429)
        self.clock.advance(1.1)
        self.assertEqual(self.ask(TOKEN), 200)
        self.assertEqual(self.guard.outcomes, {"accepted": 1, "refused": 5, "put_off": 2})

    def test_one_that_asks_again_and_again_has_one_try_a_second(self) -> None:
        tried = 0
        for _ in range(1_000):
            tried += self.ask("wrong") == 401
            self.clock.advance(0.01)
        self.assertTrue(12 <= tried <= 16, tried)

    def test_all_addresses_together_have_few_tries(self) -> None:
        answers = [self.ask("wrong", f"198.51.100.{number}") for number in range(250)]
        self.assertEqual(answers.count(401), 20)

    def test_an_operator_notices_nothing_of_it(self) -> None:
        self.assertEqual(self.ask(TOKEN), 200)
        for number in range(250):
            self.ask("wrong", f"198.51.100.{number}")
        self.assertEqual([self.ask(TOKEN) for _ in range(100)], [200] * 100)

    def test_a_neighbour_in_the_same_ipv6_network_is_the_same_guesser(self) -> None:
        answers = [self.ask("wrong", f"2001:db8::{number:x}") for number in range(1, 10)]
        self.assertEqual(answers.count(401), 5)

    def test_a_request_without_a_token_is_no_guess(self) -> None:
        for _ in range(100):
            self.assertFalse(self.guard.allows(Request()))
        self.assertEqual(self.ask(TOKEN), 200)

    def test_both_are_logged_and_neither_fills_the_disk(self) -> None:
        with capture_logs() as lines:
            for number in range(250):
                self.ask("wrong", f"198.51.100.{number}")
            for _ in range(100):
                self.ask(TOKEN, "192.0.2.7")
                self.clock.advance(20)
        refused = [line for line in lines if line["event"] in ("operator.refused", "operator.put_off")]
        accepted = [line for line in lines if line["event"] == "operator.accepted"]
        self.assertEqual([line["address"] for line in accepted], ["192.0.2.7"])
        self.assertLessEqual(len(refused), 4)
        self.assertEqual(refused[0]["address"], "198.51.100.0")
        self.assertNotIn("wrong", str(lines))


class TestWithoutToken(unittest.TestCase):
    guard = OperatorAuth("", "operators")

    def test_by_address(self) -> None:
        for host in ("127.0.0.1", "localhost", "[::1]", "::1"):
            self.assertTrue(self.guard.allows(Request(host=host)), host)

    def test_a_page_whose_name_points_here(self) -> None:
        for host in ("evil.example", "127.0.0.1.evil.example", "", "\xe4"):
            self.assertFalse(self.guard.allows(Request(host=host)), host)
        self.assertEqual(self.guard.refusal(Request()).status, 403)


class Directory:
    """An application that knows one login, unless it cannot say."""

    def __init__(self, refused: Refused | None = None) -> None:
        self.refused = refused
        self.thinking: Deferred[None] | None = None
        self.answered = 0

    async def login(self, login: str, passcode: str, peer: Peer) -> Principal | None:
        if self.thinking is not None:
            await self.thinking
        self.answered += 1
        if self.refused is not None:
            raise self.refused
        return Principal(login, peer.address) if passcode == "secret" else None


class WithLogin:
    """A request's part that is looked at."""

    peer = Peer("192.0.2.1", "http")

    def __init__(self, authorization: str | None) -> None:
        self._authorization = authorization

    def getHeader(self, name: str) -> str | None:
        return self._authorization if name == "authorization" else None


class TestLogIn(unittest.TestCase):
    def setUp(self) -> None:
        self.client_warnings: list[tuple[str, str, dict[str, Any]]] = []

    def log_in(self, authorization: str | None, refused: Refused | None = None) -> Any:
        request: Any = WithLogin(authorization)
        application: Any = Directory(refused)
        return log_in(application, self._warn, request, "stations")

    def _warn(self, event: str, address: str, **fields: Any) -> None:
        self.client_warnings.append((event, address, fields))

    async def assert_refused(self, status: int, authorization: str | None, refused: Refused | None = None) -> HttpError:
        with self.assertRaises(HttpError) as caught:
            await self.log_in(authorization, refused)
        self.assertEqual(caught.exception.status, status)
        return caught.exception

    async def test_one_who_is_known(self) -> None:
        self.assertEqual(await self.log_in(basic_login("a", "secret")), Principal("a", "192.0.2.1"))

    async def test_a_wrong_password_is_logged_without_it(self) -> None:
        error = await self.assert_refused(401, basic_login("a", "wrong"))
        self.assertEqual(error.headers, {"WWW-Authenticate": 'Basic realm="stations", charset="UTF-8"'})
        fields = {"login": "a", "interface": "http"}
        self.assertEqual(self.client_warnings, [("login.refused", "192.0.2.1", fields)])

    async def test_none_at_all(self) -> None:
        for authorization in (None, "", "Bearer x", "Basic ?", basic_login("a", "secret").replace("Basic", "Digest")):
            await self.assert_refused(401, authorization)

    async def test_who_goes_meanwhile_does_not_keep_a_failure_from_counting(self) -> None:
        for refused in (None, TooManyFailures()):
            application: Any = Directory(refused)
            application.thinking = Deferred()
            request: Any = WithLogin(basic_login("a", "wrong"))
            logging_in = Deferred.fromCoroutine(log_in(application, self._warn, request, "stations"))
            logging_in.cancel()
            self.failureResultOf(logging_in, CancelledError)
            application.thinking.callback(None)
            self.assertEqual(application.answered, 1)

    async def test_too_many_failures_and_a_directory_that_is_away(self) -> None:
        error = await self.assert_refused(429, basic_login("a", "secret"), TooManyFailures())
        self.assertEqual(error.headers["Retry-After"], "60")
        await self.assert_refused(503, basic_login("a", "secret"), Refused("away", "Try later.", temporary=True))
