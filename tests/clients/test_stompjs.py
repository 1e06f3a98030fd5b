"""The STOMP client of browsers, in a JavaScript engine, at a real node; beside it stomp.py and a radio."""

from __future__ import annotations

import unittest
from typing import Any

import stomp

from tests.acceptance.websocket_case import WebSocketCase
from tests.clients.node_clients import StompJs, missing


class StompPyRadio(stomp.ConnectionListener):  # type: ignore[misc]
    """stomp.py over TCP, which keeps what it hears."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.bodies: list[str] = []
        self.connection = stomp.Connection12([address])
        self.connection.set_listener("", self)
        self.subscribed = stomp.listener.WaitingListener("subscribed")
        self.connection.set_listener("subscribed", self.subscribed)
        self.connection.connect(wait=True)

    def subscribe(self, topic: str) -> None:
        self.connection.subscribe(topic, id="py", headers={"receipt": "subscribed"})
        self.subscribed.wait_on_receipt()

    def publish(self, topic: str, body: str) -> None:
        self.connection.send(topic, body)

    def on_message(self, frame: Any) -> None:
        self.bodies.append(frame.body)


class StompJsTests(WebSocketCase):
    """The STOMP client of browsers, in a JavaScript engine."""

    settings = {"HEARTBEAT_MS": "1000,1000"}  # noqa: RUF012

    @classmethod
    def setUpClass(cls) -> None:
        if reason := missing():
            raise unittest.SkipTest(reason)
        super().setUpClass()

    def page(self, version: str = "1.2", **options: object) -> StompJs:
        page = StompJs()
        self.addCleanup(page.close)
        seen = page.connect(self.server.http, version=version, **options)
        self.assertEqual(seen["version"], version)
        self.assertEqual(seen["protocol"], f"v{version[:1]}{version[2:]}.stomp")
        return page

    def hear_each_other(self, version: str) -> None:
        topic = self.topic()
        page, radio = self.page(version), self.radio(version=version)
        python = StompPyRadio(self.server.address)
        self.addCleanup(python.connection.disconnect)
        publisher = self.page(version, login="1.test", passcode="test")
        for each in (page, radio, python):
            each.subscribe(topic)
        publisher.publish(topic, "TEXT café".encode(), link="http://s/?a=1:2")
        self.station().publish(topic, b"SHOW http://s/1.png")
        self.assertEqual([page.hear(), page.hear()], [(topic, "TEXT café".encode()), (topic, b"SHOW http://s/1.png")])
        heard = radio.frames(2)
        self.assertEqual([each.body for each in heard], ["TEXT café".encode(), b"SHOW http://s/1.png"])
        link = "http://s/?a=1:2" if version == "1.0" else "http\\c//s/?a=1\\c2"
        self.assertEqual(heard[0].get("link"), link)
        page.unsubscribe()
        publisher.publish(topic, b"TEXT unheard")
        page.subscribe(topic, id="2")
        self.assertEqual(page.hear(), (topic, b"TEXT unheard"))  # once: as the last message, at the new subscription
        page.tell("disconnect")
        page.expect("closed", code=1000)
        python.connection.disconnect(receipt="bye")
        self.assertEqual(python.bodies[:2], ["TEXT café", "SHOW http://s/1.png"])

    def test_1_0(self) -> None:
        self.hear_each_other("1.0")

    def test_1_1(self) -> None:
        self.hear_each_other("1.1")

    def test_1_2(self) -> None:
        self.hear_each_other("1.2")

    def test_a_body_with_nul_and_octets_that_are_no_text_in_both_directions(self) -> None:
        body = bytes(range(256)) + b"\0\0"
        for binary in (False, True):
            topic = self.topic(f"binary-{binary}")
            page = self.page(binary=binary)
            page.subscribe(topic)
            self.page(binary=binary, login="1.test", passcode="test").publish(topic, body)
            self.assertEqual(page.hear(), (topic, body))
            self.station(version="1.2").publish(topic, b"TEXT and on", {})
            self.assertEqual(page.hear(), (topic, b"TEXT and on"))

    def test_heart_beats_go_both_ways(self) -> None:
        page = self.page(beat=[1000, 1000])
        for _ in range(3):
            page.expect("beat")
        page.subscribe(self.topic())  # it beats too, or it would have been cut off after two of its intervals

    def test_a_wrong_password_is_an_error_frame_and_a_close(self) -> None:
        page = StompJs()
        self.addCleanup(page.close)
        host, port = self.server.http
        page.tell("connect", url=f"ws://{host}:{port}/stomp", version="1.2", login="1.test", passcode="wrong")
        self.assertEqual(page.expect("error")["headers"]["message"], "Wrong credentials")
        page.expect("closed")
