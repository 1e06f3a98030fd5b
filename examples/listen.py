"""Listen like a radio: print each text and slide of a channel until Ctrl-C, with STOMP 1.2 over a socket.

python listen.py 127.0.0.1 61613 /topic/fm/4e1/4000/09580/
"""

from __future__ import annotations

import random
import re
import signal
import socket
import sys
import time
from typing import BinaryIO

SILENCE, PAUSE = 25, 5  # seconds: silence that ends a connection (two heart-beats); longest pause before the next one


def read_frame(server: BinaryIO) -> tuple[str, dict[str, str], str]:
    """Return command, headers and body of the next frame. Line ends between frames are heart-beats."""
    lines: list[str] = []
    while not lines or lines[-1]:
        line = server.readline().decode()
        if not line.endswith("\n"):
            raise ConnectionError("the server closed the connection")
        lines += [line.strip("\r\n")] if lines or line.strip() else []
    headers = dict(line.split(":", 1) for line in reversed(lines[1:-1]))  # the first of equal names counts
    body = server.read(int(headers.get("content-length", 0)) + 1)
    if not body.endswith(b"\0"):
        raise ConnectionError("a frame is incomplete")
    return lines[0], headers, body[:-1].decode(errors="replace")


def listen(host: str, port: str, channel: str) -> None:
    with socket.create_connection((host, port), timeout=SILENCE) as connection, connection.makefile("rb") as server:
        connection.sendall(f"CONNECT\naccept-version:1.2\nhost:{host}\nheart-beat:0,10000\n\n\0".encode())
        while True:
            command, headers, body = read_frame(server)
            if command == "CONNECTED":
                for kind in ("text", "image"):
                    connection.sendall(f"SUBSCRIBE\nid:{kind}\ndestination:{channel}{kind}\n\n\0".encode())
            elif command == "ERROR":
                raise ConnectionError(headers.get("message", body))
            elif body.startswith(("TEXT ", "SHOW ")):
                link = headers.get("link", "").replace("\\c", ":").replace("\\\\", "\\")
                line = f"{body} {link}".strip()
                print(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", line), flush=True)  # no control characters for the terminal


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback
    while True:
        try:
            listen(*sys.argv[1:])
        except (OSError, ValueError) as error:
            print(f"no connection: {error}", file=sys.stderr, flush=True)
        time.sleep(random.uniform(0, PAUSE))  # random, so that radios do not reconnect all at once
