"""The address of a server: ``stomp://[login:passcode@]host[:port]``; ``stomps://`` for TLS, ``ws://``, ``wss://``."""

from __future__ import annotations

import argparse
import dataclasses
import os
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from fanout.listeners.tls import CertificateError, trust
from radiovis.client.command_line import WRONG, CommandError

VARIABLE = "RADIOVIS_SERVER"
"""The environment variable for the flag, because other users of the machine can read a passcode on a command line."""
FORM = "stomp://[login:passcode@]host[:port]"
_PORTS = {"stomp": 61613, "stomps": 61614, "ws": 80, "wss": 443}
_PATH = "/stomp"  # The path of a node's WebSockets.
_LOCAL = "stomp://127.0.0.1"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The address of a server, the transport, and the login; an empty login connects without one.

    :ivar path: path of the WebSocket that carries STOMP; empty for plain TCP or TLS.
    :ivar ca: a PEM file with the authority of the server's certificate; empty for the authorities of this system.
    """

    host: str
    port: int
    login: str = ""
    passcode: str = field(default="", repr=False)
    tls: bool = False
    path: str = ""
    ca: str = ""

    def __str__(self) -> str:
        return self.authority + self.path

    @property
    def authority(self) -> str:
        """Host and port, as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Parse ``scheme://[login:passcode@]host[:port][/path]`` or ``host[:port]``; only WebSockets have a path.

        :raises ValueError: the text has another form. The error does not repeat the text, because it may contain a
            passcode.
        """
        parts = urlsplit(text if "://" in text else f"stomp://{text}")
        webbed = parts.scheme in ("ws", "wss")
        path = "" if parts.path == "/" else parts.path
        if parts.scheme not in _PORTS or not parts.hostname or (path and not webbed):
            raise ValueError(f"a server is given as {FORM}, or with stomps://, ws:// or wss://")
        try:
            port = parts.port or _PORTS[parts.scheme]
        except ValueError:
            raise ValueError("the port of a server is a number up to 65535") from None
        login, passcode = unquote(parts.username or ""), unquote(parts.password or "")
        tls = parts.scheme in ("stomps", "wss")
        return cls(parts.hostname, port, login, passcode, tls, (path or _PATH) if webbed else "")


def address(text: str) -> ServerAddress:
    """:meth:`ServerAddress.parse` in the form that argparse needs."""
    try:
        return ServerAddress.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_server_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--server`` and ``--ca``; :func:`given_server` reads them."""
    parser.add_argument(
        "--server",
        type=address,
        metavar="URL",
        default=os.environ.get(VARIABLE) or _LOCAL,
        help=f"the server: {FORM}, or with stomps:// for TLS, ws:// or wss:// (default: ${VARIABLE}, or {_LOCAL})",
    )
    add_ca_flag(parser)


def add_ca_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--ca``."""
    parser.add_argument(
        "--ca", default="", metavar="FILE", help="a PEM file with the authority of the server's certificate (TLS)"
    )


def given_server(given: argparse.Namespace) -> ServerAddress:
    """The server of ``--server`` and ``--ca``.

    :raises CommandError: the file cannot be used.
    """
    server: ServerAddress = dataclasses.replace(given.server, ca=given.ca)
    try:
        trust(server.ca)
    except CertificateError as error:
        raise CommandError(f"--ca: {error}", WRONG) from None
    return server
