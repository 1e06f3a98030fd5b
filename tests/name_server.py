"""A name server for tests: of RadioDNS for probe, of Docker for HAProxy."""

from __future__ import annotations

import socket
import threading
from typing import Any

from twisted.names import dns

MOST_CNAMES = 20
"""In one answer."""


class NameServer:
    """Answers over UDP from three tables; NXDOMAIN for the rest.

    :ivar address: where it listens.
    :ivar cnames: name to name. :ivar srv: name to targets and ports, by rising priority.
    :ivar addresses: name to IPv4 and IPv6 addresses.
    :ivar silent: names whose questions it does not answer.
    :ivar refused: kinds of records it has no answer for.
    :ivar follows: whether an answer has what a CNAME leads to as well, as those of resolvers; others leave it to the
        client.
    :ivar truncated: whether it says that answers do not fit into a datagram, though nobody listens on TCP.
    :ivar garbage: what it answers instead; empty to speak DNS.
    """

    truncated = False
    garbage = b""
    follows = True

    def __init__(
        self,
        cnames: dict[str, str] | None = None,
        srv: dict[str, list[tuple[str, int]]] | None = None,
        addresses: dict[str, list[str]] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """:param host: an IPv4 or IPv6 address to listen on."""
        self.cnames, self.srv, self.addresses = cnames or {}, srv or {}, addresses or {}
        self.silent: set[str] = set()
        self.refused: set[int] = set()
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self.address = f"{f'[{host}]' if ':' in host else host}:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with socket.socket(self._socket.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            answer = data[:2] + self.garbage if self.garbage else self._answer(data)
            if answer:
                self._socket.sendto(answer, client)

    def _answer(self, data: bytes) -> bytes:
        message = dns.Message()
        message.fromStr(data)
        message.answer = 1
        query = message.queries[0]
        name = str(query.name).lower()
        if name in self.silent:
            return b""
        if self.truncated:
            message.trunc = 1
        elif query.type in self.refused:
            message.rCode = dns.ESERVER
        elif query.type in (dns.A, dns.AAAA):
            self._add_addresses(message, name, query.type)
        elif not self._add(message, name, query.type):
            message.rCode = dns.ENAME
        encoded: bytes = message.toStr()
        return encoded

    def _add(self, message: Any, name: str, kind: int) -> bool:
        """Add the records of a name; whether the name exists."""
        if kind == dns.CNAME and name in self.cnames:
            message.answers.append(dns.RRHeader(name, dns.CNAME, payload=dns.Record_CNAME(self.cnames[name])))
        elif kind == dns.SRV and name in self.srv:
            for priority, (host, port) in enumerate(self.srv[name]):
                payload = dns.Record_SRV(priority, 100, port, host)
                message.answers.append(dns.RRHeader(name, dns.SRV, payload=payload))
        else:
            return name in self.addresses
        return True

    def _add_addresses(self, message: Any, name: str, kind: int) -> None:
        followed = 0
        while name in self.cnames and followed < MOST_CNAMES:
            self._add(message, name, dns.CNAME)
            name, followed = self.cnames[name], followed + 1
            if not self.follows:
                return
        if name not in self.addresses and not followed:
            message.rCode = dns.ENAME
        record = dns.Record_A if kind == dns.A else dns.Record_AAAA
        for address in self.addresses.get(name, ()):
            if (":" in address) == (kind == dns.AAAA):
                message.answers.append(dns.RRHeader(name, kind, ttl=1, payload=record(address, 1)))
