"""The loop of Samsung's RadioVIS client over HTTP, as its source has it: ``com.sec.android.app.dns.radiovis.http``,
``RadioVISHttpClient`` and ``RadioVISHttpProtocol``, with its faults.

It sets no User-Agent, so Android's own goes out. One request is on its way at a time. A pause of 1 s, which it makes
before each poll that follows a message, is left out here.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote_plus

from tests.web import Address, Raw

AGENT = "Dalvik/1.6.0 (Linux; U; Android 4.4.2; SM-G900F Build/KOT49H)"
READ_SECONDS = 15.0
_ASKED_AGAIN = (408, 205)


class SamsungRadio:
    """One radio that is tuned to an FM frequency.

    :ivar shown: what it has shown: ``text`` or ``image``, and the text, or the URL.
    :ivar swapped: it has given HTTP up, and tries STOMP.
    :ivar answers: the status and body of each answer it got.
    """

    def __init__(self, address: Address, channel: str, agent: str = AGENT) -> None:
        """:param channel: ``/topic/fm/<country>/<pi>/<frequency>/``."""
        self.shown: list[tuple[str, str]] = []
        self.swapped = False
        self.answers: list[tuple[int, bytes]] = []
        self._address = address
        self._channel = channel
        self._agent = agent
        self._next: str | None = f"{self._topic('image')}&{self._topic('text')}"
        self._last_ids: dict[str, str] = {}

    def _topic(self, kind: str) -> str:
        return f"topic={quote_plus(self._channel + kind)}"

    @property
    def request(self) -> bytes | None:
        """The octets of the next poll; None when its loop has come to an end."""
        if self._next is None:
            return None
        host, port = self._address
        lines = [f"GET /radiodns/vis/vis.json?{self._next} HTTP/1.1", f"User-Agent: {self._agent}"]
        lines += [f"Host: {host}:{port}", "Connection: Keep-Alive", "Accept-Encoding: gzip"]
        return "\r\n".join([*lines, "", ""]).encode()

    def poll(self) -> None:
        """The next request, on a connection of its own, and what the client makes of the answer."""
        request = self.request
        assert request is not None, "its loop has come to an end"
        self._next = None
        with Raw(self._address, request) as connection:
            connection.socket.settimeout(READ_SECONDS)
            self.take(*read(connection))

    def take(self, status: int, body: bytes) -> None:
        """``getresponse`` and ``onPostExecute``."""
        self.answers.append((status, body))
        if status in _ASKED_AGAIN:
            self._fail()  # It sets the method of a connection that was open already, which raises.
        elif status != 200 or not body:
            self._fail()
        else:
            self._handle(body.decode().replace("\n", ""))

    def _fail(self) -> None:
        self.swapped = True

    def _handle(self, results: str) -> None:
        """``handleMessage``: a bracket anywhere is an array."""
        try:
            found = json.loads(results)
        except ValueError:
            return
        if "[" not in results:
            self._show(found, 0)
        elif isinstance(found, list):
            for left in range(len(found) - 1, -1, -1):
                if any(word in found[left].get("body", "") for word in ("TEXT", "SHOW")):
                    self._show(found[left], left)

    def _show(self, found: dict[str, Any], left: int) -> None:
        """``showVISData``. :param left: how many objects of an array are to come."""
        body, headers = found.get("body", ""), found.get("headers", {})
        if "TEXT" in body:
            self._keep("text", body, headers, left, "image")
        elif "SHOW" in body:
            if headers.get("RadioVIS-Trigger-Time", "").lower() == "now":
                self._keep("image", body, headers, left, "text")
        else:
            destination = headers.get("RadioVIS-Destination", "")
            kinds = [kind for kind in ("text", "image") if kind in destination]
            if kinds:
                self._next = self._topic(kinds[0])

    def _keep(self, kind: str, body: str, headers: dict[str, str], left: int, other: str) -> None:
        self.shown.append((kind, body[5:]))
        self._last_ids[kind] = headers["RadioVIS-Message-ID"]
        if left <= 0:
            last_id = self._last_ids.get(other)
            self._next = self._topic(other) + (f"&last_id={last_id}" if last_id else "")


def read(connection: Raw) -> tuple[int, bytes]:
    """An answer with a length: its status and its body."""
    head = connection.until(b"\r\n\r\n").lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split()[1]), connection.octets(length)
