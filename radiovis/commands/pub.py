"""``pub``: publish a text, a slide or both, and print which server confirmed them."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence
from typing import Any

from fanout.stomp.client import Connected, ConnectRefused, Receipted
from radiovis.client.command_line import DONE, FAILED, WRONG, CommandError, CommandParser, printable, seconds
from radiovis.client.conversation import Conversation, ConversationEnded, converse, error_text, run_reactor
from radiovis.client.server_address import ServerAddress, add_server_flag, given_server
from radiovis.directory.interface import MAX_TEXT, MAX_URL, text_fault

_CLOSE = "close"


def command() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(
        "pub",
        "Publish a text, a slide or both, and wait until the server has confirmed them.",
        {
            DONE: "the server has confirmed everything",
            FAILED: "the server cannot be reached, or refuses to publish",
            WRONG: "wrong usage",
        },
    )
    parser.add_argument("topic", metavar="TOPIC", help="a channel such as /topic/fm/4e1/4000/09580/, or a topic of it")
    parser.add_argument("--text", type=_text, help=f"the text; receivers show up to {MAX_TEXT} octets")
    parser.add_argument("--image", type=_url, metavar="URL", help="the address of the slide")
    parser.add_argument("--link", type=_url, metavar="URL", help="the page that a click on the slide opens")
    parser.add_argument(
        "--trigger-time",
        metavar="TIME",
        help="when receivers show the message: NOW, or a time such as 2026-12-31T23:59:59Z",
    )
    parser.add_argument(
        "--header",
        type=_header,
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="an additional header; may be repeated",
    )
    parser.add_argument(
        "--receipt",
        action="store_true",
        help="also print the headers of each confirmation, such as the problems of a slide",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each message")
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=10.0,
        metavar="S",
        help="how long to wait for each confirmation (default: 10)",
    )
    add_server_flag(parser)
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: wrong usage, or a message was not confirmed."""
    given = command().read(words)
    sends, server = _sends(given), given_server(given)

    async def publish(reactor: Any) -> int:
        conversation, connected = await converse(reactor, server, seconds=given.seconds)
        for number, (topic, body) in enumerate(sends):
            began = time.monotonic()
            name = f"pub-{number}"
            conversation.session.send(topic, body, headers=_headers(given), receipt=name)
            conversation.flush()
            try:
                receipt = await conversation.receipt(name, given.seconds)
            except CommandError as error:
                raise CommandError(_failure(str(error), server, topic)) from None
            _tell(given, topic, body, receipt, time.monotonic() - began, connected)
        await _leave(conversation, server, given.seconds, [topic for topic, _ in sends])
        return DONE

    return run_reactor(publish)


def _failure(reason: str, server: ServerAddress, *topics: str) -> str:
    """The text of an error. It names server, login and topics, so that it is clear in a log of many publishes.

    :param reason: the server's text. Our servers name login and topic in it, and then they are not repeated.
    """
    if server.login in reason and all(topic in reason for topic in topics):
        return f"not published at {server}: {reason}"
    who = f"as {server.login}" if server.login else "without a login"
    return f"not published to {' and '.join(topics)} at {server} {who}: {reason}"


def confirmer(connected: Connected) -> str:
    """What confirms a publish, according to the server header: RabbitMQ, the node without a broker, or the server."""
    product = printable(dict(connected.headers).get("server", ""))
    if not product:
        return "the server"
    comment = re.search(r"\((RabbitMQ|own bus)\)$", product)
    if comment is None:
        return product
    return "RabbitMQ" if comment[1] == "RabbitMQ" else "the node's own bus"


async def _leave(conversation: Conversation, server: ServerAddress, limit: float, topics: Sequence[str]) -> None:
    """Disconnect, and wait for the receipt.

    A server may confirm a SEND under STOMP 1.0 and refuse it afterwards. Its ERROR comes before the receipt.

    :raises CommandError: the server refused a SEND.
    """
    conversation.session.disconnect(receipt=_CLOSE)
    conversation.flush()
    try:
        event = await conversation.next_event(limit)
        if isinstance(event, ConnectRefused):
            raise CommandError(_failure(f"the server refuses: {error_text(event)}", server, *topics))
    except ConversationEnded:
        return  # All messages were confirmed before.
    finally:
        conversation.close()


def _tell(
    given: argparse.Namespace, topic: str, body: bytes, receipt: Receipted, took: float, connected: Connected
) -> None:
    """Print that a message was published. With ``--receipt``, also print the headers of the confirmation."""
    added = {name: value for name, value in receipt.headers if name != "receipt-id"}
    if given.json:
        entry = {
            "topic": topic,
            "body": body.decode(),
            "milliseconds": round(took * 1000, 2),
            "confirmed_by": confirmer(connected),
            "headers": added,
        }
        print(json.dumps(entry), flush=True)
        return
    print(f"published to {printable(topic)} in {took * 1000:.0f} ms, confirmed by {confirmer(connected)}", flush=True)
    if given.receipt:
        for name, value in added.items():
            print(f"    {printable(name)}: {printable(value)}", flush=True)


def _sends(given: argparse.Namespace) -> list[tuple[str, bytes]]:
    """The topics and bodies to send. The text is first, as in the defaults of the original's watchdog."""
    wanted = [("text", "TEXT", given.text), ("image", "SHOW", given.image)]
    named = given.topic.rpartition("/")[2]
    if not given.topic.startswith("/topic/"):
        raise CommandError("pub: TOPIC must begin with /topic/, as in /topic/fm/4e1/4000/09580/", WRONG)
    if given.text is None and given.image is None:
        raise CommandError("pub: there is nothing to publish: give --text, --image or both", WRONG)
    if named in ("text", "image") and any((value is not None) != (last == named) for last, _, value in wanted):
        text = f"pub: {given.topic} accepts only --{named}; remove {named} at its end to publish both"
        raise CommandError(text, WRONG)
    channel = given.topic[: -len(named)] if named in ("text", "image") else given.topic.rstrip("/") + "/"
    return [(channel + last, f"{word} {value}".encode()) for last, word, value in wanted if value is not None]


def _headers(given: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    named = {"link": given.link, "trigger-time": given.trigger_time}
    return (*((name, value) for name, value in named.items() if value), *given.header)


def _text(text: str) -> str:
    if any(ord(letter) < 32 for letter in text):
        raise argparse.ArgumentTypeError("a text must be one line without control characters")
    if fault := text_fault(text.encode()):
        raise argparse.ArgumentTypeError(f"the text {fault}")
    return text


def _url(url: str) -> str:
    if not url.startswith(("http://", "https://")) or any(ord(letter) <= 32 for letter in url):
        raise argparse.ArgumentTypeError("a URL must begin with http:// or https:// and must not contain spaces")
    if len(url.encode()) > MAX_URL:
        raise argparse.ArgumentTypeError(
            f"the URL has {len(url.encode())} octets; receivers accept a URL of at most {MAX_URL}"
        )
    return url


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name:
        raise argparse.ArgumentTypeError("a header must have the form NAME:VALUE")
    return name, value
