"""The log of everything that was published: its interface (:class:`Log`), common parts, and two of the three logs.

The logs are :class:`~radiovis.watchdog.plugit_log.PlugItLog` (a cluster with PlugIt), :class:`JournalLog` in this file
(in SQLite, for a stations file and for a node without a broker), and :class:`DatagramLog` in this file (``--test``).
:class:`LogCleanup` drops old entries.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import structlog
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import MessageLengthError
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from fanout.bus.amqp_message import INTEGER
from fanout.bus.duplicates import SERIAL
from fanout.bus.leader import Leader
from fanout.cache.bounded_dict import BoundedDict
from fanout.hub.message import Message, Origin
from fanout.journal.journal import Journal, JournalError, Record
from radiovis.settings import WatchdogSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class LogError(Exception):
    """An operation of the log failed. The text says why, and what to do."""


class LogFull(LogError):
    """The log cannot store this entry now: there is no room, or the disk or PlugIt refuses.

    No part of the entry was stored. The caller keeps the message (unacknowledged in the queue) and offers it again
    later.
    """


@dataclass(frozen=True, slots=True)
class Entry:
    """One message as it was received from the bus.

    :ivar topic: canonical topic (GCC form), for example ``/topic/fm/4e1/4000/09580/text``.
    :ivar body: octets as published; not necessarily UTF-8.
    :ivar headers: every header except the topic, including ``message-id`` and ``when``, in the order of receipt.
    :ivar timestamp: Unix time in whole seconds at which it was published or received.
    :ivar serial: the same in both copies of a message that was delivered twice (the AMQP ``correlation_id``); empty if
        the publisher set none, and then copies cannot be recognised.
    :ivar origin: its publisher; None if it is not known. PlugIt does not get it.
    """

    topic: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    timestamp: int
    serial: str = ""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class LogState:
    """The state of the log, for health pages and metrics.

    :ivar error: the last failure in words; empty while there is no failure.
    :ivar since: Unix time in seconds of the first failure; None while there is no failure.
    :ivar refused: how many entries were dropped since the start because the log never accepts them.
    """

    error: str = ""
    since: int | None = None
    refused: int = 0


class Log(Protocol):
    """Stores what was published, so that a station can look at it later."""

    def add(self, entry: Entry) -> Deferred[None]:
        """Store an entry. The Deferred fires when the entry is safe: a crash of this process or of the machine does not
        lose it.

        Further entries may be added before that; they keep their order. Fails with :class:`LogFull` if the entry cannot
        be stored now.
        """

    def cleanup(self, max_age: int) -> Deferred[int]:
        """Drop entries older than this number of seconds.

        Fires with how many were dropped, or with 0 if the other side does not report it. Fails with :class:`LogError`.
        """

    def state(self) -> LogState:
        """The current state of the log."""

    def stop(self) -> Deferred[None]:
        """Finish the current operations, and close. Entries added afterwards fail with :class:`LogFull`."""


@runtime_checkable
class HasJournal(Protocol):
    """The ability of a log to be searched.

    :ivar journal: contains the entries.
    """

    journal: Journal

    def latest(self, limit: int, octets: int) -> Deferred[list[Message]]:
        """The last message of each topic: see :meth:`JournalLog.latest`."""


class Outage:
    """Records whether a part fails, since when and why. The begin, the end and one failure a minute are logged.

    :ivar error: the last failure in words; empty while there is no failure.
    :ivar since: Unix time in seconds of the first failure; None while there is no failure.
    """

    LOG_INTERVAL = 60.0
    """Seconds between two log lines of one outage: the reason may contain a number that changes each time."""

    def __init__(self, part: str, clock: Callable[[], float]) -> None:
        """
        :param part: the part that fails, for the log.
        :param clock: Unix time in seconds.
        """
        self._part = part
        self._clock = clock
        self._logged = -self.LOG_INTERVAL
        self._held_back = 0
        self._told = False
        self.error = ""
        self.since: int | None = None

    def failed(self, error: str) -> None:
        """The part failed. Log it at once, and then once a minute with the number of failures between the lines."""
        now = self._clock()
        if not 0 <= now - self._logged < self.LOG_INTERVAL:
            log.error("log.failing", part=self._part, error=error, held_back=self._held_back)
            self._logged, self._held_back, self._told = now, 0, True
        else:
            self._held_back += 1
        self.error = error
        if self.since is None:
            self.since = int(now)

    def over(self) -> None:
        """The part works again."""
        if self.since is not None and self._told:
            log.info("log.well", part=self._part, after_seconds=int(self._clock()) - self.since)
        self.error, self.since, self._told = "", None, False


def own_serial(serial: str) -> str:
    """The serial if it is one of ours, otherwise an empty text: devices use the AMQP property in other ways, and may
    repeat values.
    """
    return serial if SERIAL.fullmatch(serial) else ""


class RecentSerials:
    """The serials of recently stored entries, so that a message that is delivered twice is stored once.

    It remembers exactly these, unlike :class:`fanout.bus.duplicates.Seen`, because an entry that was refused comes
    again after later ones.
    """

    SIZE = 10_000
    """How many serials are remembered. Only messages without an acknowledgement come again: at most the last few
    hundred."""

    def __init__(self, size: int = SIZE) -> None:
        self._serials: BoundedDict[str, None] = BoundedDict(size)

    def add(self, serial: str) -> None:
        """Remember a serial, if it is one of ours."""
        if own_serial(serial):
            self._serials[serial] = None

    def __contains__(self, serial: str) -> bool:
        return serial in self._serials


ADDRESS = ("127.0.0.1", 61422)
"""The address to which the log of ``--test`` sends its datagrams (contract §1.12)."""


class DatagramLog(DatagramProtocol):
    """A :class:`Log` for ``--test`` that stores nothing. Each entry is a UDP datagram, for a test that receives it.

    An entry is ``{"topic": …, "headers": "[[name, value], …]", "message": …, "type": "log", "timestamp": …}``, with the
    headers as JSON within the JSON. A cleanup is ``{"max_age": …, "type": "cleanup_logs"}``.
    """

    def __init__(self, reactor: Any, address: tuple[str, int] = ADDRESS) -> None:
        self._address = address
        self._port = reactor.listenUDP(0, self, interface="127.0.0.1")

    def add(self, entry: Entry) -> Deferred[None]:
        """Send an entry; octets of the body that are not UTF-8 become U+FFFD."""
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
        """Send a request to drop entries older than this number of seconds. The other side does not report how many it
        dropped.
        """
        self._send({"max_age": max_age, "type": "cleanup_logs"})
        return succeed(0)

    def state(self) -> LogState:
        """The state without an error: this log never fails."""
        return LogState()

    def stop(self) -> Deferred[None]:
        """Close the socket."""
        return maybeDeferred(self._port.stopListening)

    def _send(self, content: dict[str, object]) -> None:
        datagram = json.dumps(content, separators=(",", ":")).encode()
        try:
            self._port.write(datagram, self._address)
        except (OSError, MessageLengthError) as error:  # A body of more than 64 KiB does not fit into a datagram.
            log.warning("log.not_sent", octets=len(datagram), error=str(error))


class LogCleanup:
    """Task 4 of the watchdog: drop entries that are too old. Only the leader does it.

    :ivar settings: may be replaced at any time.
    """

    def __init__(self, entries: Log, leader: Leader, settings: WatchdogSettings) -> None:
        """:param settings: ``FB_LOGS_MAX_AGE`` is read."""
        self.settings = settings
        self._entries = entries
        self._leader = leader

    async def clean(self) -> None:
        """One round.

        :raises LogError: the log could not drop the entries.
        """
        if not self._leader.leading:
            return
        max_age = self.settings.FB_LOGS_MAX_AGE
        dropped = await self._entries.cleanup(max_age)
        if dropped:
            log.info("log.cleaned", dropped=dropped, max_age=max_age)


class JournalLog:
    """A :class:`~radiovis.watchdog.log.Log` that stores entries in a journal.

    :ivar journal: the journal, which may be searched.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        """
        :param journal: closed by :meth:`stop`.
        :param clock: Unix time in seconds.
        """
        self.journal = journal
        self._clock = clock
        self._outage = Outage("journal", clock)

    def add(self, entry: Entry) -> Deferred[None]:
        """Store an entry. The Deferred fires when it is on the disk. A second copy is not stored."""
        serial = own_serial(entry.serial)
        record = Record(entry.topic, entry.body, entry.headers, entry.timestamp, serial, origin=entry.origin)
        return self.journal.add(record).addCallbacks(self._kept, self._failed)

    def latest(self, limit: int, octets: int) -> Deferred[list[Message]]:
        """The last message of each topic, in the order of receipt. Fails with :class:`LogError`.

        :param limit: how many at most; topics with the latest messages are preferred.
        :param octets: how many octets of bodies and headers at most; the same topics are preferred.
        """
        return self.journal.latest(limit, octets).addCallbacks(_messages, _not_read)

    def cleanup(self, max_age: int) -> Deferred[int]:
        """Drop entries older than this number of seconds, and old addresses of publishers
        (``JOURNAL_ADDRESS_SECONDS``).

        Fires with the number of dropped entries.
        """
        return Deferred.fromCoroutine(self._cleanup(int(self._clock()), max_age)).addErrback(_not_cleaned)

    async def _cleanup(self, now: int, max_age: int) -> int:
        dropped = await self.journal.cleanup(now - max_age)
        await self.journal.drop_addresses(now - self.journal.settings.JOURNAL_ADDRESS_SECONDS)
        return dropped

    def state(self) -> LogState:
        """The state of the journal."""
        return LogState(self._outage.error, self._outage.since)

    def stop(self) -> Deferred[None]:
        """Write the waiting entries, and close the journal."""
        return Deferred.fromCoroutine(self.journal.stop())

    def _kept(self, _: None) -> None:
        self._outage.over()

    def _failed(self, failure: Failure) -> None:
        failure.trap(JournalError)
        self._outage.failed(str(failure.value))
        raise LogFull(str(failure.value)) from failure.value


def _messages(records: list[Record]) -> list[Message]:
    return [_message(record) for record in records]


def _message(record: Record) -> Message:
    """The message of an entry. An entry has more headers than its message."""
    own = dict(reversed(record.headers))
    headers = tuple(each for each in record.headers if each[0] not in ("message-id", "when"))
    when = own.get("when", "")
    return Message(
        record.topic,
        record.body,
        own.get("message-id") or f"journal-{record.number}",
        int(when) if INTEGER.fullmatch(when) else record.timestamp,
        headers,
        origin=record.origin,
    )


def _not_read(failure: Failure) -> list[Message]:
    failure.trap(JournalError)
    raise LogError(str(failure.value)) from failure.value


def _not_cleaned(failure: Failure) -> int:
    failure.trap(JournalError)
    raise LogError(str(failure.value)) from failure.value
