"""The tasks of every Unix daemon: run in the background, give up root, write a pidfile, raise the limit of open files.

This module only uses the standard library and structlog, so that small programs can use it too::

    ready = daemonize() if settings.DAEMONIZE else None     # before anything is opened
    ...                                                     # open ports
    drop_to(settings.UID)
    with pid_file(settings.PIDFILE):
        if ready is not None:
            ready()
        ...
"""

from __future__ import annotations

import os
import pwd
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

_READY = b"+"


class DaemonError(Exception):
    """The process cannot run as its operator wants. The text says why."""


def daemonize() -> Callable[[], None]:
    """Continue in the background, in a session of our own. Call this before anything is opened or any thread runs.

    The process that was started waits for the one in the background and then ends: with exit code 0 when the other one
    is ready, or with the other one's exit code if that ends before. So an error at the start is printed on the
    terminal, and scripts notice it.

    :return: must be called when the daemon is ready. From then on it neither reads from the terminal nor writes to it.
    """
    sys.stdout.flush()  # otherwise both processes would write the buffered text
    sys.stderr.flush()
    hearing, speaking = os.pipe()
    child = os.fork()
    if child:
        os.close(speaking)
        heard = os.read(hearing, 1)
        os._exit(0 if heard else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or 1)
    os.close(hearing)
    os.setsid()

    def ready() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            os.dup2(nothing, stream.fileno())
        os.close(nothing)
        os.write(speaking, _READY)
        os.close(speaking)

    return ready


def drop_to(uid: int | None) -> None:
    """Become another user for good, and leave the groups of the current one. None changes nothing.

    :param uid: number of the user.
    :raises DaemonError: this process is not allowed to do this.
    """
    if uid is None:
        return
    name, gid = _account(uid)
    try:
        if name is None:
            os.setgroups([])
        else:
            os.initgroups(name, gid)
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise DaemonError(f"cannot become user {uid}: {error.strerror}; only root may") from None


def _account(uid: int) -> tuple[str | None, int]:
    """Name and main group of a user. A user id without an account gets a group with the same number, and no other."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None, uid
    return entry.pw_name, entry.pw_gid


@contextmanager
def pid_file(path: str) -> Iterator[None]:
    """A context with our process id in a file, in decimal and without a line end. The file is removed at the end.

    :param path: empty for no file.
    :raises DaemonError: the file cannot be written.
    """
    if not path:
        yield
        return
    file, mine = Path(path).absolute(), str(os.getpid())
    try:
        file.write_text(mine)
    except OSError as error:
        raise DaemonError(f"cannot write the pidfile {path}: {error.strerror}") from None
    try:
        yield
    finally:
        _remove(file, mine)


def _remove(file: Path, mine: str) -> None:
    """Remove the file, unless another process that replaces this one has written its own number into it."""
    try:
        if file.read_text() == mine:
            file.unlink()
    except OSError as error:
        print(f"cannot remove the pidfile {file}: {error.strerror}", file=sys.stderr)


_RESERVED = 200  # descriptors for everything that is not a client

log = structlog.get_logger(__name__)


def raise_limit(connections: int) -> None:
    """Raise the limit of open files as far as the system allows, and log it when that is too low.

    A connection is one file, and many systems allow only 1,024 by default.

    :param connections: the number of clients for which there should be room.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < connections + _RESERVED:
        log.warning(
            "files.few", limit=hard, MAX_CONNECTIONS=connections, advice="raise LimitNOFILE, or lower MAX_CONNECTIONS"
        )
