"""``python -m demo.on_air HOST[:PORT]``: publish the programme of the demo's stations to a running server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from demo.programme import STATIONS
from demo.publisher import StationPublisher

_TURN = 1.2  # seconds between an item of one station and an item of the next station
_PORT = "61613"


class DemoStations:
    """All stations of the demo. The process ends when one of them fails.

    :ivar fault: the reason for the end; empty if no station failed.
    """

    def __init__(self, reactor: Any, host: str, port: int, slides: str) -> None:
        """:param slides: the URL of the folder with the slides, with a trailing slash."""
        self._reactor = reactor
        self._where = (host, port)
        self._publishers = [StationPublisher(reactor, station, slides, self._failed) for station in STATIONS]
        self.fault = ""

    def start(self) -> None:
        """Log in, one station after the other."""
        host, port = self._where
        for turn, publisher in enumerate(self._publishers):
            publisher.start(port, turn * _TURN, host)

    def stop(self) -> None:
        """Close all connections."""
        for publisher in self._publishers:
            publisher.stop()

    def _failed(self, reason: str) -> None:
        """End the process. Its supervisor, such as Docker, starts it again."""
        if self._reactor.running and not self.fault:
            self.fault = f"{self._where[0]}:{self._where[1]}: {reason}"
            self._reactor.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish until a signal ends the process. :return: the exit code; 1 if the connection is lost or refused."""
    parser = argparse.ArgumentParser(
        prog="demo.on_air",
        description="Publish the programme of the demo's stations (demo/stations.toml) until a signal ends it.",
    )
    parser.add_argument("server", metavar="HOST[:PORT]", help=f"the STOMP server (default port: {_PORT})")
    parser.add_argument(
        "--slides",
        default="http://127.0.0.1:8080/slides/",
        help="the URL of the folder with the slides (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    host, _, port = given.server.partition(":")
    if not (port or _PORT).isdigit():
        parser.error(f"{given.server}: the port must be a number")

    from twisted.internet import reactor  # noqa: PLC0415  (the import installs the reactor)

    on_air = DemoStations(reactor, host, int(port or _PORT), given.slides)
    reactor.callWhenRunning(on_air.start)
    reactor.addSystemEventTrigger("before", "shutdown", on_air.stop)
    reactor.run()
    if on_air.fault:
        print(f"demo.on_air: {on_air.fault}", file=sys.stderr)
    return 1 if on_air.fault else 0


if __name__ == "__main__":
    sys.exit(main())
