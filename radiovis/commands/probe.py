"""``probe``: what a receiver does until its first slide, each step timed and explained.

The servers of a station are found by RadioDNS (ETSI TS 103 270): bearer → name → CNAME → SRV. Then: connect, subscribe,
wait for a slide, fetch it. With ``--dns``, the address of a server is looked up there too; otherwise the resolver of
this machine finds it while connecting.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import re
import time
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.names import dns
from twisted.names.client import Resolver
from twisted.names.error import DNSNameError, DNSQueryTimeoutError

from fanout.stomp.client import Connected, ConnectRefused, MessageReceived
from radiovis.client.command_line import DONE, FAILED, WRONG, CommandError, CommandParser, paint, printable, seconds
from radiovis.client.conversation import Conversation, ConversationEnded, converse, error_text, run_reactor
from radiovis.client.server_address import ServerAddress, add_ca_flag, address, given_server
from radiovis.slides.fetch import SlideFetch
from radiovis.topics import BEARERS, ID_FORM, read_identifiers

SECONDS = (1, 2, 4)
"""How long to wait for an answer, attempt by attempt."""
LONGEST_CHAIN = 8
"""CNAMEs followed: real chains have one or two, a malicious one has no end."""
MOST_ADDRESSES = 4
"""Addresses of one server to connect to. Each may take :data:`~radiovis.client.conversation.CONNECT_SECONDS`."""
_STOMP, _HTTP = "_radiovis._tcp", "_radiovis-http._tcp"


class LookupFailed(Exception):
    """A step of the lookup failed. The text says why, in one line."""


@dataclass(frozen=True, slots=True)
class StationName:
    """What a receiver knows of a station: its topic, and the name to look up.

    :ivar topic: its channel, with a trailing slash.
    :ivar name: what to ask the DNS for; its CNAME is the broadcaster's own name.
    :ivar is_final: whether ``name`` is that already, as for ``/topic/id/<fqdn>/…``.
    """

    topic: str
    name: str
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """An SRV record: where a server is."""

    host: str
    port: int
    priority: int
    weight: int


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """Where a host is.

    :ivar names: the name asked for, and those its CNAMEs lead to. An SRV record must not point to an alias (RFC 2782),
        but some do, and it works.
    :ivar addresses: IPv4 before IPv6, as most receivers only have the former.
    """

    names: tuple[str, ...]
    addresses: tuple[str, ...]

    def __str__(self) -> str:
        return " → ".join((*self.names, ", ".join(self.addresses)))


def station_name(text: str, domain: str = "radiodns.org") -> StationName:
    """The station of a bearer (``fm:4e1.4000.09580``) or a topic (``/topic/fm/4e1/4000/09580/``).

    :param domain: the root of RadioDNS.
    :raises ValueError: it is neither.
    """
    is_topic = text.startswith("/topic/")
    kind, _, rest = text[7:].partition("/") if is_topic else text.partition(":")
    parts = re.sub(r"/(image|text)?$", "", rest) if is_topic else rest.replace(".", "/")
    if kind == "id" and is_topic and re.fullmatch(ID_FORM, parts, re.ASCII):
        return StationName(f"/topic/id/{parts}/", parts.partition("/")[0].rstrip("."), is_final=True)
    if kind not in BEARERS:
        raise ValueError(f"{text!r} is no bearer or topic of {', '.join(BEARERS)} or id")
    try:
        identifiers = read_identifiers(kind, parts)
    except ValueError as error:
        raise ValueError(f"{text!r} {error}, or the topic of it") from None
    if "*" in parts:
        raise ValueError(f"{text!r}: * is for broadcasters; a receiver knows its frequency")
    # The widest part is asked for last: <frequency>.<pi>.<gcc>.fm.radiodns.org (TS 103 270, contract §4).
    return StationName(f"/topic/{kind}/{parts.lower()}/", ".".join((*reversed(identifiers), kind, domain)))


def resolver(reactor: Any, servers: Sequence[tuple[str, int]]) -> Resolver:
    """A DNS client.

    :param servers: addresses and ports to ask; empty for those of this machine.
    """
    if servers:
        return Resolver(servers=list(servers), timeout=SECONDS, reactor=reactor)
    return Resolver(resolv="/etc/resolv.conf", timeout=SECONDS, reactor=reactor)


async def authoritative_name(dns_client: Resolver, name: str) -> str:
    """The broadcaster's own name: where the CNAMEs lead.

    :raises LookupFailed: there is none, or they never end.
    """
    chain = [name.lower()]
    while (following := await _cname(dns_client, chain)) is not None:
        _follow(chain, following)
    if len(chain) == 1:
        raise LookupFailed(f"{name} has no CNAME: this station is not registered for RadioDNS")
    return chain[-1]


def _follow(chain: list[str], following: str) -> None:
    """Go on to the next name. :raises LookupFailed: the CNAMEs never end."""
    if following in chain:
        raise LookupFailed(f"the CNAMEs go in a circle: {' → '.join([*chain, following])}")
    chain.append(following)
    if len(chain) > LONGEST_CHAIN:
        raise LookupFailed(f"more than {LONGEST_CHAIN} CNAMEs one after the other, from {chain[0]} on")


async def _cname(dns_client: Resolver, chain: Sequence[str]) -> str | None:
    """Where the last of these names leads; None at the end."""
    try:
        records = await _ask(dns_client, chain[-1], dns.CNAME)
    except LookupFailed:
        if len(chain) == 1:
            raise
        return None  # A broadcaster's zone that has nothing under this name may still have its SRV records.
    return _aliases(records).get(chain[-1])


def _aliases(records: Sequence[Any]) -> dict[str, str]:
    return {str(each.name).lower(): str(each.payload.name).lower() for each in records if each.type == dns.CNAME}


async def find_servers(dns_client: Resolver, name: str, *, http: bool = False) -> list[ServiceAddress]:
    """The servers of a broadcaster, in the order they should be tried (RFC 2782, without its random choice).

    :raises LookupFailed: there are none.
    """
    asked = f"{_HTTP if http else _STOMP}.{name}"
    records = await _ask(dns_client, asked, dns.SRV)
    found = [
        ServiceAddress(str(record.payload.target), record.payload.port, record.payload.priority, record.payload.weight)
        for record in records
        if record.type == dns.SRV
    ]
    if not found:
        raise LookupFailed(f"{asked} has no SRV record: this broadcaster offers no RadioVIS over STOMP")
    if any(place.host in ("", ".") for place in found):
        raise LookupFailed(f"{asked} says in so many words that there is no such service (target .)")
    return sorted(found, key=lambda place: (place.priority, -place.weight, place.host))


async def find_addresses(dns_client: Resolver, host: str) -> HostAddresses:
    """Where a host is, with CNAMEs followed.

    :raises LookupFailed: it has no address.
    """
    found = await _addresses_of_kind(dns_client, host, dns.A)
    try:
        more = await _addresses_of_kind(dns_client, host, dns.AAAA)
    except LookupFailed:
        if not found.addresses:
            raise
        more = found  # Some servers have no answer to this question.
    addresses = tuple(dict.fromkeys((*found.addresses, *more.addresses)))[:MOST_ADDRESSES]
    if not addresses:
        raise LookupFailed(f"{' → '.join(found.names)} has no address: neither an A nor an AAAA record")
    return HostAddresses(found.names, addresses)


async def _addresses_of_kind(dns_client: Resolver, host: str, kind: int) -> HostAddresses:
    """The A or the AAAA records. An answer may hold a chain of CNAMEs whole, in part or not at all."""
    chain = [host.lower()]
    while True:
        asked, records = chain[-1], await _ask(dns_client, chain[-1], kind)
        aliases = _aliases(records)
        while (following := aliases.get(chain[-1])) is not None:
            _follow(chain, following)
        found = [each.payload for each in records if each.type == kind and str(each.name).lower() == chain[-1]]
        if found or chain[-1] == asked:
            octets = [each.address for each in found]
            return HostAddresses(tuple(chain), tuple(str(ipaddress.ip_address(each)) for each in octets))


async def _ask(dns_client: Resolver, name: str, kind: int) -> list[Any]:
    """The answers, of any kind; empty when the name exists without any."""
    if any(not 0 < len(label) < 64 for label in name.split(".")) or len(name) > 253:
        raise LookupFailed(f"{name[:80]} is no name the DNS can be asked for")
    try:
        answers, _, _ = await dns_client.query(dns.Query(name.encode("idna" if not name.isascii() else "ascii"), kind))
    except DNSNameError:
        raise LookupFailed(f"{name} does not exist (NXDOMAIN)") from None
    except (DNSQueryTimeoutError, TookTooLong):
        raise LookupFailed(f"no DNS server answers when asked for {name}") from None
    except Exception as error:  # noqa: BLE001 - any server may be asked, and anything may be wrong with its answers.
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise LookupFailed(f"the DNS server cannot answer for {name}: {reason}") from None
    return list(answers)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """One step. :ivar milliseconds: how long it took. :ivar found: what it led to, or why it did not, in one line."""

    step: str
    ok: bool
    milliseconds: float
    found: str


def command() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(
        "probe",
        "Do what a receiver does until its first slide, with any server: RadioDNS, connect, subscribe, fetch.",
        {
            DONE: "a slide came, and a radio can show it",
            FAILED: "a step failed; stderr says which",
            WRONG: "wrong usage",
        },
    )
    parser.add_argument(
        "station",
        metavar="STATION",
        help="a bearer such as fm:4e1.4000.09580, or a topic such as /topic/fm/4e1/4000/09580/",
    )
    parser.add_argument("--server", type=address, metavar="URL", help="connect to this server, and do not ask the DNS")
    add_ca_flag(parser)
    parser.add_argument(
        "--dns",
        type=_dns,
        action="append",
        default=[],
        metavar="IP[:PORT]",
        help="the DNS server to ask for names and for addresses of servers; may be repeated (IPv6 with a port: "
        "[::1]:5353)",
    )
    parser.add_argument("--domain", default="radiodns.org", help="the root domain of RadioDNS (default: radiodns.org)")
    parser.add_argument(
        "--seconds", type=seconds, default=15.0, metavar="S", help="how long to wait for a slide (default: 15)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: wrong usage, or a step failed."""
    given = command().read(words)
    try:
        station = station_name(given.station, given.domain)
    except ValueError as error:
        raise CommandError(f"probe: {error}", WRONG) from None
    return run_reactor(lambda reactor: ServiceProbe(reactor, station, given).run())


