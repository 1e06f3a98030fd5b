"""Tests of bad input: a node, somebody innocent on it, and what each bad input must end with.

The client got a clear ERROR, silence or the end; somebody else's radio still gets its slides; the node logged no error
of its own.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from tests.acceptance.case import NodeCase
from tests.radio import Frame, Radio

MIB = 2**20
_numbers = itertools.count(1)


class BadInputCase(NodeCase):
    """A node with somebody innocent on it."""

    bystander: Radio
    publisher: Radio

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.bystander = Radio.connect(cls.server.address)
        cls.bystander.subscribe("/topic/id/tests._ebu.nowhere/topic1/bystander", id="7")
        cls.publisher = Radio.connect(cls.server.address, "1.test", "test")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.bystander.close()
        cls.publisher.close()
        super().tearDownClass()

    def tearDown(self) -> None:
        body = b"SHOW http://s/%d.png" % next(_numbers)
        self.publisher.publish("/topic/id/tests._ebu.nowhere/topic1/bystander", body)
        self.assertEqual(self.bystander.expect("MESSAGE", subscription="7").body, body)
        self.assertEqual(self.bystander.so_far(), [])
        super().tearDown()

    def assert_soon(self, holds: Callable[[], bool]) -> None:
        """The server closes a moment after we have: wait for that."""
        deadline = time.monotonic() + 60
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    # What is sent, and what it gets

    def open(self, version: str | None, login: str = "1.test") -> Radio:
        return self.radio(login, "test", version=version)

    def refused(self, octets: bytes, summary: str, version: str = "1.2") -> Frame:
        """These octets get a 1.1 or 1.2 client an ERROR, and the end."""
        radio = self.open(version)
        radio.send(octets)
        return self.is_refused(radio, summary)

    def is_refused(self, radio: Radio, summary: str) -> Frame:
        error = radio.expect("ERROR", message=summary, content_type="text/plain")
        self.assertNotIn(b"Traceback", error.body)
        self.assertGreater(len(error.body.split()), 4, "an ERROR says what was wrong, in words")
        self.assertTrue(radio.ends())
        return error

    def complained_10(self, octets: bytes, summary: str) -> None:
        """These octets get a 1.0 client an ERROR, and it goes on."""
        radio = self.open(None)
        radio.send(octets)
        self.assert_error(radio, summary)
        self.assertEqual(radio.so_far(), [])

    def refused_10(self, octets: bytes, summary: str) -> None:
        """These octets get a 1.0 client an ERROR and the end: nobody knows where the next frame begins."""
        radio = self.open(None)
        radio.send(octets)
        self.assert_error_and_end(radio, summary)


def send(headers: bytes, body: bytes = b"ab", destination: bytes = b"/topic/id/tests._ebu.nowhere/topic1/bad") -> bytes:
    """A SEND with these header lines."""
    return b"SEND\ndestination:" + destination + b"\n" + headers + b"\n" + body + b"\0"
