"""Too much of anything, and clients that stop in the middle, on a real node (stomp.md §8)."""

from __future__ import annotations

import socket
import time
import unittest
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.fanout.stomp_server.bystander import MIB, BadInputCase, send
from tests.processes import Server
from tests.radio import Radio, frame


class Quantity(BadInputCase):
    settings: ClassVar[Mapping[str, Any]] = {
        **BadInputCase.settings,
        "radiovis.publish_rights.PUBLISH_OCTETS": 2**30,  # The loud one has more than its share of a second.
    }

    def test_a_mebibyte_before_connect(self) -> None:
        for octets in (b"A" * MIB, b"CONNECT\nx:" + b"A" * MIB, b"CONNECT\n" + b"x:y\n" * (MIB // 4), b"\n" * MIB):
            with self.subTest(octets=octets[:16]):
                radio = self.dial()
                radio.flood(octets)
                self.assertIn(b"ERROR", radio.rest())

    def test_a_hundred_halves_of_a_connect(self) -> None:
        before = self.server.memory()
        radios = [self.dial() for _ in range(100)]
        for radio in radios:
            radio.flood(b"CONNECT\n" + b"header:value\n" * (200_000 // 13))
        for radio in radios:
            self.assertIn(b"ERROR", radio.rest())
        self.assertLess(self.server.memory() - before, 8 * MIB)

    def test_two_million_line_ends(self) -> None:
        for version in (None, "1.2"):
            radio = self.open(version)
            started = time.monotonic()
            radio.send(b"\n" * 2_000_000)
            self.assertEqual(radio.so_far(), [])
            self.assertLess(time.monotonic() - started, 5)

    def test_five_thousand_subscriptions(self) -> None:
        octets = b"".join(frame("SUBSCRIBE", {"id": str(n), "destination": f"/topic/many/{n}"}) for n in range(5000))
        radio = self.open("1.2")
        radio.flood(octets)
        self.is_refused(radio, "Too many subscriptions")

    def test_five_thousand_subscriptions_10(self) -> None:
        radio = self.open(None)
        for number in range(5000):
            radio.say("SUBSCRIBE", {"destination": f"/topic/many/{number}", "x-ebu-nofastreply": "yes"})
        answers = radio.so_far()
        self.assertEqual({each.get("message") for each in answers}, {"Too many subscriptions"})
        self.assertEqual(len(answers), 5000 - 256)

    def test_a_header_of_5_mib(self) -> None:
        self.floods(b"SEND\nlink:", 5 * MIB, "Header too long")

    def test_eight_mib_of_body(self) -> None:
        self.floods(b"SEND\ndestination:/topic/id/tests._ebu.nowhere/topic1/bad\n\n", 8 * MIB, "Frame too large")

    def test_eight_mib_of_announced_body(self) -> None:
        head = b"SEND\ndestination:/topic/id/tests._ebu.nowhere/topic1/bad\ncontent-length:%d\n\n" % (8 * MIB)
        self.floods(head, 8 * MIB, "Frame too large")

    def floods(self, head: bytes, octets: int, summary: str) -> None:
        """The ERROR comes while the client is still sending, and is not erased by a reset."""
        before = self.server.memory()
        radio = self.open("1.2")
        radio.flood(head + b"a" * octets)
        self.is_refused(radio, summary)
        self.assertLess(self.server.memory() - before, 3 * MIB)

    def test_five_hundred_connections_leave_nothing_behind(self) -> None:
        before = self.server.open_files()
        for _ in range(500):
            with Radio.connect(self.server.address) as radio:
                radio.say("DISCONNECT", {"receipt": "bye"})
                radio.expect("RECEIPT", receipt_id="bye")
        self.assert_soon(lambda: self.server.open_files() <= before)

    def test_ten_thousand_receipts_in_order(self) -> None:
        for version in (None, "1.2"):
            radio = self.open(version)
            before = self.server.memory()
            receipts: list[str | None] = []
            for batch in range(10):
                numbers = range(batch * 1000, batch * 1000 + 1000)
                radio.send(b"".join(send(b"receipt:%d\n" % number) for number in numbers))
                receipts += [radio.expect("RECEIPT").get("receipt-id") for _ in numbers]
            self.assertEqual(receipts, [str(number) for number in range(10_000)])
            self.assertLess(self.server.memory() - before, 16 * MIB)

    def test_two_thousand_sends_and_gone(self) -> None:
        for version in (None, "1.2"):
            topic = f"/topic/id/tests._ebu.nowhere/topic1/gone/{version}"
            listener = self.radio()
            listener.subscribe(topic)
            with self.open(version) as station:
                station.send(b"".join(send(b"", b"%d" % n, topic.encode()) for n in range(2000)))
            self.assertEqual([listener.frame().body for _ in range(2000)], [b"%d" % n for n in range(2000)])

    def test_half_closed_after_sending(self) -> None:
        for version in (None, "1.1", "1.2"):
            radio = self.open(version)
            radio.send(b"".join(send(b"receipt:%d\n" % number) for number in range(300)))
            radio.half_close()
            self.assertEqual([radio.expect("RECEIPT").get("receipt-id") for _ in range(300)], [*map(str, range(300))])
            self.assertTrue(radio.ends())

    def test_ten_thousand_destinations_nobody_listens_to(self) -> None:
        station = self.open("1.2")
        before = self.server.memory()
        for batch in range(10):
            numbers = range(batch * 1000, batch * 1000 + 1000)
            station.send(
                b"".join(
                    send(b"", destination=b"/topic/id/tests._ebu.nowhere/topic1/nobody/%d" % number)
                    for number in numbers
                )
            )
            self.assertEqual(station.so_far(), [])
        self.assertLess(self.server.memory() - before, 24 * MIB)

    def test_a_reader_that_never_reads(self) -> None:
        deaf = Radio(self.server.address, receive_buffer=4096)
        self.addCleanup(deaf.close)
        deaf.send(b"CONNECT\n\n\0SUBSCRIBE\ndestination:/topic/id/tests._ebu.nowhere/topic1/loud\n\n\0")
        listener = self.radio()
        listener.subscribe("/topic/id/tests._ebu.nowhere/topic1/loud")
        body = b"x" * 100_000
        before = self.server.memory()
        for _ in range(150):  # within the share of a second that a station has
            self.publisher.publish("/topic/id/tests._ebu.nowhere/topic1/loud", body)
            self.assertEqual(len(listener.expect("MESSAGE").body), len(body))
        self.assertLess(self.server.memory() - before, 12 * MIB)

    def test_a_slow_reader_gets_whole_frames_and_the_newest(self) -> None:
        slow = Radio(self.server.address, receive_buffer=4096)
        self.addCleanup(slow.close)
        slow.send(b"CONNECT\n\n\0")
        slow.expect("CONNECTED")
        slow.subscribe("/topic/id/tests._ebu.nowhere/topic1/slow")
        for number in range(60):
            self.publisher.publish("/topic/id/tests._ebu.nowhere/topic1/slow", b"%d " % number + b"x" * 200_000)
        came = slow.so_far()
        self.assertEqual({each.command for each in came}, {"MESSAGE"})
        self.assertEqual({len(each.body.split()[1]) for each in came}, {200_000})
        numbers = [int(each.body.split()[0]) for each in came]
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual(numbers[-1], 59)


class Silence(BadInputCase):
    """Clients that stop in the middle, on a node with little patience."""

    settings: ClassVar[Mapping[str, Any]] = {
        "fanout.stomp.limits.CONNECT_SECONDS": 1,
        "fanout.stomp.limits.FRAME_SECONDS": 1,
        "HEARTBEAT_MS": "1000,1000",
        "OUTBOX_BYTES": 65536,
        "WRITE_TIMEOUT": 1,
    }

    def test_no_connect(self) -> None:
        self.assertTrue(self.dial().ends(5))

    def test_half_a_connect(self) -> None:
        radio = self.dial()
        radio.send(b"CONNECT\nlogin:1.te")
        self.assertTrue(radio.ends(5))

    def test_a_connect_in_drops(self) -> None:
        radio = self.dial()
        radio.send(b"CONNECT\n")
        started = time.monotonic()
        try:
            while time.monotonic() < started + 5:
                radio.send(b"x")
                time.sleep(0.1)
        except ConnectionError:
            pass
        self.assertLess(time.monotonic() - started, 4)

    def test_half_a_frame(self) -> None:
        for version in (None, "1.2"):
            radio = self.open(version)
            radio.send(b"SEND\ndestination:/topic/id/tests._ebu.nowhere/topic1/bad\ncontent-length:100\n\nshort")
            self.assertTrue(radio.ends(5))
        self.server.wait_for("client.overdue", reason="unfinished frame")

    def test_a_heart_beat_missed(self) -> None:
        radio = self.radio(version="1.2", heart_beat="1000,0")
        started = time.monotonic()
        self.assertTrue(radio.ends(6))
        self.assertGreater(time.monotonic() - started, 1.5)

    def test_a_client_that_promised_no_heart_beat_may_be_silent(self) -> None:
        silent = [self.radio(version="1.2", heart_beat="0,0"), self.radio()]
        radio = self.radio(version="1.2", heart_beat="1000,0")
        self.assertTrue(radio.ends(6))  # As long as one that promised was waited for.
        for each in silent:
            self.assertEqual(each.so_far(), [])

    def test_heart_beat_every_millisecond_is_one_a_second(self) -> None:
        radio = self.radio(version="1.2", heart_beat="0,1")
        self.assertEqual(radio.octet(), b"\n")  # Behind the NUL of CONNECTED.
        started = time.monotonic()
        self.assertEqual([radio.octet() for _ in range(3)], [b"\n"] * 3)
        self.assertTrue(1.8 < time.monotonic() - started < 6, time.monotonic() - started)

    def test_the_deaf_are_cut_off(self) -> None:
        deaf = Radio(self.server.address, receive_buffer=4096)
        self.addCleanup(deaf.close)
        deaf.send(b"CONNECT\n\n\0SUBSCRIBE\ndestination:/topic/id/tests._ebu.nowhere/topic1/deaf\n\n\0")
        deaf.expect("CONNECTED")
        deaf.so_far()
        before = self.server.open_files()
        for _ in range(100):
            self.publisher.publish("/topic/id/tests._ebu.nowhere/topic1/deaf", b"x" * 60_000)
        self.server.wait_for("client.slow", seconds=10)
        self.assert_soon(lambda: self.server.open_files() == before - 1)


class Crowding(unittest.TestCase):
    """Too many connections of one address."""

    def test_one_too_many_is_turned_away(self) -> None:
        with Server("--test", "--rabbitmq-loopback", MAX_CONNECTIONS_PER_ADDRESS=3) as server:
            radios = [Radio.connect(server.address) for _ in range(3)]
            with socket.create_connection(server.address, 10) as one_too_many:
                self.assertEqual(self.received(one_too_many), b"")
            radios.pop().close()
            server.wait_for("client.turned_away")
            for radio in radios:
                self.assertEqual(radio.so_far(), [])
                radio.close()

    def received(self, client: socket.socket) -> bytes:
        try:
            return client.recv(1)
        except ConnectionResetError:
            return b""
