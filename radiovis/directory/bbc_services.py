"""The ``services.json`` of the BBC's RadioVIS server (github.com/bbc/node-radiovis-stomp-server), as a stations file.

    {"radio1": {"name": "Radio 1", "bearers": ["dab:ce1.ce15.c221.0", "fm:ce1.c201.09710"],
                "default_image": "http://…", "default_link": "http://…", "default_text": "…"}}

Only ``bearers`` has to be there. A service becomes a station, and each of its bearers a channel with the service's
defaults. A service without a ``default_text`` gets what that server sends for it. The names of its first releases,
``default_image_url`` and ``default_link_url``, are read too. That server has no logins: its HTTP port publishes for
everybody. Here the service's id is the station's login, so that ``POST /services/<id>`` keeps its address.

:func:`read_services` reads and checks, with every fault and its line; :func:`stations_text` writes.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit

from radiovis.directory.interface import checked_prefix
from radiovis.directory.stations_file import MAX_SIZE, read_text
from radiovis.directory.stations_parser import StationsFileError, checked_text, checked_url
from radiovis.topics import bearer_topic

GREETING = "You are listening to {}"
"""The text that the BBC's server sends for a service without a ``default_text``."""
MOST_FAULTS = 20
"""Shown of one file. What comes behind them mostly follows from them."""

_NAMES = {"default_image": ("default_image", "default_image_url"), "default_link": ("default_link", "default_link_url")}
_FIELDS = ("name", "bearers", "default_text", *(name for names in _NAMES.values() for name in names))
_BETWEEN = re.compile(r"[ \t\r\n,:]*")
_LOGIN = re.compile(r"[^\s.:/]+")  # A dot ends the station's id, a colon the login in HTTP Basic, a slash the address.
_HEAD = """\
# Made by `station import-bbc` from the services of a BBC RadioVIS server. A station logs in with its service's id.
# Where the password is "locked", it cannot log in before `station passwd` has given it one.

"""


class ServicesFileError(Exception):
    """The file cannot be converted. The text has a line for each fault: ``file:line: service: field: what``."""


@dataclass(frozen=True, slots=True)
class BbcService:
    """A service.

    :ivar topics: of its bearers, with a slash at the end.
    :ivar text: its default, without the ``TEXT`` word. :ivar image: an absolute URL; None if it has none.
    """

    id: str
    name: str
    topics: tuple[str, ...]
    text: str
    image: str | None
    link: str | None


@dataclass(frozen=True, slots=True)
class BbcServices:
    """The content of a file. :ivar unused: lines, as for errors, about fields that mean nothing to us."""

    services: tuple[BbcService, ...]
    unused: tuple[str, ...] = ()


def read_services(path: Path) -> BbcServices:
    """The services in a file.

    :raises ServicesFileError: it cannot be read, or something in it is wrong.
    """
    try:
        text = read_text(path).removeprefix("\ufeff")  # Node skips the mark as well.
    except StationsFileError as error:
        raise ServicesFileError(str(error)) from None
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise ServicesFileError(f"{path}:{error.lineno}: is no JSON: {error.msg}") from None
    except RecursionError:
        raise ServicesFileError(f"{path}: is nested too deeply") from None
    except ValueError as error:  # a number of more digits than Python converts
        raise ServicesFileError(f"{path}: is no JSON: {error}") from None
    return _Reader(str(path), text).read()


def stations_text(found: BbcServices, password: Callable[[], str]) -> str:
    """The text of a stations file with these services.

    :param password: returns what the file has for the password of the next station.
    :raises ServicesFileError: it would be longer than a node reads.
    """
    stations = [
        {"login": each.id, "password": password(), "name": each.name, "channel": list(_channels(each))}
        for each in found.services
    ]
    text = _HEAD + tomlkit.dumps({"station": stations})
    if len(text.encode()) > MAX_SIZE:
        raise ServicesFileError(f"the stations file would be longer than {MAX_SIZE} bytes: split the services")
    return text


def _channels(service: BbcService) -> Iterator[dict[str, str]]:
    defaults = {"image": service.image, "text": service.text, "link": service.link}
    for topic in service.topics:
        yield {"topic": topic, **{key: value for key, value in defaults.items() if value is not None}}


class _Member(NamedTuple):
    """One member of an object, or one element of a list. :ivar at: where it begins in the text."""

    key: str
    value: Any
    at: int
    value_at: int


_DECODER = json.JSONDecoder()


def _members(text: str, at: int) -> Iterator[_Member]:
    """The members of the object or list that begins here, of a text that ``json`` has accepted. Repeated keys too."""
    is_object, at, number = text[at] == "{", at + 1, 0
    while True:
        at = begin = _after(_BETWEEN, text, at)
        if text[at] in "}]":
            return
        key, number = str(number), number + 1
        if is_object:
            key, at = _DECODER.raw_decode(text, at)
            at = _after(_BETWEEN, text, at)
        value_at = at
        value, at = _DECODER.raw_decode(text, at)
        yield _Member(key, value, begin, value_at)


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


