"""Slides over real sockets, from servers that do as they please: a complaint in words, and no connection left open."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.trial import unittest

from radiovis.slides import fetch as connections
from radiovis.slides.fetch import HostLimit, SlideFetch, host_of, share
from tests.authority import Authority
from tests.radiovis.slides.slide_server import SlideServer, drawn, moved

SECONDS = 0.5


class Fetching(unittest.TestCase):
    async def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.server = SlideServer()
        await self.server.start()
        self.addCleanup(lambda: ensureDeferred(self.server.stop()))
        self.fetch = SlideFetch(reactor, seconds=SECONDS, most_octets=2**20)

    async def complaints(self, path: str) -> str:
        slide = await self.fetch.get(self.server.url(path))
        return "; ".join(slide.complaints)

    async def test_a_good_one(self) -> None:
        for path, kind in (("/good.png", "PNG"), ("/good.jpg", "JPEG")):
            slide = await self.fetch.get(self.server.url(path))
            self.assertEqual((slide.complaints, slide.content), ((), drawn(kind)))
            self.assertIn(f"320x240 {kind}", str(slide.picture))

    async def test_what_radios_may_not_like(self) -> None:
        for path, complaint in (
            ("/large.png", "it is 640x480, radios expect 320x240"),
            ("/heavy", f"it has {len(drawn()) + 60_000} octets, radios take 51200"),
            ("/as-text.png", "it is served as text/plain, and is image/png"),
            ("/no-type", "it is served without a Content-Type"),
            ("/no-length", "it is served without a Content-Length"),
            ("/gzip", "it is neither PNG nor JPEG"),
        ):
            self.assertEqual(await self.complaints(path), complaint)

    async def test_what_does_not_decode(self) -> None:
        for path in ("/cut", "/too-long"):
            self.assertIn("it does not decode: ", await self.complaints(path))

    async def test_what_cannot_be_fetched(self) -> None:
        for path, complaint in (
            ("/missing", "HTTP 404"),
            ("/silent", "not complete within 0.5 s"),
            ("/stops", "not complete within 0.5 s"),
            ("/too-short", ""),
            ("/50MB", "it has 50000000 octets, radios take 51200"),
            ("/flood", "it is longer than 1048576 octets"),
            ("/headers", "it is longer than 1048576 octets"),
            ("/no-http", ""),
            ("/loop", "more than 3 redirects"),
        ):
            began = time.monotonic()
            found = await self.complaints(path)
            self.assertTrue(found.startswith("not fetched: ") and complaint in found, f"{path}: {found}")
            self.assertLess(time.monotonic() - began, SECONDS + 2)
            await self.server.deserted().addTimeout(5, reactor)

    async def test_of_a_bomb_no_dot_is_drawn(self) -> None:
        self.assertEqual(await self.complaints("/bomb"), "it is 30000x20, radios expect 320x240")

    async def test_redirects_are_followed_and_their_connections_closed(self) -> None:
        self.server.pages["/moved"] = lambda guest: guest.say(moved("good.png"))
        self.assertEqual(await self.complaints("/moved"), "")
        await self.server.deserted().addTimeout(5, reactor)

    async def test_an_address_that_is_none(self) -> None:
        for url, complaint in (
            ("http://127.0.0.1:1/x.png", "nothing listens there (connection refused)"),
            ("http://slides.invalid/x.png", "no such host"),
            ("http://127.0.0.1/ü.png", "its address has characters beyond ASCII"),
            ("ftp://127.0.0.1/x.png", "its address begins with ftp:"),
        ):
            self.assertEqual((await self.fetch.get(url)).complaints, (f"not fetched: {complaint}",))

    async def test_over_tls(self) -> None:
        authority = Authority(self.folder)
        certificate, key = authority.pair("127.0.0.1")
        trusted = Certificate.loadPEM(authority.certificate.read_bytes())
        secure = SlideServer()
        await secure.start(PrivateCertificate.loadPEM(certificate + key).options())
        self.addCleanup(lambda: ensureDeferred(secure.stop()))
        secure.pages["/moved"] = lambda guest: guest.say(moved("/good.png"))
        for path in ("/good.png", "/moved", "/flood", "/silent"):
            url = secure.url(path).replace("http:", "https:")
            self.assertIn("certificate verify failed", (await self.fetch.get(url)).complaints[0])
            self.patch(connections, "optionsForClientTLS", lambda host: optionsForClientTLS(host, trusted))
            complaint = {"/flood": "it is longer than 1048576 octets", "/silent": "not complete within 0.5 s"}.get(path)
            expected = () if complaint is None else (f"not fetched: {complaint}",)
            self.assertEqual((await self.fetch.get(url)).complaints, expected)
            await secure.deserted().addTimeout(5, reactor)
            self.patch(connections, "optionsForClientTLS", optionsForClientTLS)

    async def test_so_many_at_once_and_no_more(self) -> None:
        server = HostnameEndpoint(reactor, "127.0.0.1", self.server.port)
        fetch = SlideFetch(reactor, seconds=SECONDS, at_once=2, dial=lambda _host, _port: server)
        most = 0

        def count(guest: object) -> None:
            nonlocal most
            most = max(most, len(self.server.open))

        self.server.pages["/counted"] = count
        await DeferredList([ensureDeferred(fetch.get(f"http://host{number}/counted")) for number in range(6)])
        self.assertEqual((most, self.server.asked["/counted"]), (2, 6))

    async def test_a_host_that_hangs_keeps_no_other_waiting(self) -> None:
        server = HostnameEndpoint(reactor, "127.0.0.1", self.server.port)
        fetch = SlideFetch(reactor, seconds=4 * SECONDS, at_once=2, dial=lambda _host, _port: server)
        asked: Deferred[None] = Deferred()
        self.server.pages["/hangs"] = lambda _guest: asked.called or asked.callback(None)
        hanging = [ensureDeferred(fetch.get("http://hangs/hangs")) for _ in range(3)]
        await asked
        slide = await fetch.get("http://other/good.png")
        self.assertEqual((slide.complaints, self.server.asked["/hangs"]), ((), 1))
        await DeferredList(hanging)


# A host that hangs delays only its own fetches.


class TestHostLimit(unittest.TestCase):
    def setUp(self) -> None:
        self.limit = HostLimit(4)
        self.having: list[tuple[str, Deferred[None]]] = []
        self.addCleanup(self.end_all)

    def take(self, host: str) -> Deferred[None]:
        return ensureDeferred(self._take(host))

    async def _take(self, host: str) -> None:
        async with self.limit.slot(host):
            done: Deferred[None] = Deferred()
            self.having.append((host, done))
            await done

    def end(self, host: str) -> None:
        """One fetch of this host ends."""
        found = next(each for each in self.having if each[0] == host)
        self.having.remove(found)
        found[1].callback(None)

    def end_all(self) -> None:
        while self.having:
            self.end(self.hosts[0])

    @property
    def hosts(self) -> list[str]:
        return [host for host, _ in self.having]

    def test_one_host_has_half_of_them_and_all_hosts_together_the_whole(self) -> None:
        for host in (*["hangs"] * 100, *"abc"):
            self.take(host)
        self.assertEqual(self.hosts, ["hangs", "hangs", "a", "b"])
        self.end("a")
        self.assertEqual(self.hosts, ["hangs", "hangs", "b", "c"])
        self.end("hangs")
        self.assertEqual(self.hosts, ["hangs", "b", "c", "hangs"])

    def test_a_cancelled_wait_takes_no_slot_and_no_host_is_remembered(self) -> None:
        waits = [self.take(host) for host in (*["hangs"] * 3, *"abc")]
        for each in (waits[2], waits[5]):  # one waits for its host's own, one for any
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.end_all()
        self.assertEqual((self.hosts, self.limit.hosts), ([], {}))
        self.assertEqual(len(list(map(self.take, "abcde"))), 5)
        self.assertEqual(self.hosts, list("abcd"))

    def test_there_is_always_one(self) -> None:
        self.assertEqual([share(whole) for whole in (1, 2, 3, 8)], [1, 1, 1, 4])

    def test_the_host_of_an_address(self) -> None:
        addresses = ("http://X.example:81/a", "https://[::1]/", "nonsense", "http://[", "")
        self.assertEqual([host_of(each) for each in addresses], ["x.example", "::1", "", "", ""])
