"""The STOMP client of the commands: over TCP, TLS or a WebSocket, on Twisted.

:class:`StompClient` is the protocol, which calls back. A coroutine uses :class:`Conversation`: it calls a method of the
session, flushes, and waits for the next event. :func:`converse` opens one and logs in. :func:`run_reactor` runs one
coroutine on Twisted's reactor, for commands that end. Every failure is a :class:`CommandError` with one line for
people, so a command needs no error handling of its own. The rules of STOMP are in the sans-IO session of
``fanout/stomp/client.py``; this file only contains the transports.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import protocol
from twisted.internet.defer import CancelledError, Deferred, DeferredQueue
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IReactorTime
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.tcp import Client
from twisted.internet.threads import deferToThread
from twisted.python import log as twisted_log
from twisted.python.failure import Failure

from fanout.listeners.tls import connect_failure, openssl_reason, trust
from fanout.stomp.client import ClientEvent, ClientSession, Connected, ConnectRefused, Receipted
from fanout.stomp.codec import RemoteProtocolError
from fanout.stomp.dialect import VERSIONS
from radiovis.client.command_line import CommandError, printable
from radiovis.client.server_address import ServerAddress
from radiovis.client.sockets import certificate_complaint
from radiovis.client.websocket import WebSocketEndpoint

CONNECT_SECONDS = 10.0
HEARTBEAT = (10_000, 10_000)
_FULL = 256
"""Waiting events above which the client stops reading. It continues at :data:`_EMPTY`."""
_EMPTY = 64


class StompClient(protocol.Protocol):
    """One connection. After a command of :attr:`session`, call :meth:`flush`.

    :ivar session: the sans-IO session: ``session.connect(…)`` and so on.
    """

    transport: Client

    def __init__(
        self, reactor: IReactorTime, heard: Callable[[ClientEvent], None], lost: Callable[[str], None]
    ) -> None:
        """
        :param reactor: Twisted's reactor.
        :param heard: called with each event from the server.
        :param lost: called once when the connection is closed, with the reason in words.
        """
        self.session = ClientSession(reactor.seconds())
        self._reactor = reactor
        self._heard = heard
        self._lost = lost
        self._look: Any = None

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        self.session.receive_data(data, self._reactor.seconds())
        try:
            while (event := self.session.next_event()) is not None:
                self._heard(event)
        except RemoteProtocolError as error:
            self._end(f"the server broke the protocol: {error.detail}")
            return
        self.flush()

    def flush(self) -> None:
        """Send the waiting octets of the session, and schedule its heart-beats."""
        if self.transport is None or not self.connected:
            return
        now = self._reactor.seconds()
        data = self.session.data_to_send(now)
        if data:
            self.transport.write(data)
        self._look_later(now)

    def _look_later(self, now: float) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        when = self.session.next_look()
        if when is not None and not self.session.closed:
            self._look = self._reactor.callLater(max(0.01, when - now), self._looked)

    def _looked(self) -> None:
        self._look = None
        if self.session.overdue(self._reactor.seconds()):
            self._end("the server sends nothing any more, not even heart-beats")
        else:
            self.flush()

    def _end(self, reason: str) -> None:
        lost, self._lost = self._lost, lambda _: None
        self.transport.abortConnection()
        lost(reason)

    def close(self) -> None:
        """Close at once. ``lost`` is not called."""
        self._lost = lambda _: None
        if self.connected:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.connected = 0
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._lost(openssl_reason(reason.value) if reason.value else "")


class ConversationEnded(Exception):
    """The connection is closed. The text says why."""


class ConnectRejected(CommandError):
    """The server answered CONNECT with an ERROR. Another attempt would fail in the same way."""


class Conversation:
    """One connection, which :func:`converse` opens.

    :ivar session: call ``session.send(…)`` and so on, then :meth:`flush`.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._events: DeferredQueue[ClientEvent | ConversationEnded] = DeferredQueue()
        self._paused = False
        self._ended: ConversationEnded | None = None
        self.client = StompClient(reactor, self._put, lambda reason: self._put(ConversationEnded(reason)))
        self.session = self.client.session

    def _put(self, event: ClientEvent | ConversationEnded) -> None:
        self._events.put(event)
        if not self._paused and len(self._events.pending) > _FULL:
            self._paused = True
            self.client.transport.pauseProducing()

    def flush(self) -> None:
        """Send the waiting octets of the session."""
        self.client.flush()

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    async def next_event(self, seconds: float | None = None) -> ClientEvent | None:
        """Wait for the next event from the server.

        :param seconds: how long to wait; None for no limit.
        :return: None if there was no event in that time.
        :raises ConversationEnded: the connection is closed.
        """
        if self._ended is not None:
            raise self._ended
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
        if isinstance(event, ConversationEnded):
            self._ended = event
            raise event
        return event

    async def receipt(self, name: str, seconds: float) -> Receipted:
        """Wait for a receipt. Messages that arrive before it are dropped.

        :param name: id of the receipt.
        :param seconds: how long to wait for each event.
        :raises CommandError: the server refuses, closes the connection or sends nothing.
        """
        try:
            while True:
                event = await self.next_event(seconds)
                if event is None:
                    raise CommandError(f"the server did not confirm it within {seconds:g} s")
                if isinstance(event, ConnectRefused):
                    raise CommandError(f"the server refuses: {error_text(event)}")
                if isinstance(event, Receipted) and event.receipt == name:
                    return event
        except ConversationEnded as ended:
            raise CommandError(f"the server closed the connection: {ended}") from None


