"""Blocking connections, against servers that are a thread of the test."""

from __future__ import annotations

import contextlib
import socket
import threading
import unittest
from collections.abc import Callable

from radiovis.client.server_address import ServerAddress
from radiovis.client.sockets import certificate_complaint, connect_error, open_socket
from radiovis.client.websocket import NoWebSocket
from tests.services import free_port

SECONDS = 10.0
Serve = Callable[[socket.socket], None]


class SocketsCase(unittest.TestCase):
    def server(self, serve: Serve, path: str = "", *, tls: bool = False) -> ServerAddress:
        """A server for one connection."""
        listening = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=self._accept, args=(listening, serve))
        thread.start()
        self.addCleanup(thread.join)
        return ServerAddress("127.0.0.1", listening.getsockname()[1], path=path, tls=tls)

    @staticmethod
    def _accept(listening: socket.socket, serve: Serve) -> None:
        with listening, listening.accept()[0] as connection, contextlib.suppress(OSError):
            serve(connection)


class Open(SocketsCase):
    def test_octets_travel_as_they_are(self) -> None:
        connection = open_socket(self.server(lambda client: client.sendall(client.recv(100)[::-1])), SECONDS)
        self.addCleanup(connection.close)
        connection.sendall(b"\xff\0\r\n")
        self.assertEqual(connection.recv(100), b"\n\r\0\xff")

    def test_a_server_that_refuses_the_websocket(self) -> None:
        answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        server = self.server(lambda client: client.recv(1000) and client.sendall(answer), "/stomp")
        with self.assertRaisesRegex(NoWebSocket, "HTTP 404"):
            open_socket(server, SECONDS)

    def test_a_server_that_closes_in_the_handshake(self) -> None:
        server = self.server(lambda client: client.recv(1000) and None, "/stomp")
        with self.assertRaisesRegex(ConnectionError, "during the WebSocket handshake"):
            open_socket(server, SECONDS)


class Errors(SocketsCase):
    def test_nobody_listens(self) -> None:
        server = ServerAddress("127.0.0.1", free_port())
        with self.assertRaises(OSError) as caught:
            open_socket(server, SECONDS)
        self.assertEqual(connect_error(server, caught.exception), f"cannot connect to {server}: Connection refused")

    def test_no_answer_in_time(self) -> None:
        server = ServerAddress("vis.example", 61613)
        self.assertEqual(connect_error(server, TimeoutError()), "cannot connect to vis.example:61613: no answer")

    def test_a_server_without_tls_has_no_bad_certificate(self) -> None:
        server = self.server(lambda client: client.sendall(b"220 mail.example ESMTP\r\n"), tls=True)
        self.assertIsNone(certificate_complaint(server, SECONDS))
