"""The seam between the watchdog and whatever keeps the log of everything that was published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred


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
