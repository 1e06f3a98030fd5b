"""The seam between the watchdog and whatever keeps the log of everything that was published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import MessageLengthError
from twisted.internet.protocol import DatagramProtocol

from fanout.bus.leader import Leader


class LogError(Exception):
    """The log could not do what it was asked to. The text says why, and what to do about it."""


class LogFull(LogError):
    """The log cannot keep this entry now: no room, or the disk refuses.

    Nothing of it was kept. Whoever holds the message keeps it (unacknowledged in the queue) and offers it again later.
    """


@dataclass(frozen=True, slots=True)
class Entry:
    """One message as it was heard on the bus.

    :ivar topic: canonical topic (GCC form), for example ``/topic/fm/4e1/4000/09580/text``.
    :ivar body: octets as published; not necessarily UTF-8.
    :ivar headers: every header but the topic, ``message-id`` and ``when`` included, in the order they were heard.
    :ivar timestamp: Unix time in whole seconds at which the watchdog heard it.
    :ivar serial: the same in both copies of a message that was delivered twice (the AMQP ``correlation_id``);
        empty when the publisher gave none, and then no copy can be recognised.
    """

    topic: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    timestamp: int
    serial: str = ""


@dataclass(frozen=True, slots=True)
class LogState:
    """How the log is doing, for health pages and logs.

    :ivar waiting: entries accepted and not yet where they are going.
    :ivar error: the last failure in words; empty while all is well.
    :ivar since: Unix time in seconds since when it fails; None while all is well.
    """

    waiting: int
    error: str = ""
    since: int | None = None


class Log(Protocol):
    """Keeps what was published, so that a station can look at it later."""

    def add(self, entry: Entry) -> Deferred[None]:
        """Keep an entry; fires when it is safe: a crash of this process, or of the machine, does not lose it.

        Calls may be pipelined; entries keep their order. Fails with :class:`LogFull` when it cannot be kept.
        """

    def cleanup(self, max_age: int) -> Deferred[int]:
        """Drop entries older than this many seconds.

        Fires with how many went, 0 if the other side does not tell. Fails with :class:`LogError`.
        """

    def state(self) -> LogState:
        """How the log is doing right now."""

    def stop(self) -> Deferred[None]:
        """Finish what was begun, and close. Entries that are safe but not yet sent wait for the next start.

        What is added afterwards fails with :class:`LogFull`.
        """


# The log of ``--test``: each entry is a UDP datagram, for whoever watches a test (contract §1.12).

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


# Task 4 of the watchdog: drop what the log has kept for long enough.

log = structlog.get_logger(__name__)


class LogCleanup:
    """Drops old entries. One watchdog does it for all."""

    def __init__(self, entries: Log, leader: Leader, max_age: int) -> None:
        """:param max_age: seconds an entry is kept."""
        self._entries = entries
        self._leader = leader
        self._max_age = max_age

    async def clean(self) -> None:
        """One round.

        :raises LogError: the log could not.
        """
        if not self._leader.leading:
            return
        dropped = await self._entries.cleanup(self._max_age)
        if dropped:
            log.info("log.cleaned", dropped=dropped, max_age=self._max_age)
