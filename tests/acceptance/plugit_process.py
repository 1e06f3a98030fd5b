"""The PlugIt look-alike in a process of its own, told by the tests how to behave.

As a program it listens, prints its URL, and then answers each line of JSON on stdin with one on stdout:
``{"set": {"mode": "500"}}``, ``{"content": {"gcc": {…}}}``, ``{"count": "get_gcc"}`` and ``{"logs": 0}``.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver

from tests.processes import ROOT
from tests.radiovis.directory.plugit_server import BASE, PlugItServer, RunningPlugIt
from tests.services import free_port


class PlugItProcess:
    """PlugIt on a free port of 127.0.0.1.

    :ivar port: where it listens.
    :ivar url: for ``RADIODNS_API_URL``; it ends with the secret.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{BASE}"
        self.start()

    def start(self, **content: Any) -> None:
        """Start, with everything as at first.

        :param content: what it knows from its first answer on; a node may ask at once.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self.port), json.dumps(content)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        url = self._process.stdout.readline().strip()
        if url != self.url:
            raise AssertionError(f"PlugIt did not start: it printed {url!r}")

    def stop(self) -> None:
        """End: connections to it are refused. May be called twice."""
        self._process.kill()
        self._process.communicate()

    def pause(self) -> None:
        """Freeze: connections are made, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End a :meth:`pause`."""
        self._process.send_signal(signal.SIGCONT)

    def behave(self, mode: str, **modes: str) -> None:
        """How it answers, see :class:`PlugItServer`; per method, if need be."""
        self._ask({"set": {"mode": mode, "modes": modes}})

    def know(self, **content: Any) -> None:
        """Replace what it knows, see :class:`Content`."""
        self._ask({"content": content})

    def count(self, method: str) -> int:
        """How often a method was asked so far."""
        counted: int = self._ask({"count": method})
        return counted

    def logs(self, after: int = 0) -> list[dict[str, str]]:
        """The entries of the log, without this many of the oldest ones."""
        entries: list[dict[str, str]] = self._ask({"logs": after})
        return entries

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Orders(LineOnlyReceiver):
    """Carries out what comes on stdin, and ends with it."""

    delimiter = b"\n"
    MAX_LENGTH = 2**24  # Ten thousand channels are one line.

    def __init__(self, reactor: Any, api: PlugItServer) -> None:
        self._reactor = reactor
        self._api = api

    def lineReceived(self, line: bytes) -> None:
        order = json.loads(line)
        for name, value in order.get("set", {}).items():
            setattr(self._api, name, value)
        self.know(order.get("content", {}))
        if "logs" in order:
            kept = [entry for entry in self._api.logs if "topic" in entry]
            self.sendLine(json.dumps(kept[order["logs"] :]).encode())
        else:
            self.sendLine(json.dumps(self._api.count(order.get("count", ""))).encode())

    def know(self, content: dict[str, Any]) -> None:
        for name, value in content.items():
            setattr(self._api.content, name, value)

    def connectionLost(self, reason: object) -> None:
        if self._reactor.running:
            self._reactor.stop()


if __name__ == "__main__":
    from twisted.internet import reactor

    running = RunningPlugIt(reactor, int(sys.argv[1]))
    orders = Orders(reactor, running.api)
    orders.know(json.loads(sys.argv[2]))
    print(running.url, flush=True)
    StandardIO(orders)
    reactor.run()
