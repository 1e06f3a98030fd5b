"""What receivers met in the field taught (contract §5), one test for each lesson that is about the front-end.

Octet by octet, these clients and others are in tests/clients: all of lessons 2, 5 and 7 is there.

Not here: 9 and 10 (status pages, monitoring), 13 (DAB bridges), and what 4 and 12 say of HTTP and web hooks; they
belong to the servers and programs that bring those.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.acceptance.case import NodeCase
from tests.radio import Radio, frame


class Lessons(NodeCase):
    settings: ClassVar[Mapping[str, Any]] = {"fanout.stomp.limits.CONNECT_SECONDS": 2}

    def test_01_pure_gets_each_frame_in_one_write(self) -> None:
        """No slide at all was shown when the frame came in several pieces; and it sends LF between its frames."""
        with socket.create_connection(self.server.address, 10) as pure:
            pure.sendall(b"CONNECT\nlogin:\npasscode:\n\n\0\n")
            self.assertTrue(pure.recv(65536).endswith(b"\n\n\0"))
            pure.sendall(b"\nSUBSCRIBE\ndestination: " + self.topic().encode() + b"\nreceipt:1\n\n\0\n")
            self.assertEqual(pure.recv(65536), b"RECEIPT\nreceipt-id:1\n\n\0")
            self.station().publish(self.topic(), b"SHOW http://s/" + b"a" * 500, {"link": "http://l/"})
            message = pure.recv(65536)
            self.assertTrue(message.startswith(b"MESSAGE\n"))
            self.assertTrue(message.endswith(b"a\0"))

    # 3, Revo and Samsung: only * was registered. See test_stations_file.py, AnyFrequency.

    def test_04_samsung_finds_its_words_anywhere_in_the_frame(self) -> None:
        """It searches the whole frame for TEXT, SHOW and link, so nothing may stand there that nobody sent, and
        ``destination`` stands before ``link``."""
        radio = self.radio()
        radio.subscribe(self.topic(), id="1")
        headers = {"link": "http://l/", "x-link": "no", "x-text": "TEXT"}
        self.station().publish(self.topic(), b"SHOW http://s/1.png", headers)
        message = radio.expect("MESSAGE")
        self.assertNotIn(b"TEXT", message.raw)
        self.assertEqual(message.raw.count(b"link"), 1)
        self.assertEqual(message.names()[:2], ["destination", "link"])

    def test_04_samsung_gives_up_at_the_second_error(self) -> None:
        """So an ERROR comes for what was refused, once, and never because the server ends."""
        radio = self.radio()
        for _ in range(3):
            radio.say("UNSUBSCRIBE", {"destination": self.topic()})
        self.assertEqual(len(radio.so_far()), 3)

    def test_06_hradio_comes_back_every_second_and_all_at_once(self) -> None:
        """A herd after a restart: 300 radios that connect, subscribe and get their last slide."""
        station = self.station()
        station.publish(self.topic(), b"SHOW http://s/1.png")
        radios = [self.dial() for _ in range(300)]
        hello = frame("CONNECT", {"login": "", "passcode": ""}) + frame("SUBSCRIBE", {"destination": self.topic()})
        for radio in radios:
            radio.send(hello)
        for radio in radios:
            radio.expect("CONNECTED")
            radio.expect("MESSAGE", destination=self.topic())

    def test_08_bbc_a_blank_behind_the_colon_and_before_the_command(self) -> None:
        radio = self.dial()
        radio.send(b"\n CONNECT\nlogin: 1.test\npasscode: test\n\n\0\n")
        radio.expect("CONNECTED")

    def test_08_bbc_ack_is_ignored(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic())
        self.station().publish(self.topic(), b"TEXT a")
        radio.say("ACK", {"message-id": radio.expect("MESSAGE").get("message-id") or ""})
        self.assertEqual(radio.so_far(), [])

    def test_08_bbc_a_radio_that_hangs_up_while_it_is_written_to(self) -> None:
        station = self.station()
        for _ in range(50):
            with Radio.connect(self.server.address) as radio:
                radio.subscribe(self.topic(), fast_reply=False)
                station.say("SEND", {"destination": self.topic()}, b"TEXT " + b"a" * 50_000)
        self.assertEqual(station.so_far(), [])

    # 8, connect time-out and oversize input: tests/fanout/stomp_server/test_bad_input.py.

    def test_11_what_was_last_shown_is_there_for_who_comes_later(self) -> None:
        station = self.station()
        station.publish(self.topic("image"), b"SHOW http://s/1.png", {"link": "http://l/"})
        station.publish(self.topic("text"), b"TEXT now playing")
        station.close()
        radio = self.radio()
        for last in ("image", "text"):
            radio.subscribe(self.topic(last))
        self.assertEqual([each.body for each in radio.so_far()], [b"SHOW http://s/1.png", b"TEXT now playing"])

    def test_12_a_publisher_is_told_of_a_topic_that_is_not_its_own(self) -> None:
        """RadiodnsMware forgot ``fm`` and the frequency, and nothing told it."""
        for version in (None, "1.2"):
            station = self.station(3, version=version)
            station.say("SEND", {"destination": "/topic/4e1/4000/image"}, b"SHOW http://s/1.png")
            error = station.expect("ERROR", message="You cannot do that.")
            if version:
                self.assertIn(b"none of the station's channels", error.body)

    def test_clients_that_are_idle_are_not_reaped(self) -> None:
        """7: "small bespoke" servers do. A 1.0 radio that only listens stays; here, beyond the CONNECT time-out."""
        radio = self.radio()
        radio.subscribe(self.topic())
        started = time.monotonic()
        silent = self.dial()
        self.assertTrue(silent.ends(10))
        self.assertGreater(time.monotonic() - started, 0.9)
        self.station().publish(self.topic(), b"TEXT a")
        radio.expect("MESSAGE")
