from __future__ import annotations

import socket
from typing import Any

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import MulticastJoinError
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.listeners.address import Networks
from fanout.listeners.datagrams import DatagramPort, MalformedDatagram


class RealPort(unittest.TestCase):
    """On 127.0.0.1, where multicast reaches everybody who shares the port."""

    timeout = 20

    def listen(self, port: int = 0, **options: Any) -> tuple[DatagramPort, list[bytes], int]:
        heard: list[bytes] = []

        def take(datagram: bytes, source: tuple[str, int]) -> None:
            if datagram == b"bad":
                raise MalformedDatagram("it is bad")
            heard.append(datagram)
            if datagram == b"last":
                self.last.callback(None)

        listening = DatagramPort(reactor, "values", take, **options)
        where = listening.start(port)
        self.addCleanup(listening.stop)
        return listening, heard, int(where.rpartition(":")[2])

    def setUp(self) -> None:
        self.last: Deferred[None] = Deferred()

    def send(self, port: int, *datagrams: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            for datagram in datagrams:
                source.sendto(datagram, ("127.0.0.1", port))

    def test_takes_what_is_sent_to_the_port(self) -> Deferred[None]:
        _, heard, port = self.listen()
        self.send(port, b"one", b"last")
        return self.last.addCallback(lambda _: self.assertEqual(heard, [b"one", b"last"]))

    def test_a_port_is_shared(self) -> None:
        _, _, port = self.listen()
        self.assertEqual(self.listen(port)[2], port)

    def test_what_is_malformed_is_logged_once_a_second_and_the_next_is_taken(self) -> Deferred[None]:
        _, heard, port = self.listen(octets=10)
        logs = capture_logs()
        entries = logs.__enter__()
        self.send(port, b"bad", b"bad", b"last")

        def check(_: None) -> None:
            logs.__exit__(None, None, None)
            self.assertEqual(heard, [b"last"])
            self.assertEqual([each["event"] for each in entries], ["datagram.ignored"])
            self.assertEqual((entries[0]["reason"], entries[0]["address"]), ("it is bad", "127.0.0.1"))

        return self.last.addCallback(check)

    def test_the_longest_datagram_is_taken_and_a_longer_one_is_not(self) -> Deferred[None]:
        _, heard, port = self.listen(octets=10)
        self.send(port, b"x" * 10, b"x" * 11, b"last")
        return self.last.addCallback(lambda _: self.assertEqual(heard, [b"x" * 10, b"last"]))

    def test_strangers_are_not_heard(self) -> None:
        listening, heard, _ = self.listen(networks=Networks.parse("192.0.2.0/24"))
        with capture_logs() as entries:
            listening.datagramReceived(b"one", ("127.0.0.1", 5))
            listening.datagramReceived(b"two", ("192.0.2.9", 5))
        self.assertEqual(heard, [b"two"])
        self.assertIn("not in an allowed network", entries[0]["reason"])


class _Net(Clock):
    """A reactor whose one port joins groups as the test wants."""

    def __init__(self, *results: object) -> None:
        super().__init__()
        self.results = list(results)
        self.joined: list[str] = []

    def listenMulticast(self, port: int, protocol: object, **_: object) -> Any:
        return self

    def getHandle(self) -> Any:
        return self

    def getHost(self) -> Any:
        return self

    host, port = "0.0.0.0", 1

    def setsockopt(self, *_: object) -> None:
        pass

    def joinGroup(self, group: str) -> Deferred[Any]:
        self.joined.append(group)
        result = self.results.pop(0)
        return fail(result) if isinstance(result, Exception) else succeed(result)

    def stopListening(self) -> None:
        pass


class WithoutMulticast(unittest.TestCase):
    def test_a_group_without_a_way_to_it_is_logged_once_and_tried_again(self) -> None:
        error = MulticastJoinError("x", "y", OSError(19, "No such device"))
        net = _Net(error, error, None)
        port = DatagramPort(net, "values", lambda *_: None, group="224.1.1.1")
        with capture_logs() as entries:
            self.assertEqual(port.start(1), "0.0.0.0:1")
            self.assertEqual(entries[0]["event"], "group.not_joined")
            self.assertIn("No such device", entries[0]["reason"])
            net.advance(30)
            net.advance(30)
        self.assertEqual([each["event"] for each in entries], ["group.not_joined", "group.joined"])
        self.assertEqual(net.joined, ["224.1.1.1"] * 3)
        self.assertEqual(net.getDelayedCalls(), [])

    def test_stopping_ends_the_attempts(self) -> None:
        net = _Net(MulticastJoinError())
        port = DatagramPort(net, "values", lambda *_: None, group="224.1.1.1")
        port.start(1)
        port.stop()
        self.assertEqual(net.getDelayedCalls(), [])
