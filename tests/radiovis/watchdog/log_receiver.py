"""Where the datagrams of ``fallback.py --test`` arrive (contract §1.12), which is one place for all."""

from __future__ import annotations

import socket
import time

from radiovis.watchdog.log import ADDRESS

SECONDS = 120  # Others have it for a few seconds, but may wait for a busy machine themselves.


def log_receiver() -> socket.socket:
    """A socket that receives them, once no other test process has it."""
    heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            heard.bind(ADDRESS)
        except OSError:
            if time.monotonic() > deadline:
                heard.close()
                raise
            time.sleep(0.05)
        else:
            return heard
