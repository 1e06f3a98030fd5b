"""``test/tick``: an integer that counts up from 0, each second."""

from __future__ import annotations

from itertools import count

from artcast import source

CC0 = {"uri": "https://creativecommons.org/publicdomain/zero/1.0/", "title": "CC0 1.0"}


def tick(context: source.Context) -> None:
    """Send rising numbers."""
    for number in count():
        context.send(number)
        if not context.wait(1):
            return


if __name__ == "__main__":
    source.add(tick, "test/tick", "Counts seconds since it was started", "artcast.sources.tick", CC0)
    source.run()
