from __future__ import annotations

import base64

from twisted.trial import unittest

from fanout.doors.guard import Guard, is_loopback

TOKEN = "0123456789abcdef"


class Request:
    """A request with these headers."""

    def __init__(self, **headers: str) -> None:
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
    guard = Guard(TOKEN, "operators")

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
        refusal = self.guard.refusal()
        self.assertEqual(refusal.status, 401)
        self.assertIn('Basic realm="operators"', refusal.headers["WWW-Authenticate"])


class TestWithoutToken(unittest.TestCase):
    guard = Guard("", "operators")

    def test_by_address(self) -> None:
        for host in ("127.0.0.1", "localhost", "[::1]", "::1"):
            self.assertTrue(self.guard.allows(Request(host=host)), host)

    def test_a_page_whose_name_points_here(self) -> None:
        for host in ("evil.example", "127.0.0.1.evil.example", "", "\xe4"):
            self.assertFalse(self.guard.allows(Request(host=host)), host)
        self.assertEqual(self.guard.refusal().status, 403)
