"""Who guesses passwords has to wait; everybody else does not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.task import deferLater

from fanout.doors.application import Refused

_ADDRESSES = 10_000  # remembered; beyond it the one that failed longest ago is forgotten


class TooManyFailures(Refused):
    """This address has to wait longer than anybody would."""

    def __init__(self) -> None:
        super().__init__("Too many failed logins", "Wait some minutes, and check the password.", temporary=True)


@dataclass(slots=True)
class _Failures:
    count: int
    last: float
    next_turn: float = 0.0


class LoginThrottle:
    """Spaces out the logins of an address that has failed too often. Every door's logins go through one of these.

    Success does not clear an address: whoever owns one account could guess those of others in between.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Callable[[], float] | None = None,
        *,
        failures: int = 5,
        pause: float = 1.0,
        queue: float = 10.0,
        forget: float = 300.0,
    ) -> None:
        """
        :param clock: seconds, monotonic; the reactor's unless given.
        :param failures: how many are free: people mistype, and devices retry.
        :param pause: seconds between two logins of an address from then on.
        :param queue: seconds the logins of an address may have to wait; those beyond are refused at once.
        :param forget: seconds without a failure after which an address starts anew.
        """
        self._reactor = reactor
        self._clock: Callable[[], float] = clock or reactor.seconds
        self._failures = failures
        self._pause = pause
        self._queue = queue
        self._forget = forget
        self._addresses: OrderedDict[str, _Failures] = OrderedDict()

    async def turn(self, address: str) -> None:
        """Wait until this address may try a login.

        :raises TooManyFailures: too many of its logins wait already.
        """
        wait = self._wait(address)
        if wait > self._queue:
            raise TooManyFailures
        if wait > 0:
            await deferLater(self._reactor, wait)

    def _wait(self, address: str) -> float:
        now = self._clock()
        known = self._addresses.get(address)
        if known is None or now - known.last > self._forget or known.count < self._failures:
            return 0.0
        turn = max(now, known.next_turn)
        if turn - now <= self._queue:
            known.next_turn = turn + self._pause
        return turn - now

    def failed(self, address: str) -> None:
        """A login of this address had the wrong password."""
        now = self._clock()
        known = self._addresses.pop(address, None)
        if known is None or now - known.last > self._forget:
            known = _Failures(0, now)
        known.count += 1
        known.last = now
        known.next_turn = max(known.next_turn, now + self._pause)
        self._addresses[address] = known
        if len(self._addresses) > _ADDRESSES:
            self._addresses.popitem(last=False)
