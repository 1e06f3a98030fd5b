"""The server under test."""

from __future__ import annotations

import secrets
import socket
import ssl

from radiovis.client.server_address import ServerAddress
from radiovis.conformance.message_socket import MessageSocket
from radiovis.conformance.wire import Connection, Failed, Wire

SECONDS = 5.0


class Skipped(Exception):
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
        :param channel: a topic prefix the login may publish to; what it ends with separates its parts.
        :param seconds: how long to wait for a frame.
        :param host: the virtual host; empty for the server's name.
        :param any_frequency: see there.
        """
        self.server = server
        self.host = host or server.host
        self.any_frequency = any_frequency
        self._channel = channel
        self._seconds = seconds
        self._wires: list[Wire] = []
        self._tls = ssl.create_default_context(cafile=server.ca or None) if server.tls else None

    def topic(self, last: str = "image") -> str:
        """A topic nobody has ever used."""
        separator = self._channel[-1]
        return f"{self._channel}check-{secrets.token_hex(6)}{separator}{last}"

    def wire(self) -> Wire:
        """A connection on which nothing was said yet. :raises OSError: there is none to be had."""
        connection = socket.create_connection((self.server.host, self.server.port), self._seconds)
        try:
            wire = Wire(self._dressed(connection), self._seconds)
        except BaseException:
            connection.close()
            raise
        self._wires.append(wire)
        return wire

    def _dressed(self, connection: socket.socket) -> Connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_hostname=self.server.host)
        if not self.server.path:
            return connection
        return MessageSocket(connection, self.server.authority, self.server.path)

    def radio(self, version: str = "1.0", *headers: str) -> Wire:
        """A listener that was let in. Uses the login if the server lets nobody in without one."""
        wire = self.wire()
        self._connect(wire, version, *headers)
        try:
            wire.expect("CONNECTED")
        except Failed:
            if not self.server.login:
                raise
            return self.station(version, *headers)
        return wire

    def station(self, version: str = "1.2", *headers: str) -> Wire:
        """A publisher that was let in. :raises Skipped: no login was given."""
        wire = self.wire()
        self._connect(wire, version, *self.credentials(), *headers)
        wire.expect("CONNECTED")
        return wire

    def credentials(self) -> tuple[str, str]:
        """The headers to log in with. :raises Skipped: no login was given."""
        if not self.server.login:
            raise Skipped("needs a login that may publish: stomp://login:passcode@host:port")
        return f"login:{self.server.login}", f"passcode:{self.server.passcode}"

    def _connect(self, wire: Wire, version: str, *headers: str) -> None:
        offered = () if version == "1.0" else (f"accept-version:{version}", f"host:{self.host}")
        wire.say(" ".join(("CONNECT", *offered, *headers)))
        wire.speak(version)

    def hang_up(self) -> None:
        """Close what is open."""
        for wire in self._wires:
            wire.close()
        self._wires.clear()
