"""The server a command talks to: ``stomp://[login:passcode@]host[:port]``, or ``stomps://`` for TLS."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

VARIABLE = "RADIOVIS_SERVER"
"""In the environment, instead of the flag: other users of a machine can read command lines, and so passcodes."""
PORT, TLS_PORT = 61613, 61614
_LOCAL = "stomp://127.0.0.1"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where to connect, and as whom; no login is a listener without a name."""

    host: str
    port: int
    login: str = ""
    passcode: str = field(default="", repr=False)
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Read ``stomp://[login:passcode@]host[:port]`` or ``host[:port]``.

        :raises ValueError: it is neither; the text does not repeat it, as there may be a passcode in it.
        """
        parts = urlsplit(text if "://" in text else f"stomp://{text}")
        if parts.scheme not in ("stomp", "stomps") or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError("a server is given as stomp://[login:passcode@]host[:port]")
        tls = parts.scheme == "stomps"
        try:
            port = parts.port or (TLS_PORT if tls else PORT)
        except ValueError:
            raise ValueError("a server's port is a number up to 65535") from None
        login, passcode = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname, port, login, passcode, tls)


def address(text: str) -> ServerAddress:
    """:meth:`ServerAddress.parse` as argparse wants it."""
    try:
        return ServerAddress.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_server_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--server``."""
    parser.add_argument(
        "--server",
        type=address,
        metavar="URL",
        default=os.environ.get(VARIABLE) or _LOCAL,
        help=f"stomp://[login:passcode@]host[:port] (default: ${VARIABLE}, or {_LOCAL})",
    )