@dataclass(slots=True)
class _Reader:
    """Reads one text, for one use, and collects what is wrong with it."""

    path: str
    text: str
    faults: list[tuple[int, str]] = field(default_factory=list)
    unused: list[tuple[int, str]] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)

    def read(self) -> BbcServices:
        """:raises ServicesFileError: with all faults."""
        begin = _after(_BETWEEN, self.text, 0)
        whole = _Member("the file", json.loads(self.text), begin, begin)
        if self.is_a(dict, whole, "the file"):
            services = tuple(self.service(each) for each in self.once(whole, "the file"))
            if not services:
                self.fault(begin, "the file: there is no service in it")
        if self.faults:
            raise ServicesFileError("\n".join(self.lines(self.faults)))
        return BbcServices(services, tuple(self.lines(self.unused)))

    def fault(self, at: int, text: str) -> None:
        self.faults.append((at, text))

    def lines(self, found: list[tuple[int, str]]) -> Iterator[str]:
        for at, text in sorted(found, key=itemgetter(0))[:MOST_FAULTS]:
            yield f"{self.path}:{self.text.count(chr(10), 0, at) + 1}: {text}"
        if len(found) > MOST_FAULTS:
            yield f"{self.path}: and {len(found) - MOST_FAULTS} more"

    def is_a(self, kind: type, member: _Member, what: str) -> bool:
        if isinstance(member.value, kind):
            return True
        self.fault(member.at, f"{what}: must be {_KINDS[kind]}, not {_KINDS[type(member.value)]}")
        return False

    def once(self, member: _Member, what: str) -> Iterator[_Member]:
        """The members of an object; a second one of a name is a fault, as only one of them would count."""
        seen: set[str] = set()
        for each in _members(self.text, member.value_at):
            if each.key in seen:
                self.fault(each.at, f"{what}: {each.key}: is given twice")
            else:
                seen.add(each.key)
                yield each

    def service(self, member: _Member) -> BbcService:
        what = f"service {member.key}"
        if not _LOGIN.fullmatch(member.key) or not member.key.isprintable():
            self.fault(member.at, f"{what}: its id becomes a login, so it must have no spaces, dots, colons or slashes")
        if not self.is_a(dict, member, what):
            return BbcService(member.key, "", (), "", None, None)
        fields = {each.key: each for each in self.once(member, what)}
        for key in (key for key in fields if key not in _FIELDS):
            near = difflib.get_close_matches(key, _FIELDS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.unused.append((fields[key].at, f"{what}: {key}: is not used{hint}"))
        name = self.string(fields.get("name"), what) or member.key
        return BbcService(
            member.key,
            name,
            tuple(self.topics(member, fields.get("bearers"), what)),
            self.default_text(member, fields, name, what),
            self.url(fields, "default_image", what),
            self.url(fields, "default_link", what),
        )

    def string(self, member: _Member | None, what: str) -> str | None:
        """Its text; None if it is not there, null or empty, which are the same to the BBC's server."""
        if member is None or member.value in (None, "") or not self.is_a(str, member, f"{what}: {member.key}"):
            return None
        if re.search(r"[\ud800-\udfff]", member.value):
            self.fault(member.at, f"{what}: {member.key}: has half of a character in it (a lone surrogate)")
            return None
        return str(member.value)

    def default_text(self, service: _Member, fields: dict[str, _Member], name: str, what: str) -> str:
        given = fields.get("default_text")
        text = self.string(given, what)
        member = given if given is not None and text is not None else fields.get("name", service)
        try:
            return checked_text(GREETING.format(name) if text is None else text)
        except ValueError as error:
            label = f"{member.key}: " if member is not service else ""
            greeted = "" if text is not None else f"{GREETING.format('…')!r}, which stands for a default_text, "
            self.fault(member.at, f"{what}: {label}{greeted}{error}")
        return ""

    def url(self, fields: dict[str, _Member], key: str, what: str) -> str | None:
        given = [(fields[name], text) for name in _NAMES[key] if (text := self.string(fields.get(name), what))]
        if len(given) > 1:
            self.fault(given[1][0].at, f"{what}: {given[1][0].key}: is given besides {key}, which has the same meaning")
        for member, text in given:
            try:
                return checked_url(text)
            except ValueError as error:
                self.fault(member.at, f"{what}: {member.key}: {error}")
        return None

    def topics(self, service: _Member, member: _Member | None, what: str) -> Iterator[str]:
        if member is None or member.value is None:
            self.fault((member or service).at, f"{what}: bearers: is missing")
        elif self.is_a(list, member, f"{what}: bearers"):
            for each in _members(self.text, member.value_at):
                place = f"{what}: bearers[{each.key}]"
                if self.is_a(str, each, place) and (topic := self.topic(each, place)):
                    yield topic

    def topic(self, bearer: _Member, place: str) -> str | None:
        try:
            topic = checked_prefix(bearer_topic(bearer.value))
        except ValueError as error:
            self.fault(bearer.at, f"{place}: {error}")
            return None
        owner, _, _ = place.rpartition(": ")
        if topic in self.owners:
            self.fault(bearer.at, f"{place}: {bearer.value} belongs to {self.owners[topic]} already")
            return None
        self.owners[topic] = owner
        return topic


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text in quotes",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}
