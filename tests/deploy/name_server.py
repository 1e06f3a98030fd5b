"""A name server for one name: the way Docker tells HAProxy where the front-ends are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from twisted.names import dns

HOST = "127.0.0.1"


class NameServer:
    """Answers, over UDP, with the addresses of one name; whatever else is asked, it knows nothing.

    :ivar address: where it listens.
    """

    def __init__(self, name: str, addresses: Sequence[str]) -> None:
        self._name, self._addresses = name, addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self.address = f"{HOST}:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """An empty datagram ends the thread."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            self._socket.sendto(self._answer(data), client)

    def _answer(self, data: bytes) -> bytes:
        message = dns.Message()
        message.fromStr(data)
        message.answer = 1
        query = message.queries[0]
        if query.type == dns.A and str(query.name) == self._name:
            for address in self._addresses:
                message.answers.append(dns.RRHeader(str(query.name), dns.A, ttl=1, payload=dns.Record_A(address, 1)))
        encoded: bytes = message.toStr()
        return encoded
