"""The faults of the original (contract §2), each a test that it is gone, where the front-end is concerned.

Elsewhere: 5 (last slides of other nodes) test_last_slides.py; 8 (passwords in logs) test_start.py; 9 (PlugIt) and 10
(networks) tests/radiovis/directory; 16 and 17 (monitoring, queues) test_monitoring.py, tests/fanout/bus. 11, 15, 18, 19
and 20 are about the watchdog, its log, the containers and PlugIt itself.
"""

from __future__ import annotations

import random
import threading

from tests.acceptance.case import NodeCase
from tests.radio import Radio, frame

GCC = "/topic/fm/4e1/ffff/99999/"
CC = "/topic/fm/ch/ffff/99999/"


class Faults(NodeCase):
    def test_01_conversion_does_not_rewrite_the_subscription(self) -> None:
        radio = self.radio()
        radio.subscribe(CC + "fault-1", id="8")
        self.station(3).publish(GCC + "fault-1", b"TEXT a")
        radio.expect("MESSAGE", destination=CC + "fault-1", subscription="8")
        radio.say("UNSUBSCRIBE", {"id": "8"})
        self.assertEqual(radio.so_far(), [])

    def test_02_unrelated_traffic_fills_nobodys_queue(self) -> None:
        """250 messages to anybody used to cut everybody off who had not read them."""
        silent, station = self.radio(), self.station()
        silent.subscribe(self.topic())
        for number in range(1000):
            station.say("SEND", {"destination": self.topic(f"other/{number}")}, b"TEXT a")
        self.assertEqual(station.so_far(), [])
        station.publish(self.topic(), b"TEXT for you")
        self.assertEqual([each.body for each in silent.so_far()], [b"TEXT for you"])

    def test_02_a_burst_on_ones_own_topic_is_survived_too(self) -> None:
        silent, station = self.radio(), self.station()
        silent.subscribe(self.topic())
        station.send(b"".join(frame("SEND", {"destination": self.topic()}, b"%d" % number) for number in range(1000)))
        self.assertEqual(station.so_far(), [])
        self.assertEqual(silent.so_far()[-1].body, b"999")

    def test_03_no_frame_is_torn(self) -> None:
        """120 messages of 200 kB to a slow reader: the original lost 1.4 MB in the middle of them."""
        slow, station = Radio(self.server.address, receive_buffer=4096), self.station()
        self.addCleanup(slow.close)
        slow.send(frame("CONNECT"))
        slow.expect("CONNECTED")
        slow.subscribe(self.topic())
        body = random.Random(3).randbytes(200_000).replace(b"\0", b" ")
        for _ in range(120):
            station.say("SEND", {"destination": self.topic()}, body)
        self.assertEqual(station.so_far(), [])
        came = slow.so_far()
        self.assertTrue(came)
        self.assertTrue(all(each.body == body for each in came))

    def test_04_neighbours_that_come_and_go_take_no_message_with_them(self) -> None:
        steady = [self.radio() for _ in range(20)]
        for radio in steady:
            radio.subscribe(self.topic())
        done = threading.Event()
        coming_and_going = threading.Thread(target=self.come_and_go, args=(done,))
        coming_and_going.start()
        try:
            station = self.station()
            for number in range(300):
                station.publish(self.topic(), b"%d" % number)
        finally:
            done.set()
            coming_and_going.join()
        for radio in steady:
            self.assertEqual([each.body for each in radio.so_far()], [b"%d" % number for number in range(300)])

    def come_and_go(self, done: threading.Event) -> None:
        while not done.is_set():
            with Radio(self.server.address) as radio:
                radio.send(frame("CONNECT") + frame("SUBSCRIBE", {"destination": self.topic()}))
                radio.expect("CONNECTED")

    # 6: versions, heart-beats, limits and time-outs: test_negotiated.py, test_bad_input.py; IPv6: test_start.py.

    def test_07_odd_and_long_topics_are_harmless(self) -> None:
        radio = self.radio()
        for destination in ("/topic/fm/zz/" + "a" * 300 + "/1/image", "/topic/fm/zz/4000/\u00e9/image", "/topic/ a b"):
            radio.say("SUBSCRIBE", {"destination": destination})
        self.assertNotIn("MESSAGE", [each.command for each in radio.so_far()])
        self.assertEqual(self.radio().so_far(), [])

    def test_12_a_message_without_link_is_a_message(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic())
        self.station().publish(self.topic(), b"SHOW http://s/1.png")
        self.assertNotIn("link", radio.expect("MESSAGE").names())

    def test_13_the_last_part_of_a_topic_is_not_a_set_of_letters(self) -> None:
        """``/topic/fm/4e1/ffff/99999/xx`` counted as the channel ``…/09580/``, ``…/imagetext`` did not."""
        for last in ("xx", "textimage", "imagetext", "egami"):
            radio = self.radio()
            radio.subscribe(GCC + last)
            self.station(3).publish(GCC + last, last.encode())
            self.assertEqual(radio.expect("MESSAGE", destination=GCC + last).body, last.encode())

    def test_14_receipts_tell_the_truth_to_who_negotiates(self) -> None:
        for version in ("1.1", "1.2"):
            radio = self.radio(version=version)
            radio.say("SEND", {"destination": self.topic(), "receipt": "1"}, b"TEXT a")
            radio.expect("ERROR", receipt_id="1")
            self.assertTrue(radio.ends())

    def test_14_one_refused_unsubscribe_gets_one_error(self) -> None:
        radio = self.radio()
        for headers, message in (({}, "No ID or channel"), ({"id": "9"}, "Unknown ID")):
            radio.say("UNSUBSCRIBE", headers)
            self.assertEqual([each.get("message") for each in radio.so_far()], [message])

    def test_14_unknown_commands_are_refused_for_who_negotiates(self) -> None:
        radio = self.radio(version="1.2")
        radio.say("WHATEVER")
        radio.expect("ERROR", message="Unknown command")
