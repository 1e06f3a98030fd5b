"""``station``: edit the stations file: stations, passwords, channels; make the hash of a password; import stations."""

from __future__ import annotations

import argparse
import difflib
import fcntl
import getpass
import json
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomlkit
from tomlkit.exceptions import TOMLKitError

from radiovis.client.command_line import DONE, PROGRAM, WRONG, CommandError, CommandParser, found_settings, printable
from radiovis.directory.bbc_services import ServicesFileError, read_services, stations_text
from radiovis.directory.password import LOCKED, hash_password
from radiovis.directory.stations_file import read_stations, read_text
from radiovis.directory.stations_parser import EVERYWHERE, Section, Stations, parse_stations, read_sections, station_id

MOST_HOURS = 24 * 366
"""For which an old password stays valid, at the most: one that never ends would be a second password."""
_NEW_MODE = 0o640  # A new file: hashes are secret, but the node's group may have to read it.


class StationsEditor:
    """Changes a stations file and leaves comments and order as they are; a reader never sees half a file.

    As a context it keeps a lock against other editors of this kind.

    :ivar text: what stands in it.
    :ivar stations: what that means.
    """

    def __init__(self, path: Path, *, create: bool = False, anew: bool = False) -> None:
        """
        :param create: whether the file may be missing, as an empty one.
        :param anew: whether what stands in it does not matter, not even if it is valid.
        """
        self._shown = path
        self._path = path.resolve()  # A link stays a link: what it points to is replaced.
        self._create = create
        self._anew = anew
        self._held = ExitStack()
        self.text = ""
        self.stations = Stations()

    def __enter__(self) -> Self:
        """:raises CommandError: the folder cannot be read. :raises StationsFileError: the file cannot be used."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY)
        except OSError as error:
            raise CommandError(f"{self._shown}: {error.strerror}", WRONG) from None
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
        if self._anew or (self._create and not self._path.exists()):
            return
        self.text = read_text(self._path)
        if self.text.strip():
            self.stations = parse_stations(self.text, str(self._shown))

    def replace(self, text: str) -> None:
        """Replace the file by this text, in one step, with the same owner and mode.

        :raises StationsFileError: no node could use it; the file stays as it was.
        :raises CommandError: it cannot be written; the file stays as it was.
        """
        parse_stations(text, str(self._shown))
        try:
            self._write(text.encode())
        except OSError as error:
            raise CommandError(f"{self._shown}: cannot be written: {error.strerror}", WRONG) from None

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
    :param old_until: until when the password of now is valid as well; None if it ends now.
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
        raise CommandError(f"the stations file cannot be edited: {error}; edit it by hand", WRONG) from None
    return document, next(each for each in document["station"] if each["login"] == login)


def with_names(text: str, login: str, new_login: str | None, name: str) -> str:
    """The text with another login or another name for a station, which must be in it.

    :param new_login: None to keep the login.
    :param name: what people call it; empty to keep that.
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

    tomlkit counts the comment above a header as a part of the table before it. Here it belongs to the header, as in
    the eyes of a reader.

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


_EXITS = {
    DONE: "done",
    WRONG: "nothing was changed: a file cannot be used or written, there is no such login or channel, or no password"
    " was given",
}


