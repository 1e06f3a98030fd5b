"""A STOMP connection as a coroutine sees it: say something, wait for what the server says next."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, DeferredQueue
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from fanout.listeners.certificates import connect_failure, trust
from fanout.listeners.client import StompClient
from fanout.stomp.client import ClientEvent, Connected, ConnectRefused, MessageReceived, Receipted
from fanout.stomp.dialect import VERSIONS
from radiovis.client.arguments import CommandError, printable
from radiovis.client.server_address import ServerAddress, certificate_complaint
from radiovis.client.websocket import WebSocketEndpoint

CONNECT_SECONDS = 10.0
HEARTBEAT = (10_000, 10_000)
_FULL = 256
"""Events nobody has taken yet, above which we read no further; and
:data:`_EMPTY`, at which we go on."""
_EMPTY = 64


class Gone(Exception):
    """The connection is over. The text says why."""


class Conversation:
    """One connection, which :func:`converse` opens.

    :ivar session: say ``session.send(…)`` and so on, then :meth:`flush`.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._events: DeferredQueue[ClientEvent | Gone] = DeferredQueue()
        self._paused = False
        self._gone: Gone | None = None
        self.client = StompClient(reactor, self._put, lambda reason: self._put(Gone(reason)))
        self.session = self.client.session

    def _put(self, event: ClientEvent | Gone) -> None:
        self._events.put(event)
        if not self._paused and len(self._events.pending) > _FULL:
            self._paused = True
            self.client.transport.pauseProducing()

    def flush(self) -> None:
        """Send what was said."""
        self.client.flush()

    def close(self) -> None:
        """Hang up."""
        self.client.close()

    async def heard(self, seconds: float | None = None) -> ClientEvent | None:
        """What the server says next; None when it says nothing for so many seconds.

        :raises Gone: the connection is over.
        """
        if self._gone is not None:
            raise self._gone
        waiting = self._events.get()
        if seconds is not None:
            waiting.addTimeout(max(0.001, seconds), self._reactor)
        try:
            event = await waiting
        except (CancelledError, TookTooLong):
            return None
        if self._paused and len(self._events.pending) < _EMPTY:
            self._paused = False
            self.client.transport.resumeProducing()
        if isinstance(event, Gone):
            self._gone = event
            raise event
        return event

    async def receipt(self, name: str, seconds: float, other: Callable[[MessageReceived], None]) -> Receipted:
        """Wait for a receipt, and give it.

        :param other: gets the messages that come before it.
        :raises CommandError: the server refused, hung up or said nothing.
        """
        try:
            while True:
                event = await self.heard(seconds)
                if event is None:
                    raise CommandError(f"the server has not confirmed it within {seconds:g} s")
                if isinstance(event, ConnectRefused):
                    raise CommandError(f"the server refuses: {words(event)}")
                if isinstance(event, MessageReceived):
                    other(event)
                if isinstance(event, Receipted) and event.receipt == name:
                    return event
        except Gone as gone:
            raise CommandError(f"the server closed the connection: {gone}") from None


async def converse(
    reactor: Any,
    server: ServerAddress,
    *,
    seconds: float = CONNECT_SECONDS,
    versions: tuple[str, ...] = VERSIONS,
) -> tuple[Conversation, Connected]:
    """Connect and log in.

    :param seconds: for each of the two.
    :raises CommandError: it does not work; the text says what does not.
    """
    conversation = Conversation(reactor)
    endpoint = _endpoint(reactor, server, seconds)
    conversation.session.connect(
        server.login, server.passcode, versions=versions, heartbeat=HEARTBEAT, host=server.host
    )
    try:
        await connectProtocol(endpoint, conversation.client)
    except Exception as error:  # noqa: BLE001 - everything from a name that no name may be to a refusal.
        raise CommandError(f"cannot connect to {server}: {printable(connect_failure(error, seconds))}") from None
    try:
        return conversation, await _let_in(conversation, server, seconds)
    except BaseException:
        conversation.close()
        raise


