"""Bad input, as a hostile or broken client sends it to a real node (stomp.md §8).

Every case ends the same way: the client got a clear ERROR, silence or the end, as the table says; somebody else's
radio still gets its slides; the node logged no error of its own.
"""

from __future__ import annotations

import itertools
import socket
import time
import unittest
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tests.acceptance.case import NodeCase
from tests.processes import Server
from tests.radio import Frame, Radio, frame

MIB = 2**20
CONNECT_12 = b"CONNECT\naccept-version:1.2\nhost:h\n\n\0"
_numbers = itertools.count(1)


class BadInputCase(NodeCase):
    """A node with somebody innocent on it."""

    bystander: Radio
    publisher: Radio

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.bystander = Radio.connect(cls.server.address)
        cls.bystander.subscribe("/topic/test/1/bystander", id="7")
        cls.publisher = Radio.connect(cls.server.address, "1.test", "test")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.bystander.close()
        cls.publisher.close()
        super().tearDownClass()

    def tearDown(self) -> None:
        body = b"SHOW http://s/%d.png" % next(_numbers)
        self.publisher.publish("/topic/test/1/bystander", body)
        self.assertEqual(self.bystander.expect("MESSAGE", subscription="7").body, body)
        self.assertEqual(self.bystander.so_far(), [])
        super().tearDown()

    def assert_soon(self, holds: Callable[[], bool]) -> None:
        """The server closes a moment after we have: wait for that."""
        deadline = time.monotonic() + 10
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


def send(headers: bytes, body: bytes = b"ab", destination: bytes = b"/topic/test/1/bad") -> bytes:
    """A SEND with these header lines."""
    return b"SEND\ndestination:" + destination + b"\n" + headers + b"\n" + body + b"\0"


