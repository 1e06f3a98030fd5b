"""Bad input, as a hostile or broken client sends it to a real node: single frames (stomp.md §8).

Too much of anything, and clients that stop in the middle, stand in ``test_floods.py``.
"""

from __future__ import annotations

import itertools

from tests.fanout.stomp_server.bystander import MIB, BadInputCase, send
from tests.radio import Frame, Radio, frame

CONNECT_12 = b"CONNECT\naccept-version:1.2\nhost:h\n\n\0"
_numbers = itertools.count(1)


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
        octets = b"SEND\ndestination:/topic/id/tests._ebu.nowhere/topic1/b\0ad\n\nTEXT\0"
        self.refused(octets, "Malformed frame")

    def test_nul_inside_the_headers_10(self) -> None:
        """The frame ends there, as in the original, and the rest is a command that nobody knows."""
        radio, station = self.radio(), self.open(None)
        radio.subscribe("/topic/id/tests._ebu.nowhere/topic1/b", fast_reply=False)
        station.send(b"SEND\ndestination:/topic/id/tests._ebu.nowhere/topic1/b\0ad\n\nTEXT\0")
        self.assertEqual(station.so_far(), [])
        self.assertEqual([each.body for each in radio.so_far()], [b""])

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

    def test_a_command_line_of_2_kib(self) -> None:
        self.refused(b"X" * 2048 + b"\n\n\0", "Unknown command")

    def test_a_command_line_of_16_kib_without_an_end(self) -> None:
        self.refused(b"X" * 16384, "Header too long")

    def test_a_destination_of_a_megabyte(self) -> None:
        self.refused(frame("SUBSCRIBE", {"id": "1", "destination": "/topic/" + "a" * MIB}), "Header too long")

    def test_a_destination_of_two_kib(self) -> None:
        headers = {"id": "1", "destination": "/topic/id/tests._ebu.nowhere/topic1/" + "a" * 2048}
        for command in ("SUBSCRIBE", "SEND"):
            self.refused(frame(command, headers), "Destination too long")
            self.complained_10(frame(command, headers), "Destination too long")

    def test_a_path_a_pattern_or_a_format_string_is_just_a_name(self) -> None:
        for name in ("../../etc/passwd", "#", ">", "*", "(a+)+$", "%s%n{0}{__class__}", "'; DROP TABLE x; --", "${x}"):
            with self.subTest(name=name):
                destination = f"/topic/id/tests._ebu.nowhere/topic1/{name}"
                radio = self.radio(version="1.2")
                radio.subscribe(destination, id=name, receipt=name)
                radio.expect("RECEIPT", receipt_id=name)
                self.publisher.publish("/topic/id/tests._ebu.nowhere/topic1/etc", b"TEXT not for this name")
                self.publisher.publish(destination, b"TEXT a")
                self.assertEqual([each.body for each in radio.so_far()], [b"TEXT a"])

    def test_such_names_as_login(self) -> None:
        for name in ("../../etc/passwd", "%s%n{0}", "(a+)+$", "1.test\x1b[2J"):
            radio = self.dial()
            radio.say("CONNECT", {"login": name, "passcode": name})
            self.assert_error_and_end(radio, "Wrong credentials")

    def test_a_selector_is_not_evaluated(self) -> None:
        radio = self.radio(version="1.2")
        radio.subscribe("/topic/id/tests._ebu.nowhere/topic1/selected", selector="1=0 OR __import__('os')._exit(1)")
        self.publisher.publish("/topic/id/tests._ebu.nowhere/topic1/selected", b"TEXT a")
        self.assertEqual([each.body for each in radio.so_far()], [b"TEXT a"])


class Commands(BadInputCase):
    def test_a_command_in_small_letters(self) -> None:
        self.refused(b"send\ndestination:/topic/id/tests._ebu.nowhere/topic1/bad\n\nTEXT\0", "Unknown command")

    def test_a_servers_command(self) -> None:
        for command in ("MESSAGE", "ERROR", "CONNECTED", "RECEIPT"):
            self.refused(frame(command, {"destination": "/topic/id/tests._ebu.nowhere/topic1/bad"}), "Unknown command")

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

    def test_wrong_passcode_and_a_send_behind_it(self) -> None:
        listener = self.radio()
        listener.subscribe("/topic/id/tests._ebu.nowhere/topic1/behind")
        for version in (b"", b"accept-version:1.2\n"):
            radio = self.dial()
            login = b"CONNECT\n" + version + b"login:1.test\npasscode:wrong\n\n\0"
            radio.send(login + send(b"", destination=b"/topic/id/tests._ebu.nowhere/topic1/behind"))
            radio.expect("ERROR", message="Wrong credentials")
            self.assertTrue(radio.ends())
        self.assertEqual(listener.so_far(), [])

    def test_send_behind_disconnect(self) -> None:
        listener = self.radio()
        listener.subscribe("/topic/id/tests._ebu.nowhere/topic1/after")
        for version in (None, "1.1", "1.2"):
            radio = self.open(version)
            radio.send(
                frame("DISCONNECT", {"receipt": "1"})
                + send(b"", destination=b"/topic/id/tests._ebu.nowhere/topic1/after")
            )
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
        listener.subscribe("/topic/id/tests._ebu.nowhere/topic1/repeated")
        radio.send(
            send(b"content-length:2\ncontent-length:9\n", destination=b"/topic/id/tests._ebu.nowhere/topic1/repeated")
        )
        self.assertEqual(radio.so_far(), [])
        self.assertEqual([each.body for each in listener.so_far()], [b"ab"])


class Subscriptions(BadInputCase):
    def test_duplicate_id(self) -> None:
        for version in ("1.1", "1.2"):
            self.refused(frame("SUBSCRIBE", {"id": "1", "destination": "/topic/a"}) * 2, "Duplicate id", version)

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
        topic = f"/topic/id/tests._ebu.nowhere/topic1/forged/{next(_numbers)}"
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
