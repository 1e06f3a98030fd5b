"""Parses and checks the content of a stations file (TOML). Errors name the file and the line.

``tomllib`` only reports lines for syntax errors, so :func:`read_sections` finds the line of each table and key.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import math
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cryptography import x509

from fanout.listeners.address import network
from radiovis.directory.interface import MAX_URL, Channel, Default, checked_prefix, text_fault
from radiovis.directory.password import LOCKED, StoredPassword

_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(#.*)?")
_KEY = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+)\s*[.=]")
_OPENING = re.compile(r'"""|\'\'\'|#')
MOST_PARTS = 32
"""Most parts of a dotted key. The format needs two; ``tomllib`` compares each part with all parts before it."""
_DOTTED = re.compile(rf"""(?<![\w"'-])(?:(?:"[^"\n]*"|'[^'\n]*'|[\w-]+)[ \t]*\.[ \t]*){{{MOST_PARTS}}}""")


@dataclass(slots=True)
class Section:
    """One ``[table]`` or one ``[[element]]``.

    :ivar name: as in the header, ``station.channel``; empty for the part before the first header.
    :ivar line: line of the header, counted from 1.
    :ivar keys: the line of each key.
    """

    name: str
    line: int
    keys: dict[str, int] = field(default_factory=dict)

    def line_of(self, key: str | None) -> int:
        """The line of a key, or of the header if the section does not contain the key."""
        return self.line if key is None else self.keys.get(key, self.line)

    def inline(self, key: str) -> Section:
        """A section for an inline table of this key: all of it is at the key's line."""
        return Section(key, self.line_of(key))


def read_sections(text: str) -> list[Section]:
    """The sections of a text that ``tomllib`` has accepted, in order.

    The first section has no header: it is the document itself, and its keys include the tables. Inline tables and keys
    (``station = [{login = …}]``) are at the line of the outermost key.
    """
    sections = [Section("", 1)]
    inside: str | None = None  # The quotes of a multi-line string, whose content is skipped.
    for number, line in enumerate(text.splitlines(), 1):
        if inside is None:
            _read_line(sections, number, line)
        inside = _quotes_after(line, inside)
    return sections


def _read_line(sections: list[Section], number: int, line: str) -> None:
    if header := _HEADER.fullmatch(line):
        name = re.sub(r"[\s\"']", "", header[1])
        sections[0].keys.setdefault(name.partition(".")[0], number)
        sections.append(Section(name, number))
    elif key := _KEY.match(line):
        sections[-1].keys.setdefault(key[1].strip("\"'"), number)


def _quotes_after(line: str, inside: str | None) -> str | None:
    place = 0
    while True:
        if inside:
            end = line.find(inside, place)
            if end < 0:
                return inside
            place = end + len(inside)
            inside = None
        else:
            found = _OPENING.search(line, place)
            if found is None or found[0] == "#":
                return None
            inside, place = found[0], found.end()


_STATION = ("login", "password", "old_password", "old_password_until", "certificates", "networks", "name", "channel")
EVERYWHERE = ("0.0.0.0/0", "::/0")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
T = TypeVar("T")


