"""The log that uses PlugIt's API.

The log has one queue, on the broker: ``FB_QUEUE``. Every message of the exchange is copied into it, on the broker's
disk, whether a watchdog is running or not. The leading watchdog takes messages from the head of the queue, sends them
to PlugIt, and acknowledges each one when PlugIt has accepted it. Until then the broker has the message, so nothing is
lost when this process, this machine or PlugIt fails. This table shows where each message is, and which part handles it:

=============================  =========================================================================
a message not taken yet        the broker's queue; a policy limits it (``deploy/rabbitmq/policies.sh``)
taken and not accepted yet     the broker's queue too: delivered and not acknowledged
order, and offering again      :class:`fanout.bus.queues.DurableQueue` and its retry buffer
one call at a time, the pause  this file
refused for good               dropped here, counted in :attr:`~radiovis.watchdog.log.LogState.refused`
dropped by the full queue      counted by :class:`radiovis.watchdog.sources.QueueSource`
which topics are alive         not here: liveness comes from a queue of the watchdog's own
=============================  =========================================================================

**States.** *Well*: an entry is sent as soon as the one before it was accepted. *Resting*: the last call failed; every
entry is refused at once with :class:`~radiovis.watchdog.log.LogFull` until the pause is over, then one call is tried.
The pause doubles from 1 s to 15 s, and one success ends it. *Closed*: everything is refused.

.. code-block:: text

           accepted                     refused, pause not over
            ┌────┐                            ┌────┐
            │    ▼      add_log failed        │    ▼
           ┌──────┐ ──────────────────────▶ ┌─────────┐
           │ well │                         │ resting │ ◀─┐ the next call failed:
           └──────┘ ◀────────────────────── └─────────┘ ──┘ twice the pause
                               the next call succeeded

**Invariants.**

- There is at most one ``add_log`` call at a time, so PlugIt gets the entries in the order of the queue.
- When an entry is refused, all entries that were added after it and are not sent yet are refused, too. The retry buffer
  offers them again in their order. So a failure never lets a later entry overtake an earlier one.
- An entry is accepted once, unless this process or the connection to the broker fails between PlugIt's answer and the
  acknowledgement, or PlugIt's answer is lost. Then the entry is delivered twice. A copy is recognised by its serial if
  the same process sent the first one. Copies that a publisher sends again after the broker had confirmed the first one
  are never added here (:attr:`fanout.bus.queues.Delivered.again`), because the durable queue had the first one.
- When the connection to the broker is lost, messages received over it are not sent any more: the broker delivers them
  to the next leader. So a watchdog that was frozen does not send an entry that another one has sent meanwhile.
- An entry is dropped only if PlugIt has refused it :data:`SUSPICIOUS` + :data:`REFUSALS` - 1 times in a row, and
  accepts the next entry right after the last refusal. PlugIt has one status, 500, for "this entry is bad" and "I am
  broken". So the next entry is not tried earlier, and only while ``cleanup_logs`` works, which the watchdog calls
  anyway. If the next entry is refused as well, both stay, and the next one becomes a suspect, too. So a broken
  ``add_log`` costs calls, but no entries. A bad entry without a next one stays, too, because it does not block any
  other entry.

**Why not a spool on this machine's disk?** That was the first design: entries were acknowledged when they were in a
file, and sent from there. It had more than a thousand lines (segments, cursor, lock, adoption of a dead process's
files). Each entry had one copy, on one local disk, which a standby on another machine could not read. The broker's
durable queue has the same guarantees, may be replicated, and limits its own length. The spool had one advantage: a
backlog survived the loss of the broker's disk.

**Why one call at a time?** PlugIt's API accepts one entry per call and does not keep an order of its own. Concurrent
calls would be faster and arrive in any order. The spool also sent one entry at a time, so the throughput did not
change: an entry costs the watchdog about 2 ms of CPU (2,000 entries, 4.7 s with the start of the process), to which
PlugIt's own time is added. 1,000 stations that each send a text every 10 s make 100 entries a second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import structlog
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import deferLater

from fanout.process.logs import Throttle
from radiovis.directory.interface import DirectoryError, LogStore
from radiovis.settings import WatchdogSettings
from radiovis.watchdog.log import Entry, LogError, LogFull, LogState, Outage, RecentSerials

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
"""Seconds between two attempts; doubled each time. They do not overload PlugIt when it is down, and find it soon when
it is back."""
SUSPICIOUS = 3
"""Failures of one entry after which we check whether the entry or PlugIt is the cause."""
REFUSALS = 3
"""Refusals in a row, while PlugIt works, before the next entry is tried."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Suspect(NamedTuple):
    """An entry that PlugIt refused repeatedly. It is dropped if PlugIt accepts the next one."""

    entry: Entry
    added: Deferred[None]
    error: str


