"""The server under test: opens connections for a check, logged in or not, and closes them."""

from __future__ import annotations

import secrets

from radiovis.client.server_address import ServerAddress
from radiovis.client.sockets import open_socket
from radiovis.conformance.raw_client import CheckFailed, RawClient

SECONDS = 5.0


class CheckSkipped(Exception):
    """A check cannot be made. The text says what is missing."""


class Subject:
    """Opens connections to the server, and closes them all after each check.

    :ivar server: where it is, and the login to publish with, if there is one.
    :ivar host: for the ``host`` header.
    :ivar any_frequency: an FM channel with * for its frequency, which the login may publish to; empty if there is none.
    """

    def __init__(
        self,
        server: ServerAddress,
        channel: str,
        seconds: float = SECONDS,
        host: str = "",
        any_frequency: str = "",
    ) -> None:
        """
        :param channel: a topic prefix the login may publish to; its last character separates the parts.
        :param seconds: how long to wait for a frame.
        :param host: the virtual host; empty for the server's name.
        :param any_frequency: as the attribute.
        """
        self.server = server
        self.host = host or server.host
        self.any_frequency = any_frequency
        self._channel = channel
        self._seconds = seconds
        self._clients: list[RawClient] = []

    def topic(self, last: str = "image") -> str:
        """A topic that was never used."""
        separator = self._channel[-1]
        return f"{self._channel}check-{secrets.token_hex(6)}{separator}{last}"

    def connect(self) -> RawClient:
        """A connection on which nothing was sent yet. :raises OSError: it cannot be opened."""
        client = RawClient(open_socket(self.server, self._seconds), self._seconds)
        self._clients.append(client)
        return client

    def radio(self, version: str = "1.0", *headers: str) -> RawClient:
        """A subscriber that has logged in, anonymously unless the server wants a login."""
        client = self.connect()
        self._connect(client, version, *headers)
        try:
            client.expect("CONNECTED")
        except CheckFailed:
            if not self.server.login:
                raise
            return self.station(version, *headers)
        return client

    def station(self, version: str = "1.2", *headers: str) -> RawClient:
        """A publisher that has logged in. :raises CheckSkipped: no login was given."""
        client = self.connect()
        self._connect(client, version, *self.credentials(), *headers)
        client.expect("CONNECTED")
        return client

    def credentials(self) -> tuple[str, str]:
        """The headers to log in with. :raises CheckSkipped: no login was given."""
        if not self.server.login:
            raise CheckSkipped("needs a login that may publish: stomp://login:passcode@host:port")
        return f"login:{self.server.login}", f"passcode:{self.server.passcode}"

    def _connect(self, client: RawClient, version: str, *headers: str) -> None:
        offered = () if version == "1.0" else (f"accept-version:{version}", f"host:{self.host}")
        client.say(" ".join(("CONNECT", *offered, *headers)))
        client.speak(version)

    def close_all(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()
        self._clients.clear()