def command() -> CommandParser:
    """The arguments of the command: an action and its flags."""
    parser = CommandParser(
        "station",
        "Edit the stations file. Comments and the order of entries stay as they are. A change is checked before it is"
        " written, and running nodes apply it within a second. A password is asked for on a terminal; otherwise the"
        " first line of stdin is the password.",
        _EXITS,
    )
    actions = parser.add_subparsers(
        dest="action",
        required=True,
        metavar="hash|add|remove|rename|channel|passwd|list|import-bbc",
        parser_class=argparse.ArgumentParser,
    )
    _action(actions, "hash", "print the hash of a password, for the key password of the stations file")
    add = _action(actions, "add", "add a station; the file is created if it does not exist")
    add.add_argument("login", type=_login, help="a station id, a dot and a name, as in 1.rock")
    add.add_argument(
        "--topic", action="append", default=[], metavar="PREFIX", help="a channel of the station; may be repeated"
    )
    add.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="NET",
        help="a network the station may log in from, as in 192.0.2.0/24; may be repeated (default: any)",
    )
    add.add_argument("--name", default="", help="the name that listeners know")
    remove = _action(actions, "remove", "remove a station and its channels")
    remove.add_argument("login", help="the login to remove")
    rename = _action(actions, "rename", "give a station another login, another name, or both")
    rename.add_argument("login", help="the login as it is")
    rename.add_argument("new_login", nargs="?", type=_login, metavar="new-login", help="the new login")
    rename.add_argument("--name", default="", help="the new name that listeners know")
    channel = _action(actions, "channel", "add or remove a channel of a station")
    channel.add_argument("change", choices=("add", "remove"), metavar="add|remove", help="what to do")
    channel.add_argument("login", help="the station's login")
    channel.add_argument("topic", help="the channel, as in /topic/fm/4e1/4000/09580/")
    channel.add_argument("--image", metavar="URL", help="add: the default slide, shown while the station is silent")
    channel.add_argument("--text", help="add: the default text")
    channel.add_argument("--link", metavar="URL", help="add: the link of the default slide")
    passwd = _action(actions, "passwd", "change the password of a login")
    passwd.add_argument("login", help="the login whose password changes")
    passwd.add_argument(
        "--keep", type=_hours, metavar="HOURS", help="accept the old password as well for this many hours"
    )
    listing = _action(actions, "list", "show the logins and their channels")
    listing.add_argument("--json", action="store_true", help="print one JSON list")
    for action in (add, remove, rename, channel, passwd, listing):
        action.add_argument("--file", metavar="PATH", help="the stations file (default: the setting STATIONS_FILE)")
    importing = actions.add_parser(
        "import-bbc", help="make a stations file from the services.json of a BBC RadioVIS server"
    )
    importing.add_argument("services", type=Path, metavar="FILE", help="the services.json")
    importing.add_argument("-o", "--output", type=Path, metavar="PATH", help="the stations file (default: stdout)")
    importing.add_argument("--force", action="store_true", help="replace that file if it is there")
    importing.add_argument(
        "--password",
        action="store_true",
        help="give all stations the password that is asked for (default: none can log in before passwd gives it one)",
    )
    for action in actions.choices.values():
        action.error = parser.error  # type: ignore[method-assign]  # One line, in place of argparse's usage.
    return parser


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: nothing was changed."""
    given = command().read(words)
    if given.action == "hash":
        print(hash_password(_password()))
    elif given.action == "import-bbc":
        _import_bbc(given)
    else:
        _ACTIONS[given.action](_path(given.file), given)
    return DONE


def _add(path: Path, given: argparse.Namespace) -> None:
    with StationsEditor(path, create=True) as editor:
        if given.login in editor.stations.accounts:
            raise CommandError(f"{path}: {given.login} already exists; station passwd changes its password", WRONG)
        hashed = hash_password(_password())
        editor.replace(with_station(editor.text, given.login, hashed, given.name, given.network, given.topic))
    print(f"{path}: added {given.login} with {_channels(len(given.topic))}")
    if given.topic:
        print(f"Next: {PROGRAM} pub {given.topic[0]} --text Hello --server stomp://{given.login}:PASSWORD@HOST")
    else:
        print(f"Next, as it may not publish anything yet: {PROGRAM} station channel add {given.login} TOPIC")


def _remove(path: Path, given: argparse.Namespace) -> None:
    with StationsEditor(path) as editor:
        _check_login(path, editor, given.login)
        if len(editor.stations.accounts) == 1:
            text = f"{path}: {given.login} is the only station; a node needs one. Add another one first"
            raise CommandError(text, WRONG)
        topics = _topics(editor.text, given.login)
        editor.replace(without_station(editor.text, given.login))
    print(f"{path}: removed {given.login} and {_channels(len(topics))}")


def _rename(path: Path, given: argparse.Namespace) -> None:
    if not given.new_login and not given.name:
        raise CommandError("station rename: give a new login, --name, or both", WRONG)
    with StationsEditor(path) as editor:
        _check_login(path, editor, given.login)
        if given.new_login in editor.stations.accounts and given.new_login != given.login:
            raise CommandError(f"{path}: {given.new_login} already exists", WRONG)
        editor.replace(with_names(editor.text, given.login, given.new_login, given.name))
    changes = [f"{given.login} is now {given.new_login}"] if given.new_login else []
    if given.name:
        changes.append(f"{given.new_login or given.login} is named {printable(given.name)}")
    old, new = station_id(given.login), station_id(given.new_login or given.login)
    if old != new:
        changes.append(f"its channels now belong to station {new}, and no longer to station {old}")
    print(f"{path}: {'; '.join(changes)}")


def _channel(path: Path, given: argparse.Namespace) -> None:
    with StationsEditor(path) as editor:
        _check_login(path, editor, given.login)
        (_add_channel if given.change == "add" else _remove_channel)(path, editor, given)


def _add_channel(path: Path, editor: StationsEditor, given: argparse.Namespace) -> None:
    keys = {"topic": given.topic, "image": given.image, "text": given.text, "link": given.link}
    channel = {key: value for key, value in keys.items() if value is not None}
    editor.replace(with_channel(editor.text, given.login, channel))
    print(f"{path}: {given.login} may now publish to {given.topic}")


def _remove_channel(path: Path, editor: StationsEditor, given: argparse.Namespace) -> None:
    if any(value is not None for value in (given.image, given.text, given.link)):
        raise CommandError("station channel remove: --image, --text and --link are for add only", WRONG)
    topics = _topics(editor.text, given.login)
    if given.topic not in topics:
        raise CommandError(f"{path}: {_no_channel(editor, given.login, given.topic, topics)}", WRONG)
    editor.replace(without_channel(editor.text, given.login, given.topic))
    print(f"{path}: {given.login} may no longer publish to {given.topic}")


def _no_channel(editor: StationsEditor, login: str, topic: str, topics: Sequence[str]) -> str:
    owner = next((each for each in editor.stations.accounts if topic in _topics(editor.text, each)), None)
    if owner is not None:
        return f"{topic} is a channel of {owner}, not of {login}"
    near = difflib.get_close_matches(topic, topics, 1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(topics) or 'no channels'}"
    return f"{login} has no channel {topic}; {hint}"


def _topics(text: str, login: str) -> list[str]:
    """The channels below this login, as written."""
    station = next(each for each in tomllib.loads(text)["station"] if each["login"] == login)
    return [channel["topic"] for channel in station.get("channel", [])]


def _channels(number: int) -> str:
    return "1 channel" if number == 1 else f"{number} channels"


def _check_login(path: Path, editor: StationsEditor, login: str) -> None:
    if login not in editor.stations.accounts:
        raise CommandError(f"{path}: {_no_login(login, list(editor.stations.accounts))}", WRONG)


def _passwd(path: Path, given: argparse.Namespace) -> None:
    with StationsEditor(path) as editor:
        _check_login(path, editor, given.login)
        was_locked = editor.stations.accounts[given.login].password is None
        until = None if given.keep is None else datetime.now(UTC).replace(microsecond=0) + given.keep
        editor.replace(with_password(editor.text, given.login, hash_password(_password()), until))
    also = "" if until is None or was_locked else f"; the old one stays valid until {_shown(until.timestamp())}"
    print(f"{path}: the password of {given.login} was changed{also}")


def _import_bbc(given: argparse.Namespace) -> None:
    if given.force and given.output is None:
        raise CommandError("station import-bbc: --force is for --output", WRONG)
    try:
        found = read_services(given.services)
        password = _password() if given.password else ""
        text = stations_text(found, lambda: hash_password(password) if password else LOCKED)
    except ServicesFileError as error:
        raise CommandError("\n".join(map(printable, str(error).splitlines())), WRONG) from None
    if given.output is None:
        parse_stations(text, "stdout")
        print(text, end="")
    else:
        _write_new(given.output, text, replace=given.force)
        channels = sum(len(each.topics) for each in found.services)
        print(f"{given.output}: {len(found.services)} stations with {channels} channels")
    for line in found.unused:
        print(f"{PROGRAM}: {printable(line)}", file=sys.stderr)


def _write_new(path: Path, text: str, *, replace: bool) -> None:
    with StationsEditor(path, anew=True) as editor:
        if not replace and os.path.lexists(path):
            raise CommandError(f"{path}: is there already; --force replaces it", WRONG)
        editor.replace(text)


def _list(path: Path, given: argparse.Namespace) -> None:
    stations = read_stations(path)
    rows: list[dict[str, Any]] = [
        {
            "login": login,
            "networks": [str(network) for network in account.networks],
            "certificates": len(account.certificates),
            "locked": login in stations.locked,
            "old_password_until": _shown(account.old_until) if account.old_until else None,
            "channels": list(stations.channels.get(station_id(login), ())),
        }
        for login, account in stations.accounts.items()
    ]
    if given.json:
        print(json.dumps(rows))
        return
    width = max(len(printable(login)) for login in stations.accounts)
    for row in rows:
        networks = "anywhere" if row["networks"] == list(EVERYWHERE) else ", ".join(row["networks"])
        locked = "  (no password yet)" if row["locked"] else ""
        print(f"{printable(str(row['login'])):<{width}}  from {networks}{locked}")
        for channel in row["channels"]:
            print(f"    {printable(channel)}")


_ACTIONS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "add": _add,
    "remove": _remove,
    "rename": _rename,
    "channel": _channel,
    "passwd": _passwd,
    "list": _list,
}


def _path(given: str | None) -> Path:
    path = given or found_settings().STATIONS_FILE
    if not path:
        raise CommandError("station: there is no stations file to edit: give --file, or set STATIONS_FILE", WRONG)
    return Path(path)


def _login(text: str) -> str:
    """A login of a new station. The file also accepts a bare id, which names nobody, for files of earlier versions."""
    station, dot, name = text.partition(".")
    if not (station and dot and name):
        raise argparse.ArgumentTypeError(
            f"{text!r} has no name: a login is <station id>.<name>, as in {station or '1'}.{name or 'studio'}"
        )
    return text


def _hours(text: str) -> timedelta:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of hours, more than 0 and up to {MOST_HOURS}")
    return timedelta(hours=hours)


def _shown(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _no_login(login: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(login, known, 1)
    return f"no such login: {login}" + (f"; did you mean {near[0]}?" if near else "")


def _password() -> str:
    """From stdin; at a terminal without echo, and therefore asked for twice."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("Password: ")
        if password and getpass.getpass("Once more: ") != password:
            raise CommandError("station: the two passwords differ; nothing was changed", WRONG)
    if not password:
        raise CommandError("station: no password was given; nothing was changed", WRONG)
    return password
