"""``python -m demo.on_air HOST[:PORT]``: the demo's stations, publishing to a server that runs already."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from demo.programme import STATIONS
from demo.publisher import StationPublisher

_TURN = 1.2  # seconds between one station's items and the next one's
_PORT = "61613"


class DemoStations:
    """All stations. It ends when the first of them cannot go on."""

    def __init__(self, reactor: Any, host: str, port: int, slides: str) -> None:
        """:param slides: URL in front of a slide's file name."""
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
        """End the process. What runs it, such as Docker, starts it again."""
        if self._reactor.running and not self.fault:
            self.fault = f"{self._where[0]}:{self._where[1]}: {reason}"
            self._reactor.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish until a signal. :return: the exit code: 0, or 1 when the server is gone or refuses."""
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

    from twisted.internet import reactor  # noqa: PLC0415  (importing it installs it)

    on_air = DemoStations(reactor, host, int(port or _PORT), given.slides)
    reactor.callWhenRunning(on_air.start)
    reactor.addSystemEventTrigger("before", "shutdown", on_air.stop)
    reactor.run()
    if on_air.fault:
        print(f"demo.on_air: {on_air.fault}", file=sys.stderr)
    return 1 if on_air.fault else 0


if __name__ == "__main__":
    sys.exit(main())