class Headers(BadInputCase):
    def test_bare_cr_in_a_value(self) -> None:
        self.refused(send(b"link:a\rb\n"), "Malformed header")

    def test_unknown_escape(self) -> None:
        for version in ("1.1", "1.2"):
            self.refused(send(b"link:a\\tb\n"), "Malformed header", version)

    def test_lone_backslash_at_the_end(self) -> None:
        for version in ("1.1", "1.2"):
            self.refused(send(b"link:a\\\n"), "Malformed header", version)

    def test_cr_escape_under_11(self) -> None:
        self.refused(send(b"link:a\\rb\n"), "Malformed header", "1.1")

    def test_escapes_mean_nothing_under_10(self) -> None:
        radio = self.open(None)
        radio.send(send(b"link:a\\tb\\\n"))
        self.assertEqual(radio.so_far(), [])

    def test_header_without_colon(self) -> None:
        self.refused(send(b"link\n"), "Malformed header")

    def test_header_without_name(self) -> None:
        self.refused(send(b":x\n"), "Malformed header")

    def test_nul_inside_the_headers(self) -> None:
        octets = b"SEND\ndestination:/topic/test/1/b\0ad\n\nTEXT\0"
        self.refused(octets, "Malformed frame")

    def test_nul_inside_the_headers_10(self) -> None:
        self.complained_10(b"SEND\ndestination:/topic/test/1/bad\0", "Malformed frame")

    def test_invalid_utf8(self) -> None:
        for octets in (b"link:\xff\xfe\n", b"link:\xc0\xaf\n", b"\xed\xa0\x80:x\n"):
            with self.subTest(octets=octets):
                self.refused(send(octets), "Malformed header")
                self.complained_10(send(octets), "Malformed header")

    def test_invalid_utf8_in_connect(self) -> None:
        radio = self.dial()
        radio.send(b"CONNECT\nlogin:\xff\xfe\n\n\0")
        self.assert_error_and_end(radio, "Malformed header")

    def test_a_thousand_headers(self) -> None:
        self.refused(send(b"x:y\n" * 1000), "Too many headers")
        self.refused_10(send(b"x:y\n" * 1000), "Too many headers")

    def test_a_thousand_headers_without_an_end(self) -> None:
        self.refused(b"SEND\n" + b"x:y\n" * 1000, "Too many headers")

    def test_a_header_of_64_kib(self) -> None:
        self.refused(send(b"link:" + b"a" * 65536 + b"\n"), "Header too long")
        self.refused_10(send(b"link:" + b"a" * 65536 + b"\n"), "Header too long")

    def test_a_header_of_64_kib_without_an_end(self) -> None:
        self.refused(b"SEND\nlink:" + b"a" * 65536, "Header too long")

    def test_a_header_of_5_mib(self) -> None:
        self.floods(b"SEND\nlink:", 5 * MIB, "Header too long")

    def test_a_command_line_of_2_kib(self) -> None:
        self.refused(b"X" * 2048 + b"\n\n\0", "Unknown command")

    def test_a_command_line_of_16_kib_without_an_end(self) -> None:
        self.refused(b"X" * 16384, "Header too long")

    def test_eight_mib_of_body(self) -> None:
        self.floods(b"SEND\ndestination:/topic/test/1/bad\n\n", 8 * MIB, "Frame too large")

    def test_eight_mib_of_announced_body(self) -> None:
        head = b"SEND\ndestination:/topic/test/1/bad\ncontent-length:%d\n\n" % (8 * MIB)
        self.floods(head, 8 * MIB, "Frame too large")

    def floods(self, head: bytes, octets: int, summary: str) -> None:
        """The ERROR comes while the client is still sending, and is not erased by a reset."""
        before = self.server.memory()
        radio = self.open("1.2")
        radio.flood(head + b"a" * octets)
        self.is_refused(radio, summary)
        self.assertLess(self.server.memory() - before, 3 * MIB)

    def test_a_destination_of_a_megabyte(self) -> None:
        self.refused(frame("SUBSCRIBE", {"id": "1", "destination": "/topic/" + "a" * MIB}), "Header too long")

    def test_a_destination_of_two_kib(self) -> None:
        headers = {"id": "1", "destination": "/topic/test/1/" + "a" * 2048}
        for command in ("SUBSCRIBE", "SEND"):
            self.refused(frame(command, headers), "Destination too long")
            self.complained_10(frame(command, headers), "Destination too long")

    def test_a_path_a_pattern_or_a_format_string_is_just_a_name(self) -> None:
        for name in ("../../etc/passwd", "#", ">", "*", "(a+)+$", "%s%n{0}{__class__}", "'; DROP TABLE x; --", "${x}"):
            with self.subTest(name=name):
                destination = f"/topic/test/1/{name}"
                radio = self.radio(version="1.2")
                radio.subscribe(destination, id=name, receipt=name)
                radio.expect("RECEIPT", receipt_id=name)
                self.publisher.publish("/topic/test/1/etc", b"TEXT not for this name")
                self.publisher.publish(destination, b"TEXT a")
                self.assertEqual([each.body for each in radio.so_far()], [b"TEXT a"])

    def test_such_names_as_login(self) -> None:
        for name in ("../../etc/passwd", "%s%n{0}", "(a+)+$", "1.test\x1b[2J"):
            radio = self.dial()
            radio.say("CONNECT", {"login": name, "passcode": name})
            self.assert_error_and_end(radio, "Wrong credentials")

    def test_a_selector_is_not_evaluated(self) -> None:
        radio = self.radio(version="1.2")
        radio.subscribe("/topic/test/1/selected", selector="1=0 OR __import__('os')._exit(1)")
        self.publisher.publish("/topic/test/1/selected", b"TEXT a")
        self.assertEqual([each.body for each in radio.so_far()], [b"TEXT a"])


