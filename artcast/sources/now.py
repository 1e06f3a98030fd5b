"""``test/now``: the current time in UTC, each second."""

from __future__ import annotations

from datetime import UTC, datetime

from artcast import source
from artcast.sources.tick import CC0


def now(context: source.Context) -> None:
    """Send the time in the form of ISO 8601."""
    while True:
        context.send(datetime.now(UTC).isoformat(timespec="seconds"))
        if not context.wait(1):
            return


if __name__ == "__main__":
    source.add(now, "test/now", "The time, in UTC", "the clock of the machine it runs on", CC0)
    source.run()
