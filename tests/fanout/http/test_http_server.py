"""How long a request may take, and how much a client may send ahead: the site's own clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial import unittest

from fanout.http.dispatch import Dispatcher
from fanout.http.http_server import HttpSite
from fanout.http.limits import ANSWERS_BYTES
from fanout.http.response import Response
from fanout.http.routing import Request, Route, Routes
from fanout.listeners.client_limits import ConnectionLimit
from webserver.site_config import SiteLimits

CLIENT = IPv4Address("TCP", "192.0.2.1", 4711)


def count(request: Request) -> Response:
    return Response.text(f"{len(request.body.read())} octets")


class Time(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.site = HttpSite(
            self.clock,
            Dispatcher(Routes([Route("/", PUT=count)])),
            ConnectionLimit(),
            SiteLimits(),
            lambda *_, **__: None,
            body_bytes=1_000_000,
            request_seconds=10,
        )
        self.connect()

    def connect(self) -> None:
        self.channel = self.site.buildProtocol(CLIENT)
        self.transport = StringTransport(peerAddress=CLIENT)
        self.channel.makeConnection(self.transport)

    def begin(self, length: int) -> None:
        self.channel.dataReceived(b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % length)

    def test_a_large_body_that_keeps_coming_has_the_time_it_needs(self) -> None:
        self.begin(700_000)
        for _ in range(10):
            self.clock.advance(8)
            self.channel.dataReceived(b"x" * 70_000)
        self.assertIn(b"700000 octets", self.transport.value())

    def test_one_that_drips_in_has_no_more_than_any_request(self) -> None:
        self.begin(700_000)
        for _ in range(10):
            self.assertFalse(self.transport.disconnecting)
            self.channel.dataReceived(b"x" * 6_000)
            self.clock.advance(1)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.transport.value(), b"")

    def test_a_body_above_the_sites_limit_is_refused(self) -> None:
        self.begin(1_000_001)
        self.assertIn(b" 413 ", self.transport.value())

    def test_new_settings_hold_for_connections_from_then_on(self) -> None:
        first = self.channel
        self.site.settings = SiteLimits(unread_seconds=2)
        self.connect()
        self.assertEqual(self.channel.settings.WRITE_TIMEOUT, 2)
        self.assertEqual(first.settings.WRITE_TIMEOUT, 60)


GET = b"GET /%b HTTP/1.1\r\nhost: x\r\n%b\r\n"


class Ahead(unittest.TestCase):
    """A client that does not wait for answers. ``/later`` is answered by hand, ``/at-once`` with its query."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.later: list[Deferred[Response]] = []
        self.asked: list[str | None] = []
        self.site = self.make_site()
        self.channel, self.transport = self.connect()

    def make_site(self) -> HttpSite:
        async def later(request: Request) -> Response:
            self.later.append(Deferred())
            return await self.later[-1]

        def at_once(request: Request) -> Response:
            self.asked.append(request.query("n"))
            return Response.text(f"answer {self.asked[-1]}.")

        def long(_: Request) -> Response:
            return Response(bytes(10_000_000))

        rows = [Route("/later", GET=later, PUT=later), Route("/at-once", GET=at_once), Route("/long", GET=long)]
        dispatcher = Dispatcher(Routes(rows))
        return HttpSite(self.clock, dispatcher, ConnectionLimit(), SiteLimits(), lambda *_, **__: None)

    def connect(self, host: str = CLIENT.host) -> tuple[Any, StringTransport]:
        channel = self.site.buildProtocol(IPv4Address("TCP", host, 4711))
        transport = StringTransport()
        channel.makeConnection(transport)
        return channel, transport

    def send(self, path: bytes, more: bytes = b"") -> None:
        self.channel.dataReceived(GET % (path, more))

    @property
    def held(self) -> int:
        return self.site.input_memory.total

    def end_turns(self) -> None:
        for _ in range(10):
            self.clock.advance(0)

    def test_all_requests_are_answered_in_order_and_not_in_one_turn(self) -> None:
        numbers = [str(number) for number in range(100)]
        self.channel.dataReceived(b"".join(GET % (b"at-once?n=" + each.encode(), b"") for each in numbers))
        self.assertLess(len(self.asked), 50)
        self.assertEqual(self.transport.producerState, "paused")
        self.end_turns()
        self.assertEqual(self.asked, numbers)
        self.assertEqual([each for each in numbers if f"answer {each}.".encode() in self.transport.value()], numbers)
        self.assertEqual((self.transport.producerState, self.held), ("producing", 0))

    def one_each(self, path: bytes, more: bytes = b"") -> int:
        """A request of each of 100 clients. :return: how many are answered in the same turn."""
        clients = [self.connect(f"192.0.2.{number}") for number in range(100)]
        for channel, _ in clients:
            channel.dataReceived(GET % (path, more))
        answered = sum(transport.value() != b"" for _, transport in clients)
        self.end_turns()
        self.assertEqual(sum(transport.value() != b"" for _, transport in clients), 100)
        return answered

    def test_requests_of_many_clients_are_not_all_answered_in_one_turn(self) -> None:
        self.assertLess(self.one_each(b"at-once"), 50)

    def test_fewer_if_their_heads_are_long(self) -> None:
        self.assertLess(self.one_each(b"at-once", b"x: %b\r\n" % bytes(b"y" * 15_000)), 15)

    def test_fewer_if_the_answers_are_long(self) -> None:
        self.assertEqual(self.one_each(b"long"), 1)

    def test_what_follows_a_request_waits_for_its_answer(self) -> None:
        self.send(b"later")
        self.send(b"at-once?n=1")
        self.assertEqual(self.asked, [])
        self.later[0].callback(Response.text("first"))
        self.end_turns()
        self.assertEqual(self.asked, ["1"])
        self.assertLess(self.transport.value().index(b"first"), self.transport.value().index(b"answer 1."))

    def test_what_follows_a_body_too(self) -> None:
        request = b"PUT /later HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        self.channel.dataReceived(request + GET % (b"at-once?n=1", b""))
        self.assertEqual((len(self.later), self.asked), (1, []))
        self.later[0].callback(Response.text("first"))
        self.end_turns()
        self.assertEqual(self.asked, ["1"])

    def test_it_is_counted_and_read_up_to_a_bound(self) -> None:
        self.send(b"later")
        for octets, state in ((10_000, "producing"), (20_000, "paused")):
            self.channel.dataReceived(bytes(10_000))
            self.assertGreaterEqual(self.held, octets)
            self.assertEqual(self.transport.producerState, state)
        self.channel.connectionLost()
        self.assertEqual(self.held, 0)

    def test_nothing_is_kept_behind_the_last_request(self) -> None:
        self.send(b"later", b"connection: close\r\n")
        self.channel.dataReceived(bytes(100_000))
        self.assertEqual((self.held, self.transport.producerState), (0, "producing"))
        self.later[0].callback(Response.text("first"))
        self.assertTrue(self.transport.disconnecting)

    def test_a_client_that_does_not_read_is_not_worked_for(self) -> None:
        self.channel.pauseProducing()
        self.send(b"at-once?n=1")
        self.end_turns()
        self.assertEqual((self.asked, self.transport.producerState), ([], "paused"))
        self.channel.resumeProducing()
        self.end_turns()
        self.assertEqual((self.asked, self.transport.producerState), (["1"], "producing"))

    def test_the_head_of_a_request_is_counted_until_it_is_answered(self) -> None:
        self.send(b"later", b"x: %b\r\n" % bytes(b"y" * 10_000))
        self.assertGreater(self.held, 10_000)
        self.later[0].callback(Response.text("done"))
        self.assertEqual(self.held, 0)

    def test_and_until_the_client_goes(self) -> None:
        self.send(b"later?" + b"&a=" * 1_000)
        self.assertGreater(self.held, 100_000)
        self.channel.connectionLost()
        self.assertEqual(self.held, 0)

    def test_a_body_is_not_counted_as_a_head(self) -> None:
        self.channel.dataReceived(b"PUT /later HTTP/1.1\r\nhost: x\r\ncontent-length: 15000\r\n\r\n")
        self.channel.dataReceived(bytes(14_000))
        self.assertEqual(self.held, 0)

    def test_long_answers_that_are_not_read_are_counted(self) -> None:
        answers = []
        for _ in range(5):
            self.channel, self.transport = self.connect()
            self.send(b"long")
            self.channel.pauseProducing()
            answers.append(self.transport.value()[:12])
            self.clock.advance(0)
        self.assertEqual(answers, 3 * [b"HTTP/1.1 200"] + 2 * [b"HTTP/1.1 503"])
        self.assertEqual(self.site.answers.used, 30_000_000)
        self.channel, self.transport = self.connect("192.0.2.2")
        self.send(b"long")
        self.assertEqual(self.transport.value()[:12], b"HTTP/1.1 200")
        self.clock.advance(0)  # all was taken at once
        self.assertEqual(self.site.answers.used, 30_000_000)
        self.assertLess(self.site.answers.used, ANSWERS_BYTES)
