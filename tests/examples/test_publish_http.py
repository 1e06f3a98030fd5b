"""examples/publish_http.py, at a real node."""

from __future__ import annotations

from tests.examples.publisher import ExampleCase
from tests.processes import Server, node
from tests.radio import Radio
from tests.services import free_port

CHANNEL = "/topic/id/tests._ebu.nowhere/topic1/"


class TestPublishHttp(ExampleCase):
    program = "publish_http.py"
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = node(HTTP_PORT=free_port()).start()
        cls.addClassCleanup(cls.server.close)

    def setUp(self) -> None:
        self.radio = Radio.connect(self.server.address)
        self.addCleanup(self.radio.close)
        self.url = ("--url", "http://{}:{}".format(*self.server.http))
        self.login = (*self.url, "--login", "1.test", "--password", "test")

    def test_a_slide_and_a_text(self) -> None:
        for kind in ("text", "image"):
            self.radio.subscribe(CHANNEL + kind, fast_reply=False)
        slide = ("--image", "http://s/1.png", "--text", "café", "--link", "http://s/")
        self.publish(*self.login, *slide, "--channel", CHANNEL)
        found = {each.get("destination"): each.body for each in self.radio.frames(2)}
        self.assertEqual(found, {CHANNEL + "text": "TEXT café".encode(), CHANNEL + "image": b"SHOW http://s/1.png"})

    def test_to_all_channels(self) -> None:
        for channel in (CHANNEL, "/topic/id/tests._ebu.nowhere/topic2/"):
            self.radio.subscribe(channel + "text", fast_reply=False)
        self.publish(*self.login, "--text", "x")
        self.assertEqual([each.body for each in self.radio.frames(2)], [b"TEXT x"] * 2)

    def test_refusals_are_told(self) -> None:
        wrong = (*self.url, "--login", "1.test", "--password", "wrong", "--text", "x")
        self.assert_fails(*wrong, saying="Wrong credentials")
        self.assert_fails(*self.login, saying="neither a text nor an image")
        self.assert_fails(*self.login, "--image", "javascript:alert(1)", saying="http://")
        self.assert_fails(*self.login, "--text", "x", "--channel", "/topic/other/1/", saying="none of the station's")

    def test_no_node_there(self) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        self.assert_fails("--url", url, "--login", "a", "--password", "b", "--text", "x", saying="refused")

    def test_it_is_short(self) -> None:
        self.assert_short()
