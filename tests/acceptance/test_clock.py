"""A node on a machine whose clock was wrong, such as 1970 after a start without NTP, and is put right."""

from __future__ import annotations

import time
import unittest

from tests.acceptance.watched import until
from tests.processes import Server, node
from tests.radio import Radio
from tests.services import free_port
from tests.web import Raw, ask, poll_path

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/clock/image"
STEP = 60.0  # seconds a date may be off
WRONG_CLOCK = """
import time
from pathlib import Path

def wrong(right=time.time):
    return right() + float(Path("set_by").read_text())

time.time = wrong
"""
"""Python runs this as ``sitecustomize``, before any program."""


def set_clock(server: Server, by: float) -> None:
    """Let it be wrong by so many seconds."""
    new = server.folder / "set_by.new"
    new.write_text(str(by))
    new.rename(server.folder / "set_by")


class TestAClockThatIsPutRight(unittest.TestCase):
    def is_right(self, server: Server) -> bool:
        told: float = ask(server.admin, "/api/overview").json["now"]
        return abs(told - time.time()) <= STEP

    def check(self, wrong: float) -> None:
        """It was wrong by so many seconds when the node was started."""
        settings = {"HTTP_PORT": free_port(), "ADMIN_PORT": free_port(), "HTTP_POLL_TIMEOUT": 300}
        server = node(PYTHONPATH=".", **settings)
        self.addCleanup(server.close)
        (server.folder / "sitecustomize.py").write_text(WRONG_CLOCK)
        set_clock(server, wrong)
        server.start()
        radio = Radio.connect(server.address, version="1.2")
        station = Radio.connect(server.address, "1.test", "test", version="1.2")
        self.addCleanup(radio.close)
        self.addCleanup(station.close)
        radio.subscribe(TOPIC, "1", fast_reply=False)
        station.publish(TOPIC, b"TEXT before")
        before = int(radio.expect("MESSAGE").get("when") or "")
        self.assertAlmostEqual(before, time.time() + wrong, delta=STEP)

        last = ask(server.http, poll_path(TOPIC)).json["headers"]["RadioVIS-Message-ID"]
        request = f"GET {poll_path(TOPIC, last_id=last)} HTTP/1.1\r\nhost: radio\r\n\r\n"
        poll = Raw(server.http, request.encode())
        self.addCleanup(poll.close)
        until(lambda: ask(server.admin, "/api/overview").json["clients"]["total"] == 3, "held")

        set_clock(server, 0)
        until(lambda: self.is_right(server), "the overview tells the right time")  # It asks once in a millisecond.
        station.publish(TOPIC, b"TEXT now")
        message = radio.expect("MESSAGE")
        self.assertEqual(message.body, b"TEXT now")
        self.assertAlmostEqual(int(message.get("when") or ""), time.time(), delta=STEP)
        self.assertIn(b"TEXT now", poll.until(b"}}"))
        self.assertEqual(radio.so_far(), [])
        server.terminate()
        self.assertEqual(server.faults, [])

    def test_since_1970(self) -> None:
        self.check(3600 - time.time())

    def test_years_ahead(self) -> None:
        self.check(3e8)
