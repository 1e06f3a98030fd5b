"""Services on IP: the standard's spelling reaches a channel that the directory registered with reversed labels.

Contract §2, change 15, and fault 19. A client is sent the spelling that it asked with, over every transport.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar
from urllib.parse import quote

from tests.acceptance.websocket_case import WebSocketCase
from tests.message_socket import WebSocketRadio
from tests.radio import frame
from tests.web import Events, ask, basic, poll_path

_DOMAIN = "www.ebu.ch"


class IdTopicsCase(WebSocketCase):
    """Each test has a service of its own."""

    settings: ClassVar[dict[str, Any]] = {"HTTP_POLL_TIMEOUT": 1}

    @classmethod
    def setUpClass(cls) -> None:
        names = [name for name in dir(cls) if name.startswith("test_")]
        registered = json.dumps([f"/topic/id/ch/ebu/www/{name}/" for name in names])
        cls.settings = {**cls.settings, "TEST_TOPICS": registered}
        super().setUpClass()

    def setUp(self) -> None:
        name = self.id().rpartition(".")[2]
        self.service = f"id/{_DOMAIN}/{name}"
        self.standard = f"/topic/{self.service}/image"
        self.reversed = f"/topic/id/ch/ebu/www/{name}/image"

    def publish(self, topic: str, body: bytes = b"SHOW http://a/1.png") -> None:
        self.station().publish(topic, body)


class TestListeners(IdTopicsCase):
    def test_stomp(self) -> None:
        for version in (None, "1.1", "1.2"):
            radio, loud, old = self.radio(version=version), self.radio(), self.radio()
            radio.subscribe(self.standard, id="7", fast_reply=False)
            loud.subscribe(self.standard.replace(_DOMAIN, "WWW.EBU.CH"), fast_reply=False)
            old.subscribe(self.reversed, fast_reply=False)
            self.publish(self.reversed, b"SHOW http://a/1.png")
            message = radio.expect("MESSAGE")
            self.assertEqual((message.get("destination"), message.get("subscription")), (self.standard, "7"))
            self.assertIn("WWW.EBU.CH", loud.expect("MESSAGE").get("destination") or "")
            self.assertEqual(old.expect("MESSAGE").get("destination"), self.reversed)
            radio.say("UNSUBSCRIBE", {"id": "7", "destination": self.standard, "receipt": "u"})
            self.assertEqual(radio.frame().get("receipt-id"), "u")

    def test_the_last_slide_at_once_and_over_a_websocket(self) -> None:
        self.publish(self.reversed)
        radio = self.web_radio("1.2")
        radio.say("SUBSCRIBE", {"destination": self.standard, "id": "1"})
        self.assertEqual(radio.expect("MESSAGE").get("destination"), self.standard)

    def test_the_html5_player(self) -> None:
        self.publish(self.reversed)
        player = self.open(f"/topic/{self.service}")
        self.assertEqual(player.message(), "RADIOVISWEBSOCKET:HELLO\0")
        self.assertIn(f"\ndestination:{self.standard}\n", str(player.message()))

    def test_polls(self) -> None:
        self.publish(self.reversed)
        answer = ask(self.server.http, poll_path(self.standard))
        self.assertEqual(answer.json["headers"]["RadioVIS-Destination"], self.standard)
        answer = ask(self.server.http, f"/comet?topic={quote(self.standard)}")
        self.assertEqual((answer.headers["radiovis-destination"], answer.body), (self.standard, b"SHOW http://a/1.png"))

    def test_streams(self) -> None:
        with (
            Events(self.server.http, f"/radiodns/push/1.0/{self.service}") as push,
            Events(self.server.http, f"/events/{self.service}") as page,
            Events(self.server.http, f"/channels{self.standard}", accept="text/event-stream") as channel,
        ):
            self.publish(self.reversed)
            self.assertEqual(push.next().data, {"src": "http://a/1.png"})
            self.assertEqual(page.next().data["src"], "http://a/1.png")
            self.assertIn(b"event: message\ndata: SHOW http://a/1.png\n", channel.until(b"1.png\n"))

    def test_topics_as_resources_and_the_page(self) -> None:
        self.publish(self.reversed)
        self.assertEqual(ask(self.server.http, f"/channels{self.standard}").body, b"SHOW http://a/1.png")
        page = ask(self.server.http, f"/service/{self.service}")
        self.assertEqual((page.status, b"http://a/1.png" in page.body), (200, True))


class TestPublishers(IdTopicsCase):
    def assert_reaches_both(self, send: Any) -> None:
        standard, old = self.radio(), self.radio(version="1.2")
        standard.subscribe(self.standard, fast_reply=False)
        old.subscribe(self.reversed, fast_reply=False)
        send()
        self.assertEqual(standard.expect("MESSAGE").get("destination"), self.standard)
        self.assertEqual(old.expect("MESSAGE").get("destination"), self.reversed)

    def test_a_station_may_write_either(self) -> None:
        self.assert_reaches_both(lambda: self.publish(self.standard))
        self.assert_reaches_both(lambda: self.publish(self.reversed))

    def test_over_a_websocket(self) -> None:
        station = WebSocketRadio(self.server.http)
        self.addCleanup(station.close)
        station.say("CONNECT", {"login": "1.test", "passcode": "test", "accept-version": "1.2", "host": "x"})
        station.expect("CONNECTED")
        self.assert_reaches_both(lambda: station.publish(self.standard, b"SHOW http://a/2.png"))

    def test_over_http(self) -> None:
        login = basic("1.test", "test")

        def put() -> None:
            answer = ask(
                self.server.http, f"/channels{self.standard}", method="PUT", body=b"SHOW x", authorization=login
            )
            self.assertIn(answer.status, (201, 204), answer.body)

        def form() -> None:
            body = json.dumps({"image": "http://a/3.png", "channel": f"/topic/{self.service}/"}).encode()
            headers = {"content_type": "application/json", "authorization": login}
            answer = ask(self.server.http, "/services/1", method="POST", body=body, **headers)
            self.assertEqual(answer.json["messages"][0]["topic"], self.standard)

        self.assert_reaches_both(put)
        self.assert_reaches_both(form)

    def test_of_another_station_it_is_refused(self) -> None:
        station = self.station(3)
        station.send(frame("SEND", {"destination": self.standard}, b"SHOW x"))
        self.assert_error(station, "You cannot do that.")
        station = self.station()
        station.send(frame("SEND", {"destination": f"/topic/id/{_DOMAIN}/nobody/image"}, b"SHOW x"))
        self.assert_error(station, "You cannot do that.")
