"""``pub``: publish a text or a slide."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

from fanout.stomp.client import ConnectRefused, Receipted
from radiovis.client.command_line import DONE, FAILED, WRONG, CommandError, CommandParser, printable, seconds
from radiovis.client.conversation import Conversation, ConversationEnded, converse, error_text, run_reactor
from radiovis.client.server_address import ServerAddress, add_server_flag, given_server
from radiovis.directory.interface import MAX_TEXT, MAX_URL

_CLOSE = "close"


def command() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(
        "pub",
        "Publish a text, a slide or both, and wait until the server has them.",
        {DONE: "the server has all of it", FAILED: "the server cannot be reached, or refuses", WRONG: "wrong usage"},
    )
    parser.add_argument("topic", metavar="TOPIC", help="a channel, as in /topic/fm/4e1/4000/09580/, or a whole topic")
    parser.add_argument("--text", type=_text, help=f"radio text; receivers show {MAX_TEXT} octets")
    parser.add_argument("--image", type=_url, metavar="URL", help="address of a slide")
    parser.add_argument("--link", type=_url, metavar="URL", help="where a click on the slide leads")
    parser.add_argument("--trigger-time", metavar="TIME", help="when to show it: NOW or ISO 8601")
    parser.add_argument("--header", type=_header, action="append", default=[], metavar="NAME:VALUE", help="repeat it")
    parser.add_argument("--receipt", action="store_true", help="print each confirmation: its time, its headers")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.add_argument("--seconds", type=seconds, default=10.0, help="how long to wait for each (default: 10)")
    add_server_flag(parser)
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: it did not work."""
    given = command().read(words)
    sends, server = _sends(given), given_server(given)

    async def publish(reactor: Any) -> int:
        conversation, _ = await converse(reactor, server, seconds=given.seconds)
        for number, (topic, body) in enumerate(sends):
            began = time.monotonic()
            name = f"pub-{number}"
            conversation.session.send(topic, body, headers=_headers(given), receipt=name)
            conversation.flush()
            receipt = await conversation.receipt(name, given.seconds)
            _tell(given, topic, body, receipt, time.monotonic() - began)
        await _leave(conversation, server, given.seconds)
        return DONE

    return run_reactor(publish)


async def _leave(conversation: Conversation, server: ServerAddress, limit: float) -> None:
    """Disconnect. STOMP 1.0 servers may confirm a SEND and refuse it afterwards: the ERROR precedes this receipt."""
    conversation.session.disconnect(receipt=_CLOSE)
    conversation.flush()
    try:
        event = await conversation.next_event(limit)
        if isinstance(event, ConnectRefused):
            raise CommandError(f"{server} refuses: {error_text(event)}")
    except ConversationEnded:
        return  # Everything was confirmed before.
    finally:
        conversation.close()


def _tell(given: argparse.Namespace, topic: str, body: bytes, receipt: Receipted, took: float) -> None:
    """Print a receipt with the headers a server adds, such as the findings on a slide."""
    added = {name: value for name, value in receipt.headers if name != "receipt-id"}
    if given.json:
        entry = {"topic": topic, "body": body.decode(), "milliseconds": round(took * 1000, 2), "headers": added}
        print(json.dumps(entry), flush=True)
    elif given.receipt:
        print(f"{topic}: confirmed after {took * 1000:.1f} ms", flush=True)
        for name, value in added.items():
            print(f"    {printable(name)}: {printable(value)}", flush=True)


def _sends(given: argparse.Namespace) -> list[tuple[str, bytes]]:
    """Topics and bodies: the text first, as the original's watchdog sends them."""
    wanted = [("text", "TEXT", given.text), ("image", "SHOW", given.image)]
    named = given.topic.rpartition("/")[2]
    if not given.topic.startswith("/topic/"):
        raise CommandError("pub: a topic begins with /topic/, as in /topic/fm/4e1/4000/09580/", WRONG)
    if given.text is None and given.image is None:
        raise CommandError("pub: what? Give --text, --image or both", WRONG)
    if named in ("text", "image") and any((value is not None) != (last == named) for last, _, value in wanted):
        raise CommandError(f"pub: {given.topic} is for --{named} alone; leave /{named} out to publish both", WRONG)
    channel = given.topic[: -len(named)] if named in ("text", "image") else given.topic.rstrip("/") + "/"
    return [(channel + last, f"{word} {value}".encode()) for last, word, value in wanted if value is not None]


def _headers(given: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    named = {"link": given.link, "trigger-time": given.trigger_time}
    return (*((name, value) for name, value in named.items() if value), *given.header)


def _text(text: str) -> str:
    if any(ord(letter) < 32 for letter in text):
        raise argparse.ArgumentTypeError("a radio text has one line")
    if len(text.encode()) > MAX_TEXT:
        raise argparse.ArgumentTypeError(f"it is {len(text.encode())} octets long; receivers take {MAX_TEXT}")
    return text


def _url(url: str) -> str:
    if not url.startswith(("http://", "https://")) or any(ord(letter) <= 32 for letter in url):
        raise argparse.ArgumentTypeError("should begin with http:// or https:// and have no spaces")
    if len(url.encode()) > MAX_URL:
        raise argparse.ArgumentTypeError(f"it is {len(url.encode())} octets long; receivers take {MAX_URL}")
    return url


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name:
        raise argparse.ArgumentTypeError("should be NAME:VALUE")
    return name, value
