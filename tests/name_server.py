"""A name server for tests: of RadioDNS for probe, of Docker for HAProxy."""

from __future__ import annotations

import socket
import threading

from twisted.names import dns


class NameServer:
    """Answers over UDP from three tables; NXDOMAIN for the rest.

    :ivar address: where it listens.
    :ivar cnames: name to name. :ivar srv: name to targets and ports, by rising priority.
    :ivar addresses: name to IPv4 addresses.
    :ivar truncated: whether it says that answers do not fit into a datagram, though nobody listens on TCP.
    :ivar garbage: what it answers instead; empty to speak DNS.
    """

    truncated = False
    garbage = b""

    def __init__(
        self,
        cnames: dict[str, str] | None = None,
        srv: dict[str, list[tuple[str, int]]] | None = None,
        addresses: dict[str, list[str]] | None = None,
    ) -> None:
        self.cnames, self.srv, self.addresses = cnames or {}, srv or {}, addresses or {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        port = self._socket.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            self._socket.sendto(data[:2] + self.garbage if self.garbage else self._answer(data), client)

    def _answer(self, data: bytes) -> bytes:
        message = dns.Message()
        message.fromStr(data)
        message.answer = 1
        if self.truncated:
            message.trunc = 1
            return bytes(message.toStr())
        query = message.queries[0]
        name = str(query.name).lower()
        if query.type == dns.CNAME and name in self.cnames:
            payload = dns.Record_CNAME(self.cnames[name])
            message.answers.append(dns.RRHeader(name, dns.CNAME, payload=payload))
        elif query.type == dns.SRV and name in self.srv:
            for priority, (host, port) in enumerate(self.srv[name]):
                payload = dns.Record_SRV(priority, 100, port, host)
                message.answers.append(dns.RRHeader(name, dns.SRV, payload=payload))
        elif query.type == dns.A and name in self.addresses:
            for address in self.addresses[name]:
                message.answers.append(dns.RRHeader(name, dns.A, ttl=1, payload=dns.Record_A(address, 1)))
        elif name not in self.addresses:
            message.rCode = dns.ENAME
        encoded: bytes = message.toStr()
        return encoded
