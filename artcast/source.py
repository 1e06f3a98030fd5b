"""A library for programs that publish values. A source is a function in a program of a few lines::

    from artcast import source

    def door(context):
        while context.wait(1):              # seconds; False when the program is to end
            context.send(is_open())         # anything JSON can hold

    source.add(door, "school/door", "Whether the front door is open", "a reed switch", None)
    source.run()

Each function runs in a thread of its own. The facts about a key are sent again every 30 s, so that a server that starts
later gets them too. This file only uses the standard library, and runs without a server.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fanout.process.daemon import DaemonError, daemonize, drop_to, pid_file

MAX_OCTETS = 4096
"""Longest datagram in octets; no server accepts a longer one."""
REGISTER_SECONDS = 30.0
_QUIET_SECONDS = 60.0  # between two warnings that the network is down

License: TypeAlias = Mapping[str, str] | None
"""``{"uri": …, "title": …}``, or None."""


class SourceError(Exception):
    """A value or an option cannot be used. The text says why."""


@dataclass
class Context:
    """The argument of a source's function.

    :ivar key: the key of the source.
    :ivar sender: sends its values.
    """

    key: str
    sender: Sender

    def send(self, value: object) -> None:
        """Send the current value.

        :raises SourceError: the value is too long, or JSON cannot represent it.
        """
        self.sender.send(self.key, value)

    def wait(self, seconds: float) -> bool:
        """Wait for a number of seconds.

        :return: False, and at once, if the program should end.
        """
        return not self.sender.ending.wait(seconds)


Function: TypeAlias = Callable[[Context], None]


class Sender:
    """Sends datagrams to the address in the options.

    :ivar ending: set when the program should end.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.ending = threading.Event()
        self._data = (options.group, options.data_port)
        self._registration = (options.group, options.registration_port)
        self._complained_at = float("-inf")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, options.ttl)

    def send(self, key: str, value: object) -> None:
        """See :func:`send`."""
        self._send(self._data, key, value)

    def register(self, key: str, description: str, provenance: str, license: License) -> None:  # noqa: A002
        """See :func:`register`."""
        facts = {"description": description, "provenance": provenance, "license": license}
        self._send(self._registration, key, facts)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, where: tuple[str, int], key: str, value: object) -> None:
        try:
            datagram = json.dumps([key, value], allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise SourceError(f"{key}: JSON cannot represent the value: {error}") from None
        if len(datagram) > MAX_OCTETS:
            raise SourceError(f"{key}: {len(datagram)} octets are too many for a datagram; the limit is {MAX_OCTETS}")
        try:
            self._socket.sendto(datagram, where)
        except OSError as error:  # The next value may be sent successfully.
            self._warn(f"cannot send to {where[0]}:{where[1]}: {error.strerror or error}")

    def _warn(self, text: str) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _QUIET_SECONDS:
            self._complained_at = now
            print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Source:
    function: Function
    key: str
    description: str
    provenance: str
    license: License

    def register(self, sender: Sender) -> None:
        sender.register(self.key, self.description, self.provenance, self.license)

    def run(self, sender: Sender) -> None:
        """Run the source to its end. An error ends this source, but not the others."""
        try:
            self.function(Context(self.key, sender))
        except SourceError as error:
            print(error, file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001 (an error in a user's code is logged, and the others continue)
            traceback.print_exc()


@dataclass
class _Program:
    """The program that imported this module: the functions below use its sources and options."""

    sources: list[_Source] = field(default_factory=list)
    options: argparse.Namespace | None = None
    sender: Sender | None = None

    def ready(self) -> Sender:
        """The sender; with the options of the command line, unless :func:`parse` was called."""
        if self.sender is None:
            self.sender = Sender(self.options or parse())
        return self.sender


_program = _Program()


def add(function: Function, key: str, description: str, provenance: str, license: License = None) -> None:  # noqa: A002
    """Register a source that :func:`run` will run.

    :param function: called once, in a thread of its own, with a :class:`Context`.
    :param key: the key of the values.
    :param description: what the values are, for people.
    :param provenance: the origin of the values.
    :param license: the licence under which others may use them.
    """
    _program.sources.append(_Source(function, key, description, provenance, license))


def parse(arguments: Sequence[str] | None = None, parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """Parse the options of a source. A wrong option ends the program with a line that names it.

    :param arguments: the arguments; those of the command line by default.
    :param parser: a parser with the program's own options, to which these are added.
    """
    parser = parser or argparse.ArgumentParser(description="Send values to the artcast servers of this network.")
    parser.add_argument("--group", default="224.1.1.1", help="multicast group, or address of one server (%(default)s)")
    parser.add_argument("--data-port", type=_port, default=5007, help="port of values (%(default)s)")
    parser.add_argument("--registration-port", type=_port, default=5008, help="port of registrations (%(default)s)")
    parser.add_argument(
        "--ttl", type=_ttl, default=1, help="how many networks a datagram may reach; 1 = only this one (%(default)s)"
    )
    parser.add_argument("--daemonize", action="store_true", help="run in the background")
    parser.add_argument("--pidfile", default="", help="file with the process id")
    parser.add_argument("--uid", type=int, help="number of the user to become")
    parser.add_argument("--verbose", action="store_true", help="print every option on stderr at the start")
    options = _program.options = parser.parse_args(arguments)
    if options.verbose:
        print("\n".join(sorted(_lines(options))), file=sys.stderr)
    return options


def register(key: str, description: str, provenance: str, license: License = None) -> None:  # noqa: A002
    """Send the facts about a key once; :func:`run` does so for each source, again and again."""
    _program.ready().register(key, description, provenance, license)


def send(key: str, value: object) -> None:
    """Send a value.

    :raises SourceError: the value is too long, or JSON cannot represent it.
    """
    _program.ready().send(key, value)


def run() -> None:
    """Run all sources until they end, or Ctrl-C or SIGTERM ends the program."""
    options = _program.options or parse()
    try:
        ready = daemonize() if options.daemonize else None
        drop_to(options.uid)
        with pid_file(options.pidfile):
            sender = _program.ready()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: sender.ending.set())
            if ready is not None:
                ready()
            _run(_program.sources, sender)
    except (DaemonError, SourceError) as error:
        sys.exit(str(error))


def _run(sources: Sequence[_Source], sender: Sender) -> None:
    for source in sources:
        source.register(sender)  # before its first value, and before a source that has only one ends
    threads = [threading.Thread(target=source.run, args=(sender,), daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    threading.Thread(target=_end_with, args=(threads, sender.ending), daemon=True).start()
    while not sender.ending.wait(REGISTER_SECONDS):
        for source in sources:
            source.register(sender)


def _end_with(threads: Sequence[threading.Thread], ending: threading.Event) -> None:
    """End the program when all sources have ended."""
    for thread in threads:
        thread.join()
    ending.set()


def _lines(options: argparse.Namespace) -> list[str]:
    return [f"{name.replace('_', '-')} : {value}" for name, value in vars(options).items()]


def _port(text: str) -> int:
    return _number(text, 1, 65_535)


def _ttl(text: str) -> int:
    return _number(text, 0, 255)


def _number(text: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"should be a number from {least} to {most}")
    return int(text)