class PlugItLog:
    """A :class:`~radiovis.watchdog.log.Log` whose entries are safe when PlugIt has accepted them.

    :ivar settings: may be replaced at any time.
    """

    def __init__(
        self,
        store: LogStore,
        reactor: Any,
        settings: WatchdogSettings,
        *,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """
        :param store: PlugIt's API.
        :param reactor: Twisted's reactor.
        :param settings: ``FB_LOGS_MAX_AGE`` is read, for the check whether PlugIt works.
        :param first_pause: seconds after a first failure; doubled after each further one.
        :param longest_pause: the longest pause in seconds.
        :param unix_time: seconds since 1970, for the state.
        """
        self.settings = settings
        self._store = store
        self._reactor = reactor
        self._pauses = (first_pause, longest_pause)
        self._outage = Outage("log API", unix_time)
        self._throttle = Throttle(reactor.seconds)
        self._serials = RecentSerials()
        self._waiting: deque[tuple[Entry, Deferred[None]]] = deque()
        self._sending = False
        self._call: Deferred[None] | None = None
        self._closed = False
        self._failures = 0  # in a row, of any entry
        self._rest_until = float("-inf")
        self._suspects: list[_Suspect] = []  # refused in this round; the next entry decides
        self._refusals: dict[Entry, tuple[int, int]] = {}  # refusals in a row: all, and those while PlugIt worked
        self._dropped = 0

    def add(self, entry: Entry) -> Deferred[None]:
        """Send an entry. The Deferred fires when PlugIt has accepted it, or never will. A second copy is not sent."""
        refusal = self._refusal()
        if refusal is not None:
            return fail(refusal)
        added: Deferred[None] = Deferred()
        self._waiting.append((entry, added))
        if not self._sending:
            Deferred.fromCoroutine(self._send_all())
        return added

    def _refusal(self) -> LogFull | None:
        if self._closed:
            return LogFull("the log is closed")
        if self._reactor.seconds() < self._rest_until:
            return LogFull(self._outage.error)
        return None

    async def _send_all(self) -> None:
        """Send the entries one after another. Each is answered before the next one is sent, so acknowledgements keep
        the order.
        """
        self._sending = True
        while self._waiting:
            entry, added = self._waiting.popleft()
            if not added.called:  # otherwise given up: its connection is lost
                await self._take_turn(entry, added)
            if self._suspects and not self._waiting:
                await deferLater(self._reactor, 0)  # The retry buffer may be about to offer the next entry.
        if self._suspects:  # No other entry can show whether PlugIt accepts any.
            self._refuse(self._suspects[0].error)
        self._sending = False

    async def _take_turn(self, entry: Entry, added: Deferred[None]) -> None:
        refusal = self._refusal()  # This entry must not overtake one that just failed.
        if refusal is not None:
            added.errback(refusal)
        elif entry.serial in self._serials:
            added.callback(None)
        else:
            self._call = Deferred.fromCoroutine(self._send(entry, added))
            await self._call

    async def _send(self, entry: Entry, added: Deferred[None]) -> None:
        try:
            await self._store.add_log(_form(entry.topic), entry.body, _headers(entry), entry.timestamp)
        except CancelledError:
            self._refuse("the log is closed", added)
        except DirectoryError as error:
            if await self._is_suspect(entry):
                self._suspects.append(_Suspect(entry, added, str(error)))
            else:
                self._refuse(str(error), added)
        except Exception as error:  # noqa: BLE001 - it is logged.
            self._failed(error)
            self._refuse(f"{type(error).__name__}: {error}", added)
        else:
            self._accepted(entry, added)

    def _failed(self, error: Exception) -> None:
        """Log a fault of ours. The entry is tried again and again, and may fail in the same way each time."""
        key = (type(error), str(error))
        if self._throttle.allow(key):
            log.error("log.sender_failed", exc_info=error, held_back=self._throttle.held_back(key))

    def _accepted(self, entry: Entry, added: Deferred[None]) -> None:
        suspects, self._suspects = self._suspects, []
        self._serials.add(entry.serial)
        self._failures = 0
        self._refusals.clear()
        self._outage.over()
        for each in suspects:
            self._drop(each)
        added.callback(None)

    def _drop(self, suspect: _Suspect) -> None:
        self._dropped += 1
        entry = suspect.entry
        self._serials.add(entry.serial)
        log.error(
            "log.entry_refused",
            topic=entry.topic,
            octets=len(entry.body),
            error=suspect.error,
            dropped=self._dropped,
        )
        suspect.added.callback(None)

    def _refuse(self, error: str, *added: Deferred[None]) -> None:
        """Begin a pause. The suspects are offered again, too, before the entry that was just refused."""
        suspects, self._suspects = self._suspects, []
        self._outage.failed(error)
        first, longest = self._pauses
        self._rest_until = self._reactor.seconds() + min(first * 2.0 ** min(self._failures, 30), longest)
        self._failures += 1
        for each in (*(suspect.added for suspect in suspects), *added):
            each.errback(LogFull(error))

    async def _is_suspect(self, entry: Entry) -> bool:
        """Whether PlugIt refused this entry often enough while it worked. Called when PlugIt has refused it once
        more.
        """
        key = replace(entry, timestamp=0)
        attempts, while_well = self._refusals.get(key, (0, 0))
        well = attempts + 1 >= SUSPICIOUS and await self._is_well()
        self._refusals[key] = attempts + 1, while_well + 1 if well else 0
        return while_well + 1 >= REFUSALS if well else False

    async def _is_well(self) -> bool:
        try:
            await self._store.cleanup_logs(self.settings.FB_LOGS_MAX_AGE)
        except Exception:  # noqa: BLE001 (the calls that need it report the reason)
            return False
        return True

    def cleanup(self, max_age: int) -> Deferred[int]:
        """Ask PlugIt to drop entries older than this number of seconds. PlugIt does not report how many it dropped."""
        return Deferred.fromCoroutine(self._clean(max_age))

    async def _clean(self, max_age: int) -> int:
        try:
            await self._store.cleanup_logs(max_age)
        except DirectoryError as error:
            raise LogError(str(error)) from error
        return 0

    def state(self) -> LogState:
        """Whether PlugIt accepts entries."""
        return LogState(self._outage.error, self._outage.since, self._dropped)

    def stop(self) -> Deferred[None]:
        """Cancel the current call. Entries that were not accepted are still in the broker's queue."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()
        return succeed(None)


def _form(text: str) -> str:
    """The text in a form that a request can carry: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()


def _headers(entry: Entry) -> list[tuple[str, str]]:
    return [(_form(name), _form(value)) for name, value in entry.headers]