class StationsFileError(Exception):
    """The file cannot be used. The text is ``file:line: what is wrong``."""

    def __init__(self, path: str, line: int | None, text: str) -> None:
        super().__init__(f"{path}:{line}: {text}" if line else f"{path}: {text}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Account:
    """A login: its password or certificates, and the networks from which the station may log in.

    :ivar password: None for a station that logs in with a certificate only, or cannot log in yet.
    :ivar networks: the networks from which it may log in.
    :ivar old_password: a further password, which is valid until ``old_until``; None if there is none.
    :ivar old_until: Unix time in seconds.
    :ivar certificates: client certificates, of which the station needs one.
    """

    password: StoredPassword | None
    networks: tuple[Network, ...]
    old_password: StoredPassword | None = None
    old_until: float = 0.0
    certificates: tuple[KnownCertificate, ...] = ()

    def passwords(self, now: float) -> tuple[tuple[StoredPassword, float], ...]:
        """The passwords that are valid now, and until when each of them is.

        :param now: Unix time in seconds.
        """
        valid = ((self.password, math.inf), (self.old_password, self.old_until))
        return tuple((password, until) for password, until in valid if password is not None and now < until)

    @property
    def credentials(self) -> frozenset[StoredPassword | KnownCertificate | Network]:
        """Its passwords, certificates and networks. A client that is connected may have used any of them."""
        passwords = (each for each in (self.password, self.old_password) if each is not None)
        return frozenset((*passwords, *self.certificates, *self.networks))

    def allows(self, address: str) -> bool:
        """Whether this address is in one of the networks. An IPv4-mapped IPv6 address counts as IPv4."""
        try:
            client = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(client, ipaddress.IPv6Address):
            client = client.ipv4_mapped or client
        return any(client in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class KnownCertificate:
    """A client certificate in the file: by its fingerprint, or by its subject if an authority of the file signed it.

    :ivar fingerprint: SHA-256 of the certificate in DER; empty for a subject.
    :ivar subject: its complete subject, as in RFC 4514: ``CN=rock,O=Radio``; None for a fingerprint.
    """

    fingerprint: bytes = b""
    subject: x509.Name | None = None

    @classmethod
    def parse(cls, text: str) -> KnownCertificate:
        """:raises ValueError: the text is neither a fingerprint nor a subject."""
        kind, colon, digits = text.partition(":")
        if colon and kind.strip().lower() == "sha256":
            digest = digits.replace(":", "").strip()
            if not re.fullmatch(r"[0-9A-Fa-f]{64}", digest):
                raise ValueError(
                    "a fingerprint is sha256: and 64 hex digits, as `openssl x509 -fingerprint -sha256` shows"
                )
            return cls(fingerprint=bytes.fromhex(digest))
        try:
            subject = x509.Name.from_rfc4514_string(text)
        except ValueError:
            subject = None
        if not subject:
            raise ValueError("must be sha256:<fingerprint>, or a subject such as CN=rock,O=Radio")
        return cls(subject=subject)


@dataclass(frozen=True, slots=True)
class Stations:
    """The content of a stations file.

    :ivar accounts: by login.
    :ivar channels: the topic prefixes of each station id; several logins may share a station.
    :ivar topics: the channels of all stations.
    :ivar defaults: by channel number.
    :ivar countries: the GCC of each country code.
    :ivar client_ca: PEM file with the certificates of the authorities that sign those of stations that are identified
        by their subject; empty if there is none.
    """

    accounts: dict[str, Account] = field(default_factory=dict)
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    topics: tuple[Channel, ...] = ()
    defaults: dict[int, Default] = field(default_factory=dict)
    countries: dict[str, str] = field(default_factory=dict)
    client_ca: str = ""

    @property
    def has_certificates(self) -> bool:
        """Whether any station may log in with a client certificate."""
        return any(account.certificates for account in self.accounts.values())

    @property
    def locked(self) -> tuple[str, ...]:
        """The logins with neither a password nor a certificate."""
        return tuple(login for login, each in self.accounts.items() if each.password is None and not each.certificates)


def parse_stations(text: str, path: str) -> Stations:
    """Parse the text of a stations file.

    :param path: only for the errors.
    :raises StationsFileError: for the first mistake, with its line.
    """
    dotted = _DOTTED.search(text)
    if dotted:
        line = text.count("\n", 0, dotted.start()) + 1
        raise StationsFileError(path, line, f"a key has more than {MOST_PARTS} parts")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column \d+\)", str(error))
        line = int(place[1]) if place else text.count("\n") + 1
        raise StationsFileError(path, line, re.sub(r" \(at .*\)$", "", str(error))) from None
    except RecursionError:
        raise StationsFileError(path, None, "it is nested too deeply") from None
    return _Reader(path, read_sections(text)).read(document)


def channel_id(canonical: str) -> int:
    """The number of a channel: a hash of its topic, so that it is the same on every node and for any order in the file.

    It has 48 bits: every JSON reader represents it exactly, and a collision among a million channels is unlikely.
    """
    return int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:6], "big")


