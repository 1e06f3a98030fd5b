"""Runs ``make demo`` in one process, with real sockets between its parts. After Ctrl-C no process or file is left.

The node listens on loopback only. ``--listen`` opens it to other devices. The URLs of slides then have this machine's
address in the network, because a phone cannot fetch slides from its own loopback address.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import sys
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.error import CannotListenError

from demo.programme import STATIONS, Station
from demo.publisher import FALLBACK_SECONDS, PASSWORD, QUIET_SECONDS, StationPublisher
from demo.radio import DemoRadio
from fanout.process.logs import set_up_logs
from radiovis.node.node import Node
from radiovis.settings import Settings

_HERE = Path(__file__).parent
_TURN = 1.2  # seconds between an item of one station and an item of the next station
_LOOPBACK = "127.0.0.1"
_SOMEWHERE = ("192.0.2.1", 9)  # An address for documentation (RFC 5737). Nothing is sent there.


class Places:
    """The addresses of the demo.

    :ivar listen: the address on which the node listens.
    :ivar local: the node's address for programs on this machine.
    :ivar shown: the node's address for all devices that can connect to it.
    """

    def __init__(self, listen: str) -> None:
        """:param listen: an IPv4 address; ``0.0.0.0`` for all addresses of this machine."""
        self.listen = listen
        everywhere = ipaddress.ip_address(listen).is_unspecified
        self.local = _LOOPBACK if everywhere else listen
        self.shown = _own_address() if everywhere else listen

    @property
    def is_open(self) -> bool:
        """Whether other devices can connect to the node."""
        return not ipaddress.ip_address(self.listen).is_loopback


def _own_address() -> str:
    """The address of this machine in its network: the source address of the route to another machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
        except OSError:  # This machine has no network.
            return _LOOPBACK
        address: str = probe.getsockname()[0]
    return address


def main() -> int:
    """Run the demo until Ctrl-C. :return: the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo", description="Run a node, three stations and a radio in one process, until Ctrl-C."
    )
    parser.add_argument("--seconds", type=float, help="end after this time")
    parser.add_argument(
        "--listen",
        type=_address,
        default=_LOOPBACK,
        metavar="ADDRESS",
        help="the IPv4 address to listen on; 0.0.0.0 also accepts phones in the same network (default: 127.0.0.1)",
    )
    given = parser.parse_args()
    places = Places(given.listen)
    with tempfile.TemporaryDirectory() as folder:
        stations = Path(folder, "stations.toml")
        stations.write_text((_HERE / "stations.toml").read_text().replace(_LOOPBACK, places.shown))
        return _run(places, stations, given.seconds)


def _run(places: Places, stations: Path, seconds: float | None) -> int:
    settings = Settings(
        STANDALONE=True,
        STATIONS_FILE=str(stations),
        SLIDES_DIR=str(_HERE / "slides"),
        STOMP_IP=places.listen,
        HTTP_IP=places.listen,
        FB_FALLBACK_TIME=FALLBACK_SECONDS,
        FB_FALLBACK_CHECK=1,
        JOURNAL_FILE="",  # The journal is in memory, so that no file is left.
    )
    set_up_logs("WARNING", "console")
    try:
        node = Node(reactor, settings)
        node.start()
    except CannotListenError as error:
        reason = error.socketError.strerror or error.socketError
        where = f"{error.interface}:{error.port}"
        print(f"make demo: cannot listen on {where}: {reason}. Is a demo or a server running?", file=sys.stderr)
        return 2
    _join(node, settings, places, seconds)
    return 0


def _join(node: Node, settings: Settings, places: Places, seconds: float | None) -> None:
    print("\n".join(_head(settings, places)), flush=True)
    slides = f"http://{places.shown}:{settings.HTTP_PORT}/slides/"
    radio = DemoRadio(reactor, lambda line: print(line, flush=True), _warn)
    publishers = [StationPublisher(reactor, station, slides, _warn) for station in STATIONS]
    radio.start(settings.STOMP_PORT, places.local)
    for turn, publisher in enumerate(publishers):
        publisher.start(settings.STOMP_PORT, turn * _TURN, places.local)
    for stop in (radio.stop, *(publisher.stop for publisher in publishers), node.stop):
        reactor.addSystemEventTrigger("before", "shutdown", stop)
    if seconds is not None:
        reactor.callLater(seconds, reactor.stop)
    reactor.run()
    print("\nThe demo has ended.")


def _head(settings: Settings, places: Places) -> list[str]:
    """The first lines of the output: addresses to open, and a command to try."""
    station: Station = STATIONS[0]
    phone = [] if places.is_open else ["A phone in your network sees the wall with: make demo LISTEN=0.0.0.0"]
    return [
        f"Wall of all stations:  http://{places.shown}:{settings.HTTP_PORT}/",
        f"Dashboard:             http://{settings.ADMIN_IP}:{settings.ADMIN_PORT}/",
        f"STOMP:                 {places.shown}:{settings.STOMP_PORT}",
        "",
        f"Now publish a text as {station.name}, in a second terminal:",
        "",
        f'  {_python()} server.py pub {station.channel} --text "Hello from me" \\',
        f"    --server stomp://{station.login}:{PASSWORD}@{places.local}",
        "",
        f"{station.name} then sends nothing for {QUIET_SECONDS:g} s. Ctrl-C ends the demo.",
        *phone,
        "The radio of the demo receives:",
        "",
    ]


def _python() -> str:
    """The path of this interpreter for a shell; relative if it is below the current folder."""
    here = os.path.relpath(sys.executable)
    return sys.executable if here.startswith("..") else here


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 address, such as 0.0.0.0") from None


def _warn(reason: str) -> None:
    print(f"make demo: {reason}", file=sys.stderr)