class ServiceProbe:
    """Runs the steps for one station, and prints each."""

    def __init__(self, reactor: Any, station: StationName, given: argparse.Namespace) -> None:
        self._reactor = reactor
        self._station = station
        self._given = given
        self._steps: list[ProbeStep] = []
        self._dns = resolver(reactor, given.dns)

    async def run(self) -> int:
        """Run the steps. :raises CommandError: with the step that failed."""
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
        name = station.name
        if not station.is_final:
            name = await self._step("CNAME", authoritative_name(self._dns, name), lambda found: f"{name} → {found}")
        found = await self._step("SRV", find_servers(self._dns, name), _list)
        return [ServerAddress(place.host, place.port) for place in found]

    async def _connect_to_any(self, servers: Sequence[ServerAddress]) -> Conversation:
        """:param servers: at least one. :raises CommandError: of the last one, if none lets us in."""
        failed = CommandError("")
        for server in servers:
            try:
                for place in await self._places(server.host):
                    try:
                        opening = converse(self._reactor, server, found_at=place)
                        return (await self._step("connect", opening, _hello))[0]
                    except CommandError as error:
                        failed = error
            except CommandError as error:
                failed = error
        raise failed

    async def _places(self, host: str) -> Sequence[str]:
        """The addresses of a host, from ``--dns``; an empty one without ``--dns``, or if the host is one itself."""
        if not self._given.dns or _is_address(host):
            return [""]
        found: HostAddresses = await self._step("address", find_addresses(self._dns, host), str)
        return found.addresses

    async def _first_slide(self, conversation: Conversation) -> MessageReceived:
        topic = self._station.topic + "image"
        conversation.session.subscribe(topic, "1")
        conversation.flush()
        end = self._reactor.seconds() + self._given.seconds
        while (event := await conversation.next_event(end - self._reactor.seconds())) is not None:
            if isinstance(event, ConnectRefused):
                raise CommandError(f"the server refuses {topic}: {error_text(event)}")
            if isinstance(event, MessageReceived) and event.body.startswith(b"SHOW "):
                return event
        raise CommandError(f"no slide on {topic} within {self._given.seconds:g} s: is the station registered there?")

    async def _step(self, name: str, doing: Awaitable[T], found: Any) -> T:
        began = time.monotonic()
        try:
            result = await doing
        except (CommandError, LookupFailed, ConversationEnded) as error:
            self._note(name, False, began, str(error))
            raise CommandError(f"{name}: {printable(str(error))}") from None
        self._note(name, not getattr(result, "complaints", ()), began, found(result))
        return result

    def _note(self, name: str, ok: bool, began: float, found: str) -> None:
        step = ProbeStep(name, ok, round((time.monotonic() - began) * 1000, 1), printable(found))
        self._steps.append(step)
        if not self._given.json:
            verdict = paint("ok  ", "green") if ok else paint("FAIL", "red")
            print(f"{verdict} {step.step:<8} {step.milliseconds:8.1f} ms  {step.found}", flush=True)


def _body(message: MessageReceived) -> str:
    return message.body.decode("utf-8", "replace")


def _hello(opened: tuple[Conversation, Connected]) -> str:
    connected = opened[1]
    server = dict(connected.headers).get("server")
    return f"connected, STOMP {connected.version}" + (f", {server}" if server else "")


def _describe(slide: Any) -> str:
    return str(slide.picture) if slide.picture else "; ".join(slide.complaints)


def _list(found: Sequence[ServiceAddress]) -> str:
    return ", ".join(f"{place.host}:{place.port} (priority {place.priority})" for place in found)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _dns(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"\[([^\[\]]*)\](?::(\d{1,5}))?|([^:]*)(?::(\d{1,5}))?", text)
    host, port = (match[1] or match[3], int(match[2] or match[4] or 53)) if match else (text, 53)
    if not _is_address(host or "") or not 0 < port < 2**16:
        raise argparse.ArgumentTypeError(f"{text!r} should be an address of a DNS server, as in 9.9.9.9 or [::1]:5353")
    return host, port
