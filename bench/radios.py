"""Many radios that connect in parallel, subscribe and wait. The clients of ``fanload`` connect one after the other."""

from __future__ import annotations

import resource
import select
import socket
import time
from collections.abc import Callable

from tests.services import HOST

SECONDS = 120.0
_RECEIPT, _MESSAGE = b"RECEIPT\n", b"MESSAGE\n"


class Radios:
    """Radios in one process, with one ``epoll``.

    :ivar ready: number of radios that have the RECEIPT, and the last slide if they want it.
    :ivar refused: number of radios whose connection the server refused or closed.
    """

    def __init__(self, port: int, topics: Callable[[int], str], *, slide: bool, heart_beat: str = "0,0") -> None:
        """
        :param topics: returns the topic of the n-th radio.
        :param slide: whether the radios wait for the last slide. Its topic must have one.
        :param heart_beat: the value of the ``heart-beat`` header, in milliseconds.
        """
        _allow_files()
        self.ready = self.refused = 0
        self.sockets: list[socket.socket] = []
        self._port = port
        self._topics = topics
        self._slide = slide
        self._heart_beat = heart_beat
        self._poll = select.epoll()
        self._radios: dict[int, socket.socket] = {}
        self._waiting: dict[int, bytes] = {}  # octets received by each radio that is not ready

    def connect(self, number: int) -> float:
        """Connect this number of radios at once. Returns the seconds until all are ready.

        :raises TimeoutError: some radios are not ready within :data:`SECONDS`.
        """
        began = time.perf_counter()
        for each in range(number):
            self._dial(len(self.sockets), each)
        deadline = began + SECONDS
        while self._waiting:
            for fd, _ in self._poll.poll(1.0):
                self._read(fd)
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{len(self._waiting)} of {number} radios are not ready after {SECONDS} s")
        return time.perf_counter() - began

    def beat(self, seconds: float, interval: float) -> None:
        """Send heart-beats, spread evenly, and read what comes.

        :param seconds: the duration of the call.
        :param interval: seconds between two heart-beats of one radio.
        """
        began, sent = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            due = int(passed / interval * len(self.sockets))
            while sent < due:
                self.sockets[sent % len(self.sockets)].send(b"\n")
                sent += 1
            for fd, _ in self._poll.poll(0.01):
                self._read(fd)

    def close(self) -> None:
        """Close all connections without DISCONNECT."""
        for each in self.sockets:
            each.close()
        self._poll.close()

    def _dial(self, index: int, each: int) -> None:
        radio = socket.socket()
        radio.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        radio.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT, as one address has too few ports
        radio.bind((f"127.0.{1 + index // 10_000}.1", 0))
        radio.connect((HOST, self._port))
        radio.setblocking(False)
        reply = "" if self._slide else "x-ebu-nofastreply:yes\n"
        radio.send(
            f"CONNECT\naccept-version:1.2\nhost:bench\nheart-beat:{self._heart_beat}\n\n\0"
            f"SUBSCRIBE\nid:0\ndestination:{self._topics(index)}\n{reply}receipt:r\n\n\0".encode()
        )
        self.sockets.append(radio)
        self._radios[radio.fileno()] = radio
        self._waiting[radio.fileno()] = b""
        self._poll.register(radio.fileno(), select.EPOLLIN)
        if each % 100 == 99:
            for fd, _ in self._poll.poll(0):
                self._read(fd)

    def _read(self, fd: int) -> None:
        try:
            data = self._radios[fd].recv(65_536)
        except OSError:
            data = b""
        got = self._waiting.pop(fd, None)
        if not data:
            self.refused += 1
            self._poll.unregister(fd)
        elif got is not None and self._is_ready(got + data):
            self.ready += 1
        elif got is not None:
            self._waiting[fd] = got + data

    def _is_ready(self, got: bytes) -> bool:
        return _RECEIPT in got and (not self._slide or (_MESSAGE in got and got.rstrip(b"\n").endswith(b"\0")))


def _allow_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
