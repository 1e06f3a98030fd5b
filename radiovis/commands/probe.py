"""``probe``: do each step of a receiver up to its first slide, and print the time and the result of each step.

RadioDNS (ETSI TS 103 270) finds the servers of a station: bearer → name → CNAME → SRV. The next steps connect,
subscribe, wait for a slide and fetch it. With ``--dns``, that DNS server is also asked for the servers' addresses.
Otherwise the resolver of this machine finds them.
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
"""Seconds to wait for an answer of the DNS, for each attempt."""
LONGEST_CHAIN = 8
"""CNAMEs that are followed. Real chains have one or two; a malicious chain may be endless."""
MOST_ADDRESSES = 4
"""Addresses tried for one server. Each may take :data:`~radiovis.client.conversation.CONNECT_SECONDS`."""
_STOMP, _HTTP = "_radiovis._tcp", "_radiovis-http._tcp"


class LookupFailed(Exception):
    """A DNS lookup failed. The text gives the reason in one line."""


@dataclass(frozen=True, slots=True)
class StationName:
    """What a receiver knows about a station: its channel, and the name to look up.

    :ivar topic: the channel, with a trailing slash.
    :ivar name: the name to look up in the DNS. Its CNAME is the broadcaster's own name.
    :ivar is_final: whether ``name`` is already the broadcaster's own name, as for ``/topic/id/<fqdn>/…``.
    """

    topic: str
    name: str
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """The data of an SRV record: the host and the port of a server."""

    host: str
    port: int
    priority: int
    weight: int


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """The addresses of a host.

    :ivar names: the name that was looked up, and the names that its CNAMEs lead to. An SRV record must not point to an
        alias (RFC 2782), but some records do, and receivers accept it.
    :ivar addresses: IPv4 before IPv6, because most receivers only have IPv4.
    """

    names: tuple[str, ...]
    addresses: tuple[str, ...]

    def __str__(self) -> str:
        return " → ".join((*self.names, ", ".join(self.addresses)))


def station_name(text: str, domain: str = "radiodns.org") -> StationName:
    """The station of a bearer (``fm:4e1.4000.09580``) or a topic (``/topic/fm/4e1/4000/09580/``).

    :param domain: the root domain of RadioDNS.
    :raises ValueError: the text is neither; the error's text says what is wrong.
    """
    is_topic = text.startswith("/topic/")
    kind, _, rest = text[7:].partition("/") if is_topic else text.partition(":")
    parts = re.sub(r"/(image|text)?$", "", rest) if is_topic else rest.replace(".", "/")
    if kind == "id" and is_topic and re.fullmatch(ID_FORM, parts, re.ASCII):
        return StationName(f"/topic/id/{parts}/", parts.partition("/")[0].rstrip("."), is_final=True)
    if kind not in BEARERS:
        raise ValueError(f"{text!r} is neither a bearer nor a topic of {', '.join(BEARERS)} or id")
    try:
        identifiers = read_identifiers(kind, parts)
    except ValueError as error:
        raise ValueError(f"{text!r} {error}, or the topic of such a bearer") from None
    if "*" in parts:
        raise ValueError(f"{text!r}: only broadcasters use *; give the frequency of a receiver")
    # The widest part is the last label: <frequency>.<pi>.<gcc>.fm.radiodns.org (TS 103 270, contract §4).
    return StationName(f"/topic/{kind}/{parts.lower()}/", ".".join((*reversed(identifiers), kind, domain)))


def resolver(reactor: Any, servers: Sequence[tuple[str, int]]) -> Resolver:
    """A DNS client.

    :param servers: addresses and ports of the DNS servers; empty for those of this machine.
    """
    if servers:
        return Resolver(servers=list(servers), timeout=SECONDS, reactor=reactor)
    return Resolver(resolv="/etc/resolv.conf", timeout=SECONDS, reactor=reactor)


async def authoritative_name(dns_client: Resolver, name: str) -> str:
    """The broadcaster's own name, which is the end of the chain of CNAMEs.

    :raises LookupFailed: the name has no CNAME, or the chain is too long or circular.
    """
    chain = [name.lower()]
    while (following := await _cname(dns_client, chain)) is not None:
        _follow(chain, following)
    if len(chain) == 1:
        raise LookupFailed(f"{name} has no CNAME: this station is not registered for RadioDNS")
    return chain[-1]


def _follow(chain: list[str], following: str) -> None:
    """Add the next name to the chain. :raises LookupFailed: the chain is too long or circular."""
    if following in chain:
        raise LookupFailed(f"the CNAMEs form a circle: {' → '.join([*chain, following])}")
    chain.append(following)
    if len(chain) > LONGEST_CHAIN:
        raise LookupFailed(f"the chain of CNAMEs has more than {LONGEST_CHAIN} names; it begins with {chain[0]}")


async def _cname(dns_client: Resolver, chain: Sequence[str]) -> str | None:
    """The CNAME of the last name; None if it has none."""
    try:
        records = await _ask(dns_client, chain[-1], dns.CNAME)
    except LookupFailed:
        if len(chain) == 1:
            raise
        return None  # The broadcaster's zone may have the SRV records without any record under this name.
    return _aliases(records).get(chain[-1])


def _aliases(records: Sequence[Any]) -> dict[str, str]:
    return {str(each.name).lower(): str(each.payload.name).lower() for each in records if each.type == dns.CNAME}


async def find_servers(dns_client: Resolver, name: str, *, http: bool = False) -> list[ServiceAddress]:
    """The servers of a broadcaster, in the order in which clients try them (RFC 2782, without its random choice).

    :param http: whether to look up the service over HTTP instead of STOMP.
    :raises LookupFailed: the broadcaster has no servers.
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
        raise LookupFailed(f"{asked} has the SRV target '.': this broadcaster declares that it has no such service")
    return sorted(found, key=lambda place: (place.priority, -place.weight, place.host))


