"""``python -m artcast`` as a process, and those who send to it and ask it.

with ArtcastServer() as server, Asking(server.client, "test/tick") as client:
    client.held()                     # the server holds the request
    server.send("test/tick", 1)
    client.answer().body              # b"1"
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from typing import Any, Self

from tests.processes import ROOT, Address, Server
from tests.web import Answer, Raw, ask

HOST = "127.0.0.1"


class ArtcastServer(Server):
    """One process, on free ports of 127.0.0.1, without multicast unless a group is given."""

    def __init__(self, *flags: str, within: Sequence[str] = (), **settings: object) -> None:
        """
        :param within: what comes before the command, such as ``ip netns exec name``.
        :param settings: by name, as in the environment but without the prefix.
        """
        super().__init__()
        self.command = [*within, sys.executable, "-m", "artcast", *flags]
        ours = {
            "CLIENT_IP": HOST,
            "CLIENT_PORT": 0,
            "DATA_GROUP": "",
            "DATA_PORT": 0,
            "REGISTER_GROUP": "",
            "REGISTER_PORT": 0,
            "LOG_FORMAT": "json",
            "ACCESS_LOG": "access.log",
            **settings,
        }
        self._settings = {"PYTHONPATH": str(ROOT), **{f"ARTCAST_{name}": value for name, value in ours.items()}}

    def _place(self, name: str) -> Address:
        return HOST, int(self.wait_for("server.ready")[name].rpartition(":")[2])

    @property
    def client(self) -> Address:
        return self._place("client")

    def send(self, key: str, value: object) -> None:
        """A value, by unicast."""
        self.datagram(json.dumps([key, value]).encode())

    def register(self, key: str, **facts: object) -> None:
        """What a key is, by unicast."""
        self.datagram(json.dumps([key, facts]).encode(), "register")

    def datagram(self, data: bytes, to: str = "data") -> None:
        """Any octets, to one of its two ports."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.sendto(data, self._place(to))

    def listed(self) -> list[dict[str, Any]]:
        """What it lists."""
        found: list[dict[str, Any]] = ask(self.client, "/artcasts").json
        return found


class Asking(Raw):
    """A client that waits for the next value of a key, over a socket of its own."""

    def __init__(self, server: Address, key: str, accept: str = "*/*", version: str = "1.1") -> None:
        super().__init__(server)
        self._server = server
        self._request = f"GET /artcasts/{key} HTTP/{version}\r\nhost: here\r\naccept: {accept}\r\n\r\n".encode()
        self.ask()

    def ask(self) -> None:
        """Once more, over the same connection."""
        self.send(self._request)

    def held(self) -> Self:
        """Return when the server holds the request: it looks at its sockets in the order in which they spoke."""
        for _ in range(2):
            ask(self._server, "/artcasts")
        return self

    def answer(self) -> Answer:
        """The answer, which has a length."""
        head = self.until(b"\r\n\r\n").decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = self.exactly(int(headers["content-length"]))
        return Answer(int(first.split()[1]), {"version": first.split()[0], **headers}, body)

    def exactly(self, octets: int) -> bytes:
        while len(self._received) < octets:
            data = self.socket.recv(65_536)
            if not data:
                raise EOFError("the connection ended")
            self._received += data
        found, self._received = self._received[:octets], self._received[octets:]
        return found
