"""The short way to a socket, on real ones."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import protocol, reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.listeners.straight_write import abort, write
from fanout.listeners.tls import Certificates, TlsFactory
from tests.authority import Authority


class Server(protocol.Protocol):
    transport: Any

    def __init__(self, connected: Deferred[Server], lost: Deferred[None]) -> None:
        self.connected_, self.lost = connected, lost
        self.heard: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.connected_.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.heard.callback(data)

    def connectionLost(self, reason: object = None) -> None:
        self.lost.callback(None)


class Producer:
    def __init__(self) -> None:
        self.paused = False
        self.resumed: Deferred[None] = Deferred()

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.resumed.callback(None)

    def stopProducing(self) -> None: ...


class TestStraightWrite(unittest.TestCase):
    async def setUp(self) -> None:
        self.connected: Deferred[Server] = Deferred()
        self.lost: Deferred[None] = Deferred()
        factory = protocol.Factory()
        factory.buildProtocol = lambda addr: Server(self.connected, self.lost)  # type: ignore[method-assign]
        port = reactor.listenTCP(0, self.secured(factory), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.client = socket.create_connection(("127.0.0.1", port.getHost().port), 20)
        await self.shake_hands()
        self.addCleanup(self.client.close)

    def secured(self, factory: protocol.Factory) -> Any:
        return factory

    async def shake_hands(self) -> None:
        """TCP has done so."""

    async def end(self) -> None:
        self.client.close()
        await self.lost

    async def test_it_is_in_the_socket_when_it_returns(self) -> None:
        server = await self.connected
        write(server.transport, b"now")
        self.assertEqual(self.client.recv(10), b"now")  # the reactor has not had its turn
        await self.end()

    async def test_what_does_not_fit_follows_in_order(self) -> None:
        server = await self.connected
        pieces = [b"%07d\n" % number * 1_000 for number in range(1_500)]
        for piece in pieces:
            write(server.transport, piece)
        expected = b"".join(pieces)
        self.assertEqual(await deferToThread(self.read, len(expected)), expected)
        write(server.transport, b"end")
        self.assertEqual(self.client.recv(10), b"end")
        await self.end()

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self.client.recv(65_536)
        return data

    async def test_a_connection_that_is_gone_takes_nothing_and_complains_of_nothing(self) -> None:
        server = await self.connected
        self.client.close()
        write(server.transport, b"into the void")
        write(server.transport, b"into the void")
        await self.lost
        write(server.transport, b"late")

    async def test_what_the_socket_does_not_take_pauses_the_producer_until_it_has_gone_out(self) -> None:
        """However little it is: what waits while nobody is told is not counted."""
        server = await self.connected
        producer = Producer()
        server.transport.registerProducer(producer, True)
        written = 0
        while not producer.paused:
            write(server.transport, b"x" * 1_000)
            written += 1_000
        self.assertLess(len(self.waiting(server.transport)), 20_000)
        await deferToThread(self.read, written)
        await producer.resumed
        server.transport.unregisterProducer()
        await self.end()

    def waiting(self, transport: Any) -> bytes:
        return transport.dataBuffer[transport.offset :] + b"".join(transport._tempDataBuffer)

    async def test_what_waits_is_freed_by_an_abort_and_nothing_goes_out_behind_it(self) -> None:
        server = await self.connected
        while not self.waiting(server.transport):
            write(server.transport, b"x" * 100_000)
        abort(server.transport)
        self.assertEqual(self.waiting(server.transport), b"")
        write(server.transport, b"late")
        self.assertIn(self.waiting(server.transport), (b"late", b""))  # TLS does not even take it
        await self.lost

    def test_other_transports_get_it_as_usual(self) -> None:
        transport = StringTransport()
        write(transport, b"as usual")
        self.assertEqual(transport.value(), b"as usual")


class TestStraightWriteOverTls(TestStraightWrite):
    """As over TCP, once both sides have agreed on the keys."""

    def secured(self, factory: protocol.Factory) -> Any:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.authority = Authority(Path(folder.name))
        file = str(self.authority.issue("server.pem"))
        certificates = Certificates(file, file, reactor)
        certificates.load()
        return TlsFactory(reactor, certificates, factory, lambda *_, **__: self.fail("TLS was refused"))

    async def shake_hands(self) -> None:
        """The server has when it can read what the client says."""
        context = self.authority.client()
        self.client = await deferToThread(context.wrap_socket, self.client, server_hostname="127.0.0.1")
        server = await self.connected
        self.client.sendall(b"ready")
        await server.heard
        self.connected = succeed(server)

    def waiting(self, transport: Any) -> bytes:
        return super().waiting(transport.transport)

    async def test_it_is_behind_what_was_written_the_usual_way(self) -> None:
        server = await self.connected
        server.transport.write(b"first, ")
        write(server.transport, b"second")
        self.assertEqual(await deferToThread(self.read, 13), b"first, second")
        await self.end()