async def find_addresses(dns_client: Resolver, host: str) -> HostAddresses:
    """The addresses of a host. CNAMEs are followed.

    :raises LookupFailed: the host has no address.
    """
    found = await _addresses_of_kind(dns_client, host, dns.A)
    try:
        more = await _addresses_of_kind(dns_client, host, dns.AAAA)
    except LookupFailed:
        if not found.addresses:
            raise
        more = found  # Some DNS servers do not answer queries for AAAA records.
    addresses = tuple(dict.fromkeys((*found.addresses, *more.addresses)))[:MOST_ADDRESSES]
    if not addresses:
        raise LookupFailed(f"{' → '.join(found.names)} has no address: neither an A nor an AAAA record")
    return HostAddresses(found.names, addresses)


async def _addresses_of_kind(dns_client: Resolver, host: str, kind: int) -> HostAddresses:
    """The A or the AAAA records. An answer may contain all CNAMEs of a chain, some of them, or none."""
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
    """The records of an answer, of any kind; empty if the name exists without records.

    :raises LookupFailed: the name is invalid or does not exist, or no DNS server answers.
    """
    if any(not 0 < len(label) < 64 for label in name.split(".")) or len(name) > 253:
        raise LookupFailed(f"{name[:80]} is not a valid name in the DNS")
    try:
        answers, _, _ = await dns_client.query(dns.Query(name.encode("idna" if not name.isascii() else "ascii"), kind))
    except DNSNameError:
        raise LookupFailed(f"{name} does not exist (NXDOMAIN)") from None
    except (DNSQueryTimeoutError, TookTooLong):
        raise LookupFailed(f"no DNS server answers when asked for {name}") from None
    except Exception as error:  # noqa: BLE001 - an answer of a foreign DNS server may cause any error.
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise LookupFailed(f"the DNS server cannot answer for {name}: {reason}") from None
    return list(answers)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """One step. :ivar milliseconds: how long it took. :ivar found: its result, or the reason of its failure."""

    step: str
    ok: bool
    milliseconds: float
    found: str


def command() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(
        "probe",
        "Do each step of a receiver up to its first slide, with any server: RadioDNS, connect, subscribe, fetch.",
        {
            DONE: "a slide was received, and a radio can show it",
            FAILED: "a step failed; stderr names it",
            WRONG: "wrong usage",
        },
    )
    parser.add_argument(
        "station",
        metavar="STATION",
        help="a bearer such as fm:4e1.4000.09580, or a topic such as /topic/fm/4e1/4000/09580/",
    )
    parser.add_argument("--server", type=address, metavar="URL", help="connect to this server, without RadioDNS")
    add_ca_flag(parser)
    parser.add_argument(
        "--dns",
        type=_dns,
        action="append",
        default=[],
        metavar="IP[:PORT]",
        help="the DNS server to use for names and for addresses of servers; may be repeated (IPv6 with a port: "
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
    """Runs the steps for one station, and prints the result of each."""

    def __init__(self, reactor: Any, station: StationName, given: argparse.Namespace) -> None:
        self._reactor = reactor
        self._station = station
        self._given = given
        self._steps: list[ProbeStep] = []
        self._dns = resolver(reactor, given.dns)

    async def run(self) -> int:
        """Run the steps. :raises CommandError: a step failed; the text begins with its name."""
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
        """Connect to the first server that accepts us. :param servers: at least one.

        :raises CommandError: no server accepts us; it is the error of the last attempt.
        """
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
        """The addresses of a host, from ``--dns``; one empty text without ``--dns``, or if the host is an address."""
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
        raise argparse.ArgumentTypeError(f"{text!r} must be the address of a DNS server, such as 9.9.9.9 or [::1]:5353")
    return host, port
