"""``probe``: the whole way of a receiver to its first slide, each step timed and explained."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from fanout.stomp.client_events import Connected, MessageReceived, Refused
from radiovis.commands.arguments import DONE, FAILED, WRONG, CommandError, CommandParser, seconds
from radiovis.commands.conversation import Conversation, Gone, converse
from radiovis.commands.conversation import words as in_words
from radiovis.commands.radiodns import LookupFailed, Place, Service, authoritative_name, places, resolver, service
from radiovis.commands.running import run_reactor
from radiovis.commands.server_address import ServerAddress, add_ca_flag, address, given_server
from radiovis.commands.terminal import paint, printable
from radiovis.slides.fetch import SlideFetch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """One step. :ivar milliseconds: how long it took. :ivar found: what it led to, or why it did not, in one line."""

    step: str
    ok: bool
    milliseconds: float
    found: str


def command() -> CommandParser:
    """What it takes."""
    parser = CommandParser(
        "probe",
        "Go the way of a receiver, to anybody's server: RadioDNS, connect, subscribe, first slide.",
        {DONE: "a slide came, and a radio can show it", FAILED: "a step failed; it says which", WRONG: "wrong usage"},
    )
    parser.add_argument("station", metavar="STATION", help="fm:4e1.4000.09580, dab:…, or a topic /topic/fm/…")
    parser.add_argument("--server", type=address, metavar="URL", help="this server, without asking the DNS for it")
    add_ca_flag(parser)
    parser.add_argument("--dns", type=_dns, action="append", default=[], metavar="IP[:PORT]", help="whom to ask")
    parser.add_argument("--domain", default="radiodns.org", help="the root of RadioDNS (default: radiodns.org)")
    parser.add_argument("--seconds", type=seconds, default=15.0, help="how long to wait for a slide (default: 15)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: wrong usage, or a step failed."""
    given = command().read(words)
    try:
        station = service(given.station, given.domain)
    except ValueError as error:
        raise CommandError(f"probe: {error}", WRONG) from None
    return run_reactor(lambda reactor: Probe(reactor, station, given).run())


class Probe:
    """One walk from a station to its slide."""

    def __init__(self, reactor: Any, station: Service, given: argparse.Namespace) -> None:
        self._reactor = reactor
        self._station = station
        self._given = given
        self._steps: list[Step] = []

    async def run(self) -> int:
        """Go. :raises CommandError: with the step that failed."""
        failed = None
        try:
            await self._walk()
        except CommandError as error:
            failed = error
        if self._given.json:
            steps = [asdict(step) for step in self._steps]
            print(json.dumps({"topic": self._station.topic, "ok": failed is None, "steps": steps}))
        if failed is not None:
            raise failed
        return DONE

    async def _walk(self) -> None:
        servers = [given_server(self._given)] if self._given.server else await self._find()
        conversation = await self._connect_to_any(servers)
        try:
            message = await self._step("slide", self._first_slide(conversation), _body)
        finally:
            conversation.close()
        slide = await self._step("picture", SlideFetch(self._reactor).get(_body(message)[5:].strip()), _describe)
        if slide.complaints:
            raise CommandError(f"picture: {printable('; '.join(slide.complaints))}")

    async def _find(self) -> list[ServerAddress]:
        station = self._station
        client = resolver(self._reactor, self._given.dns)
        name = station.name
        if not station.is_final:
            name = await self._step("CNAME", authoritative_name(client, name), lambda found: f"{name} → {found}")
        found = await self._step("SRV", places(client, name), _list)
        return [ServerAddress(place.host, place.port) for place in found]

    async def _connect_to_any(self, servers: Sequence[ServerAddress]) -> Conversation:
        for left, server in reversed(list(enumerate(reversed(servers)))):
            try:
                conversation, _ = await self._step("connect", converse(self._reactor, server), _hello)
            except CommandError:
                if not left:
                    raise
            else:
                return conversation
        raise AssertionError("there is always one server")

    async def _first_slide(self, conversation: Conversation) -> MessageReceived:
        topic = self._station.topic + "image"
        conversation.session.subscribe(topic, "1")
        conversation.flush()
        end = self._reactor.seconds() + self._given.seconds
        while (event := await conversation.heard(end - self._reactor.seconds())) is not None:
            if isinstance(event, Refused):
                raise CommandError(f"the server refuses {topic}: {in_words(event)}")
            if isinstance(event, MessageReceived) and event.body.startswith(b"SHOW "):
                return event
        raise CommandError(f"no slide on {topic} within {self._given.seconds:g} s: is the station registered there?")

    async def _step(self, name: str, doing: Awaitable[T], found: Any) -> T:
        began = time.monotonic()
        try:
            result = await doing
        except (CommandError, LookupFailed, Gone) as error:
            self._note(name, False, began, str(error))
            raise CommandError(f"{name}: {printable(str(error))}") from None
        self._note(name, not getattr(result, "complaints", ()), began, found(result))
        return result

    def _note(self, name: str, ok: bool, began: float, found: str) -> None:
        step = Step(name, ok, round((time.monotonic() - began) * 1000, 1), printable(found))
        self._steps.append(step)
        if not self._given.json:
            verdict = paint("ok  ", "green") if ok else paint("FAIL", "red")
            print(f"{verdict} {step.step:<8} {step.milliseconds:8.1f} ms  {step.found}", flush=True)


def _body(message: MessageReceived) -> str:
    return message.body.decode("utf-8", "replace")


def _hello(opened: tuple[Conversation, Connected]) -> str:
    connected = opened[1]
    server = dict(connected.headers).get("server")
    return f"let in, STOMP {connected.version}" + (f", {server}" if server else "")


def _describe(slide: Any) -> str:
    return str(slide.picture) if slide.picture else "; ".join(slide.complaints)


def _list(found: Sequence[Place]) -> str:
    return ", ".join(f"{place.host}:{place.port} (priority {place.priority})" for place in found)


def _dns(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"\[?([0-9a-fA-F:.]+?)\]?(?::(\d{1,5}))?", text) if text.count(":") < 2 else None
    match = match or re.fullmatch(r"\[([0-9a-fA-F:]+)\](?::(\d{1,5}))?", text)
    if match is None or int(match[2] or 53) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} should be an address of a DNS server, as in 9.9.9.9 or [::1]:5353")
    return match[1], int(match[2] or 53)