class _Table:
    """A TOML table that is checked. It knows its line, and its name for errors."""

    def __init__(self, path: str, what: str, content: object, section: Section, allowed: tuple[str, ...]) -> None:
        self._path, self._what, self._section = path, what, section
        if not isinstance(content, dict):
            raise self.error(None, f"must be a table, not {_kind(content)}")
        self.content: dict[str, Any] = content
        for key in content:
            if allowed and key not in allowed:
                near = difflib.get_close_matches(key, allowed, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(allowed)}"
                raise self.error(key, f"unknown key; {hint}")

    def error(self, key: str | None, text: str) -> StationsFileError:
        where = f"{self._what}: {key}: " if key else f"{self._what}: "
        return StationsFileError(self._path, self._section.line_of(key), where + text)

    def text(self, key: str, check: Callable[[str], T]) -> T:
        """A mandatory text, converted by ``check``."""
        if key not in self.content:
            raise self.error(key, "is missing")
        return self.checked(key, self.content[key], check)

    def text_or_none(self, key: str, check: Callable[[str], T]) -> T | None:
        return self.text(key, check) if key in self.content else None

    def checked(self, key: str, value: object, check: Callable[[str], T]) -> T:
        if not isinstance(value, str):
            raise self.error(key, f"must be a text in quotes, not {_kind(value)}")
        try:
            return check(value)
        except ValueError as error:
            raise self.error(key, str(error)) from None

    def time(self, key: str) -> float:
        """A point in time, as Unix time in seconds; 0 if it is missing."""
        value = self.content.get(key)
        if value is None:
            return 0.0
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise self.error(key, "must be a time with its zone and without quotes, as in 2026-12-31T23:59:59Z")
        return value.timestamp()

    def items(self, key: str, default: list[Any]) -> list[Any]:
        value = self.content.get(key, default)
        if not isinstance(value, list):
            raise self.error(key, f"must be a list, not {_kind(value)}")
        return value


