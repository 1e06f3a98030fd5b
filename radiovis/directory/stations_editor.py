"""Changes a stations file, and keeps its comments and its order.

:class:`StationsEditor` locks, checks and replaces the file. The functions change its text: tomlkit keeps comments, and
:class:`_Blocks` knows the lines of each station where tomlkit would move them.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomlkit
from tomlkit.exceptions import TOMLKitError

from radiovis.directory.password import LOCKED
from radiovis.directory.stations_file import read_text
from radiovis.directory.stations_parser import Section, Stations, StationsFileError, parse_stations, read_sections

_NEW_MODE = 0o640  # A new file: hashes are secret, but the node's group may have to read it.


class StationsEditor:
    """Changes a stations file and leaves comments and order as they are; a reader never sees half a file.

    As a context it keeps a lock against other editors of this kind.

    :ivar text: the content of the file.
    :ivar stations: the stations in it.
    """

    def __init__(self, path: Path, *, create: bool = False, overwrite: bool = False) -> None:
        """
        :param path: the file.
        :param create: whether a missing file counts as an empty one.
        :param overwrite: whether the old content is ignored, valid or not.
        """
        self._shown = path
        self._path = path.resolve()  # A link stays a link: what it points to is replaced.
        self._create = create
        self._overwrite = overwrite
        self._held = ExitStack()
        self.text = ""
        self.stations = Stations()

    def __enter__(self) -> Self:
        """:raises StationsFileError: the folder cannot be read, or the file cannot be used."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY)
        except OSError as error:
            raise StationsFileError(str(self._shown), None, str(error.strerror)) from None
        self._held.callback(os.close, folder)
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            self._read()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _read(self) -> None:
        if self._overwrite or (self._create and not self._path.exists()):
            return
        self.text = read_text(self._path)
        if self.text.strip():
            self.stations = parse_stations(self.text, str(self._shown))

    def replace(self, text: str) -> None:
        """Replace the file by this text, in one step, with the same owner and mode.

        :raises StationsFileError: no node could use the text, or it cannot be written. The file stays as it was.
        """
        parse_stations(text, str(self._shown))
        try:
            self._write(text.encode())
        except OSError as error:
            raise StationsFileError(str(self._shown), None, f"cannot be written: {error.strerror}") from None

    def _write(self, content: bytes) -> None:
        status = self._path.stat() if self._path.exists() else None
        number, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(number, "wb") as file:
                if status is not None and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
                os.fchmod(file.fileno(), status.st_mode & 0o7777 if status else _NEW_MODE)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def with_station(
    text: str, login: str, password: str, name: str, networks: Sequence[str], topics: Sequence[str]
) -> str:
    """The text with a station at its end.

    :param password: its hash.
    """
    station: dict[str, Any] = {"login": login, "password": password}
    if name:
        station["name"] = name
    if networks:
        station["networks"] = list(networks)
    if topics:
        station["channel"] = [{"topic": topic} for topic in topics]
    added = tomlkit.dumps({"station": [station]})
    if "\r\n" in text:
        added = added.replace("\n", "\r\n")
    end = "\r\n" if "\r\n" in text else "\n"
    before = text + (end if text and not text.endswith("\n") else "") + (end if text.strip() else "")
    return before + added


def with_password(text: str, login: str, password: str, old_until: datetime | None = None) -> str:
    """The text with another password for this login, which must be in it.

    :param password: the hash.
    :param old_until: until when the current password is valid too; None if it ends now.
    """
    document, station = _document_and_station(text, login)
    old = station.get("password")
    for key in ("old_password", "old_password_until"):
        station.pop(key, None)
    station["password"] = password
    if old_until is None or old in (None, LOCKED):
        return str(tomlkit.dumps(document))
    kept = {"old_password": str(old), "old_password_until": old_until}
    blocks = _Blocks(changed := tomlkit.dumps(document))
    number = _number(changed, login)
    if number < len(blocks.stations):  # tomlkit would put them behind the comment above the first channel.
        return blocks.with_lines(blocks.line_of(number, "password"), tomlkit.dumps(kept))
    station.update(kept)
    return str(tomlkit.dumps(document))


def _document_and_station(text: str, login: str) -> tuple[Any, Any]:
    try:
        document: Any = tomlkit.parse(text)
    except TOMLKitError as error:  # tomllib has read it, so this is rare: the two differ in the corners of TOML.
        raise StationsFileError("the stations file", None, f"cannot be edited: {error}; edit it by hand") from None
    return document, next(each for each in document["station"] if each["login"] == login)


def with_names(text: str, login: str, new_login: str | None, name: str) -> str:
    """The text with another login or another name for a station, which must be in it.

    :param new_login: None to keep the login.
    :param name: the new name; empty to keep the old one.
    """
    if name:
        text = _with_name(text, login, name)
    document, station = _document_and_station(text, login)
    if new_login:
        station["login"] = new_login
    return str(tomlkit.dumps(document))


