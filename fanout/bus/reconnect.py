"""Stays connected to a broker: opens one connection after another, with growing pauses, until it is stopped.

If a broker has several hosts (:class:`~fanout.bus.broker_settings.BrokerHosts`), each attempt goes to the next host,
whatever the reason why the last connection ended or could not be made. So a client also leaves a host that is cut off
from the others and does not answer declarations any more. Only the pauses limit the number of attempts; they are short
at first and grow, as with one host.

Twisted's ``ClientService`` is not sufficient: for it a connection is open as soon as the socket is connected, but here
it is open only after the login and the declarations, and a refused login must slow down the attempts.

:class:`ReconnectingClient` opens a :class:`Reconnectable` again and again, and reports to a :class:`ReconnectingUser`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Any, Generic, Protocol, TypeVar

import structlog
from twisted.application.internet import backoffPolicy
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from fanout.bus.broker_settings import BrokerHosts, RetryPolicy

log = structlog.get_logger()


class Reconnectable(Protocol):
    """A connection, or several connections that are opened and closed together.

    :ivar lost: fires with the reason, as text for people, when the connection is closed.
    """

    lost: Deferred[str]

    async def open(self, endpoint: Any) -> None:
        """Connect and make the connection ready. This has no time limit, and raises the error of the step that
        failed.
        """

    def close(self) -> None:
        """Close the connection with the protocol's closing handshake, then disconnect. :attr:`lost` fires
        afterwards.
        """

    def abort(self, error: BaseException) -> Deferred[str]:
        """Disconnect at once. Returns :attr:`lost`, which fires even if the connection was never established."""

    @property
    def refused(self) -> bool:
        """Whether the broker refuses our login. If so, an immediate retry does not help."""


C = TypeVar("C", bound=Reconnectable)
Up_contra = TypeVar("Up_contra", bound=Reconnectable, contravariant=True)


class ReconnectingUser(Protocol[Up_contra]):
    """The interface to which a :class:`ReconnectingClient` reports."""

    def up(self, connection: Up_contra) -> None:
        """This connection is open. Must not raise."""

    def down(self) -> None:
        """The connection is lost, and its unconfirmed publishes with it. Must not raise. Also called when the client is
        stopped.
        """

    def lost(self, reason: str, retry_in: float) -> None:
        """A connection ended or could not be made.

        :param reason: why, as text for people.
        :param retry_in: seconds until the next attempt.
        """


class ReconnectingClient(Generic[C]):
    """Connects, and reconnects when the connection is lost.

    :ivar connection: the open connection; None while there is none.
    :param reactor: Twisted's reactor.
    :param endpoint: :class:`~fanout.bus.broker_settings.BrokerHosts`, whose names begin the reasons in
        :meth:`ReconnectingUser.lost`; or a client endpoint without a name.
    :param make: returns a new connection that is not open yet.
    :param user: gets the reports.
    :param chance: returns a random number from 0 to 1, for the jitter.
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
        self._hosts = endpoint.endpoints if isinstance(endpoint, BrokerHosts) else (("", endpoint),)
        self._attempts = 0
        self._policy = retry_policy
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
        """Close the connection, and wait until it is closed."""
        self._stopping = True
        if self._attempt is not None:
            self._attempt.cancel()
        if self.connection is not None:
            self.connection.close()
        if self._running is not None:
            await self._running

    def delay(self, failures: int, refused: bool) -> float:
        """Seconds until the next attempt. After a refused login it is the longest pause."""
        longest = self._policy.last_retry if refused else self._backoff(failures - 1)
        return longest * (0.5 + 0.5 * self._chance())

    @property
    def longest_pause(self) -> float:
        """Seconds within which other nodes that lost the broker at the same time have tried to reconnect. Because of
        the jitter they may be one or two attempts apart from this node.
        """
        return self._backoff(self._failures + 1)

    async def _stay_connected(self) -> None:
        while not self._stopping:
            await self._one_connection()

    async def _one_connection(self) -> None:
        """Connect, stay connected as long as possible, and wait until the next attempt is due."""
        connection = self._make()
        began = self._reactor.seconds()
        host, endpoint = self._hosts[self._attempts % len(self._hosts)]
        self._attempts += 1
        reason = await self._use(connection, host, endpoint)
        if self._stopping:
            return
        # A connection that is lost again at once, such as by a message the broker cannot handle, counts as a failed
        # attempt.
        lasted = self._reactor.seconds() - began > self._policy.last_retry
        self._failures = 1 if lasted and not connection.refused else self._failures + 1
        delay = self.delay(self._failures, connection.refused)
        self._user.lost(f"{host}: {reason}" if host else reason, delay)
        await self._interruptible(deferLater(self._reactor, delay))

    async def _use(self, connection: C, host: str, endpoint: Any) -> str:
        """Connect, and wait until the connection ends. Returns the reason why it ended."""
        opening = Deferred.fromCoroutine(connection.open(endpoint))
        error = await self._interruptible(opening.addTimeout(self._policy.connect, self._reactor))
        if isinstance(error, defer.TimeoutError):
            error = TimeoutError(f"no answer within {self._policy.connect:g} s")
        if error is not None:
            return await connection.abort(error)
        self.connection = connection
        if len(self._hosts) > 1:
            log.info("broker.host", host=host)
        if self._stopping:
            connection.close()
        else:
            self._user.up(connection)
        reason = await connection.lost
        self.connection = None
        self._user.down()
        return reason

    async def _interruptible(self, step: Deferred[Any]) -> Exception | None:
        """Wait for a step that :meth:`stop` may cancel. Returns the step's error: every error means "try again"."""
        self._attempt = step
        try:
            await step
        except Exception as error:  # noqa: BLE001 The next step is always the same; the caller logs it.
            return error
        finally:
            self._attempt = None
        return None
