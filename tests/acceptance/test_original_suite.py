"""The original server's own test suite, its 64 cases one by one and by their names, against a node and a watchdog.

They are restated from what they ask of a server, ``server.py --test`` and ``fallback.py --test`` over RabbitMQ; no code
of it is here. Differences: a case that waited for seconds to see that nothing comes asks for a receipt instead; no case
has to end within two seconds, as the machine may be busy; the watchdog's times are shorter. On
``test_watchdog_send_good_data_image`` see docs/contract.md, §1.12.
"""

from __future__ import annotations

import json
import time
import unittest
from contextlib import closing
from typing import Any, ClassVar
from uuid import uuid4

from tests import services
from tests.acceptance.cluster import Cluster
from tests.processes import Server
from tests.radio import Frame, Radio, frame
from tests.radiovis.watchdog.daemon import Daemon
from tests.radiovis.watchdog.log_receiver import log_receiver

TOPICS = ("/topic/id/tests._ebu.nowhere/topic1/", "/topic/id/tests._ebu.nowhere/topic2/")
GCC, CC = "/topic/fm/4e1/ffff/99999/", "/topic/fm/ch/ffff/99999/"
WATCHED = "/topic/id/tests._ebu.nowhere/topicwatchdogeg/"
LATER = {"x-ebu-nofastreply": "yes"}
DEFAULT_FILE, DEFAULT_TEXT, DEFAULT_LINK = "testfilename", "testdefaultext", "testdefaultlink"
FALLBACK_SECONDS = 3.0
"""After which a silent topic gets its default; the original's suite has 10."""
MAX_AGE_SECONDS = 86_413
"""Tells the clean-up of this watchdog from those of other tests."""


class OriginalCase(unittest.TestCase):
    node: ClassVar[Server]
    exchange: ClassVar[str]
    answer: Frame

    @classmethod
    def setUpClass(cls) -> None:
        cluster = Cluster(services.rabbitmq(), nodes=1).__enter__()
        cls.addClassCleanup(cluster.close)
        cls.exchange, cls.node = cluster.exchange, cluster.nodes[0]

    def tearDown(self) -> None:
        self.assertEqual(self.node.faults, [])

    def dial(self) -> Radio:
        radio = Radio(self.node.address)
        self.addCleanup(radio.close)
        return radio

    def connect(self, login: str = "", passcode: str = "", **headers: str) -> Radio:
        """A client that has sent CONNECT, and has its answer."""
        radio = self.dial()
        lines = {"login": login, "passcode": passcode} if login else {}
        radio.say("CONNECT", lines | {name.replace("_", "-"): value for name, value in headers.items()})
        self.answer = radio.frame()
        return radio

    def station(self, number: int = 1) -> Radio:
        radio = self.connect(f"{number}.test", "test")
        self.assertEqual(self.answer.command, "CONNECTED")
        return radio

    def assert_message(self, radio: Radio, body: str, destination: str) -> Frame:
        message = radio.expect("MESSAGE", destination=destination)
        self.assertEqual(message.body, body.encode())
        return message

    def sent_and_heard(self, sent: dict[str, str] | None = None, subscribed: dict[str, str] | None = None) -> Frame:
        """A station hears what it publishes itself."""
        station, body = self.station(), str(uuid4())
        station.say("SUBSCRIBE", {"destination": TOPICS[0], **LATER, **(subscribed or {})})
        station.say("SEND", {"destination": TOPICS[0], **(sent or {})}, body.encode())
        return self.assert_message(station, body, TOPICS[0])


