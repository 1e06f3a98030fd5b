"""``sub``: subscribe to topics like a radio, and print their texts and slides. Slides are fetched and checked."""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from fanout.stomp.client import ConnectRefused, MessageReceived
from radiovis.client.command_line import (
    DONE,
    FAILED,
    WRONG,
    CommandError,
    CommandParser,
    paint,
    positive,
    printable,
    seconds,
)
from radiovis.client.conversation import (
    ConnectRejected,
    Conversation,
    ConversationEnded,
    converse,
    error_text,
    run_reactor,
)
from radiovis.client.server_address import ServerAddress, add_server_flag, given_server
from radiovis.slides.fetch import Slide, SlideFetch

_ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg"}
_MOST_WAITING = 64
"""Slides that are being fetched or wait for a fetch. Above this number, slides are printed without a fetch."""


class Printer:
    """Prints a line or a JSON object for each message. A slide is printed after its fetch."""

    def __init__(self, fetch: SlideFetch | None, *, as_json: bool, save: Path | None) -> None:
        """
        :param fetch: fetches slides; None to print slides without a fetch.
        :param save: the folder to save slides in; None to save none.
        """
        self._fetch = fetch
        self._as_json = as_json
        self._save = save
        self._waiting: set[Deferred[None]] = set()

    def message(self, message: MessageReceived) -> None:
        """Print a message."""
        came = time.time()
        word, _, rest = message.body.decode("utf-8", "replace").partition(" ")
        if word != "SHOW" or self._fetch is None or len(self._waiting) >= _MOST_WAITING:
            self._show(came, message, None)
            return
        looking = Deferred.fromCoroutine(self._look(came, message, rest.strip(), self._fetch))
        self._waiting.add(looking)
        looking.addBoth(lambda _: self._waiting.discard(looking))

    async def finish(self) -> None:
        """Wait for the slides that are being fetched."""
        await DeferredList(list(self._waiting))

    async def _look(self, came: float, message: MessageReceived, url: str, fetch: SlideFetch) -> None:
        if not url.lower().startswith(("http://", "https://")):
            slide = Slide(url, b"", None, ("its URL does not begin with http:// or https://",))
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
        headers.setdefault(name, value)  # The first of equal names counts.
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


FIRST_PAUSE, LAST_PAUSE = 0.5, 30.0
"""Seconds before a new attempt to connect: the first backoff, and the longest."""


