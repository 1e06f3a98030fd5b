"""``sub``: listen as a radio does, and show what its screen would: texts, and slides fetched and checked."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from fanout.stomp.client import MessageReceived
from radiovis.client.arguments import (
    DONE,
    FAILED,
    WRONG,
    CommandError,
    CommandParser,
    paint,
    positive,
    printable,
    run_reactor,
    seconds,
)
from radiovis.client.conversation import Listener
from radiovis.client.server_address import add_server_flag, given_server
from radiovis.slides.fetch import Slide, SlideFetch

# Shows messages: a line each, or JSON, with what was found out about their slides.

_ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg"}
_MOST_WAITING = 64
"""Slides that are being fetched or wait for it; those of a flood beyond that are shown unfetched."""


class Printer:
    """Prints messages in the order they came; a slide's line follows when it has been fetched."""

    def __init__(self, fetch: SlideFetch | None, *, as_json: bool, save: Path | None) -> None:
        """
        :param fetch: None shows slides without looking at them.
        :param save: a folder to keep the slides in.
        """
        self._fetch = fetch
        self._as_json = as_json
        self._save = save
        self._waiting: set[Deferred[None]] = set()

    def message(self, message: MessageReceived) -> None:
        """Show one."""
        came = time.time()
        word, _, rest = message.body.decode("utf-8", "replace").partition(" ")
        if word != "SHOW" or self._fetch is None or len(self._waiting) >= _MOST_WAITING:
            self._show(came, message, None)
            return
        looking = Deferred.fromCoroutine(self._look(came, message, rest.strip(), self._fetch))
        self._waiting.add(looking)
        looking.addBoth(lambda _: self._waiting.discard(looking))

    async def finish(self) -> None:
        """Wait for the slides under way."""
        await DeferredList(list(self._waiting))

    async def _look(self, came: float, message: MessageReceived, url: str, fetch: SlideFetch) -> None:
        if not url.lower().startswith(("http://", "https://")):
            slide = Slide(url, b"", None, ("it has no address that begins with http:// or https://",))
        else:
            slide = await fetch.get(url)
        saved = None
        if self._save is not None and slide.content:
            try:
                saved = self._keep(self._save, message, slide)
            except OSError as error:
                slide = dataclasses.replace(slide, complaints=(*slide.complaints, f"not saved: {error.strerror}"))
        self._show(came, message, slide, saved)

    @staticmethod
    def _keep(folder: Path, message: MessageReceived, slide: Slide) -> str:
        ending = _ENDINGS.get(slide.picture.kind if slide.picture else "", ".bin")
        name = re.sub(r"[^A-Za-z0-9-]+", "_", f"{message.destination} {message.message_id}").strip("_")[:200]
        path = folder / (name + ending)
        path.write_bytes(slide.content)
        return str(path)

    def _show(self, came: float, message: MessageReceived, slide: Slide | None, saved: str | None = None) -> None:
        if self._as_json:
            print(json.dumps(_entry(came, message, slide, saved)), flush=True)
            return
        moment = paint(time.strftime("%H:%M:%S", time.localtime(came)), "grey")
        line = f"{moment}  {printable(message.destination)}  {printable(message.body.decode('utf-8', 'replace'))}"
        if slide is not None and slide.picture is not None:
            line += f"  ({slide.picture})"
        if slide is not None and slide.complaints:
            line += "  " + paint("! " + printable("; ".join(slide.complaints)), "yellow")
        print(line, flush=True)


def _entry(came: float, message: MessageReceived, slide: Slide | None, saved: str | None) -> dict[str, Any]:
    headers: dict[str, str] = {}
    for name, value in message.headers:
        headers.setdefault(name, value)  # The first of a name counts.
    entry: dict[str, Any] = {
        "time": round(came, 3),
        "topic": message.destination,
        "message_id": message.message_id,
        "headers": headers,
        "body": message.body.decode("utf-8", "replace"),
    }
    if slide is not None:
        picture = slide.picture
        entry["slide"] = {
            "url": slide.url,
            "type": picture.kind if picture else None,
            "width": picture.width if picture else None,
            "height": picture.height if picture else None,
            "octets": picture.octets if picture else None,
            "complaints": list(slide.complaints),
            "saved": saved,
        }
    return entry


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
