"""``co2/maunaloa``: carbon dioxide in the air over Mauna Loa, day by day, as ``[["2026-11-20", 426.13], …]``.

It reads the table of daily means that NOAA publishes, or a copy of it: lines of year, month, day, decimal year and
parts per million, with commas. A line that begins with ``#`` is a comment; a day without a measurement has a negative
number.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path

from artcast import source

KEY = "co2/maunaloa"
FEED = "https://gml.noaa.gov/webdata/ccgg/trends/co2/co2_daily_mlo.csv"
SEND_SECONDS = 10.0
_READ_SECONDS = 3600.0  # there is one new line a day
_TIMEOUT = 30.0
_MAX_OCTETS = 16 * 2**20  # the table of fifty years has 0.5 MB

Days = list[list[str | float]]


class FeedError(Exception):
    """The table cannot be read. The text says why."""


def read(feed: str, days: int) -> Days:
    """The last days of a table.

    :param feed: a URL, or the path of a file.
    :param days: how many days.
    :raises FeedError: the table cannot be read, or contains no such lines.
    """
    try:
        found = list(_rows(_text(feed)))
    except (OSError, ValueError) as error:
        raise FeedError(f"cannot read {feed}: {error}") from None
    if not found:
        raise FeedError(f"cannot read {feed}: it contains no line of year, month, day, decimal year, ppm")
    return found[-days:]


def _text(feed: str) -> str:
    if not feed.startswith(("http://", "https://")):
        return Path(feed).read_text()
    with urllib.request.urlopen(feed, timeout=_TIMEOUT) as answer:  # noqa: S310  (only these two schemes)
        return str(answer.read(_MAX_OCTETS).decode())


def _rows(text: str) -> Iterator[list[str | float]]:
    for line in text.splitlines():
        parts = line.split(",")
        if line.startswith("#") or len(parts) < 5 or not parts[0].strip().isdecimal():
            continue
        year, month, day = map(int, islice(parts, 3))
        ppm = float(parts[4])
        if ppm > 0:
            yield [date(year, month, day).isoformat(), ppm]


def maunaloa(feed: str, days: int) -> source.Function:
    """The source. If the table cannot be read, it is read again later, and the previous table is sent meanwhile."""

    def run(context: source.Context) -> None:
        known: Days = []
        read_at = float("-inf")
        while True:
            if time.monotonic() - read_at >= _READ_SECONDS:
                read_at = time.monotonic()
                try:
                    known = read(feed, days)
                except FeedError as error:
                    print(error, file=sys.stderr, flush=True)
            if known:
                context.send(known)
            if not context.wait(SEND_SECONDS):
                return

    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0].strip("`"))
    parser.add_argument("--feed", default=FEED, help="URL or file of the table (%(default)s)")
    parser.add_argument("--days", type=int, default=30, choices=range(1, 101), metavar="1-100", help="(%(default)s)")
    options = source.parse(parser=parser)
    source.add(
        maunaloa(options.feed, options.days),
        KEY,
        "Carbon dioxide over Mauna Loa, parts per million, day by day",
        "NOAA Global Monitoring Laboratory, " + FEED,
    )
    source.run()
