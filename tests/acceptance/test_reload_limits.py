"""Limits that a SIGHUP changes, as who runs into them sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tests.acceptance.test_reload import ReloadCase
from tests.acceptance.watched import until
from tests.processes import Server, node
from tests.radio import Radio, frame
from tests.services import free_port
from tests.web import ask, poll_path


def _config(settings: Mapping[str, object]) -> str:
    return "".join(f"{name} = {value!r}\n" for name, value in settings.items())


class LimitsCase(ReloadCase):
    """One node for a class.

    :cvar options: of the node, which stay.
    :cvar base: what is in its config.py when a test begins.
    """

    options: ClassVar[dict[str, Any]] = {}
    base: ClassVar[dict[str, Any]] = {}
    node: ClassVar[Server]

    @classmethod
    def setUpClass(cls) -> None:
        cls.node = node(**cls.options)
        cls.addClassCleanup(cls.node.close)
        (cls.node.folder / "config.py").write_text(_config(cls.base))
        cls.node.start()

    def setUp(self) -> None:
        self.change()

    def tearDown(self) -> None:
        self.assertEqual(self.node.faults, [])
        self.assertEqual(self.node.events("settings.need_restart"), [])

    def change(self, **settings: object) -> None:
        """Let these be set, and otherwise what every test begins with."""
        self.edit(self.node, _config({**self.base, **settings}))

    def dial(self) -> Radio:
        radio = Radio(self.node.address)
        self.addCleanup(radio.close)
        return radio


class Logins(LimitsCase):
    """Each test has addresses of its own, told by a proxy."""

    options: ClassVar[dict[str, Any]] = {
        "PROXY_FROM": "127.0.0.1",
        "fanout.application.login_throttle.PAUSE_SECONDS": 600,
        "fanout.application.login_throttle.QUEUE_SECONDS": 0,
    }
    base: ClassVar[dict[str, Any]] = {"LOGIN_FAILURES": 1}
    refused = "Too many failed logins"

    def log_in(self, address: str, passcode: str = "test") -> str:
        """How a login from there ends: ``CONNECTED``, or the words of the ERROR."""
        with self.dial() as radio:
            radio.send(f"PROXY TCP4 {address} 192.0.2.255 4000 61613\r\n".encode())
            radio.say("CONNECT", {"login": "1.test", "passcode": passcode})
            answer = radio.frame()
            return answer.get("message") or answer.command

    def test_failures(self) -> None:
        self.assertEqual(self.log_in("192.0.2.1", "guess"), "Wrong credentials")
        self.assertEqual(self.log_in("192.0.2.1"), self.refused)
        self.change(LOGIN_FAILURES=2)
        self.assertEqual(self.log_in("192.0.2.1"), "CONNECTED")


class Connects(LimitsCase):
    def test_burst_and_rate(self) -> None:
        for burst in (1, 3):
            self.change(CONNECT_BURST=burst, CONNECT_RATE=0.001)
            for _ in range(burst):
                self.assertTrue(self.is_let_in())
            self.assertFalse(self.is_let_in())
        self.change(CONNECT_BURST=1, CONNECT_RATE=0)
        self.assertEqual([self.is_let_in() for _ in range(5)], [True] * 5)

    def is_let_in(self) -> bool:
        """Whether one more connection is taken."""
        radio = self.dial()
        radio.flood(frame("CONNECT") + frame("DISCONNECT"))
        return radio.rest().startswith(b"CONNECTED")


class Histories(LimitsCase):
    """What a poll is told to have missed, with ids that are unknown taken for none at once."""

    options: ClassVar[dict[str, Any]] = {"HTTP_PORT": free_port(), "fanout.http.limits.CATCH_UP_SECONDS": 0}

    def setUp(self) -> None:
        super().setUp()
        self.topic = f"/topic/id/tests._ebu.nowhere/topic1/{self._testMethodName}"
        self.station = Radio.connect(self.node.address, "1.test", "test", version="1.2")
        self.addCleanup(self.station.close)

    def publish(self, *names: str, octets: int = 0) -> None:
        for name in names:
            self.station.publish(self.topic, b"TEXT " + b"x" * octets, {"message-id": name})

    def after(self, name: str) -> str:
        """What a poll gets that has seen this one; the newest if the node no longer knows it."""
        headers = ask(self.node.http, poll_path(self.topic, last_id=name)).json["headers"]
        return str(headers["RadioVIS-Message-ID"])

    def test_octets(self) -> None:
        self.publish("1", "2", "3", octets=30_000)
        self.assertEqual(self.after("1"), "2")
        self.change(HISTORY_BYTES=65_536)
        self.publish("4", octets=30_000)
        self.assertEqual([self.after(name) for name in ("1", "3")], ["4", "4"])

    def test_seconds(self) -> None:
        self.publish("1", "2", "3")
        self.assertEqual(self.after("1"), "2")
        self.change(HISTORY_SECONDS=1)
        until(lambda: self.after("1") == "3", "forgotten")
