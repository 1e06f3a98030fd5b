"""``sub``: listen as a radio does, and show what its screen would: texts, and slides fetched and checked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from radiovis.commands.arguments import DONE, FAILED, WRONG, CommandError, CommandParser, positive, seconds
from radiovis.commands.heard import Printer
from radiovis.commands.listener import Listener
from radiovis.commands.running import run_reactor
from radiovis.commands.server_address import add_server_flag, given_server
from radiovis.slides.fetch import SlideFetch


def command() -> CommandParser:
    """What it takes."""
    parser = CommandParser(
        "sub",
        "Listen to topics and show what comes: texts, and slides, which are fetched and checked.",
        {
            DONE: "--count was reached, or --seconds are over without a --count, or Ctrl-C",
            FAILED: "the server cannot be reached at first, does not let us in, or less than --count came in --seconds",
            WRONG: "wrong usage",
        },
        "A connection that is lost is made again, after a pause that grows to 30 s.",
    )
    parser.add_argument(
        "topics", nargs="+", metavar="TOPIC", help="a whole topic, or a channel, which ends in /, for text and image"
    )
    parser.add_argument("--count", type=positive, metavar="N", help="end after so many messages")
    parser.add_argument("--seconds", type=seconds, metavar="S", help="end after this time")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep the slides there")
    parser.add_argument("--no-fetch", action="store_true", help="leave the slides where they are")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    add_server_flag(parser)
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: it did not work."""
    given = command().read(words)
    topics = _topics(given.topics)
    if given.save and not given.save.is_dir():
        raise CommandError(f"sub: --save: {given.save} is no folder", WRONG)
    try:
        return run_reactor(lambda reactor: _listen(reactor, given, topics))
    except KeyboardInterrupt:
        return DONE


async def _listen(reactor: Any, given: argparse.Namespace, topics: Sequence[str]) -> int:
    fetch = None if given.no_fetch else SlideFetch(reactor)
    printer = Printer(fetch, as_json=given.json, save=given.save)
    listener = Listener(reactor, given_server(given), topics, printer.message, _warn)
    came = await listener.run(count=given.count, seconds=given.seconds)
    await printer.finish()
    if given.count is not None and came < given.count:
        raise CommandError(f"{came} of {given.count} messages came within {given.seconds:g} s")
    return DONE


def _topics(given: Sequence[str]) -> list[str]:
    found: list[str] = []
    for topic in given:
        if not topic.startswith("/topic/"):
            raise CommandError(f"sub: {topic!r}: a topic begins with /topic/, as in /topic/fm/4e1/4000/09580/", WRONG)
        found.extend((topic + "text", topic + "image") if topic.endswith("/") else (topic,))
    return list(dict.fromkeys(found))


def _warn(text: str) -> None:
    print(text, file=sys.stderr)
