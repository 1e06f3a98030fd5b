"""A node that looks at slides: real publishers, real radios, and a server of slides that does as it pleases."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlencode

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from tests import services
from tests.processes import Server, node
from tests.radio import Frame, Radio
from tests.radiovis.slides.slide_server import SlideServer, answer, drawn
from tests.web import Answer, ask, basic

IMAGE, TEXT = "/topic/id/tests._ebu.nowhere/topic1/image", "/topic/id/tests._ebu.nowhere/topic1/text"
SECONDS = 1.0


class _Case(unittest.TestCase):
    """One node for all tests of a class. What people do blocks, so it is done in a thread."""

    timeout = 120
    mode: ClassVar[str]
    server: ClassVar[Server]

    @classmethod
    def setUpClass(cls) -> None:
        settings = {"PREFLIGHT": cls.mode, "PREFLIGHT_PRIVATE": "127.0.0.1", "radiovis.slides.fetch.SECONDS": SECONDS}
        cls.server = node(HTTP_PORT=services.free_port(), ADMIN_PORT=services.free_port(), **settings).start()

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            cls.server.terminate()
            assert cls.server.faults == [], cls.server.faults
        finally:
            cls.server.close()

    async def setUp(self) -> None:
        self.slides = SlideServer()
        await self.slides.start()
        self.addCleanup(lambda: ensureDeferred(self.slides.stop()))
        self.slides.pages["/slow.png"] = lambda guest: reactor.callLater(0.3, guest.end, answer(drawn()))

    def url(self, path: str) -> str:
        """Never asked for before: each test has a server of its own."""
        return self.slides.url(path)

    def show(self, path: str) -> bytes:
        return f"SHOW {self.url(path)}".encode()

    def station(self, version: str | None = "1.2") -> Radio:
        station = Radio.connect(self.server.address, "1.test", "test", version=version)
        self.addCleanup(station.close)
        return station

    def radio(self) -> Radio:
        radio = Radio.connect(self.server.address)
        self.addCleanup(radio.close)
        for topic in (IMAGE, TEXT):
            radio.subscribe(topic, fast_reply=False)
        return radio

    def post(self, **fields: str) -> Answer:
        form = urlencode({"channel": "/topic/id/tests._ebu.nowhere/topic1/", **fields}).encode()
        kind = "application/x-www-form-urlencoded"
        where = {"Authorization": basic("1.test", "test"), "Content-Type": kind}
        return ask(self.server.http, "/services/1", method="POST", body=form, **where)

    def put(self, path: str) -> Answer:
        """Publish it as a value of its topic."""
        login = basic("1.test", "test")
        return ask(self.server.http, f"/channels{IMAGE}", method="PUT", body=self.show(path), authorization=login)


def send(station: Radio, body: bytes, receipt: str, topic: str = IMAGE, **more: str) -> None:
    station.say("SEND", {"destination": topic, "receipt": receipt, **more}, body)


def blocking(work: Callable[[Any], None]) -> Callable[[Any], Deferred[None]]:
    """A test that is run in a thread, as everything in it waits for sockets."""

    def run(case: Any) -> Deferred[None]:
        return deferToThread(work, case)

    run.__name__ = work.__name__
    return run


class TestWarn(_Case):
    mode = "warn"

    def receipt(self, body: bytes, topic: str = IMAGE) -> Frame:
        station = self.station()
        send(station, body, "r", topic)
        return station.expect("RECEIPT", **{"receipt-id": "r"})

    @blocking
    def test_the_receipt_tells(self) -> None:
        self.assertEqual(self.receipt(self.show("/good.png")).get("preflight"), "ok")
        for path, complaint in (
            ("/large.png", "it is 640x480, radios expect 320x240"),
            ("/no-type", "it is served without a Content-Type"),
            ("/50MB", "it has 50000000 octets, radios take 51200"),
            ("/bomb", "it is 30000x20"),
            ("/cut", "it does not decode"),
            ("/missing", "not fetched"),
        ):
            warning = self.receipt(self.show(path)).get("preflight-warning") or ""
            self.assertIn(f"{IMAGE}: ", warning.replace("\\c", ":"))
            self.assertIn(complaint, warning)
        long = self.receipt(b"TEXT " + b"x" * 129, TEXT)
        self.assertIn("its text has 129 octets", long.get("preflight-warning") or "")

    @blocking
    def test_nobody_inside_is_asked(self) -> None:
        for host in ("127.0.0.2", "[::ffff:10.0.0.1]", "localhost.localdomain"):
            url = f"SHOW http://{host}:{self.slides.port}/good.png".encode()
            self.assertIn("not fetched", self.receipt(url).get("preflight-warning") or "")
        self.assertEqual(self.slides.asked, {})

    @blocking
    def test_a_server_that_hangs_holds_up_a_receipt_and_nothing_else(self) -> None:
        radio, station = self.radio(), self.station()
        began = time.monotonic()
        send(station, self.show("/silent"), "1")
        send(station, self.show("/good.png"), "2")
        station.say("SEND", {"destination": TEXT}, b"TEXT now")
        bodies = [radio.expect("MESSAGE").body for _ in range(3)]
        self.assertEqual(bodies, [self.show("/silent"), self.show("/good.png"), b"TEXT now"])
        self.assertLess(time.monotonic() - began, SECONDS)
        receipts = [station.expect("RECEIPT") for _ in range(2)]
        self.assertEqual([each.get("receipt-id") for each in receipts], ["1", "2"])
        self.assertIn("not complete within 1 s", receipts[0].get("preflight-warning") or "")
        self.assertEqual(receipts[1].get("preflight"), "ok")
        self.assertLess(time.monotonic() - began, SECONDS + 5)

    @blocking
    def test_one_slide_many_times_is_fetched_once(self) -> None:
        station = self.station()
        for number in range(20):
            send(station, self.show("/slow.png"), str(number))
        for _ in range(20):
            self.assertEqual(station.expect("RECEIPT").get("preflight"), "ok")
        self.assertEqual(self.slides.asked, {"/slow.png": 1})

    @blocking
    def test_over_http_and_for_the_operator(self) -> None:
        answered = self.post(image=self.url("/large.png"))
        self.assertEqual(answered.status, 202)
        self.assertIn("it is 640x480", answered.json["preflight-warning"])
        self.assertEqual(self.post(image=self.url("/good.png")).json["preflight"], "ok")
        self.assertEqual(self.post(**{"message-id": "nothing is ever held here"}).status, 400)
        self.assertIn("it is 640x480", self.put("/large.png").headers["preflight-warning"])
        shown = ask(self.server.admin, "/api/overview").json["preflight"]
        self.assertEqual((shown["mode"], shown["recent"][0]["topic"]), ("warn", IMAGE))
        self.assertEqual(shown["recent"][0]["complaints"], ["it is 640x480, radios expect 320x240"])
        self.assertIn("radiovis_preflight_fetched_total ", ask(self.server.admin, "/metrics").body.decode())


class TestReject(_Case):
    mode = "reject"

    @blocking
    def test_what_radios_cannot_show_is_not_published(self) -> None:
        radio = self.radio()
        for version, text in (("1.2", "Not published"), (None, "Not published")):
            station = self.station(version)
            station.say("SEND", {"destination": IMAGE}, self.show("/large.png"))
            error = station.expect("ERROR")
            self.assertIn(text, error.get("message") or "")
            self.assertIn("it is 640x480, radios expect 320x240", error.get("message") or "")
        self.assertEqual(radio.so_far(), [])

    @blocking
    def test_a_transaction_goes_whole_or_not_at_all(self) -> None:
        radio, station = self.radio(), self.station()
        station.say("BEGIN", {"transaction": "t"})
        for path in ("/good.png", "/missing"):
            station.say("SEND", {"destination": IMAGE, "transaction": "t"}, self.show(path))
        station.say("COMMIT", {"transaction": "t", "receipt": "c"})
        self.assertIn("HTTP 404", station.expect("ERROR").body.decode())
        self.assertEqual(radio.so_far(), [])

    @blocking
    def test_what_one_connection_publishes_keeps_its_order(self) -> None:
        radio, station = self.radio(), self.station()
        bodies = [self.show("/slow.png"), b"TEXT behind it", self.show("/good.png")]
        for number, body in enumerate(bodies):
            send(station, body, str(number), TEXT if body.startswith(b"TEXT") else IMAGE)
        self.assertEqual([radio.expect("MESSAGE").body for _ in bodies], bodies)
        self.assertEqual([station.expect("RECEIPT").get("preflight") for _ in bodies], ["ok"] * 3)

    @blocking
    def test_over_http(self) -> None:
        answered = self.post(image=self.url("/heavy"))
        self.assertEqual(answered.status, 422)
        self.assertIn("radios take 51200", answered.json["detail"])
        answered = self.put("/heavy")
        self.assertEqual(answered.status, 422)
        self.assertIn("radios take 51200", answered.json["detail"])
        self.assertEqual(self.post(image=self.url("/good.jpg"), text="Now").status, 202)
