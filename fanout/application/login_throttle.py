"""Delays clients that guess passwords, and no others.

There are two kinds of attackers. The first tries many passwords, or many names, from one address. After some failures
the logins of this address are limited to one a second, and refused when too many wait. The second has a thousand
addresses and tries one name from all of them. After some failures of a name, each address that is new to this name
waits some seconds, and has few tries at a time.

An attacker cannot lock out the owner of an account in this way. A name is never blocked: the right password is accepted
after a wait, however many failures there are, because new addresses do not wait for each other. And an address that has
logged in with this name before does not wait at all. The price is that a thousand addresses together still have a few
hundred guesses a second. So passwords have to be long, and the application should bind accounts to networks.

After that, :class:`LoginQueue` divides the work of checking passwords, which costs the server much more than the
client. An attacker with a thousand addresses can request more checks than a node can make. So each address has its turn
in a round, and logins from addresses that have logged in with the same name before are checked first.

An address means one IPv4 address, or a /64 of IPv6.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from fanout.application.interface import Refused
from fanout.cache.bounded_dict import BoundedDict
from fanout.listeners.address import neighbourhood
from fanout.settings.field import SettingsGroup, constant, setting

_REMEMBERED = 10_000  # entries of each kind; beyond this number the oldest entry is dropped
PAUSE_SECONDS: float = 1
"""Seconds between two logins of an address after LOGIN_FAILURES: 86,400 guesses a day do not find a good password."""
QUEUE_SECONDS: float = 10
"""Longest wait of a login in seconds. A login that would have to wait longer is refused at once. This limits the number
of waiting logins."""
FORGET_SECONDS: float = 300
"""Seconds without a failed login after which all failures are forgotten: about the time that a person needs to find the
right password."""
FAILURES_PER_NAME = 20
"""Failed logins of one name, from any address, after which addresses new to that name have to wait. The people and
devices of one station cause fewer by mistake."""
STRANGER_SECONDS: float = 3
"""Seconds that a login from an address new to the name waits after FAILURES_PER_NAME. A station whose address has
changed can still log in. It must be less than QUEUE_SECONDS, because otherwise all of these logins would be refused."""
MOST_WAITING = 1_000
"""Logins that wait for their check, of all addresses together. This is ten times the number of publishers of a large
cluster that reconnect at the same moment. Two processors check them in 25 s, and they take 2 MB."""
RESERVED = 4
"""One of this number of concurrent checks is reserved for known addresses. A slow directory takes seconds for an
answer, and new addresses would otherwise occupy all checks."""

T = TypeVar("T")


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
        "Failed logins of one address after which it may only log in once a second.",
        "logins",
        why="Raise it if many publishers share one NAT address and some of them keep a wrong password.",
        ge=1,
        reload=True,
    )


class TooManyFailures(Refused):
    """This address would have to wait too long."""

    def __init__(self) -> None:
        super().__init__("Too many failed logins", "Wait some minutes, and check the password.", temporary=True)


class TooManyLogins(Refused):
    """Too many logins wait for their check, so this one is refused."""

    def __init__(self) -> None:
        detail = "More logins are waiting than the server can check now; try again in a minute."
        super().__init__("Too many logins", detail, temporary=True)


@dataclass(slots=True)
class _Failures:
    count: int
    last: float
    next_turn: float = 0.0


class _Failed:
    """How often each key has failed recently. Its size is limited."""

    def __init__(self) -> None:
        self._known: BoundedDict[Hashable, _Failures] = BoundedDict(_REMEMBERED)

    def __len__(self) -> int:
        return len(self._known)

    def beyond(self, key: Hashable, free: int, since: float) -> _Failures | None:
        """The failures of a key; None unless there are at least ``free`` of them.

        :param since: time in seconds; earlier failures do not count.
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
    """Delays the logins of addresses that have failed too often. The logins of all servers use one of these.

    A success does not clear the failures of an address: the owner of one account could otherwise guess the passwords of
    others between two successful logins. But a name that has logged in from an address has a failure count of its own
    there. So guesses at other names from the same address, such as behind the same NAT, do not delay it.

    :ivar settings: LOGIN_FAILURES; a new value takes effect at once.
    :ivar put_off: how many logins were refused because their address would have had to wait too long.
    """

    def __init__(
        self, reactor: Any, settings: LoginSettings | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        """:param clock: a monotonic clock in seconds; the reactor's by default."""
        self.settings = settings or LoginSettings()
        self.put_off = 0
        self._reactor = reactor
        self._clock: Callable[[], float] = clock or reactor.seconds
        self._addresses, self._names, self._pairs = _Failed(), _Failed(), _Failed()
        # Names of any length are remembered by their hashes; Python's hashes of strings are keyed (PEP 456).
        self._friends: BoundedDict[tuple[str, int], None] = BoundedDict(_REMEMBERED)
        self._strangers: BoundedDict[tuple[str, int], float] = BoundedDict(_REMEMBERED)  # when the next try is allowed

    async def turn(self, address: str, login: str) -> None:
        """Wait until this address may try to log in with this name.

        :raises TooManyFailures: too many of its logins wait already.
        """
        here = neighbourhood(address)
        wait = max(self._wait(here, login), self._wait_of_stranger(here, login))
        if wait > QUEUE_SECONDS:
            self.put_off += 1
            raise TooManyFailures
        if wait > 0:
            await deferLater(self._reactor, wait)

    def knows(self, address: str, login: str) -> bool:
        """Whether this address has logged in with this name before."""
        return (neighbourhood(address), hash(login)) in self._friends

    def _since(self, now: float) -> float:
        """The time in seconds before which failures are forgotten."""
        return now - FORGET_SECONDS

    def _failures_of(self, here: str, login: str) -> tuple[_Failed, Hashable]:
        """The table, and the key in it, under which a failure of this login counts."""
        pair = (here, hash(login))
        return (self._pairs, pair) if pair in self._friends else (self._addresses, here)

    def _wait(self, here: str, login: str) -> float:
        now = self._clock()
        failed, key = self._failures_of(here, login)
        known = failed.beyond(key, self.settings.LOGIN_FAILURES, self._since(now))
        if known is None:
            return 0.0
        turn = max(now, known.next_turn)
        if turn - now <= QUEUE_SECONDS:
            known.next_turn = turn + PAUSE_SECONDS
        return turn - now

    def _wait_of_stranger(self, here: str, login: str) -> float:
        """The wait of an address that is new to the name. Each one waits independently, because a common queue could
        lock out the owner.
        """
        now = self._clock()
        pair = (here, hash(login))
        if pair in self._friends or self._names.beyond(hash(login), FAILURES_PER_NAME, self._since(now)) is None:
            return 0.0
        turn = max(now, self._strangers.get(pair, 0.0)) + STRANGER_SECONDS
        if turn - now <= QUEUE_SECONDS:
            self._strangers[pair] = turn
        return turn - now

    def failed(self, address: str, login: str) -> None:
        """Record that this login had the wrong password."""
        now = self._clock()
        failed, key = self._failures_of(neighbourhood(address), login)
        known = failed.add(key, now, self._since(now))
        known.next_turn = max(known.next_turn, now + PAUSE_SECONDS)
        self._names.add(hash(login), now, self._since(now))

    def succeeded(self, address: str, login: str) -> None:
        """Record that this login had the right password, so this address is known from now on."""
        self._friends[neighbourhood(address), hash(login)] = None


class _Waiting:
    """The waiting logins, in rounds over the addresses: an address with many logins delays only its own."""

    def __init__(self) -> None:
        self.total = 0
        self._of: OrderedDict[str, deque[Deferred[None]]] = OrderedDict()

    def __len__(self) -> int:
        return self.total

    def of(self, here: str) -> int:
        return len(self._of.get(here, ()))

    def add(self, here: str, turn: Deferred[None]) -> None:
        self._of.setdefault(here, deque()).append(turn)
        self.total += 1

    def next(self) -> Deferred[None]:
        """Remove and return the login whose turn it is; its address goes to the end of the round."""
        here, turns = self._of.popitem(last=False)
        turn = turns.popleft()
        if turns:
            self._of[here] = turns
        self.total -= 1
        return turn

    def most(self) -> str:
        """The address with the most waiting logins; empty if there are none."""
        return max(self._of, key=self.of, default="")

    def drop_newest(self, here: str) -> Deferred[None]:
        """Remove and return the latest login of this address."""
        turns = self._of[here]
        turn = turns.pop()
        if not turns:
            del self._of[here]
        self.total -= 1
        return turn


class LoginQueue:
    """Limits how many logins are checked at the same time. The others wait; no address waits for the logins of another
    one.

    If too many logins wait, the address with the most of them loses its latest one; addresses that are new to the name
    lose theirs before known ones.

    :ivar put_off: how many logins were refused because too many waited.
    """

    def __init__(self, at_once: int, knows: Callable[[str, str], bool] | None = None) -> None:
        """
        :param at_once: how many checks run at the same time.
        :param knows: whether an address has logged in with a name before, such as :meth:`LoginThrottle.knows`; without
            it all addresses count as new.
        """
        self.put_off = 0
        self._at_once = at_once
        self._for_strangers = at_once - at_once // RESERVED
        self._knows = knows
        self._known, self._strangers = _Waiting(), _Waiting()
        self._running = 0
        self._handing_on = False

    def waiting(self) -> dict[str, int]:
        """How many logins wait for their turn, of each kind."""
        return {"known": len(self._known), "stranger": len(self._strangers)}

    async def run(self, address: str, login: str, check: Callable[[], Awaitable[T]]) -> T:
        """Check a login when it is its turn.

        :param check: makes the check.
        :raises TooManyLogins: too many logins wait.
        """
        known = self._knows is not None and self._knows(address, login)
        if self._running < (self._at_once if known else self._for_strangers):
            self._running += 1  # overtakes nobody: no waiting login could use this slot
        else:
            await self._wait(neighbourhood(address), self._known if known else self._strangers)
        try:
            return await check()
        finally:
            self._running -= 1
            self._next()

    def _wait(self, here: str, waiting: _Waiting) -> Deferred[None]:
        """A Deferred that fires when it is this login's turn. The login then counts as running."""
        if len(self._known) + len(self._strangers) >= MOST_WAITING:
            self._make_room(here, waiting)
        turn: Deferred[None] = Deferred()
        waiting.add(here, turn)
        return turn

    def _make_room(self, here: str, waiting: _Waiting) -> None:
        """Refuse a waiting login, to make room for one of this address.

        :raises TooManyLogins: no address has more logins waiting than this one.
        """
        self.put_off += 1
        crowd = self._strangers if waiting is self._strangers or len(self._strangers) else self._known
        most = crowd.most()
        if not most or (crowd is waiting and waiting.of(here) >= crowd.of(most)):
            raise TooManyLogins
        crowd.drop_newest(most).errback(TooManyLogins())

    def _next(self) -> None:
        """Start the waiting logins that have room now. A check that needs no time calls this again before it returns;
        that call returns at once, because the loop is still running.
        """
        if self._handing_on:
            return
        self._handing_on = True
        try:
            while turn := self._next_turn():
                if not turn.called:  # cancelled while it waited
                    self._running += 1
                    turn.callback(None)
        finally:
            self._handing_on = False

    def _next_turn(self) -> Deferred[None] | None:
        if len(self._known) and self._running < self._at_once:
            return self._known.next()
        if len(self._strangers) and self._running < self._for_strangers:
            return self._strangers.next()
        return None
