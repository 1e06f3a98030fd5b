"""Runs the programs in ``examples/`` that listen, beside a node with the stations of ``--test``."""

from __future__ import annotations

import queue
import subprocess
import threading
import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import IO, ClassVar

from tests.processes import ROOT, Server, node
from tests.radio import Radio
from tests.services import free_port

EXAMPLES = ROOT / "examples"
SECONDS = 60.0
TOO_MANY_LINES = 60


class Listener:
    """A program that runs until it is closed. Every line that it prints is kept."""

    def __init__(self, command: Sequence[str | Path], folder: Path) -> None:
        """
        :param command: the program and its arguments.
        :param folder: its working folder.
        """
        self._process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._printed: queue.Queue[str] = queue.Queue()
        self._complained: queue.Queue[str] = queue.Queue()
        self._readers = [
            threading.Thread(target=_read, args=(self._process.stdout, self._printed), daemon=True),
            threading.Thread(target=_read, args=(self._process.stderr, self._complained), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def line(self) -> str:
        """The next line of its standard output."""
        try:
            return self._printed.get(timeout=SECONDS)
        except queue.Empty:
            raise AssertionError(f"it printed nothing; its errors: {list(self._complained.queue)}") from None

    def complaint(self) -> str:
        """The next line of its standard error."""
        return self._complained.get(timeout=SECONDS)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(SECONDS)
        for reader in self._readers:
            reader.join(SECONDS)


class ListenerCase(unittest.TestCase):
    """A node of its own for each class. Each test has a channel of its own, as the node keeps the last messages."""

    server: ClassVar[Server]

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = node(HTTP_PORT=free_port()).start()
        cls.addClassCleanup(cls.server.close)

    def channel(self) -> str:
        return f"/topic/id/tests._ebu.nowhere/topic1/{self.id().rpartition('.')[2]}/"

    def publish(self, kind: str, body: str | bytes, link: str = "") -> None:
        """Publish on ``text`` or ``image``, and wait until the node has the message."""
        octets = body.encode() if isinstance(body, str) else body
        headers = {"content-length": str(len(octets))}
        if link:
            headers["link"] = link.replace("\\", "\\\\").replace(":", "\\c").replace("\n", "\\n")
        with Radio.connect(self.server.address, "1.test", "test", version="1.2") as station:
            station.publish(self.channel() + kind, octets, headers)

    def assert_short(self, program: str) -> None:
        """A reader can take it in at once."""
        self.assertLess(len((EXAMPLES / program).read_text().splitlines()), TOO_MANY_LINES)


def _read(stream: IO[str], lines: queue.Queue[str]) -> None:
    with stream:
        for line in stream:
            lines.put(line.rstrip("\n"))