class Commands(BadInputCase):
    def test_a_command_in_small_letters(self) -> None:
        self.refused(b"send\ndestination:/topic/test/1/bad\n\nTEXT\0", "Unknown command")

    def test_a_servers_command(self) -> None:
        for command in ("MESSAGE", "ERROR", "CONNECTED", "RECEIPT"):
            self.refused(frame(command, {"destination": "/topic/test/1/bad"}), "Unknown command")

    def test_connect_twice(self) -> None:
        self.refused(CONNECT_12, "Already connected")

    def test_send_before_connect(self) -> None:
        self.not_connected(send(b""))

    def test_an_http_request(self) -> None:
        self.not_connected(b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\n\r\n")

    def test_a_tls_client_hello(self) -> None:
        hello = bytes.fromhex("16030100c8010000c40303") + bytes(range(1, 201))
        radio = self.dial()
        radio.send(hello + b"\n\0")
        self.assertIn(b"ERROR", radio.rest())

    def test_a_tls_client_hello_of_zeros(self) -> None:
        radio = self.dial()
        radio.send(bytes.fromhex("16030100c8010000c40303") + bytes(200))
        self.assertIn(b"ERROR", radio.rest())

    def not_connected(self, octets: bytes) -> None:
        radio = self.dial()
        radio.send(octets)
        self.assert_error_and_end(radio, "Expected CONNECT")

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

    def test_wrong_passcode_and_a_send_behind_it(self) -> None:
        listener = self.radio()
        listener.subscribe("/topic/test/1/behind")
        for version in (b"", b"accept-version:1.2\n"):
            radio = self.dial()
            login = b"CONNECT\n" + version + b"login:1.test\npasscode:wrong\n\n\0"
            radio.send(login + send(b"", destination=b"/topic/test/1/behind"))
            radio.expect("ERROR", message="Wrong credentials")
            self.assertTrue(radio.ends())
        self.assertEqual(listener.so_far(), [])

    def test_send_behind_disconnect(self) -> None:
        listener = self.radio()
        listener.subscribe("/topic/test/1/after")
        for version in (None, "1.1", "1.2"):
            radio = self.open(version)
            radio.send(frame("DISCONNECT", {"receipt": "1"}) + send(b"", destination=b"/topic/test/1/after"))
            radio.expect("RECEIPT", receipt_id="1")
            self.assertTrue(radio.ends())
        self.assertEqual(listener.so_far(), [])

    def test_disconnect_without_blank_line(self) -> None:
        for version in (None, "1.1", "1.2"):
            radio = self.open(version)
            radio.send(b"DISCONNECT\nreceipt:77\n\0")
            radio.expect("RECEIPT", receipt_id="77")
            self.assertTrue(radio.ends())

    def test_no_common_version(self) -> None:
        radio = self.dial()
        radio.send(b"CONNECT\naccept-version:3.0,banana\nhost:h\n\n\0")
        error = self.is_refused(radio, "Unsupported version")
        self.assertEqual(error.get("version"), "1.0,1.1,1.2")

    def test_bad_heart_beats(self) -> None:
        for value in ("abc", "5", "1,2,3", "-1,-1", "1.5,1", "1, 1", "", ",", "\u0661,1"):
            with self.subTest(value=value):
                radio = self.dial()
                radio.say("CONNECT", {"accept-version": "1.2", "host": "h", "heart-beat": value})
                self.is_refused(radio, "Malformed heart-beat")

    def test_extreme_heart_beats_are_clamped(self) -> None:
        for value in ("1,1", "99999999999,99999999999", "0,0"):
            self.radio(version="1.2", heart_beat=value)

    def test_two_million_line_ends(self) -> None:
        for version in (None, "1.2"):
            radio = self.open(version)
            started = time.monotonic()
            radio.send(b"\n" * 2_000_000)
            self.assertEqual(radio.so_far(), [])
            self.assertLess(time.monotonic() - started, 5)


class ContentLength(BadInputCase):
    def test_no_number(self) -> None:
        for value in ("-1", "abc", "+2", "0x2", "2.0", "", "0_2", "\u0662", "2" * 20, "2 2"):
            with self.subTest(value=value):
                self.refused(send(f"content-length:{value}\n".encode()), "Malformed content-length")
                self.refused_10(send(f"content-length:{value}\n".encode()), "Malformed content-length")

    def test_blanks_around_the_number(self) -> None:
        self.refused(send(b"content-length: 2 \n"), "Malformed content-length")
        radio = self.open(None)
        radio.send(send(b"content-length: 2 \n"))
        self.assertEqual(radio.so_far(), [])

    def test_far_too_much(self) -> None:
        for length in (2147483647, 4294967295):
            self.refused(send(b"content-length:%d\n" % length), "Frame too large")
            self.refused_10(send(b"content-length:%d\n" % length), "Frame too large")

    def test_shorter_than_the_body(self) -> None:
        self.refused(send(b"content-length:1\n"), "Malformed frame")
        self.refused_10(send(b"content-length:1\n"), "Malformed frame")

    def test_no_nul_behind_the_right_length(self) -> None:
        self.refused(send(b"content-length:2\n")[:-1] + b"SEND\n", "Malformed frame")

    def test_repeated(self) -> None:
        listener, radio = self.radio(), self.open("1.2")
        listener.subscribe("/topic/test/1/repeated")
        radio.send(send(b"content-length:2\ncontent-length:9\n", destination=b"/topic/test/1/repeated"))
        self.assertEqual(radio.so_far(), [])
        self.assertEqual([each.body for each in listener.so_far()], [b"ab"])


class Subscriptions(BadInputCase):
    def test_duplicate_id(self) -> None:
        self.refused(frame("SUBSCRIBE", {"id": "1", "destination": "/topic/a"}) * 2, "Duplicate id")

    def test_unknown_ack_mode(self) -> None:
        self.refused(frame("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "ack": "never"}), "Unknown ack mode")

    def test_missing_id(self) -> None:
        for version in ("1.1", "1.2"):
            self.refused(frame("SUBSCRIBE", {"destination": "/topic/a"}), "Missing id", version)
            self.refused(frame("UNSUBSCRIBE", {"destination": "/topic/a"}), "Missing id", version)

    def test_empty_destination(self) -> None:
        message = "You need a destination to subscribe."
        self.refused(frame("SUBSCRIBE", {"id": "1", "destination": ""}), message)
        self.refused(frame("SUBSCRIBE", {"id": "1"}), message)

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

    def test_unsubscribe_of_something_unknown(self) -> None:
        self.refused(frame("UNSUBSCRIBE", {"id": "1"}), "Unknown ID")

    def test_ack_of_something_unknown(self) -> None:
        for command in ("ACK", "NACK"):
            self.refused(frame(command, {"id": "1"}), "Unknown message")
            self.refused(frame(command, {"message-id": "1", "subscription": "1"}), "Unknown message", "1.1")

    def test_the_end_of_an_unknown_transaction(self) -> None:
        for command in ("COMMIT", "ABORT"):
            self.refused(frame(command, {"transaction": "1"}), "Unknown transaction")
        self.refused(send(b"transaction:1\n"), "Unknown transaction")

    def test_a_transaction_begun_twice(self) -> None:
        self.refused(frame("BEGIN", {"transaction": "1"}) * 2, "Transaction exists")

    def test_a_transaction_without_name(self) -> None:
        for command in ("BEGIN", "COMMIT", "ABORT"):
            self.refused(frame(command), "Missing transaction")

    def test_two_hundred_open_transactions(self) -> None:
        octets = b"".join(frame("BEGIN", {"transaction": str(number)}) for number in range(200))
        self.refused(octets, "Too many transactions")

    def test_a_transaction_of_too_many_frames(self) -> None:
        self.refused(frame("BEGIN", {"transaction": "1"}) + send(b"transaction:1\n") * 1025, "Transaction too large")

    def test_a_transaction_of_too_many_octets(self) -> None:
        octets = frame("BEGIN", {"transaction": "1"}) + send(b"transaction:1\n", b"a" * 200_000) * 6
        self.refused(octets, "Transaction too large")


class Forgery(BadInputCase):
    def published(self, headers: bytes, radio: Radio) -> Frame:
        topic = f"/topic/test/1/forged/{next(_numbers)}"
        radio.subscribe(topic, id="mine")
        station = self.open("1.2")
        station.send(send(headers, destination=topic.encode()))
        station.so_far()
        return radio.expect("MESSAGE", subscription="mine")

    def test_what_only_the_server_says(self) -> None:
        evil = b"".join(name + b":EVIL\n" for name in (b"subscription", b"ack", b"session", b"when", b"topic"))
        for version in (None, "1.1", "1.2"):
            self.assertNotIn(b"EVIL", self.published(evil, self.radio(version=version)).raw)

    def test_a_header_hidden_in_a_value(self) -> None:
        forged = b"link:a\\nevil\\c1\\r\\nb\n"
        links = {None: "a evil:1  b", "1.1": r"a\nevil\c1 \nb", "1.2": r"a\nevil\c1\r\nb"}
        for version, link in links.items():
            with self.subTest(version=version):
                message = self.published(forged, self.radio(version=version))
                self.assertNotIn("evil", message.names())
                self.assertEqual(message.get("link"), link)

    def test_a_receipt_cannot_carry_a_frame(self) -> None:
        radio = self.open("1.2")
        radio.send(send(b"receipt:1\\n\\nevil\n"))
        self.assertEqual(radio.expect("RECEIPT").headers, (("receipt-id", r"1\n\nevil"),))

    def test_an_error_repeats_nothing_of_what_was_sent(self) -> None:
        radio = self.open("1.2")
        radio.send(b"SEND\\nevil:1 <script>\npasscode:s3cret\n\n\0")
        error = self.is_refused(radio, "Unknown command")
        self.assertNotIn(b"evil", error.raw)
        self.assertNotIn(b"s3cret", error.raw)


class Quantity(BadInputCase):
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
            topic = f"/topic/test/1/gone/{version}"
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
            station.send(b"".join(send(b"", destination=b"/topic/test/1/nobody/%d" % number) for number in numbers))
            self.assertEqual(station.so_far(), [])
        self.assertLess(self.server.memory() - before, 24 * MIB)

    def test_a_reader_that_never_reads(self) -> None:
        deaf = Radio(self.server.address, receive_buffer=4096)
        self.addCleanup(deaf.close)
        deaf.send(b"CONNECT\n\n\0SUBSCRIBE\ndestination:/topic/test/1/loud\n\n\0")
        listener = self.radio()
        listener.subscribe("/topic/test/1/loud")
        body = b"x" * 100_000
        before = self.server.memory()
        for _ in range(400):
            self.publisher.publish("/topic/test/1/loud", body)
            self.assertEqual(len(listener.expect("MESSAGE").body), len(body))
        self.assertLess(self.server.memory() - before, 12 * MIB)

    def test_a_slow_reader_gets_whole_frames_and_the_newest(self) -> None:
        slow = Radio(self.server.address, receive_buffer=4096)
        self.addCleanup(slow.close)
        slow.send(b"CONNECT\n\n\0")
        slow.expect("CONNECTED")
        slow.subscribe("/topic/test/1/slow")
        for number in range(120):
            self.publisher.publish("/topic/test/1/slow", b"%d " % number + b"x" * 200_000)
        came = slow.so_far()
        self.assertEqual({each.command for each in came}, {"MESSAGE"})
        self.assertEqual({len(each.body.split()[1]) for each in came}, {200_000})
        numbers = [int(each.body.split()[0]) for each in came]
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual(numbers[-1], 119)


class Silence(BadInputCase):
    """Clients that stop in the middle, on a node with little patience."""

    settings: ClassVar[Mapping[str, Any]] = {
        "CONNECT_TIMEOUT": 1,
        "FRAME_TIMEOUT": 1,
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
            radio.send(b"SEND\ndestination:/topic/test/1/bad\ncontent-length:100\n\nshort")
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
        deaf.send(b"CONNECT\n\n\0SUBSCRIBE\ndestination:/topic/test/1/deaf\n\n\0")
        deaf.expect("CONNECTED")
        deaf.so_far()
        before = self.server.open_files()
        for _ in range(100):
            self.publisher.publish("/topic/test/1/deaf", b"x" * 60_000)
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