async def converse(
    reactor: Any,
    server: ServerAddress,
    *,
    seconds: float = CONNECT_SECONDS,
    versions: tuple[str, ...] = VERSIONS,
    found_at: str = "",
) -> tuple[Conversation, Connected]:
    """Connect and log in.

    :param seconds: time limit of each of the two steps.
    :param versions: the versions of STOMP to offer.
    :param found_at: the address of the server's host, if it is known; empty to ask this machine's resolver.
    :raises ConnectRejected: the server refuses the login.
    :raises CommandError: another failure; the text says which.
    """
    conversation = Conversation(reactor)
    endpoint = _endpoint(reactor, server, found_at or server.host, seconds)
    conversation.session.connect(
        server.login, server.passcode, versions=versions, heartbeat=HEARTBEAT, host=server.host
    )
    try:
        await connectProtocol(endpoint, conversation.client)
    except Exception as error:  # noqa: BLE001 - many kinds, from an invalid name to a refusal.
        place = f"{server} at {found_at}" if found_at else str(server)
        raise CommandError(f"cannot connect to {place}: {printable(connect_failure(error, seconds))}") from None
    try:
        return conversation, await _connected(conversation, server, seconds)
    except BaseException:
        conversation.close()
        raise


def _endpoint(reactor: Any, server: ServerAddress, host: str, seconds: float) -> Any:
    endpoint: Any = HostnameEndpoint(reactor, host, server.port, timeout=seconds)
    if server.tls:
        endpoint = wrapClientTLS(optionsForClientTLS(server.host, trustRoot=trust(server.ca)), endpoint)
    return WebSocketEndpoint(endpoint, server.authority, server.path) if server.path else endpoint


async def _connected(conversation: Conversation, server: ServerAddress, seconds: float) -> Connected:
    try:
        event = await conversation.next_event(seconds)
    except ConversationEnded as ended:
        await _check_certificate(server, seconds)
        port = "; is this a TLS port?" if server.tls else ""
        raise CommandError(f"{server} closed the connection before it answered CONNECT: {ended}{port}") from None
    if isinstance(event, Connected):
        return event
    if isinstance(event, ConnectRefused):
        raise ConnectRejected(f"{server} refuses {_who(server)}: {error_text(event)}")
    await _check_certificate(server, seconds)  # Twisted reports nothing if the certificate is for another host.
    raise CommandError(f"{server} accepted the connection and sent nothing for {seconds:g} s; is this a STOMP port?")


def _who(server: ServerAddress) -> str:
    return f"the login {server.login}" if server.login else "a connection without a login"


async def _check_certificate(server: ServerAddress, seconds: float) -> None:
    """:raises CommandError: the certificate is the reason."""
    complaint = await deferToThread(certificate_complaint, server, seconds) if server.tls else None
    if complaint:
        raise CommandError(f"{server}: its certificate is not trusted: {complaint}")


def error_text(refused: ConnectRefused) -> str:
    """An ERROR in one line."""
    summary, detail = printable(refused.summary.strip()), printable(" ".join(refused.detail.split()))
    detail = detail.removeprefix(summary).strip()  # many servers begin the body with the header "message"
    return f"{summary} ({detail})" if summary and detail else summary or detail


Main = Callable[[Any], Coroutine[Any, Any, int]]


def run_reactor(main: Main) -> int:
    """Start the reactor, run ``main(reactor)``, stop the reactor. A process can call it once.

    :return: the result of ``main``.
    :raises Exception: the error of ``main``; ``KeyboardInterrupt`` after Ctrl-C.
    """
    from twisted.internet import reactor  # noqa: PLC0415  (importing it installs it)

    results: list[int | Failure] = []
    twisted_log.startLoggingWithObserver(lambda _: None, setStdout=False)  # stderr is for the command's own lines.

    def begin() -> None:
        done = Deferred.fromCoroutine(main(reactor))
        done.addBoth(results.append)
        done.addBoth(lambda _: reactor.stop() if reactor.running else None)

    reactor.callWhenRunning(begin)
    reactor.run()
    if not results:
        raise KeyboardInterrupt
    if isinstance(results[0], Failure):
        results[0].raiseException()
    assert isinstance(results[0], int)
    return results[0]
