"""Prints the files that one SEND enters, in their order, from the first octet read to the RECEIPT and the MESSAGE.

    python -m bench.trace_send                          over the loopback bus
    python -m bench.trace_send --rabbitmq 127.0.0.1:5672
    python -m bench.trace_send --json                   the same as JSON

A node runs in this process. A thread is the publisher and the subscriber, over real sockets. The first SEND fills the
caches. The following ones are traced: each call of one of our functions is an event, and two successive events in
different files are one move. Timers of the node may add a file, so the SEND with the fewest moves is the result.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from tests.services import HOST, free_port

ROOT = Path(__file__).parent.parent
PACKAGES = ("fanout", "radiovis")
TOPIC = "/topic/id/tests._ebu.nowhere/topic1/image"
SENDS = 5
SECONDS = 20.0
"""The time limit for each answer on a busy machine."""


class Trace:
    """Records the files that calls enter, in order, between :meth:`start` and :meth:`stop`.

    :ivar files: the files of one SEND. A file is listed once for each move into it.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        prefixes = tuple(f"{ROOT}/{package}/" for package in PACKAGES)
        self._ours = prefixes

    def start(self) -> None:
        """Begin to record. Must be called in the reactor's thread."""
        self.files = []
        sys.setprofile(self._record)

    def stop(self) -> None:
        """Stop recording. Must be called in the reactor's thread."""
        sys.setprofile(None)

    def _record(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(self._ours):
            name = file[len(str(ROOT)) + 1 :]
            if not self.files or self.files[-1] != name:
                self.files.append(name)


class Client:
    """A blocking STOMP client. It has only what the publisher and the subscriber need."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), SECONDS)
        self._read = b""

    def send(self, frame: str) -> None:
        """Send one frame. :param frame: the frame without its NUL."""
        self._socket.sendall(frame.encode() + b"\0")

    def wait(self, command: bytes) -> None:
        """Wait for a frame with this command. :raises OSError: the connection ends, or the frame takes too long."""
        while True:
            frame, end, rest = self._read.partition(b"\0")
            if end:
                self._read = rest
                if frame.strip().startswith(command):
                    return
                continue
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionError(f"closed while waiting for {command.decode()}: {self._read[:300]!r}")
            self._read += data


def trace(port: int) -> list[list[str]]:
    """The moves of each traced SEND. Must not be called in the reactor's thread. :param port: the STOMP port."""
    from twisted.internet import reactor as _reactor  # noqa: PLC0415  (the node has installed it)
    from twisted.internet.threads import blockingCallFromThread  # noqa: PLC0415  (it imports the reactor)

    reactor: Any = _reactor
    recorded = Trace()
    subscriber, publisher = Client(port), Client(port)
    subscriber.send("CONNECT\naccept-version:1.2\nhost:x\n\n")
    subscriber.wait(b"CONNECTED")
    subscriber.send(f"SUBSCRIBE\nid:0\ndestination:{TOPIC}\nreceipt:r\n\n")
    subscriber.wait(b"RECEIPT")
    publisher.send("CONNECT\naccept-version:1.2\nhost:x\nlogin:1.test\npasscode:test\n\n")
    publisher.wait(b"CONNECTED")
    found = []
    for number in range(SENDS + 1):
        if number:
            blockingCallFromThread(reactor, recorded.start)
        publisher.send(f"SEND\ndestination:{TOPIC}\nreceipt:{number}\n\nSHOW http://www.example.org/{number}.png")
        publisher.wait(b"RECEIPT")
        subscriber.wait(b"MESSAGE")
        if number:
            blockingCallFromThread(reactor, recorded.stop)
            found.append(recorded.files)
    return found


def run(rabbitmq: str) -> list[str]:
    """The moves of one SEND through a node on this bus.

    :param rabbitmq: host and port of a broker; empty for the loopback bus.
    """
    from radiovis.commands.main import main  # noqa: PLC0415  (after the arguments are read)

    port = free_port()
    flags = ["--test", f"--stomp-port={port}", "--stomp-ip=127.0.0.1", "--log-level=ERROR", "--memcached-host="]
    flags += ["--monitoring-enabled=no", "--admin-port=0"]
    if rabbitmq:
        host, _, broker = rabbitmq.rpartition(":")
        flags += [f"--rabbitmq-host={host}", f"--rabbitmq-port={broker}", "--rabbitmq-loopback=no"]
    else:
        flags += ["--rabbitmq-loopback=yes"]
    found: list[list[str]] = []
    thread = threading.Thread(target=_trace_and_end, args=(port, found))
    thread.daemon = True
    sys.argv[1:] = flags
    _when_listening(port, thread)
    main()
    if not found:
        raise SystemExit("nothing was traced")
    return min(found, key=len)


def _when_listening(port: int, thread: threading.Thread) -> None:
    """Start a thread a second after the reactor runs, when the node listens."""
    from twisted.internet import reactor  # noqa: PLC0415  (as above)

    thread_reactor: Any = reactor
    thread_reactor.callWhenRunning(thread_reactor.callLater, 1.0 if port else 0.0, thread.start)


def _trace_and_end(port: int, found: list[list[str]]) -> None:
    try:
        found += trace(port)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Print the files and the moves."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rabbitmq", default="", metavar="HOST:PORT", help="the broker (default: the loopback bus)")
    parser.add_argument("--json", action="store_true", help="print the files and the moves as one line of JSON")
    given = parser.parse_args()
    moves = run(given.rabbitmq)
    files = list(dict.fromkeys(moves))
    if given.json:
        print(json.dumps({"files": files, "moves": moves}))
        return
    for number, file in enumerate(moves):
        print("" if number else "the moves:", file)
    print(f"\n{len(files)} files, {len(moves) - 1} moves between them:")
    print("\n".join(sorted(files)))


if __name__ == "__main__":
    main()
