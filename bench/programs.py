"""Builds and runs the programs in C."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.servers import Target

HERE = Path(__file__).parent
HOST = "127.0.0.1"
SECONDS = 60.0


def path(name: str) -> str:
    """Build the programs, and return the path of one. :param name: ``fanload`` or ``floor``."""
    subprocess.run(["make", "--silent", "-C", str(HERE)], check=True)
    return str(HERE / "build" / name)


def fanload(target: Target, *flags: object) -> dict[str, Any]:
    """Run the load generator against a server. Returns the figures that it printed."""
    command = [path("fanload"), "-h", HOST, "-p", str(target.port), "-P", ",".join(map(str, target.pids))]
    done = subprocess.run([*command, *target.flags, *map(str, flags)], check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def wait_for(port: int) -> None:
    """Wait until a server listens on the port. :raises OSError: none does within :data:`SECONDS`."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
