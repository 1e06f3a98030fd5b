"""Many connections at once, counted: how many are accepted before connected clients get their messages."""

from __future__ import annotations

import contextlib
import resource
import socket
from functools import partial
from typing import Any

from twisted.internet import protocol, reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.trial import unittest

from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.outbox import Flusher, Outbox
from fanout.hub.subscriber import Cohort
from fanout.listeners import port
from fanout.listeners.port import keep_alive
from tests.fanout.stomp_server.listeners import PlainForm


class KeepAlive(unittest.TestCase):
    def options(self, seconds: int) -> tuple[int, int, int, int]:
        """Of an accepted connection: on or off, idle, interval, probes."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            keep_alive(listening, seconds)
            with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
                tcp = socket.IPPROTO_TCP
                return (
                    accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    accepted.getsockopt(tcp, socket.TCP_KEEPIDLE),
                    accepted.getsockopt(tcp, socket.TCP_KEEPINTVL),
                    accepted.getsockopt(tcp, socket.TCP_KEEPCNT),
                )

    def test_accepted_connections_are_probed(self) -> None:
        self.assertEqual(self.options(60), (1, 60, 15, 4))
        self.assertEqual(self.options(2), (1, 2, 1, 4))

    def test_zero_leaves_the_systems_times(self) -> None:
        on, idle, _, _ = self.options(0)
        self.assertEqual(on, 1)
        self.assertGreaterEqual(idle, 600)


HOST = "127.0.0.1"
HERD = 2_000
SLICE = 30


class Guests(protocol.Factory):
    """Counts who comes in, and says nothing to them."""

    protocol = protocol.Protocol

    def __init__(self, expected: int) -> None:
        self.came = 0
        self.all_came: Deferred[None] = Deferred()
        self._expected = expected

    def buildProtocol(self, addr: Any) -> protocol.Protocol | None:
        self.came += 1
        if self.came == self._expected:
            self.all_came.callback(None)
        return super().buildProtocol(addr)


class Inside:
    """A radio that is connected; notes how many had come in each time its messages went out."""

    def __init__(self, flusher: Flusher, guests: Guests) -> None:
        self.outbox = Outbox(self, flusher)
        self._guests = guests
        self.flushed_after: list[int] = []

    protocol, address = "stomp", HOST

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        self.outbox.offer(cohort, data)

    def write(self, data: bytes) -> None:
        self.flushed_after.append(self._guests.came)

    def cut_off(self) -> None:
        raise AssertionError


class PortTests(unittest.TestCase):
    def listen(self, guests: Guests, slice_: int = SLICE) -> tuple[str, int]:
        listening = port.listen(reactor, HOST, 0, guests, slice_)
        self.addCleanup(listening.stopListening)
        return HOST, listening.getHost().port

    def herd(self, address: tuple[str, int], number: int) -> None:
        """So many connect; the kernel holds them until the port lets them in."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for _ in range(number):
            client = socket.socket()
            self.addCleanup(client.close)
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(address)

    async def test_messages_go_out_between_the_slices_of_a_herd(self) -> None:
        guests = Guests(HERD)
        flusher = Flusher(lambda: 0.0, lambda flush: reactor.callLater(0, flush), lambda *_: self.fail())
        hub, inside = Hub(lambda _, error: self.fail(str(error))), Inside(flusher, guests)
        hub.join("t", PlainForm("t"), inside)
        self.herd(self.listen(guests), HERD)

        def publish_each_turn() -> None:
            hub.publish("t", Message("t", b"x", "1", 1))
            if guests.came < HERD:
                reactor.callLater(0, publish_each_turn)

        publish_each_turn()
        await guests.all_came
        counts = [*inside.flushed_after, HERD]
        between = [after - before for before, after in zip([0, *counts], counts, strict=False)]
        self.assertLessEqual(max(between), SLICE)
        self.assertGreaterEqual(len(inside.flushed_after), HERD // SLICE)

    async def test_the_slice_stays_after_a_full_one(self) -> None:
        """Twisted's own port would take 20 more each turn."""
        guests = Guests(SLICE * 3)
        listening = port.listen(reactor, HOST, 0, guests, SLICE)
        self.addCleanup(listening.stopListening)
        self.herd((HOST, listening.getHost().port), SLICE * 3)
        await guests.all_came
        self.assertLessEqual(listening.numberAccepts, SLICE)

    def test_a_port_that_is_taken(self) -> None:
        with socket.create_server((HOST, 0)) as taken:
            number = taken.getsockname()[1]
            for take in (port.check_free, port.reserve, partial(port.listen, reactor, factory=Guests(1))):
                with self.assertRaises(CannotListenError):
                    take(HOST, port=number)

    async def test_a_reserved_port_is_shared_by_those_that_ask_for_it(self) -> None:
        reserved = port.reserve(HOST, 0)
        self.addCleanup(reserved.close)
        address, guests = reserved.getsockname(), [Guests(1), Guests(1)]
        for each in guests:
            listening = port.listen(reactor, *address, each, reuse_port=True)
            self.addCleanup(listening.stopListening)
        with self.assertRaises(CannotListenError):
            port.listen(reactor, *address, Guests(1))
        self.herd(address, 100)
        await DeferredList([each.all_came for each in guests])

    def test_another_program_that_shares_the_port_is_noticed(self) -> None:
        listening = port.listen(reactor, HOST, 0, Guests(1), reuse_port=True)
        self.addCleanup(listening.stopListening)
        with self.assertRaises(CannotListenError):
            port.reserve(HOST, listening.getHost().port)

    async def test_the_end_of_one_leaves_the_port_to_the_other(self) -> None:
        guests = Guests(1)
        first = port.listen(reactor, HOST, 0, Guests(0), reuse_port=True)
        second = port.listen(reactor, HOST, first.getHost().port, guests, reuse_port=True)
        self.addCleanup(second.stopListening)
        await first.stopListening()
        self.herd((HOST, second.getHost().port), 1)
        await guests.all_came

    async def test_connections_that_wait_are_accepted_before_the_end(self) -> None:
        guests = Guests(SLICE * 3)
        listening = port.listen(reactor, HOST, 0, guests, SLICE, reuse_port=True)
        self.herd((HOST, listening.getHost().port), SLICE * 3)
        listening.accept_queue()
        self.assertEqual(guests.came, SLICE * 3)
        await listening.stopListening()
