"""STOMP in the messages of a WebSocket, from the client's side; without any networking, over wsproto."""

from __future__ import annotations

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError

SUBPROTOCOLS = ["v12.stomp", "v11.stomp", "v10.stomp"]


class NoWebSocket(ConnectionError):
    """The server does not make a WebSocket of the connection, or broke its rules. The text says how."""


class ClientWebSocket:
    """One connection.

    :ivar open: whether the server has agreed.
    :ivar ended: whether it has said goodbye.
    """

    def __init__(self, host: str, path: str) -> None:
        """:param host: for the Host header, with the port."""
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._request = Request(host=host, target=path, subprotocols=SUBPROTOCOLS)
        self._answer = b""
        self.open = False
        self.ended = False

    def hello(self) -> bytes:
        """What to send first."""
        return self._connection.send(self._request)

    def wrapped(self, octets: bytes) -> bytes:
        """Octets of STOMP as they travel: in a text message, as browsers send them, unless they are no UTF-8."""
        try:
            return self._connection.send(TextMessage(octets.decode()))
        except UnicodeDecodeError:
            return self._connection.send(BytesMessage(octets))

    def receive(self, data: bytes) -> list[bytes]:
        """The octets of STOMP in what came, piece by piece; :meth:`answer` may have to be sent then.

        :raises NoWebSocket: the server does not want to, or is none.
        """
        found: list[bytes] = []
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                found += self._heard(event)
        except ProtocolError as error:
            raise NoWebSocket(f"what it sent is no WebSocket: {error}") from None
        return found

    def _heard(self, event: object) -> list[bytes]:
        if isinstance(event, TextMessage):
            return [event.data.encode()]
        if isinstance(event, BytesMessage):
            return [bytes(event.data)]
        if isinstance(event, AcceptConnection):
            self.open = True
        elif isinstance(event, Ping):
            self._answer += self._connection.send(event.response())
        elif isinstance(event, CloseConnection):
            self.ended = True
        elif isinstance(event, RejectConnection):
            raise NoWebSocket(f"it opens no WebSocket there: HTTP {event.status_code}")
        return []

    def answer(self) -> bytes:
        """What has to be sent because of what came."""
        answer, self._answer = self._answer, b""
        return answer
