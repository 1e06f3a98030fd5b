"""Publishers name addresses, and we ask them: nothing inside is ever asked, however it is disguised."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

import structlog
import structlog.testing
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, gatherResults, succeed
from twisted.internet.error import DNSLookupError
from twisted.python.threadpool import ThreadPool
from twisted.trial import unittest

from radiovis.settings import SlideSettings
from radiovis.slides import public_addresses
from radiovis.slides.fetch import SlideFetch
from radiovis.slides.public_addresses import PublicAddresses, is_public, system_lookup
from tests.radiovis.slides.slide_server import SlideServer, moved


class TestPublic(unittest.TestCase):
    def test_what_is(self) -> None:
        for address in (
            *("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "::ffff:0:8.8.8.8"),
            *("2002:808:808::1", "2a00::5efe:8.8.8.8"),
        ):
            self.assertTrue(is_public(address), address)

    def test_what_is_not(self) -> None:
        for address in (
            *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
            *("169.254.169.254", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
            *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
            *("::ffff:127.0.0.1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::a00:1"),
            "2001:0:4136:e378:8000:63bf:80ff:fffe",  # Teredo; its client is 127.0.0.1
            "2001:0:a00:1:8000:63bf:f7f7:f7f7",  # and here its server is 10.0.0.1
            *("168.63.129.16", "192.0.0.192", "100.100.100.200", "fd00:ec2::254"),  # metadata of clouds
            *("192.88.99.1", "2001:10::1", "2001:20::1", "3fff::1", "3fff:fff::1", "5f00::1", "4000::1", "100::1"),
            *("::ffff:0:127.0.0.1", "::ffff:0:168.63.129.16", "64:ff9b::a9fe:a9fe", "::ffff:192.0.0.192"),
            # NAT64 with prefixes of 48, 56 and 64 bits: 10.0.0.1 lies elsewhere, and the last octets are public.
            *("64:ff9b:1:a00:0:100:808:808", "64:ff9b:1:a:0:0:808:808", "64:ff9b:1:0:a:0:808:808"),
            *("2a00::5efe:10.0.0.1", "2a00::200:5efe:10.0.0.1", "2002:808:808::5efe:10.0.0.1"),  # ISATAP
            "localhost",
        ):
            self.assertFalse(is_public(address), address)


class TestPublicAddresses(unittest.TestCase):
    async def setUp(self) -> None:
        self.server = SlideServer()
        await self.server.start()
        self.addCleanup(lambda: ensureDeferred(self.server.stop()))
        self.names: dict[str, list[list[str]]] = {}

    def lookup(self, host: str, _port: int) -> Deferred[Sequence[str]]:
        """As the test says; of several answers each is given once."""
        if host == "missing.example":
            return fail(DNSLookupError(host))
        answers = self.names.get(host, [[host]])
        return succeed(answers.pop(0) if len(answers) > 1 else answers[0])

    async def complaints(self, url: str, allowed: str = "") -> str:
        settings = SlideSettings(PREFLIGHT_PRIVATE=allowed)
        addresses = PublicAddresses(reactor, settings, self.lookup)
        slide = await SlideFetch(reactor, seconds=3, dial=addresses.dial).get(url)
        return "; ".join(slide.complaints)

    async def test_nobody_inside_is_asked(self) -> None:
        for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "inside.example"):
            self.names["inside.example"] = [["127.0.0.1", "10.1.2.3"]]
            found = await self.complaints(f"http://{host}:{self.server.port}/good.png")
            self.assertIn("no such host on the public internet; if slides are on an internal host, the operator", found)
        self.assertEqual(self.server.asked, {})

    async def test_no_answer_tells_what_a_name_inside_resolves_to_or_whether_it_exists(self) -> None:
        self.names = {"inside.example": [["10.1.2.3"]], "nothing.example": [[]]}
        with structlog.testing.capture_logs() as logged:
            answers = {await self.complaints(f"http://{host}/") for host in (*self.names, "missing.example")}
        self.assertEqual(len(answers), 1, answers)
        self.assertNotIn("10.1.2.3", str(answers))
        (line,) = logged
        self.assertEqual(
            (line["event"], line["host"], line["address"]), ("slide.not_public", "inside.example", "10.1.2.3")
        )

    async def test_but_those_the_operator_allows(self) -> None:
        self.assertEqual(await self.complaints(self.server.url("/good.png"), "127.0.0.1"), "")

    async def test_a_redirect_leads_nowhere_else(self) -> None:
        self.server.pages["/moved"] = lambda guest: guest.end(moved(f"http://127.0.0.2:{self.server.port}/good.png"))
        found = await self.complaints(self.server.url("/moved"), "127.0.0.1/32")
        self.assertIn("no such host on the public internet", found)
        self.assertEqual(self.server.asked, {"/moved": 1})

    async def test_the_address_that_was_looked_at_is_the_one_that_is_asked(self) -> None:
        """DNS rebinding: the second answer would be an address inside."""
        self.names["rebinding.example"] = [["127.0.0.1"], ["127.0.0.2"]]
        url = f"http://rebinding.example:{self.server.port}/good.png"
        self.assertEqual(await self.complaints(url, "127.0.0.1"), "")
        self.assertIn("no such host", await self.complaints(url, "127.0.0.1"))

    async def test_what_is_inside_among_others_is_left_out(self) -> None:
        self.names["mixed.example"] = [["10.0.0.1", "127.0.0.3", "127.0.0.1"]]  # at the second nobody listens
        url = f"http://mixed.example:{self.server.port}/good.png"
        self.assertEqual(await self.complaints(url, "127.0.0.0/8"), "")

    async def test_names_are_asked_in_threads_of_their_own(self) -> None:
        pool = ThreadPool(0, 1)
        pool.start()
        self.addCleanup(pool.stop)
        lookup = system_lookup(reactor, pool)
        self.assertIn("127.0.0.1", await lookup("localhost", 80))
        await self.assertFailure(lookup("slides.invalid", 80), DNSLookupError)

    async def test_a_name_nobody_answers_for_takes_one_thread_however_many_want_it(self) -> None:
        asked: list[str] = []
        answer = Event()

        def getaddrinfo(host: str, _port: int) -> list[str]:
            asked.append(host)
            if host == "hangs.example":
                answer.wait(20)
            return ["8.8.8.8"]

        self.patch(public_addresses, "_getaddrinfo", getaddrinfo)
        pool = ThreadPool(0, 2)
        pool.start()
        self.addCleanup(pool.stop)
        self.addCleanup(answer.set)
        lookup = system_lookup(reactor, pool)
        hanging = [lookup("hangs.example", 80) for _ in range(5)]
        self.assertEqual(await lookup("other.example", 80).addTimeout(10, reactor), ["8.8.8.8"])
        hanging[0].cancel()
        await self.assertFailure(hanging[0], CancelledError)
        answer.set()
        self.assertEqual(await gatherResults(hanging[1:]).addTimeout(10, reactor), [["8.8.8.8"]] * 4)
        self.assertEqual(asked.count("hangs.example"), 1)
