"""What ``make demo`` shows: everything in one process, joined by real sockets, so that Ctrl-C leaves nothing behind."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.error import CannotListenError

from demo.programme import STATIONS
from demo.publisher import StationPublisher
from demo.radio import DemoRadio
from fanout.process.logs import set_up_logs
from radiovis.node.node import Node
from radiovis.settings import Settings

_HERE = Path(__file__).parent
_TURN = 1.2  # seconds between one station's items and the next one's


def main() -> int:
    """Run the demo until Ctrl-C. :return: the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description="A node, three stations and a radio.")
    parser.add_argument("--seconds", type=float, help="end by itself after this time")
    seconds = parser.parse_args().seconds
    settings = Settings(
        STANDALONE=True,
        STATIONS_FILE=str(_HERE / "stations.toml"),
        SLIDES_DIR=str(_HERE / "slides"),
        FB_FALLBACK_TIME=10,  # Twice what a station pauses between two items.
        FB_FALLBACK_CHECK=1,
        JOURNAL_FILE="",  # In memory: the demo leaves nothing behind.
    )
    set_up_logs("WARNING", "console")
    try:
        node = Node(reactor, settings)
        node.start()
    except CannotListenError as error:
        print(f"make demo: port {error.port} is taken: {error.socketError}. Is another one running?", file=sys.stderr)
        return 2
    _join(node, settings, seconds)
    return 0


def _join(node: Node, settings: Settings, seconds: float | None) -> None:
    wall = f"http://127.0.0.1:{settings.HTTP_PORT}/"
    print(f"STOMP on port {settings.STOMP_PORT}, all stations at {wall}; Ctrl-C ends it. A radio hears:\n", flush=True)
    radio = DemoRadio(reactor, lambda line: print(line, flush=True), _warn)
    publishers = [StationPublisher(reactor, station, f"{wall}slides/", _warn) for station in STATIONS]
    radio.start(settings.STOMP_PORT)
    for turn, publisher in enumerate(publishers):
        publisher.start(settings.STOMP_PORT, turn * _TURN)
    for stop in (radio.stop, *(publisher.stop for publisher in publishers), node.stop):
        reactor.addSystemEventTrigger("before", "shutdown", stop)
    if seconds is not None:
        reactor.callLater(seconds, reactor.stop)
    reactor.run()
    print("\nThe demo has ended.")


def _warn(reason: str) -> None:
    print(f"make demo: {reason}", file=sys.stderr)
