"""The log of ``--test``: each entry is a UDP datagram, for whoever watches a test (contract §1.12)."""

from __future__ import annotations

import json
from typing import Any

import structlog
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import MessageLengthError
from twisted.internet.protocol import DatagramProtocol

from radiovis.watchdog.log import Entry, LogFull, LogState

ADDRESS = ("127.0.0.1", 61422)

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class DatagramLog(DatagramProtocol):
    """A :class:`~radiovis.watchdog.log.Log` that keeps nothing: it tells, and nobody has to listen.

    ``{"topic": …, "headers": "[[name, value], …]", "message": …, "type": "log", "timestamp": …}`` for an entry, with
    the headers as JSON in the JSON, and ``{"max_age": …, "type": "cleanup_logs"}``.
    """

    def __init__(self, reactor: Any, address: tuple[str, int] = ADDRESS) -> None:
        self._address = address
        self._port = reactor.listenUDP(0, self, interface="127.0.0.1")

    def add(self, entry: Entry) -> Deferred[None]:
        """Send an entry; what is no UTF-8 in its body becomes U+FFFD."""
        if self.transport is None:
            return fail(LogFull("the log is closed"))
        self._send(
            {
                "topic": entry.topic,
                "headers": json.dumps(entry.headers, separators=(",", ":")),
                "message": entry.body.decode("utf-8", "replace"),
                "type": "log",
                "timestamp": entry.timestamp,
            }
        )
        return succeed(None)

    def cleanup(self, max_age: int) -> Deferred[int]:
        """Send that entries older than this many seconds should go; nobody tells how many went."""
        self._send({"max_age": max_age, "type": "cleanup_logs"})
        return succeed(0)

    def state(self) -> LogState:
        """Nothing ever waits."""
        return LogState(0)

    def stop(self) -> Deferred[None]:
        """Close the socket."""
        return maybeDeferred(self._port.stopListening)

    def _send(self, content: dict[str, object]) -> None:
        datagram = json.dumps(content, separators=(",", ":")).encode()
        try:
            self._port.write(datagram, self._address)
        except (OSError, MessageLengthError) as error:  # A body of more than 64 KiB does not fit.
            log.warning("log.not_sent", octets=len(datagram), error=str(error))
