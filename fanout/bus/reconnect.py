"""Staying connected to a broker: one connection after the other, with growing pauses, until told to stop."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Any, Generic, Protocol, TypeVar

from twisted.application.internet import backoffPolicy
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from fanout.bus.config import RetryPolicy


class Reconnectable(Protocol):
    """What is made anew each time.

    :ivar lost: fires with the reason, in words, when it is gone.
    """

    lost: Deferred[str]

    async def open(self, endpoint: Any) -> None:
        """Connect and make ready. No limit in time. Raises whatever went wrong."""

    def close(self) -> None:
        """Say goodbye, then disconnect; :attr:`lost` fires."""

    def abort(self, error: BaseException) -> Deferred[str]:
        """Disconnect at once. Returns :attr:`lost`, which fires also if there never was a connection."""

    @property
    def refused(self) -> bool:
        """Whether the broker does not let us in: trying again soon will not help."""


C = TypeVar("C", bound=Reconnectable)
Up_contra = TypeVar("Up_contra", bound=Reconnectable, contravariant=True)


class ReconnectingUser(Protocol[Up_contra]):
    """Who uses the connections."""

    def up(self, connection: Up_contra) -> None:
        """This one is open. Must not raise."""

    def down(self) -> None:
        """It is gone, with everything that was on its way. Must not raise."""

    def lost(self, reason: str, retry_in: float) -> None:
        """A connection ended, or could not be made, and why; the next attempt is due in so many seconds."""


class ReconnectingClient(Generic[C]):
    """Connects, and connects again.

    :param reactor: Twisted's.
    :param endpoint: client endpoint of the broker: TCP or TLS.
    :param make: a new connection, not yet open.
    :param chance: a number from 0 to 1 for the jitter.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: Any,
        retry_policy: RetryPolicy,
        make: Callable[[], C],
        user: ReconnectingUser[C],
        chance: Callable[[], float] = random,
    ) -> None:
        self.connection: C | None = None
        self._reactor = reactor
        self._endpoint = endpoint
        self._patience = retry_policy
        self._make = make
        self._user = user
        self._chance = chance
        self._backoff = backoffPolicy(
            retry_policy.first_retry, retry_policy.last_retry, retry_policy.factor, jitter=lambda: 0.0
        )
        self._failures = 0
        self._running: Deferred[None] | None = None
        self._attempt: Deferred[Any] | None = None
        self._stopping = False

    def start(self) -> None:
        """Connect, and stay connected until :meth:`stop`."""
        self._running = Deferred.fromCoroutine(self._stay_connected())

    async def stop(self) -> None:
        """Say goodbye, and wait for the end."""
        self._stopping = True
        if self._attempt is not None:
            self._attempt.cancel()
        if self.connection is not None:
            self.connection.close()
        if self._running is not None:
            await self._running

    def delay(self, failures: int, refused: bool) -> float:
        """Seconds until the next attempt. A wrong password does not get better by asking often."""
        longest = self._patience.last_retry if refused else self._backoff(failures - 1)
        return longest * (0.5 + 0.5 * self._chance())

    @property
    def longest_pause(self) -> float:
        """Seconds within which others that lost the broker when we did try again too: chance may have put their pauses
        one or two attempts apart from ours.
        """
        return self._backoff(self._failures + 1)

    async def _stay_connected(self) -> None:
        while not self._stopping:
            await self._one_connection()

    async def _one_connection(self) -> None:
        """Connect, serve as long as it lasts, and wait until the next attempt is due."""
        connection = self._make()
        began = self._reactor.seconds()
        reason = await self._use(connection)
        if self._stopping:
            return
        # One that falls again at once, such as by a message the broker chokes on, is a failure like any other.
        lasted = self._reactor.seconds() - began > self._patience.last_retry
        self._failures = 1 if lasted and not connection.refused else self._failures + 1
        delay = self.delay(self._failures, connection.refused)
        self._user.lost(reason, delay)
        await self._interruptible(deferLater(self._reactor, delay))

    async def _use(self, connection: C) -> str:
        """Connect and serve; returns why it ended."""
        opening = Deferred.fromCoroutine(connection.open(self._endpoint))
        error = await self._interruptible(opening.addTimeout(self._patience.connect, self._reactor))
        if isinstance(error, defer.TimeoutError):
            error = TimeoutError(f"no answer within {self._patience.connect:g} s")
        if error is not None:
            return await connection.abort(error)
        self.connection = connection
        if self._stopping:
            connection.close()
        else:
            self._user.up(connection)
        reason = await connection.lost
        self.connection = None
        self._user.down()
        return reason

    async def _interruptible(self, step: Deferred[Any]) -> Exception | None:
        """Wait for a step that :meth:`stop` may cancel. Returns what it failed with: all of that means "try again"."""
        self._attempt = step
        try:
            await step
        except Exception as error:  # noqa: BLE001  Whatever it is, the cure is the same; the caller logs it.
            return error
        finally:
            self._attempt = None
        return None
