"""The log of everything that was published: its interface (:class:`Log`), what all logs share, and two of the three
logs.

The logs are :class:`~radiovis.watchdog.plugit_log.PlugItLog` (a cluster with PlugIt), :class:`JournalLog` here (in
SQLite, for a stations file and for a node without a broker), and :class:`DatagramLog` here (``--test``).
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
    """The log could not do what it was asked to. The text says why, and what to do about it."""


class LogFull(LogError):
    """The log cannot keep this entry now: there is no room, or the disk or PlugIt refuses.

    Nothing of it was kept. The caller keeps the message (unacknowledged in the queue) and offers it again later.
    """


@dataclass(frozen=True, slots=True)
class Entry:
    """One message as it was heard on the bus.

    :ivar topic: canonical topic (GCC form), for example ``/topic/fm/4e1/4000/09580/text``.
    :ivar body: octets as published; not necessarily UTF-8.
    :ivar headers: every header but the topic, ``message-id`` and ``when`` included, in the order they were heard.
    :ivar timestamp: Unix time in whole seconds at which it was published or heard.
    :ivar serial: the same in both copies of a message that was delivered twice (the AMQP ``correlation_id``);
        empty when the publisher gave none, and then no copy can be recognised.
    :ivar origin: its publisher; None where that is not known. PlugIt is not told.
    """

    topic: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    timestamp: int
    serial: str = ""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class LogState:
    """How the log is doing, for health pages and metrics.

    :ivar error: the last failure in words; empty while all is well.
    :ivar since: Unix time in seconds of the first failure; None while all is well.
    :ivar refused: entries dropped since the start, because the log never takes them.
    """

    error: str = ""
    since: int | None = None
    refused: int = 0


class Log(Protocol):
    """Keeps what was published, so that a station can look at it later."""

    def add(self, entry: Entry) -> Deferred[None]:
        """Keep an entry; fires when it is safe: a crash of this process, or of the machine, does not lose it.

        Calls may be pipelined; entries keep their order. Fails with :class:`LogFull` when the entry cannot be kept now.
        """

    def cleanup(self, max_age: int) -> Deferred[int]:
        """Drop entries older than this many seconds.

        Fires with how many were dropped, 0 if the other side does not tell. Fails with :class:`LogError`.
        """

    def state(self) -> LogState:
        """How the log is doing right now."""

    def stop(self) -> Deferred[None]:
        """Finish what was begun, and close. What is added afterwards fails with :class:`LogFull`."""


@runtime_checkable
class HasJournal(Protocol):
    """The ability of a log to be searched.

    :ivar journal: where its entries are.
    """

    journal: Journal

    def latest(self, limit: int, octets: int) -> Deferred[list[Message]]:
        """The last message of each topic: see :meth:`JournalLog.latest`."""


class Outage:
    """Whether a part fails, since when and why. Its beginning, its end and one failure a minute are logged.

    :ivar error: the last failure in words; empty while all is well.
    :ivar since: Unix time in seconds of the first failure; None while all is well.
    """

    LOG_INTERVAL = 60.0
    """Seconds between two log lines, also if the reasons differ: one may contain a number that changes each time."""

    def __init__(self, part: str, clock: Callable[[], float]) -> None:
        """
        :param part: what fails, for the log.
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
        """It failed; logged at once, and then at most once a minute, with the number of failures between the lines."""
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
        """It works."""
        if self.since is not None and self._told:
            log.info("log.well", part=self._part, after_seconds=int(self._clock()) - self.since)
        self.error, self.since, self._told = "", None, False


def own_serial(serial: str) -> str:
    """A serial of ours, or nothing: devices use the AMQP property in their own ways, and may repeat themselves."""
    return serial if SERIAL.fullmatch(serial) else ""


