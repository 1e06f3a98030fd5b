"""STOMP clients of npm under Node, each in a process of its own that is driven line by line.

    page = StompJs()
    page.connect(server.http, version="1.2")
    page.subscribe("/topic/id/tests._ebu.nowhere/topic1/image")
    page.expect("message")["body"]

:class:`StompJs` is ``@stomp/stompjs``, the client of browsers; ``NodeClient("node_stomp.mjs")`` is ``node-stomp``. The
scripts in ``tests/node`` say what each may be told, and what it tells.
"""

from __future__ import annotations

import base64
import itertools
import json
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

NODE = Path(__file__).parent.parent / "node"
SECONDS = 30.0
INSTALL_SECONDS = 300.0

Seen = dict[str, Any]


def missing() -> str:
    """Why they cannot run here; empty if they can. The packages are fetched when they are not there, or other ones."""
    if shutil.which("node") is None:
        return "node is not installed; make test installs it"
    wanted, installed = NODE / "package-lock.json", NODE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=NODE, check=True, timeout=INSTALL_SECONDS)
    return ""


class NodeClient:
    """One client."""

    def __init__(self, script: str) -> None:
        """:param script: of ``tests/node``."""
        self._seen: queue.Queue[Seen] = queue.Queue()
        self._process = subprocess.Popen(
            ["node", script], cwd=NODE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def tell(self, action: str, **what: object) -> None:
        """Any of the actions of its script."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": action, **what}) + "\n")
        self._process.stdin.flush()

    def expect(self, saw: str, **fields: object) -> Seen:
        """The next thing it sees, which must be this. Heart-beats are passed over unless they are asked for."""
        while True:
            seen = self._seen.get(timeout=SECONDS)
            if seen["saw"] != "beat" or saw == "beat":
                break
        if seen["saw"] != saw or any(seen.get(name) != value for name, value in fields.items()):
            raise AssertionError(f"expected {saw} {fields or ''}, and saw {seen}")
        return seen

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._seen.put(json.loads(line))


class StompJs(NodeClient):
    """``@stomp/stompjs``. Bodies are octets on this side."""

    def __init__(self) -> None:
        super().__init__("client.mjs")
        self._receipts = (f"js-{number}" for number in itertools.count(1))

    def connect(self, address: tuple[str, int], **options: object) -> Seen:
        """Connect to ``/stomp`` and log in; what CONNECTED said.

        :param options: those of client.mjs: ``version``, ``login``, ``passcode``, ``binary``, ``beat``.
        """
        self.tell("connect", url=f"ws://{address[0]}:{address[1]}/stomp", **options)
        return self.expect("connected")

    def subscribe(self, destination: str, id: str = "1") -> None:
        """Subscribe, and return when the server has done it."""
        receipt = next(self._receipts)
        self.tell("subscribe", destination=destination, id=id, receipt=receipt)
        self.expect("receipt", id=receipt)

    def unsubscribe(self, id: str = "1") -> None:
        """Unsubscribe, and return when the server has done it."""
        receipt = next(self._receipts)
        self.tell("unsubscribe", id=id, receipt=receipt)
        self.expect("receipt", id=receipt)

    def publish(self, destination: str, body: bytes, **headers: str) -> None:
        """Publish, and return when the bus has it."""
        receipt = next(self._receipts)
        octets = base64.b64encode(body).decode()
        self.tell("publish", destination=destination, body=octets, headers=headers, receipt=receipt)
        self.expect("receipt", id=receipt)

    def hear(self) -> tuple[str, bytes]:
        """The next message: its destination and its body."""
        message = self.expect("message")
        return message["headers"]["destination"], base64.b64decode(message["body"])
