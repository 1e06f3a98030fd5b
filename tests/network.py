"""A network between a process and a server, which can swallow everything without a word."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.services import HOST


class Network:
    """Forwards connections to a server, until it is told to part. In threads of its own.

    :ivar address: where to connect instead of to the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.create_server((HOST, 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def part(self) -> None:
        """From now on nothing comes through, not even the end of a connection; new ones get no answer."""
        self._whole.clear()

    def heal(self) -> None:
        """All goes on; what was on its way arrives."""
        self._whole.set()

    def close(self) -> None:
        """End all connections."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._whole.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._whole.wait()
        try:
            server = socket.create_connection(self._server)
        except OSError:
            client.close()
            return
        self._sockets.append(server)
        threading.Thread(target=self._forward, args=(server, client), daemon=True).start()
        self._forward(client, server)

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._whole.wait()
                sink.sendall(data)
        self._whole.wait()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