class RecentSerials:
    """The serials of the entries that were kept lately, so that a message delivered twice is kept once.

    It knows exactly those, unlike :class:`fanout.bus.duplicates.Seen`: an entry that was refused comes again after
    later ones.
    """

    SIZE = 10_000
    """Serials remembered. A message comes again when it was not acknowledged: one of the last few hundred at most."""

    def __init__(self, size: int = SIZE) -> None:
        self._serials: BoundedDict[str, None] = BoundedDict(size)

    def add(self, serial: str) -> None:
        """Remember a serial, if it is one of ours."""
        if own_serial(serial):
            self._serials[serial] = None

    def __contains__(self, serial: str) -> bool:
        return serial in self._serials


ADDRESS = ("127.0.0.1", 61422)
"""Where the log of ``--test`` sends its datagrams (contract §1.12)."""


class DatagramLog(DatagramProtocol):
    """A :class:`Log` for ``--test`` that keeps nothing: each entry is a UDP datagram, for a test that listens.

    ``{"topic": …, "headers": "[[name, value], …]", "message": …, "type": "log", "timestamp": …}`` for an entry, with
    the headers as JSON in the JSON, and ``{"max_age": …, "type": "cleanup_logs"}``.
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
        """Send that entries older than this many seconds should go; the other side does not tell how many did."""
        self._send({"max_age": max_age, "type": "cleanup_logs"})
        return succeed(0)

    def state(self) -> LogState:
        """It never fails."""
        return LogState()

    def stop(self) -> Deferred[None]:
        """Close the socket."""
        return maybeDeferred(self._port.stopListening)

    def _send(self, content: dict[str, object]) -> None:
        datagram = json.dumps(content, separators=(",", ":")).encode()
        try:
            self._port.write(datagram, self._address)
        except (OSError, MessageLengthError) as error:  # A body of more than 64 KiB does not fit.
            log.warning("log.not_sent", octets=len(datagram), error=str(error))


class LogCleanup:
    """Task 4 of the watchdog: drop entries that were kept for long enough. One watchdog does it for all.

    :ivar settings: may be replaced at any time.
    """

    def __init__(self, entries: Log, leader: Leader, settings: WatchdogSettings) -> None:
        """:param settings: ``FB_LOGS_MAX_AGE`` is read."""
        self.settings = settings
        self._entries = entries
        self._leader = leader

    async def clean(self) -> None:
        """One round.

        :raises LogError: the log could not.
        """
        if not self._leader.leading:
            return
        max_age = self.settings.FB_LOGS_MAX_AGE
        dropped = await self._entries.cleanup(max_age)
        if dropped:
            log.info("log.cleaned", dropped=dropped, max_age=max_age)


class JournalLog:
    """A :class:`~radiovis.watchdog.log.Log` that keeps entries in a journal.

    :ivar journal: may be searched.
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
        """Keep an entry; fires when it is on the disk. A second copy is not kept twice."""
        serial = own_serial(entry.serial)
        record = Record(entry.topic, entry.body, entry.headers, entry.timestamp, serial, origin=entry.origin)
        return self.journal.add(record).addCallbacks(self._kept, self._failed)

    def latest(self, limit: int, octets: int) -> Deferred[list[Message]]:
        """The last message of each topic, in the order in which they came. Fails with :class:`LogError`.

        :param limit: how many at most, those of the topics that were heard last.
        :param octets: of bodies and headers, the same.
        """
        return self.journal.latest(limit, octets).addCallbacks(_messages, _not_read)

    def cleanup(self, max_age: int) -> Deferred[int]:
        """Drop entries older than this many seconds, and old addresses of publishers (``JOURNAL_ADDRESS_SECONDS``);
        fires with how many entries went.
        """
        return Deferred.fromCoroutine(self._cleanup(int(self._clock()), max_age)).addErrback(_not_cleaned)

    async def _cleanup(self, now: int, max_age: int) -> int:
        dropped = await self.journal.cleanup(now - max_age)
        await self.journal.drop_addresses(now - self.journal.settings.JOURNAL_ADDRESS_SECONDS)
        return dropped

    def state(self) -> LogState:
        """How the journal is doing."""
        return LogState(self._outage.error, self._outage.since)

    def stop(self) -> Deferred[None]:
        """Write what is waiting, and close the journal."""
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
    """The message of an entry, whose headers have more than those of a message."""
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
