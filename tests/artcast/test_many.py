"""Two thousand clients wait for one key, and one datum answers them all."""

from __future__ import annotations

import resource
import selectors
import socket
import unittest

from tests.artcast.server import ArtcastServer, Asking

CLIENTS = 2_000
SECONDS = 60.0
TURNS = CLIENTS // 32 + 1
"""Turns of the server's reactor after which it holds all requests: it works on at least 32 in one turn."""
REQUEST = b"GET /artcasts/many HTTP/1.1\r\nhost: here\r\naccept: text/plain\r\n\r\n"


class Herd:
    """Clients, all on one selector."""

    def __init__(self, server: tuple[str, int], count: int) -> None:
        self.sockets = [socket.create_connection(server, timeout=SECONDS) for _ in range(count)]
        for each in self.sockets:
            each.sendall(REQUEST)

    def answers(self) -> list[bytes]:
        """What each has got when all have got something."""
        got: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as selector:
            for each in self.sockets:
                selector.register(each, selectors.EVENT_READ)
            while len(got) < len(self.sockets) and (ready := selector.select(SECONDS)):
                for key, _ in ready:
                    assert isinstance(key.fileobj, socket.socket)
                    got[key.fileobj] = got.get(key.fileobj, b"") + key.fileobj.recv(65_536)
        return list(got.values())

    def close(self) -> None:
        for each in self.sockets:
            each.close()


class Many(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        """The clients are all in this process, and many systems give it 1,024 files unless asked for more."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        if before[1] < CLIENTS + 200:
            raise unittest.SkipTest(f"this system gives a process {before[1]} files, fewer than {CLIENTS} clients need")
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
        cls.addClassCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)

    def test_one_datum_answers_all_of_them_once(self) -> None:
        with ArtcastServer() as server:
            herd = Herd(server.client, CLIENTS)
            self.addCleanup(herd.close)
            with Asking(server.client, "other") as last:
                for _ in range(TURNS):
                    last.held()
                server.send("many", "all of you")
                answers = herd.answers()
                self.assertEqual(len(answers), CLIENTS)
                bodies = {each.partition(b"\r\n\r\n")[2] for each in answers}
                self.assertEqual(bodies, {b"all of you"})
                self.assertGreater(server.open_files(), CLIENTS)
            self.assertEqual(server.faults, [])