def _endpoint(reactor: Any, server: ServerAddress, seconds: float) -> Any:
    """What reaches the server."""
    endpoint: Any = HostnameEndpoint(reactor, server.host, server.port, timeout=seconds)
    if server.tls:
        endpoint = wrapClientTLS(optionsForClientTLS(server.host, trustRoot=trust(server.ca)), endpoint)
    return WebSocketEndpoint(endpoint, server.authority, server.path) if server.path else endpoint


async def _let_in(conversation: Conversation, server: ServerAddress, seconds: float) -> Connected:
    try:
        event = await conversation.heard(seconds)
    except Gone as gone:
        await _check_certificate(server, seconds)
        port = "; is that a TLS port?" if server.tls else ""
        raise CommandError(f"{server} closed the connection before it let us in: {gone}{port}") from None
    if isinstance(event, Connected):
        return event
    if isinstance(event, ConnectRefused):
        raise CommandError(f"{server} does not let us in: {words(event)}")
    await _check_certificate(server, seconds)  # Twisted says nothing when it is for another host.
    raise CommandError(f"{server} took the connection and said nothing for {seconds:g} s: is that a STOMP port?")


async def _check_certificate(server: ServerAddress, seconds: float) -> None:
    """:raises CommandError: it is the certificate that keeps us out."""
    complaint = await deferToThread(certificate_complaint, server, seconds) if server.tls else None
    if complaint:
        raise CommandError(f"{server}: its certificate cannot be trusted: {complaint}")


def words(refused: ConnectRefused) -> str:
    """An ERROR in one line."""
    summary, detail = printable(refused.summary.strip()), printable(" ".join(refused.detail.split()))
    return summary if not detail or detail == summary else f"{summary} ({detail})" if summary else detail


# Listens to topics for as long as it takes: a connection that is lost is made again.

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Listener:
    """Subscribes to topics, and again after every loss."""

    def __init__(
        self,
        reactor: Any,
        server: ServerAddress,
        topics: Sequence[str],
        heard: Callable[[MessageReceived], None],
        warn: Callable[[str], None],
        *,
        first_pause: float = _FIRST_PAUSE,
    ) -> None:
        """
        :param heard: gets every message.
        :param warn: gets a line when the connection is lost, and when it is there again.
        :param first_pause: seconds before the first attempt to come back; it doubles up to 30 s.
        """
        self._reactor = reactor
        self._server = server
        self._topics = topics
        self._heard = heard
        self._warn = warn
        self._first_pause = first_pause
        self._came = 0

    async def run(self, count: int | None = None, seconds: float | None = None) -> int:
        """Listen until so many messages have come, or so many seconds are over; gives how many came.

        :raises CommandError: the first connection fails, or the server does not want us.
        """
        end = None if seconds is None else self._reactor.seconds() + seconds
        conversation = await self._open()
        while True:
            try:
                await self._hear(conversation, count, end)
            except Gone as gone:
                self._warn(f"{self._server}: connection lost: {gone}; trying again")
            else:
                return self._came
            finally:
                conversation.close()
            again = await self._open_again(end)
            if again is None:
                return self._came
            conversation = again
            self._warn(f"{self._server}: connected again")

    async def _hear(self, conversation: Conversation, count: int | None, end: float | None) -> None:
        """Take what comes, until it is enough or the time is over."""
        while count is None or self._came < count:
            event = await conversation.heard(None if end is None else end - self._reactor.seconds())
            if event is None:
                return
            if isinstance(event, ConnectRefused):
                raise CommandError(f"{self._server} refuses: {words(event)}")
            if isinstance(event, MessageReceived):
                self._came += 1
                self._heard(event)

    async def _open(self) -> Conversation:
        conversation, _ = await converse(self._reactor, self._server)
        for number, topic in enumerate(self._topics):
            conversation.session.subscribe(topic, str(number))
        conversation.flush()
        return conversation

    async def _open_again(self, end: float | None) -> Conversation | None:
        """None when the time is over."""
        pause = self._first_pause
        while True:
            wait = pause * random.uniform(0.5, 1)
            if end is not None and self._reactor.seconds() + wait >= end:
                await deferLater(self._reactor, max(0, end - self._reactor.seconds()))
                return None
            await deferLater(self._reactor, wait)
            try:
                return await self._open()
            except CommandError as error:
                if "does not let us in" in str(error):
                    raise
            pause = min(_LONGEST_PAUSE, pause * 2)
