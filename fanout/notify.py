"""Tells systemd how the process is doing, as sd_notify(3) has it. Without systemd nobody is told anything."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

log = structlog.get_logger(__name__)


class Notify:
    """The way to systemd.

    :ivar watchdog: seconds within which systemd wants to hear ``WATCHDOG=1``; 0 when it does not ask for it.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """:param environ: the process's environment, where systemd says how to reach it."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog = _watchdog(environ)

    def tell(self, **states: object) -> None:
        """Send states such as ``READY=1``. What does not get there is logged: nothing depends on it here."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in states.items())
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
                way.setblocking(False)  # a systemd that does not read must not stop us
                way.sendto(text.encode(), address)
        except OSError as error:
            log.warning("notify.failed", socket=self._address, reason=str(error))


def _watchdog(environ: Mapping[str, str]) -> float:
    """As sd_watchdog_enabled(3): the environment of our parent may have been meant for the parent."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(usec) / 1e6