def _with_name(text: str, login: str, name: str) -> str:
    blocks = _Blocks(text)
    number = _number(text, login)
    document, station = _document_and_station(text, login)
    if "name" not in station and number < len(blocks.stations):
        # tomlkit would put it behind the comment above the first channel.
        return blocks.with_lines(blocks.line_of(number, "login"), tomlkit.dumps({"name": name}))
    station["name"] = name
    return str(tomlkit.dumps(document))


def without_station(text: str, login: str) -> str:
    """The text without this station, which must be in it, and without its channels and the comments right above it."""
    blocks = _Blocks(text)
    number = _number(text, login)
    if number < len(blocks.stations):
        return blocks.without(*blocks.stations[number])
    document, station = _document_and_station(text, login)
    document["station"].remove(station)  # It is written in one line, within station = [{…}].
    return str(tomlkit.dumps(document))


def with_channel(text: str, login: str, channel: Mapping[str, str]) -> str:
    """The text with one more channel of a station, which must be in it.

    :param channel: the keys of a ``[[station.channel]]``.
    """
    blocks = _Blocks(text)
    number = _number(text, login)
    if number < len(blocks.stations) and not blocks.has_key(number, "channel"):
        return blocks.with_lines(blocks.stations[number][1], tomlkit.dumps({"station": {"channel": [dict(channel)]}}))
    document, station = _document_and_station(text, login)
    added = tomlkit.inline_table()
    added.update(channel)
    station.setdefault("channel", tomlkit.array()).append(added)
    return str(tomlkit.dumps(document))


def without_channel(text: str, login: str, topic: str) -> str:
    """The text without this channel of a station, both of which must be in it."""
    blocks = _Blocks(text)
    number = _number(text, login)
    document, station = _document_and_station(text, login)
    topics = [each["topic"] for each in station["channel"]]
    own = blocks.channels[number] if number < len(blocks.channels) else []
    if own:
        return blocks.without(*own[topics.index(topic)])
    del station["channel"][topics.index(topic)]  # It is written in one line, within channel = [{…}].
    return str(tomlkit.dumps(document))


def _number(text: str, login: str) -> int:
    """Which station of the text this is, from 0."""
    stations: list[dict[str, Any]] = tomllib.loads(text)["station"]
    return next(number for number, each in enumerate(stations) if each["login"] == login)


class _Blocks:
    """The lines of a text that belong to each ``[[station]]`` and ``[[station.channel]]``.

    tomlkit counts the comment above a header as a part of the table before it. Here it belongs to the header, as a
    reader expects.

    :ivar stations: the first line of each station, and the line behind its last one; its channels are included.
    :ivar channels: the same for the channels of each station.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines(keepends=True)
        self._end = "\r\n" if "\r\n" in text else "\n"
        _, *self._sections = read_sections(text)
        self.stations: list[tuple[int, int]] = []
        self.channels: list[list[tuple[int, int]]] = []
        self._heads: list[Section] = []
        for place, section in enumerate(self._sections):
            if section.name == "station":
                behind = next((each for each in self._sections[place + 1 :] if each.name != "station.channel"), None)
                self.stations.append(self._block(section, behind))
                self.channels.append([])
                self._heads.append(section)
            elif section.name == "station.channel" and self.channels:
                self.channels[-1].append(self._block(section, next(iter(self._sections[place + 1 :]), None)))

    def _block(self, section: Section, behind: Section | None) -> tuple[int, int]:
        last = len(self._lines) if behind is None else self._first(behind)
        while last > section.line and not self._lines[last - 1].strip():
            last -= 1
        content = last
        while content > section.line and self._is_blank(content - 1):
            content -= 1
        while content < last and self._lines[content].strip():
            content += 1  # A comment right behind the last key.
        return self._first(section), content

    def _first(self, section: Section) -> int:
        """The line of the header, or of the comments right above it, unless they are the head of the file."""
        header = section.line - 1
        first = header
        while first > 0 and self._lines[first - 1].lstrip().startswith("#"):
            first -= 1
        return first if first > 0 else header

    def _is_blank(self, line: int) -> bool:
        """Whether a line has no key, but at most a comment."""
        text = self._lines[line].strip()
        return not text or text.startswith("#")

    def has_key(self, station: int, key: str) -> bool:
        """Whether the station has this key in a line of its own, and not as a header."""
        return key in self._heads[station].keys

    def line_of(self, station: int, key: str) -> int:
        """The line of a key of a station, from 1."""
        return self._heads[station].line_of(key)

    def without(self, first: int, last: int) -> str:
        """The text without these lines. The blank lines before them separate what is left, or those behind them do."""
        while (not first or not self._lines[first - 1].strip()) and last < len(self._lines):
            if self._lines[last].strip():
                break
            last += 1
        before = self._lines[:first]
        if last == len(self._lines):
            while before and not before[-1].strip():
                before.pop()
        return "".join(before + self._lines[last:])

    def with_lines(self, place: int, added: str) -> str:
        """The text with these lines before a line."""
        before = "".join(self._lines[:place])
        end = "" if before.endswith("\n") else self._end
        return before + end + added.replace("\n", self._end) + "".join(self._lines[place:])