class Connecting(OriginalCase):
    def test_tcp_cox_stomp(self) -> None:
        self.dial()

    def assert_goes_on_behind(self, octets: bytes) -> None:
        radio, receipt = self.connect(), str(uuid4())
        radio.send(octets)
        radio.say("_TEST_NOCOMMAND", {"receipt": receipt})
        radio.expect("RECEIPT", receipt_id=receipt)

    def test_cox_stomp_bogus_frame_1(self) -> None:
        self.assert_goes_on_behind(b"\n\n\0")

    def test_cox_stomp_bogus_frame_2(self) -> None:
        self.assert_goes_on_behind(b"TEST\0")

    def test_cox_stomp_bogus_frame_3(self) -> None:
        self.assert_goes_on_behind(b"\0")

    def test_cox_no_cox_first(self) -> None:
        radio = self.dial()
        radio.say("_TEST_NOCOMMAND")
        radio.expect("ERROR")

    def test_cox_stomp_with_nothing(self) -> None:
        self.connect()
        self.assertEqual(self.answer.command, "CONNECTED")

    def test_cox_stomp_send_session(self) -> None:
        self.connect()
        self.assertIn("session", self.answer.names())

    def test_cox_stomp_send_response_id(self) -> None:
        request = str(uuid4())
        self.connect(request_id=request)
        self.assertEqual(self.answer.get("response-id"), request)

    def test_cox_stomp_send_receipt_id(self) -> None:
        receipt = str(uuid4())
        self.connect(receipt=receipt)
        self.assertEqual(self.answer.get("receipt-id"), receipt)

    def assert_login(self, login: str, passcode: str, command: str) -> None:
        radio = self.dial()
        radio.say("CONNECT", {"login": login, "passcode": passcode})
        radio.expect(command)

    def test_cox_stomp_with_emptypassword(self) -> None:
        self.assert_login("", "", "CONNECTED")

    def test_cox_stomp_with_goodpassword(self) -> None:
        self.assert_login("1.test", "test", "CONNECTED")

    def test_cox_stomp_with_wrongpassword(self) -> None:
        self.assert_login("1.test", "wrong", "ERROR")

    def test_cox_stomp_with_goodip(self) -> None:
        self.assert_login("2.testip", "127.0.0.1", "CONNECTED")

    def test_cox_stomp_with_wrongip(self) -> None:
        self.assert_login("2.testip", "0.0.0.0", "ERROR")

    def test_disconnect(self) -> None:
        station = self.station()
        station.say("DISCONNECT")
        self.assertEqual(station.rest(), b"")


class Receipts(OriginalCase):
    def assert_receipt(self, command: str) -> None:
        radio, receipt = self.connect(), str(uuid4())
        radio.say(command, {"receipt": receipt})
        radio.expect("RECEIPT", receipt_id=receipt)

    def test_stomp_randomcommand(self) -> None:
        radio = self.connect()
        radio.say("_THIS_IS_A_TEST_")
        self.assertEqual(radio.so_far(), [])

    def test_stomp_randomcommand_receipt(self) -> None:
        self.assert_receipt("_THIS_IS_A_TEST_")

    def test_stomp_disconnect_receipt(self) -> None:
        self.assert_receipt("DISCONNECT")

    def test_stomp_subscribe_receipt(self) -> None:
        self.assert_receipt("SUBSCRIBE")

    def test_stomp_unsubscribe_receipt(self) -> None:
        self.assert_receipt("UNSUBSCRIBE")

    def test_stomp_send_receipt(self) -> None:
        self.assert_receipt("SEND")


class Sending(OriginalCase):
    def assert_accepted(self, destination: str) -> None:
        station = self.station()
        station.say("SEND", {"destination": destination}, b"TEST")
        self.assertEqual(station.so_far(), [])

    def assert_refused(self, destination: str) -> None:
        radio = self.connect()
        radio.say("SEND", {"destination": destination}, b"TEST")
        radio.expect("ERROR")

    def test_send_message_auth(self) -> None:
        self.assert_accepted(TOPICS[0])

    def test_send_message_subtopic_auth(self) -> None:
        self.assert_accepted(TOPICS[0] + "testtingsubtopic")

    def test_send_message_unauth(self) -> None:
        self.assert_refused(TOPICS[0])

    def test_send_message_unallowd(self) -> None:
        self.assert_refused("/thisisnotavalidtopic")

    def test_send_message_auth_to_all(self) -> None:
        self.assert_accepted("/topic/*/")

    def test_send_message_unauth_to_all(self) -> None:
        self.assert_refused("/topic/*/")

    def test_message_forward_link(self) -> None:
        link = str(uuid4())
        self.assertEqual(self.sent_and_heard({"link": link}).get("link"), link)

    def test_message_forward_trigger_time(self) -> None:
        trigger = str(uuid4())
        self.assertEqual(self.sent_and_heard({"trigger-time": trigger}).get("trigger-time"), trigger)

    def test_message_id_is_created(self) -> None:
        self.assertIsNotNone(self.sent_and_heard().get("message-id"))

    def test_message_id_is_forwarder(self) -> None:
        identity = str(uuid4())
        self.assertEqual(self.sent_and_heard({"message-id": identity}).get("message-id"), identity)

    def test_randomheaders_arent_forwarded(self) -> None:
        name = "_test_header_42"
        self.assertIsNone(self.sent_and_heard({name: name}).get(name))

    def test_when_is_created(self) -> None:
        self.assertIsNotNone(self.sent_and_heard().get("when"))


