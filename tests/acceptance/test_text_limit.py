"""A radio text has 128 octets, counted behind the word TEXT, over every way in: what does not fit is named and told.

HTTP refuses it. STOMP publishes it, as the original did, and the log says whose it was; PREFLIGHT=reject refuses it.
What comes straight from the broker, and the watchdog's defaults, are shown and logged, too.
"""

from __future__ import annotations

import json
import unittest
from typing import Any, ClassVar
from urllib.parse import urlencode

from tests import services
from tests.acceptance.cluster import Cluster
from tests.acceptance.device import Device
from tests.acceptance.test_http import HttpCase as _HttpCase
from tests.acceptance.websocket_case import WebSocketCase as _WebSocketCase
from tests.message_socket import WebSocketRadio
from tests.processes import Server
from tests.radio import Radio
from tests.web import Answer, basic

FITS = ("x" * 128, "é" * 64)
LONG = ("x" * 129, "é" * 65, "x" * 200)
LOGIN = basic("1.test", "test")


def fault(text: str) -> str:
    return f"has {len(text.encode())} octets, radios take 128: shorten it"


class TestHttp(_HttpCase):
    def form(self, text: str, **more: str) -> Answer:
        body = urlencode({"text": text, **more}).encode()
        kind = "application/x-www-form-urlencoded"
        return self.ask("/services/1", method="POST", body=body, authorization=LOGIN, content_type=kind)

    def put(self, topic: str, body: str, method: str = "PUT") -> Answer:
        return self.ask(f"/channels{topic}", method=method, body=body.encode(), authorization=LOGIN)

    def test_services(self) -> None:
        channel = self.topic("")
        for text in FITS:
            self.assertEqual(self.form(text, channel=channel).status, 202)
        for text in LONG:
            answer = self.form(text, channel=channel)
            self.assert_refused(answer, 400)
            self.assertEqual(answer.json["detail"], f"1.test, {channel}: the text {fault(text)}.")
        answer = self.form(LONG[0])
        self.assertEqual(answer.json["detail"], f"1.test, all channels: the text {fault(LONG[0])}.")

    def test_topics_as_resources(self) -> None:
        topic = self.topic("text")
        for text in FITS:
            self.assertIn(self.put(topic, f"TEXT {text}").status, (201, 204))
        for text in LONG:
            for method in ("PUT", "POST"):
                answer = self.put(topic, f"TEXT {text}", method)
                self.assert_refused(answer, 422)
                self.assertEqual(answer.json["detail"], f"1.test, {topic}: the text {fault(text)}.")
        self.assertEqual(self.ask(f"/channels{topic}").body.decode(), f"TEXT {FITS[-1]}")
        refused = self.server.wait_for("publish.refused", login="1.test", topic=topic)
        self.assertIn("octets, radios take 128: shorten it", refused["reason"])

    def test_what_is_no_text_of_a_radio_may_be_longer(self) -> None:
        for topic, body in ((self.topic("other"), f"TEXT {LONG[0]}"), (self.topic("text"), LONG[2])):
            self.assertEqual(self.put(topic, body).status, 201)


class TestStomp(_WebSocketCase):
    def test_it_is_shown_as_the_original_did_and_the_log_says_whose_it_is(self) -> None:
        topic = self.topic("text")
        for version in (None, "1.1", "1.2"):
            radio, station = self.radio(), self.station(version=version)
            radio.subscribe(topic, fast_reply=False)
            for text in (*FITS, *LONG):
                station.publish(topic, f"TEXT {text}".encode())
                self.assertEqual(radio.expect("MESSAGE").body.decode(), f"TEXT {text}")
        (logged, *_) = self.server.events("publish.long_text", topic=topic)
        self.assertEqual((logged["login"], logged["interface"]), ("1.test", "stomp"))
        self.assertEqual(logged["reason"], f"its text {fault(LONG[0])}")


class TestWebSocket(_WebSocketCase):
    def test_it_is_shown_and_the_log_says_whose_it_is(self) -> None:
        station = WebSocketRadio(self.server.http)
        self.addCleanup(station.close)
        station.say("CONNECT", {"login": "1.test", "passcode": "test"})
        station.expect("CONNECTED")
        topic = self.topic("text")
        station.publish(topic, f"TEXT {FITS[0]}".encode())
        self.assertEqual(self.server.events("publish.long_text", topic=topic), [])
        station.publish(topic, f"TEXT {LONG[1]}".encode())
        self.assertEqual(self.server.wait_for("publish.long_text", topic=topic)["reason"], f"its text {fault(LONG[1])}")


class TestStompWithPreflight(_WebSocketCase):
    settings: ClassVar[dict[str, Any]] = {"PREFLIGHT": "reject"}

    def test_reject_refuses_it(self) -> None:
        topic = self.topic("text")
        station = self.station()
        station.say("SEND", {"destination": topic}, f"TEXT {LONG[1]}".encode())
        self.assert_error(station, f"Not published: {topic}: its text {fault(LONG[1])}")
        refused = self.server.wait_for("publish.refused", topic=topic)
        reason = f"1.test may not publish to {topic}: its text {fault(LONG[1])}"
        self.assertEqual((refused["login"], refused["reason"]), ("1.test", reason))


class TestBroker(unittest.TestCase):
    def test_a_device_that_publishes_to_the_broker(self) -> None:
        topic = "/topic/id/tests._ebu.nowhere/topic1/text"
        with Cluster(services.rabbitmq(), nodes=1) as cluster:
            node = cluster.nodes[0]
            radio = Radio.connect(node.address, version="1.2")
            self.addCleanup(radio.close)
            radio.subscribe(topic, id="1", fast_reply=False)
            with Device(services.rabbitmq(), cluster.exchange) as device:
                for text in (FITS[1], LONG[1], LONG[0]):
                    device.publish({"topic": topic}, f"TEXT {text}".encode())
                    self.assertEqual(radio.expect("MESSAGE").body.decode(), f"TEXT {text}")
            (logged,) = node.events("bus.long_text")
            self.assertEqual((logged["topic"], logged["reason"]), (topic, f"its text {fault(LONG[1])}"))


class TestDefaults(unittest.TestCase):
    def test_a_default_text_of_plugit_that_is_too_long(self) -> None:
        """A stations file with such a text is not read at all: see test_stations_parser.py."""
        default = {"id": "1", "orga": "", "name": "t", "filename": "f", "radiotext": LONG[1], "radiolink": ""}
        settings = {"TEST_CHANNEL_DEFAULT": json.dumps({**default, "clean_filename": "f"})}
        with Server("--test", STANDALONE=True, **settings) as node:
            logged = node.wait_for("bus.long_text")
            self.assertEqual(logged["reason"], f"its text {fault(LONG[1])}")
            self.assertIn("watchdog", logged["topic"])
