"""Subscribers that read slowly, never, or vanish, in numbers: the rest lose nothing, memory is bounded, it is logged.

One such client alone is in ``test_floods.py``.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from fanout.process.daemon import raise_limit
from tests.fanout.stomp_server.bystander import MIB, BadInputCase
from tests.processes import node
from tests.radio import Radio, frame

CROWD = 5_000
DEAF = 100
OUTBOX = 65_536


class CrowdCase(BadInputCase):
    """A node that admits many."""

    settings: ClassVar[Mapping[str, Any]] = {"MAX_CONNECTIONS_PER_ADDRESS": 0}

    @classmethod
    def setUpClass(cls) -> None:
        raise_limit(CROWD)
        super().setUpClass()

    def crowd(self, number: int, topic: str, buffer: int | None = None) -> list[socket.socket]:
        """So many subscribers, each with its RECEIPT read; reading is up to the test from here."""
        sockets = []
        for _ in range(number):
            each = socket.socket()
            self.addCleanup(each.close)
            if buffer is not None:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            each.connect(self.server.address)
            each.settimeout(60)
            headers = {"destination": topic, "receipt": "r", "x-ebu-nofastreply": "yes"}
            each.sendall(frame("CONNECT") + frame("SUBSCRIBE", headers))
            sockets.append(each)
        for each in sockets:
            got = b""
            while b"RECEIPT" not in got or not got.endswith(b"\0"):
                got += each.recv(4096)
        return sockets


class SlowClients(CrowdCase):
    """A node that keeps little for each client, and is patient with it."""

    settings: ClassVar[Mapping[str, Any]] = {**CrowdCase.settings, "OUTBOX_BYTES": OUTBOX}

    def test_five_thousand_vanish_at_once(self) -> None:
        """Half of them with a reset, as when a mast falls over."""
        before = self.server.open_files()
        crowd = self.crowd(CROWD, self.topic())
        radio = self.radio()
        radio.subscribe(self.topic())
        for number, each in enumerate(crowd):
            if number % 2:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()
        self.publisher.publish(self.topic(), b"TEXT still here")
        self.assertEqual(radio.expect("MESSAGE").body, b"TEXT still here")
        self.server.wait_for("clients.vanished")
        radio.close()
        self.assert_soon(lambda: self.server.open_files() <= before)

    def test_some_that_close_in_the_middle_of_a_frame(self) -> None:
        """What they had begun to send is lost with them, what they were being sent, too; nobody else's is."""
        radio = self.radio()
        radio.subscribe(self.topic())
        for number, each in enumerate(self.crowd(200, self.topic())):
            each.sendall(b"SEND\ndestination:/topic/id/tests._ebu.nowhere/topic1/bad\ncontent-length:1000\n\nhalf a bo")
            if number % 20 == 0:
                self.publisher.publish(self.topic(), b"x" * 50_000)
                each.recv(10)  # of 50,000
                self.assertEqual(len(radio.expect("MESSAGE").body), 50_000)
            each.close()
        self.assertEqual(radio.so_far(), [])

    def test_a_hundred_that_never_read_cost_their_outbox_and_no_more(self) -> None:
        """The outbox's limit bounds what each costs us; the kernel's buffers are its own."""
        radio = self.radio()
        radio.subscribe(self.topic())
        self.crowd(DEAF, self.topic(), buffer=4096)
        before = self.server.memory()
        body = b"x" * 8_000
        for number in range(1_000):
            self.publisher.publish(self.topic(), b"%d " % number + body)
            self.assertEqual(radio.expect("MESSAGE").body.split()[0], b"%d" % number)
        # As much again as in the outbox may be in the transport; what was joined there is shared with nobody.
        self.assertLess(self.server.memory() - before, 2 * DEAF * OUTBOX + 4 * MIB)

    def test_one_octet_a_second_holds_up_nobody_and_is_cut_off(self) -> None:
        """It reads, but not what it is owed: its transport stays full."""
        with node(OUTBOX_BYTES=OUTBOX, WRITE_TIMEOUT=1) as server:
            slow = Radio(server.address, receive_buffer=4096)
            self.addCleanup(slow.close)
            slow.send(
                frame("CONNECT") + frame("SUBSCRIBE", {"destination": "/topic/id/tests._ebu.nowhere/topic1/slow"})
            )
            slow.expect("CONNECTED")
            radio = Radio.connect(server.address)
            self.addCleanup(radio.close)
            radio.subscribe("/topic/id/tests._ebu.nowhere/topic1/slow")
            station = Radio.connect(server.address, "1.test", "test")
            self.addCleanup(station.close)
            number, deadline = 0, time.monotonic() + 20
            with contextlib.suppress(ConnectionError):
                while not server.events("client.slow"):
                    for _ in range(20):
                        station.publish("/topic/id/tests._ebu.nowhere/topic1/slow", b"%d " % number + b"x" * 2_000)
                        self.assertEqual(radio.expect("MESSAGE").body.split()[0], b"%d" % number)
                        number += 1
                    slow.octet()
                    self.assertLess(time.monotonic(), deadline, "it was never cut off")
            server.wait_for("client.slow", reason="does not read what it is sent")
            self.assertEqual(server.faults, [])


class LargeMessages(CrowdCase):
    """To many at once."""

    def test_a_quarter_mebibyte_to_five_thousand(self) -> None:
        """The frame is one object, however many are to get it; what the sockets do not take is each client's own."""
        readers = self.crowd(CROWD, self.topic())
        before = self.server.memory()
        self.publisher.publish(self.topic(), b"x" * (MIB // 4 - 200))
        poll = select.epoll()
        self.addCleanup(poll.close)
        waiting = {each.fileno(): each for each in readers}
        for fd in waiting:
            poll.register(fd, select.EPOLLIN)
        deadline = time.monotonic() + 120
        highest = 0
        while waiting:
            self.assertLess(time.monotonic(), deadline)
            highest = max(highest, self.server.memory())
            for fd, _ in poll.poll(1):
                if waiting[fd].recv(MIB).endswith(b"\0"):
                    poll.unregister(fd)
                    del waiting[fd]
        self.assertLess(highest - before, CROWD * MIB // 4 + 16 * MIB)