class Subscribing(OriginalCase):
    def assert_silent(self, **headers: str) -> None:
        radio = self.connect()
        radio.say("SUBSCRIBE", {"destination": TOPICS[0], **LATER, **headers})
        self.assertEqual(radio.so_far(), [])

    def test_subscrible(self) -> None:
        self.assert_silent()

    def test_subscrible_with_id(self) -> None:
        self.assert_silent(id=str(uuid4()))

    def test_subscrible_without_dest(self) -> None:
        radio = self.connect()
        radio.say("SUBSCRIBE")
        radio.expect("ERROR")

    def test_subscrible_message_self(self) -> None:
        self.sent_and_heard()

    def test_subscribe_with_id_message(self) -> None:
        identity = str(uuid4())
        self.assertEqual(self.sent_and_heard(subscribed={"id": identity}).get("subscription"), identity)

    def test_subscrible_message_dual(self) -> None:
        station, radio, body = self.station(), self.connect(), str(uuid4())
        radio.subscribe(TOPICS[0], fast_reply=False)
        station.say("SEND", {"destination": TOPICS[0]}, body.encode())
        self.assert_message(radio, body, TOPICS[0])

    def assert_last(self, number: int, sent: str, subscribed: str) -> None:
        """A message is shown to a client that subscribes when the node has it."""
        station, other, body = self.station(number), self.connect(), str(uuid4())
        other.subscribe(sent, fast_reply=False)
        station.say("SEND", {"destination": sent}, body.encode())
        self.assert_message(other, body, sent)
        station.say("SUBSCRIBE", {"destination": subscribed})
        self.assert_message(station, body, subscribed)

    def test_message_then_subscrible(self) -> None:
        self.assert_last(1, TOPICS[0], TOPICS[0])

    def test_message_then_subscrible_cc_to_gcc(self) -> None:
        self.assert_last(3, CC, GCC)

    def test_message_then_subscrible_gcc_to_cc(self) -> None:
        self.assert_last(3, GCC, CC)

    def test_subscrible_other_message(self) -> None:
        station, radio = self.station(), self.connect()
        radio.subscribe(TOPICS[1], fast_reply=False)
        station.say("SUBSCRIBE", {"destination": TOPICS[0], **LATER})
        station.say("SEND", {"destination": TOPICS[1]}, b"TEST")
        self.assert_message(radio, "TEST", TOPICS[1])
        self.assertEqual(station.so_far(), [])

    def test_subscrible_message_on_all(self) -> None:
        station, radios, body = self.station(), [self.connect() for _ in TOPICS], str(uuid4())
        for radio, topic in zip(radios, TOPICS, strict=True):
            radio.subscribe(topic, fast_reply=False)
        station.say("SEND", {"destination": "/topic/*/"}, body.encode())
        for radio, topic in zip(radios, TOPICS, strict=True):
            self.assert_message(radio, body, topic)

    def assert_subscribed_with_connect(self, between: bytes) -> None:
        """CONNECT and SUBSCRIBE come in one piece."""
        radio, body, identity = self.dial(), str(uuid4()), str(uuid4())
        radio.send(frame("CONNECT") + between + frame("SUBSCRIBE", {"destination": TOPICS[0], **LATER}))
        radio.expect("CONNECTED")
        self.assertEqual(radio.so_far(), [])
        self.station().say("SEND", {"destination": TOPICS[0], "message-id": identity}, body.encode())
        self.assertEqual(self.assert_message(radio, body, TOPICS[0]).get("message-id"), identity)

    def test_message_flooding_is_ok(self) -> None:
        self.assert_subscribed_with_connect(b"")

    def test_message_flooding_with_slashn_is_ok(self) -> None:
        self.assert_subscribed_with_connect(b"\n")

    def assert_heard(self, sent: str, subscribed: str) -> None:
        station, body = self.station(3), str(uuid4())
        station.say("SUBSCRIBE", {"destination": subscribed, **LATER})
        station.say("SEND", {"destination": sent}, body.encode())
        self.assert_message(station, body, subscribed)

    def test_gcc_gcc(self) -> None:
        self.assert_heard(GCC, GCC)

    def test_gcc_cc(self) -> None:
        self.assert_heard(CC, GCC)

    def test_cc_gcc(self) -> None:
        self.assert_heard(GCC, CC)

    def test_cc_cc(self) -> None:
        self.assert_heard(CC, CC)