class ReconnectingSubscriber:
    """Subscribes to topics, and connects and subscribes again when the connection is lost."""

    def __init__(
        self,
        reactor: Any,
        server: ServerAddress,
        topics: Sequence[str],
        heard: Callable[[MessageReceived], None],
        warn: Callable[[str], None],
        *,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        """
        :param heard: called with every message.
        :param warn: called with one line when the connection is lost, and when it is open again.
        :param first_pause: seconds before the first new attempt. They are doubled up to :data:`LAST_PAUSE`.
        """
        self._reactor = reactor
        self._server = server
        self._topics = topics
        self._heard = heard
        self._warn = warn
        self._first_pause = first_pause
        self._came = 0

    async def run(self, count: int | None = None, seconds: float | None = None) -> int:
        """Listen until enough messages have been received, or the time is over.

        :param count: stop after this number of messages; None for no such limit.
        :param seconds: stop after this time; None for no such limit.
        :return: the number of messages received.
        :raises CommandError: the first connection fails, or the server refuses.
        """
        end = None if seconds is None else self._reactor.seconds() + seconds
        conversation = await self._open()
        while True:
            try:
                await self._hear(conversation, count, end)
            except ConversationEnded as ended:
                self._warn(f"{self._server}: connection lost: {ended}; trying again")
            else:
                return self._came
            finally:
                conversation.close()
            again = await self._open_again(end)
            if again is None:
                return self._came
            conversation = again
            self._warn(f"{self._server}: connected again")

    async def _hear(self, conversation: Conversation, count: int | None, end: float | None) -> None:
        """Receive messages until ``count`` is reached or the time is over.

        :param end: the reactor's time in seconds at which to stop; None for no limit.
        :raises CommandError: the server sent an ERROR.
        :raises ConversationEnded: the connection was lost.
        """
        while count is None or self._came < count:
            event = await conversation.next_event(None if end is None else end - self._reactor.seconds())
            if event is None:
                return
            if isinstance(event, ConnectRefused):
                raise CommandError(f"{self._server} refuses: {error_text(event)}")
            if isinstance(event, MessageReceived):
                self._came += 1
                self._heard(event)

    async def _open(self) -> Conversation:
        conversation, _ = await converse(self._reactor, self._server)
        for number, topic in enumerate(self._topics):
            conversation.session.subscribe(topic, str(number))
        conversation.flush()
        return conversation

    async def _open_again(self, end: float | None) -> Conversation | None:
        """Connect again, with a backoff. Returns None if the time is over before. :raises ConnectRejected: refused."""
        pause = self._first_pause
        while True:
            wait = pause * random.uniform(0.5, 1)
            if end is not None and self._reactor.seconds() + wait >= end:
                await deferLater(self._reactor, max(0, end - self._reactor.seconds()))
                return None
            await deferLater(self._reactor, wait)
            try:
                return await self._open()
            except ConnectRejected:
                raise
            except CommandError:
                pause = min(LAST_PAUSE, pause * 2)


def command() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(
        "sub",
        "Subscribe to topics and show each message. Slides are fetched and checked as a receiver does it.",
        {
            DONE: "--count messages were received, --seconds are over without --count, or Ctrl-C",
            FAILED: "the first connection fails, the server refuses, or fewer than --count messages came in --seconds",
            WRONG: "wrong usage",
        },
        "A lost connection is opened again, with a backoff of up to 30 s.",
    )
    parser.add_argument(
        "topics", nargs="+", metavar="TOPIC", help="a topic, or a channel (which ends in /) for its text and its image"
    )
    parser.add_argument("--count", type=positive, metavar="N", help="end after N messages")
    parser.add_argument("--seconds", type=seconds, metavar="S", help="end after this time, such as 30 or 10m")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="save the slides in this folder")
    parser.add_argument("--no-fetch", action="store_true", help="do not fetch the slides")
    parser.add_argument("--json", action="store_true", help="print one JSON object on each line")
    add_server_flag(parser)
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: wrong usage, a failed connection, or too few messages in time."""
    given = command().read(words)
    topics = _topics(given.topics)
    if given.save and not given.save.is_dir():
        raise CommandError(f"sub: --save: {given.save} is not a folder", WRONG)
    try:
        return run_reactor(lambda reactor: _listen(reactor, given, topics))
    except KeyboardInterrupt:
        return DONE


async def _listen(reactor: Any, given: argparse.Namespace, topics: Sequence[str]) -> int:
    fetch = None if given.no_fetch else SlideFetch(reactor)
    printer = Printer(fetch, as_json=given.json, save=given.save)
    subscriber = ReconnectingSubscriber(reactor, given_server(given), topics, printer.message, _warn)
    came = await subscriber.run(count=given.count, seconds=given.seconds)
    await printer.finish()
    if given.count is not None and came < given.count:
        raise CommandError(f"only {came} of {given.count} messages came within {given.seconds:g} s")
    return DONE


def _topics(given: Sequence[str]) -> list[str]:
    found: list[str] = []
    for topic in given:
        if not topic.startswith("/topic/"):
            raise CommandError(f"sub: {topic!r} must begin with /topic/, as in /topic/fm/4e1/4000/09580/", WRONG)
        found.extend((topic + "text", topic + "image") if topic.endswith("/") else (topic,))
    return list(dict.fromkeys(found))


def _warn(text: str) -> None:
    print(text, file=sys.stderr)
