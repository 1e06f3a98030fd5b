"""Clients that guess passwords have to wait; all others do not.

Two guessers are to be stopped. One tries many passwords, or many names, from one address: beyond some failures its
logins are spaced out, one a second, and refused when too many wait. The other has a thousand addresses and tries one
name from all of them: beyond some failures of a name, each stranger to it waits some seconds, and has few tries at a
time.

An attacker cannot lock the owner of an account out with that. A name is never closed: the right password gets in after
a wait, however many failures there are, because strangers do not wait for each other. And an address that has logged in
with this name before is no stranger, and does not wait at all. What it costs: a thousand addresses still have a few
hundred guesses a second together, so passwords have to be long, and the application should bind accounts to networks.

An address is one of IPv4, or a /64 of IPv6.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from twisted.internet.task import deferLater

from fanout.application.interface import Refused
from fanout.cache.bounded_dict import BoundedDict
from fanout.listeners.address import neighbourhood
from fanout.settings.field import SettingsGroup, constant, setting

_REMEMBERED = 10_000  # of each kind; beyond it the one that failed, or succeeded, longest ago is forgotten
PAUSE_SECONDS: float = 1
"""Seconds between two logins of an address after LOGIN_FAILURES: 86,400 guesses a day do not find a good
password."""
QUEUE_SECONDS: float = 10
"""Longest wait of a login in seconds; one that would have to wait longer is refused at once. It bounds the logins
that wait."""
FORGET_SECONDS: float = 300
"""Seconds without a failed login after which all failures are forgotten: as long as a person takes to find the right
password."""
FAILURES_PER_NAME = 20
"""Failed logins of one name, from any address, after which addresses new to that name have to wait. More than the
people and devices of one station cause by mistake."""
STRANGER_SECONDS: float = 3
"""Seconds that a login from an address new to the name waits after FAILURES_PER_NAME. A station whose address has
changed can still log in; less than QUEUE_SECONDS, or every stranger would be refused."""


class LoginSettings(SettingsGroup):
    """Logins."""

    retired: ClassVar[Mapping[str, str]] = {
        "LOGIN_PAUSE_SECONDS": constant(PAUSE_SECONDS, "s"),
        "LOGIN_QUEUE_SECONDS": constant(QUEUE_SECONDS, "s"),
        "LOGIN_FORGET_SECONDS": constant(FORGET_SECONDS, "s"),
        "LOGIN_FAILURES_PER_NAME": constant(FAILURES_PER_NAME, "logins"),
        "LOGIN_STRANGER_SECONDS": constant(STRANGER_SECONDS, "s"),
    }

    LOGIN_FAILURES: int = setting(
        5,
        "Failed logins of one address after which it may log in only once a second.",
        "logins",
        why="Raise it if many publishers share one NAT address and some of them keep a wrong password.",
        ge=1,
        reload=True,
    )


class TooManyFailures(Refused):
    """This address has to wait longer than anybody would."""

    def __init__(self) -> None:
        super().__init__("Too many failed logins", "Wait some minutes, and check the password.", temporary=True)


@dataclass(slots=True)
class _Failures:
    count: int
    last: float
    next_turn: float = 0.0


class _Failed:
    """How often each key has failed of late. Bounded."""

    def __init__(self) -> None:
        self._known: BoundedDict[Hashable, _Failures] = BoundedDict(_REMEMBERED)

    def __len__(self) -> int:
        return len(self._known)

    def beyond(self, key: Hashable, free: int, since: float) -> _Failures | None:
        """The failures of a key, if there are more than are free.

        :param since: older ones do not count.
        """
        known = self._known.get(key)
        return None if known is None or known.last < since or known.count < free else known

    def add(self, key: Hashable, now: float, since: float) -> _Failures:
        known = self._known.get(key)
        if known is None or known.last < since:
            known = _Failures(0, now)
        known.count += 1
        known.last = now
        self._known[key] = known
        return known


class LoginThrottle:
    """Spaces out the logins of addresses that have failed too often. The logins of all servers go through one of these.

    A success does not clear an address: the owner of one account could guess those of others in between.

    :ivar settings: LOGIN_FAILURES; a new value counts at once.
    """

    def __init__(
        self, reactor: Any, settings: LoginSettings | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        """:param clock: seconds, monotonic; the reactor's unless given."""
        self.settings = settings or LoginSettings()
        self._reactor = reactor
        self._clock: Callable[[], float] = clock or reactor.seconds
        self._addresses, self._names = _Failed(), _Failed()
        self._friends: BoundedDict[tuple[str, str], None] = BoundedDict(_REMEMBERED)
        self._strangers: BoundedDict[tuple[str, str], float] = BoundedDict(_REMEMBERED)  # when their next try may be

    async def turn(self, address: str, login: str) -> None:
        """Wait until this address may try to log in with this name.

        :raises TooManyFailures: too many of its logins wait already.
        """
        here = neighbourhood(address)
        wait = max(self._wait(here), self._wait_of_stranger(here, login))
        if wait > QUEUE_SECONDS:
            raise TooManyFailures
        if wait > 0:
            await deferLater(self._reactor, wait)

    def _since(self, now: float) -> float:
        """Failures before this time are forgotten."""
        return now - FORGET_SECONDS

    def _wait(self, here: str) -> float:
        now = self._clock()
        known = self._addresses.beyond(here, self.settings.LOGIN_FAILURES, self._since(now))
        if known is None:
            return 0.0
        turn = max(now, known.next_turn)
        if turn - now <= QUEUE_SECONDS:
            known.next_turn = turn + PAUSE_SECONDS
        return turn - now

    def _wait_of_stranger(self, here: str, login: str) -> float:
        """Each stranger waits by itself: a queue of them all would be a way to keep the owner out."""
        now = self._clock()
        pair = (here, login)
        if pair in self._friends or self._names.beyond(login, FAILURES_PER_NAME, self._since(now)) is None:
            return 0.0
        turn = max(now, self._strangers.get(pair, 0.0)) + STRANGER_SECONDS
        if turn - now <= QUEUE_SECONDS:
            self._strangers[pair] = turn
        return turn - now

    def failed(self, address: str, login: str) -> None:
        """This login had the wrong password."""
        now = self._clock()
        known = self._addresses.add(neighbourhood(address), now, self._since(now))
        known.next_turn = max(known.next_turn, now + PAUSE_SECONDS)
        self._names.add(login, now, self._since(now))

    def succeeded(self, address: str, login: str) -> None:
        """It had the right one: from here it is no stranger."""
        self._friends[neighbourhood(address), login] = None