class Unsubscribing(OriginalCase):
    def assert_refused(self, headers: dict[str, str], *, subscribed: bool = True) -> None:
        radio = self.connect()
        if subscribed:
            radio.say("SUBSCRIBE", {"destination": TOPICS[0], **LATER})
        radio.say("UNSUBSCRIBE", headers)
        radio.expect("ERROR")

    def test_unsubscribe_no_subscribed(self) -> None:
        self.assert_refused({"destination": TOPICS[0]}, subscribed=False)

    def test_unsubscribe_id_no_subscribed(self) -> None:
        self.assert_refused({"id": "_test_id"})

    def test_unsubscribe_withnothing(self) -> None:
        self.assert_refused({})

    def assert_silent(self, subscribed: dict[str, str], unsubscribed: dict[str, str], *, sends: bool = False) -> None:
        station, radio = self.station(), self.connect()
        radio.subscribe(TOPICS[0], fast_reply=False)
        station.say("SUBSCRIBE", {"destination": TOPICS[0], **LATER, **subscribed})
        station.say("UNSUBSCRIBE", unsubscribed)
        if sends:
            body = str(uuid4())
            station.say("SEND", {"destination": TOPICS[0]}, body.encode())
            self.assert_message(radio, body, TOPICS[0])
        self.assertEqual(station.so_far(), [])

    def test_unsubscribe(self) -> None:
        self.assert_silent({}, {"destination": TOPICS[0]})

    def test_unsubscribe_id(self) -> None:
        self.assert_silent({"id": "an id"}, {"id": "an id"})

    def test_unsubscribe_id_sub_only(self) -> None:
        self.assert_silent({"id": "an id"}, {"destination": TOPICS[0]})

    def test_unsubscribe_dontmnessage(self) -> None:
        self.assert_silent({}, {"destination": TOPICS[0]}, sends=True)

    def test_unsubscribe_dontmnessage_withid(self) -> None:
        self.assert_silent({"id": "an id"}, {"id": "an id"}, sends=True)

    def test_unsubscribe_dontmessage_withsubid(self) -> None:
        self.assert_silent({"id": "an id"}, {"destination": TOPICS[0]}, sends=True)


class TheWatchdog(OriginalCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        settings: dict[str, object] = {
            "TEST_FB_QUEUE": f"queue.{uuid4()}",
            "TEST_FB_FALLBACK_TIME": FALLBACK_SECONDS,
            "TEST_FB_FALLBACK_CHECK": 0.2,
            "TEST_FB_LOGS_CLEANUP": 0.5,
            "FB_LOGS_MAX_AGE": MAX_AGE_SECONDS,
            "FB_ADMIN_PORT": 0,
        }
        cls.fallback = Daemon(services.rabbitmq(), cls.exchange, "--test", **settings)
        cls.addClassCleanup(cls.fallback.close)
        cls.fallback.start().wait_for("queue.consuming")

    def assert_datagram(self, wanted: dict[str, Any], station: Radio | None = None) -> None:
        """A log entry with these fields comes; others may come from other tests' watchdogs.

        :param station: publishes the message that is logged, once the receiver is there.
        """
        with closing(log_receiver()) as receiver:
            receiver.settimeout(20)
            if station is not None:
                station.say("SEND", {"destination": wanted["topic"]}, wanted["message"].encode())
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                found = json.loads(receiver.recv(65536))
                if wanted.items() <= found.items():
                    return
        self.fail(f"no {wanted}")

    def test_watchdog_send_logs(self) -> None:
        self.assert_datagram({"type": "log", "topic": WATCHED, "message": str(uuid4())}, self.station(4))

    def test_watchdog_send_cleanup_logs(self) -> None:
        self.assert_datagram({"type": "cleanup_logs", "max_age": MAX_AGE_SECONDS})

    def test_watchdog_is_watchdoging(self) -> None:
        """A topic that is spoken to gets no default, and gets one when it has been silent for long enough."""
        station, spoken = self.station(4), str(uuid4())
        station.say("SUBSCRIBE", {"destination": WATCHED + "text", **LATER})
        self.assertEqual(station.expect("MESSAGE").body, b"TEXT " + DEFAULT_TEXT.encode())
        with self.assertRaises(TimeoutError):
            station.frame(FALLBACK_SECONDS / 2)
        station.say("SEND", {"destination": WATCHED + "text"}, spoken.encode())
        self.assertEqual(station.expect("MESSAGE").body, spoken.encode())
        heard_at = time.monotonic()
        self.assertEqual(station.expect("MESSAGE").body, b"TEXT " + DEFAULT_TEXT.encode())
        self.assertGreaterEqual(time.monotonic() - heard_at, FALLBACK_SECONDS - 1)  # "when" has whole seconds

    def assert_default(self, last: str, body: str) -> None:
        station = self.station(4)
        station.say("SUBSCRIBE", {"destination": WATCHED + last, **LATER})
        default = station.expect("MESSAGE", trigger_time="NOW", link=DEFAULT_LINK)
        self.assertEqual(default.body, body.encode())

    def test_watchdog_send_good_data_image(self) -> None:
        self.assert_default("image", "SHOW " + DEFAULT_FILE)

    def test_watchdog_send_good_data_text(self) -> None:
        self.assert_default("text", "TEXT " + DEFAULT_TEXT)
