"""A STOMP client on Twisted: for demonstrations, probes and measurements against any server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import protocol
from twisted.internet.interfaces import IReactorTime
from twisted.internet.tcp import Client
from twisted.python.failure import Failure

from fanout.listeners.certificates import openssl_reason
from fanout.stomp.client import ClientEvent, ClientSession
from fanout.stomp.errors import RemoteProtocolError


class StompClient(protocol.Protocol):
    """One connection. After a command of :attr:`session`, call :meth:`flush`.

    :ivar session: the sans-IO session: say ``session.connect(…)`` and so on.
    """

    transport: Client

    def __init__(
        self, reactor: IReactorTime, heard: Callable[[ClientEvent], None], lost: Callable[[str], None]
    ) -> None:
        """
        :param heard: gets everything the server says.
        :param lost: told once, with the reason in words, that the connection is over.
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
        """Send what the session has to say, and see that heart-beats go out in time."""
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
            self._end("the server has fallen silent")
        else:
            self.flush()

    def _end(self, reason: str) -> None:
        lost, self._lost = self._lost, lambda _: None
        self.transport.abortConnection()
        lost(reason)

    def close(self) -> None:
        """Close at once; ``lost`` is not told."""
        self._lost = lambda _: None
        if self.connected:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.connected = 0
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._lost(openssl_reason(reason.value) if reason.value else "")