class _Reader:
    """Reads one document. Use each object once."""

    def __init__(self, path: str, sections: list[Section]) -> None:
        self._path = path
        self._top = sections[0]
        self._places = _places(sections)
        self._countries_place = next((place for place in sections if place.name == "countries"), None)
        self._accounts: dict[str, Account] = {}
        self._channels: defaultdict[str, list[Channel]] = defaultdict(list)
        self._defaults: dict[int, Default] = {}
        self._countries: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        self._client_ca = ""

    def read(self, document: dict[str, Any]) -> Stations:
        top = _Table(self._path, "the file", document, self._top, ("station", "countries", "client_ca"))
        self._client_ca = top.text_or_none("client_ca", str) or ""
        self._read_countries(document.get("countries", {}))
        tables = top.items("station", [])
        if not tables:
            raise top.error(None, "it contains no [[station]]")
        for number, content in enumerate(tables):
            self._read_station(number, content)
        prefixes = {station: tuple(one.topic for one in own) for station, own in self._channels.items()}
        topics = tuple(channel for own in self._channels.values() for channel in own)
        return Stations(self._accounts, prefixes, topics, self._defaults, self._countries, self._client_ca)

    def _read_countries(self, content: object) -> None:
        section = self._countries_place or self._top.inline("countries")
        table = _Table(self._path, "countries", content, section, ())
        for country, gcc in table.content.items():
            if not re.fullmatch(r"[a-z]{2}", country):
                raise table.error(country, "a country code is two lower-case letters (ISO 3166), as in ch")
            self._countries[country] = table.checked(country, gcc, _gcc)

    def _read_station(self, number: int, content: object) -> None:
        section, channel_sections = self._place(number)
        named = content.get("login") if isinstance(content, dict) else None
        what = f"station {named}" if isinstance(named, str) else f"station number {number + 1}"
        table = _Table(self._path, what, content, section, _STATION)
        login = table.text("login", _login)
        if login in self._accounts:
            raise table.error("login", "another station has this login already")
        name = table.text_or_none("name", str) or ""
        self._accounts[login] = self._account(table)
        for place, channel in enumerate(table.items("channel", [])):
            own = channel_sections[place] if place < len(channel_sections) else section.inline("channel")
            self._read_channel(login, name, own, f"station {login}, channel {place + 1}", channel)

    def _account(self, table: _Table) -> Account:
        known = tuple(
            table.checked("certificates", each, KnownCertificate.parse) for each in table.items("certificates", [])
        )
        if any(each.subject is not None for each in known) and not self._client_ca:
            raise table.error("certificates", "a subject needs client_ca at the head of the file (its authority)")
        password = (table.text_or_none if known else table.text)("password", _password)
        old, until = table.text_or_none("old_password", StoredPassword.parse), table.time("old_password_until")
        if (old is None) != (not until):
            raise table.error("old_password", "must be set together with old_password_until")
        networks = table.items("networks", list(EVERYWHERE))
        allowed = tuple(table.checked("networks", each, network) for each in networks)
        return Account(password, allowed, old, until, known)

    def _read_channel(self, login: str, name: str, section: Section, what: str, content: object) -> None:
        table = _Table(self._path, what, content, section, ("topic", "image", "text", "link"))
        topic = table.text("topic", checked_prefix)
        canonical = _canonical(topic, self._countries)
        if canonical in self._owners:
            raise table.error("topic", f"{topic} belongs to station {self._owners[canonical]} already")
        self._owners[canonical] = login
        channel = Channel(topic, channel_id(canonical), name=name)
        self._channels[station_id(login)].append(channel)
        default = Default(
            table.text_or_none("image", checked_url),
            table.text_or_none("text", checked_text),
            table.text_or_none("link", checked_url),
        )
        if default != Default():
            self._defaults[channel.id] = default

    def _place(self, number: int) -> tuple[Section, list[Section]]:
        """The sections of a station and of its channels."""
        return self._places[number] if number < len(self._places) else (self._top.inline("station"), [])


def _places(sections: list[Section]) -> list[tuple[Section, list[Section]]]:
    """The sections of each station and of its channels, up to the next station."""
    places: list[tuple[Section, list[Section]]] = []
    for section in sections:
        if section.name == "station":
            places.append((section, []))
        elif section.name == "station.channel" and places:
            places[-1][1].append(section)
    return places


def station_id(login: str) -> str:
    """The station to which a login belongs: the part before its first dot."""
    return login.partition(".")[0]


def _canonical(topic: str, countries: Mapping[str, str]) -> str:
    """The canonical spelling of a topic: lower case, with the GCC instead of the country code."""
    parts = topic.lower().split("/")
    if parts[2] == "fm" and parts[3] in countries:
        parts[3] = countries[parts[3]]
    return "/".join(parts)


def _login(login: str) -> str:
    if not station_id(login) or re.search(r"[\s\x00-\x1f\x7f]", login):
        raise ValueError("must be <station id>.<name>, without spaces")
    return login


def _password(stored: str) -> StoredPassword | None:
    return None if stored == LOCKED else StoredPassword.parse(stored)


def _gcc(gcc: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{3}", gcc):
        raise ValueError(f"{gcc!r} is not a GCC: three lower-case hex digits, as in 4e1")
    return gcc


def checked_url(url: str) -> str:
    """An address that radios can fetch. :raises ValueError: they cannot; the text says why."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("must be a URL that begins with http:// or https://, without spaces")
    if len(url.encode()) > MAX_URL:
        raise ValueError(f"is {len(url.encode())} bytes long; receivers accept {MAX_URL}")
    return url


def checked_text(text: str) -> str:
    """A radio text. :raises ValueError: radios cannot show it; the text says why."""
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("contains a line break or control character")
    if fault := text_fault(text.encode()):
        raise ValueError(fault)
    return text


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a table", str: "a text"}
    return names.get(type(value), "a date or time")
