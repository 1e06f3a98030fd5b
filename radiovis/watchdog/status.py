"""The state of the daemon, over a Unix socket: each connection gets one JSON document and is closed.

:class:`StatusSocket` is the daemon's end. :func:`ask` is the other end, and :func:`running_daemons` finds the sockets.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol

log = structlog.get_logger(__name__)

Report = dict[str, Any]

ANSWER_SECONDS = 5.0
"""Seconds without an answer after which a daemon counts as frozen or overloaded."""
MODE = 0o660
"""The daemon's user and group may read the state. It contains no secrets, but names of topics and servers."""


class StatusSocket:
    """The daemon's end of the socket."""

    def __init__(self, reactor: Any, path: str, report: Callable[[], Report]) -> None:
        """:param reactor: Twisted's reactor.
        :param path: the path of the socket; empty for none.
        :param report: returns the state.
        """
        self._reactor = reactor
        self._path = path
        self._report = report
        self._port: Any = None

    def start(self) -> None:
        """Start listening. The daemon works without the socket, so a failure is only logged."""
        if not self._path:
            return
        try:
            if Path(self._path).is_socket() and ask(self._path) is None:
                Path(self._path).unlink()  # Left behind by a daemon that was killed.
            factory = Factory.forProtocol(lambda: _Teller(self._report))
            factory.noisy = False
            self._port = self._reactor.listenUNIX(self._path, factory, mode=MODE)
        except (CannotListenError, OSError) as error:
            reason = getattr(error, "socketError", error)
            log.warning("status.unavailable", path=self._path, reason=str(reason), advice="set FB_STATUS_SOCKET")

    def stop(self) -> Any:
        """Stop listening, and remove the socket."""
        return None if self._port is None else self._port.stopListening()


class _Teller(Protocol):
    def __init__(self, report: Callable[[], Report]) -> None:
        self._report = report

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(json.dumps(self._report()).encode())
        self.transport.loseConnection()


def ask(path: str) -> Report | None:
    """The state of a running daemon; None if none is running there. Blocks.

    :raises OSError: the socket exists, but cannot be used, or the daemon does not answer in time.
    """
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(ANSWER_SECONDS)
        try:
            asking.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        octets = b"".join(iter(lambda: asking.recv(65536), b""))
    try:
        report: Report = json.loads(octets)
    except ValueError:
        raise OSError(f"the program that answers at {path} is not a fallback.py") from None
    return report


PROGRAMS = frozenset(("fallback.py", "radiovis-fallback"))
"""How the daemon is called, in a clone and as installed."""
_LISTENS = 0x10000
"""The flag of a listening socket in ``/proc/net/unix`` (``__SO_ACCEPTCON``, see unix(7) and proc(5))."""


def running_daemons(proc: Path = Path("/proc")) -> list[str]:
    """The status sockets of the daemons that run on this machine, whatever their working folders are.

    Linux shows a process's sockets to its own user and to root only; daemons of other users are not found. Without
    ``/proc`` none is found.

    :param proc: where Linux shows its processes.
    """
    try:
        listening = _listening(proc / "net" / "unix")
        processes = [each for each in proc.iterdir() if each.name.isdecimal()]
    except OSError:
        return []
    return sorted({path for process in processes for path in _sockets(process, listening)})


def _listening(table: Path) -> dict[str, str]:
    """The paths of listening Unix sockets, by inode."""
    rows = (line.split(maxsplit=7) for line in table.read_text(errors="replace").splitlines()[1:])
    return {row[6]: row[7] for row in rows if len(row) == 8 and int(row[3], 16) & _LISTENS}


def _sockets(process: Path, listening: Mapping[str, str]) -> Iterator[str]:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")[:3]  # python, maybe a flag, and the program
        if not any(Path(os.fsdecode(word)).name in PROGRAMS for word in words):
            return
        folder = (process / "cwd").readlink()
        links = [str(each.readlink()) for each in (process / "fd").iterdir()]
    except OSError:  # It has ended, or belongs to another user.
        return
    for link in links:
        path = listening.get(link.removeprefix("socket:[").removesuffix("]"), "@")
        if not path.startswith("@"):  # A name that begins with @ is not a file.
            yield str(folder / path)


def is_well(report: Report) -> bool:
    """Whether there is no failure, some watchdog leads, and nothing is missing. A daemon of an earlier version reports
    less.
    """
    failing = report["log"]["error"] or any(task["failing"] for task in report["tasks"])
    leaderless = report.get("leaderless", {}).get("alarm")
    return not (failing or leaderless or report.get("degraded"))
