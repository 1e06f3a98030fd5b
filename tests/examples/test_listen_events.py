"""examples/listen-events.html, in a browser, at a real node: it shows what is published."""

from __future__ import annotations

import unittest
import urllib.request

from tests.browser import Browser, missing
from tests.examples.listener import EXAMPLES, ListenerCase
from tests.processes import node
from tests.services import free_port


@unittest.skipIf(missing(), missing())
class TestListenEvents(ListenerCase):
    program = "listen-events.html"
    browser: Browser

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def open(self) -> None:
        """The page, as a file, for the channel of this test."""
        host, port = self.server.http
        service = self.channel().removeprefix("/topic/").rstrip("/")
        self.browser.open(f"{(EXAMPLES / self.program).as_uri()}?http://{host}:{port}/radiodns/push/1.0/{service}")

    def expect(self, **expected: str) -> None:
        """Wait until the page shows this."""
        self.browser.wait_until(lambda: {what: self.shown(what) for what in expected} == expected, str(expected))

    def shown(self, what: str) -> object:
        if what in ("text", "state"):
            return self.browser.text(f"#{what}")
        name = {"slide": "src", "link": "href"}[what]
        return self.browser.run(f"return document.getElementById('{what}').getAttribute('{name}')")

    def test_it_shows_the_retained_messages_and_then_each_new_one(self) -> None:
        self.publish("text", "TEXT Grüezi")
        self.publish("image", "SHOW http://127.0.0.1/1.png", link="http://127.0.0.1/a")
        self.open()
        self.expect(text="Grüezi", slide="http://127.0.0.1/1.png", link="http://127.0.0.1/a", state="")
        self.publish("text", "TEXT <b>café</b>")
        self.publish("image", "SHOW http://127.0.0.1/2.png")
        self.expect(text="<b>café</b>", slide="http://127.0.0.1/2.png")
        self.assertIsNone(self.shown("link"))

    def test_no_station_runs_a_script(self) -> None:
        self.publish("text", "TEXT <img src=x onerror=alert(1)>")
        self.publish("image", "SHOW javascript:alert(1)", link="javascript:alert(2)")
        self.open()
        self.expect(text="<img src=x onerror=alert(1)>")
        self.publish("image", "SHOW http://127.0.0.1/3.png", link="javascript:alert(3)")
        self.expect(slide="http://127.0.0.1/3.png")
        self.assertIsNone(self.shown("link"))

    def test_it_connects_again_when_the_node_is_back(self) -> None:
        self.publish("text", "TEXT before")
        self.open()
        self.expect(text="before")
        self.server.kill()
        self.expect(state="No connection")
        self.server.start()
        self.publish("text", "TEXT back")
        self.expect(text="back", state="")

    def test_it_connects_again_after_a_refusal(self) -> None:
        """A browser does not do so by itself after a 503."""
        full = node(HTTP_PORT=free_port(), HTTP_MAX_LISTENERS=1).start()
        self.addCleanup(full.close)
        address = f"http://{full.http[0]}:{full.http[1]}/radiodns/push/1.0/id/tests._ebu.nowhere/topic1"
        with urllib.request.urlopen(address, timeout=60):
            self.browser.open(f"{(EXAMPLES / self.program).as_uri()}?{address}")
            self.expect(state="No connection")
        self.expect(state="")

    def test_it_is_short(self) -> None:
        self.assert_short(self.program)
