"""What a Unix daemon does besides its work: go to the background, give up root, write a pidfile, ask for more files.

Only the standard library, so that small programs can use it too::

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
    """The process cannot live as its operator wants it to. The text says why."""


def daemonize() -> Callable[[], None]:
    """Go on in the background, in a session of our own. To be called before anything is opened or any thread runs.

    The process that was called waits for the one in the background and then ends: with exit code 0 when that is ready,
    and with its code when it ended before. So a fault at the start is said on the terminal, and known to scripts.

    :return: to be called when ready: from then on nothing is read from the terminal or written to it.
    """
    sys.stdout.flush()  # what waits there would be written by both
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
    """Become another user for good, and leave the groups of the one we were. None stays as it is.

    :raises DaemonError: this process may not.
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
    """Name and main group. A number without an account has a group of the same number, and no other."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None, uid
    return entry.pw_name, entry.pw_gid


@contextmanager
def pid_file(path: str) -> Iterator[None]:
    """Have our number in a file meanwhile, in decimal and without a line end. It goes with us, however we end in order.

    :param path: empty for no file.
    :raises DaemonError: it cannot be written.
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
    """Another process that was started in our place has put its own number there."""
    try:
        if file.read_text() == mine:
            file.unlink()
    except OSError as error:
        print(f"cannot remove the pidfile {file}: {error.strerror}", file=sys.stderr)


_RESERVED = 200  # for everything that is no client

log = structlog.get_logger(__name__)


def raise_limit(connections: int) -> None:
    """Ask for as many open files as the system gives, and log it when that is too few.

    A connection is one file, and many systems allow 1,024 unless asked for more.

    :param connections: clients there shall be room for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < connections + _RESERVED:
        log.warning("files.few", limit=hard, MAX_CONNECTIONS=connections, advice="raise LimitNOFILE, or lower it")
