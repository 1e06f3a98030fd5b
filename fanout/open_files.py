"""How many files a process may have open. A connection is one, and many systems allow 1,024 unless asked for more."""

from __future__ import annotations

import resource

import structlog

_RESERVED = 200  # for everything that is no client

log = structlog.get_logger(__name__)


def raise_limit(connections: int) -> None:
    """Ask for as many as the system gives, and log it when that is too few.

    :param connections: clients there shall be room for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < connections + _RESERVED:
        log.warning("files.few", limit=hard, MAX_CONNECTIONS=connections, advice="raise LimitNOFILE, or lower it")
