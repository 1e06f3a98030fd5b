"""Clients that guess passwords have to wait; all others do not.

Two guessers are to be stopped. One tries many passwords, or many names, from one address: beyond some failures its
logins are spaced out, one a second, and refused when too many wait. The other has a thousand addresses and tries one
name from all of them: beyond some failures of a name, each stranger to it waits some seconds, and has few tries at a
time.

An attacker cannot lock the owner of an account out with that. A name is never closed: the right password gets in after
a wait, however many failures there are, because strangers do not wait for each other. And an address that has logged in
with this name before is no stranger, and does not wait at all. What it costs: a thousand addresses still have a few
hundred guesses a second together, so passwords have to be long, and the application should bind accounts to networks.

Behind that, :class:`LoginQueue` shares out the work of checking passwords, which costs the server much more than the
client. An attacker with a thousand addresses can ask for more checks than a node can make. So each address has its turn
in a round, and logins from addresses that have logged in with the same name before go first.

An address is one of IPv4, or a /64 of IPv6.
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
MOST_WAITING = 1_000
"""Logins that wait for their check, of all addresses together. Ten times as many as the publishers of a large cluster
that return at the same moment; two processors check them in 25 s, and they take 2 MB."""
RESERVED = 4
"""One of so many checks at a time is kept for addresses that are known. Answers of a slow directory take seconds, and
strangers would otherwise have all of them."""

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


class TooManyLogins(Refused):
    """So many logins wait for their check that this one is not taken."""

    def __init__(self) -> None:
        detail = "More logins wait than can be checked now; try again in a minute."
        super().__init__("Too many logins", detail, temporary=True)


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

    A success does not clear an address: the owner of one account could guess those of others in between. But a name
    that has logged in from an address has failures of its own there: guesses at other names from the same address, such
    as behind the same NAT, do not delay it.

    :ivar settings: LOGIN_FAILURES; a new value counts at once.
    :ivar put_off: logins that were refused because their address had to wait too long.
    """

    def __init__(
        self, reactor: Any, settings: LoginSettings | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        """:param clock: seconds, monotonic; the reactor's unless given."""
        self.settings = settings or LoginSettings()
        self.put_off = 0
        self._reactor = reactor
        self._clock: Callable[[], float] = clock or reactor.seconds
        self._addresses, self._names, self._pairs = _Failed(), _Failed(), _Failed()
        # Names of any length are remembered by their hashes; those of strings are keyed (PEP 456).
        self._friends: BoundedDict[tuple[str, int], None] = BoundedDict(_REMEMBERED)
        self._strangers: BoundedDict[tuple[str, int], float] = BoundedDict(_REMEMBERED)  # when their next try may be

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
        """Failures before this time are forgotten."""
        return now - FORGET_SECONDS

    def _failures_of(self, here: str, login: str) -> tuple[_Failed, Hashable]:
        """Where a failure of this login counts, and as whose."""
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
        """Each stranger waits by itself: a queue of them all would be a way to keep the owner out."""
        now = self._clock()
        pair = (here, hash(login))
        if pair in self._friends or self._names.beyond(hash(login), FAILURES_PER_NAME, self._since(now)) is None:
            return 0.0
        turn = max(now, self._strangers.get(pair, 0.0)) + STRANGER_SECONDS
        if turn - now <= QUEUE_SECONDS:
            self._strangers[pair] = turn
        return turn - now

    def failed(self, address: str, login: str) -> None:
        """This login had the wrong password."""
        now = self._clock()
        failed, key = self._failures_of(neighbourhood(address), login)
        known = failed.add(key, now, self._since(now))
        known.next_turn = max(known.next_turn, now + PAUSE_SECONDS)
        self._names.add(hash(login), now, self._since(now))

    def succeeded(self, address: str, login: str) -> None:
        """It had the right one: from here it is no stranger."""
        self._friends[neighbourhood(address), hash(login)] = None


class _Waiting:
    """The logins that wait, an address in each turn: an address with many logins delays its own, and no other's."""

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
        """The one whose turn it is; its address goes to the end of the round."""
        here, turns = self._of.popitem(last=False)
        turn = turns.popleft()
        if turns:
            self._of[here] = turns
        self.total -= 1
        return turn

    def most(self) -> str:
        """The address that has most of them; empty if there are none."""
        return max(self._of, key=self.of, default="")

    def drop_newest(self, here: str) -> Deferred[None]:
        """The latest one of this address, which is taken out."""
        turns = self._of[here]
        turn = turns.pop()
        if not turns:
            del self._of[here]
        self.total -= 1
        return turn


class LoginQueue:
    """Lets a limited number of logins be checked at a time. The others wait, and none for another one's address.

    Where no more may wait, the address that has most of them loses its latest one; strangers lose before those known.

    :ivar put_off: logins that were refused because too many waited.
    """

    def __init__(self, at_once: int, knows: Callable[[str, str], bool] | None = None) -> None:
        """
        :param at_once: checks at the same time.
        :param knows: whether an address has logged in with a name before, such as :meth:`LoginThrottle.knows`; without
            it all are strangers.
        """
        self.put_off = 0
        self._at_once = at_once
        self._for_strangers = at_once - at_once // RESERVED
        self._knows = knows
        self._known, self._strangers = _Waiting(), _Waiting()
        self._running = 0
        self._handing_on = False

    def waiting(self) -> dict[str, int]:
        """How many wait for their turn, of each kind."""
        return {"known": len(self._known), "stranger": len(self._strangers)}

    async def run(self, address: str, login: str, check: Callable[[], Awaitable[T]]) -> T:
        """Check a login when it is its turn.

        :param check: does so.
        :raises TooManyLogins: too many wait.
        """
        known = self._knows is not None and self._knows(address, login)
        if self._running < (self._at_once if known else self._for_strangers):
            self._running += 1  # without overtaking: nothing waits that could have had this place
        else:
            await self._wait(neighbourhood(address), self._known if known else self._strangers)
        try:
            return await check()
        finally:
            self._running -= 1
            self._next()

    def _wait(self, here: str, waiting: _Waiting) -> Deferred[None]:
        """Fires when it is this login's turn, which then counts as running."""
        if len(self._known) + len(self._strangers) >= MOST_WAITING:
            self._make_room(here, waiting)
        turn: Deferred[None] = Deferred()
        waiting.add(here, turn)
        return turn

    def _make_room(self, here: str, waiting: _Waiting) -> None:
        """:raises TooManyLogins: nobody has more logins waiting than this address."""
        self.put_off += 1
        crowd = self._strangers if waiting is self._strangers or len(self._strangers) else self._known
        most = crowd.most()
        if not most or (crowd is waiting and waiting.of(here) >= crowd.of(most)):
            raise TooManyLogins
        crowd.drop_newest(most).errback(TooManyLogins())

    def _next(self) -> None:
        """Let those go on that have room now. One that needs no time comes back here before it returns, and finds that
        the loop goes on.
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
