"""How long a request may take: the site's own clock."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial import unittest

from fanout.http.dispatch import Dispatcher
from fanout.http.http_server import HttpSite
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
