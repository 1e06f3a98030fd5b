"""Stands between a process and a broker, and notes every AMQP method that the process calls. In threads of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Collection
from typing import Any

from pika.amqp_object import Method
from pika.frame import Method as MethodFrame
from pika.frame import decode_frame

from tests.services import HOST, AmqpAddress

_HEADER = 8  # Octets of "AMQP" and a version, before the first frame (AMQP 0-9-1, 4.2.2).


class AmqpRecorder:
    """Forwards connections to a broker.

    :ivar address: where to connect instead of to the broker.
    :ivar methods: what clients have called so far, on all connections.
    """

    def __init__(self, broker: AmqpAddress, deaf_to: Collection[type[Method]] = ()) -> None:
        """:param deaf_to: methods that the broker does not get, and nothing after them on that connection."""
        self.methods: list[Any] = []
        self._broker = (broker.host, broker.port)
        self._deaf_to = tuple(deaf_to)
        self._listener = socket.create_server((HOST, 0))
        host, port = self._listener.getsockname()
        self.address = AmqpAddress(host, port)
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def called(self, kind: type[Method]) -> list[Any]:
        """The calls of one method, in their order."""
        return [method for method in list(self.methods) if isinstance(method, kind)]

    def close(self) -> None:
        """End all connections."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._broker)
                self._sockets += [client, server]
                threading.Thread(target=self._answers, args=(server, client), daemon=True).start()
                threading.Thread(target=self._calls, args=(client, server), daemon=True).start()

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    def _calls(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            waiting, deaf = self._header(client, server), False
            while data := client.recv(65536):
                waiting += data
                while (decoded := decode_frame(waiting))[0]:
                    length, frame = decoded
                    octets, waiting = waiting[:length], waiting[length:]
                    deaf = deaf or self._note(frame)
                    if not deaf:
                        server.sendall(octets)
            server.shutdown(socket.SHUT_RDWR)

    def _header(self, client: socket.socket, server: socket.socket) -> bytes:
        received = b""
        while len(received) < _HEADER and (data := client.recv(65536)):
            received += data
        server.sendall(received[:_HEADER])
        return received[_HEADER:]

    def _note(self, frame: Any) -> bool:
        """Whether the broker does not get it."""
        if isinstance(frame, MethodFrame):
            self.methods.append(frame.method)
            return isinstance(frame.method, self._deaf_to)
        return False
