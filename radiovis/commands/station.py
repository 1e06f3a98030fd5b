"""``station``: add a station, change its password, list them, or make the hash of a password."""

from __future__ import annotations

import argparse
import difflib
import fcntl
import getpass
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomlkit
from tomlkit.exceptions import TOMLKitError

from radiovis.client.command_line import DONE, WRONG, CommandError, CommandParser, found_settings, printable
from radiovis.directory.password import hash_password
from radiovis.directory.stations_file import read_stations, read_text
from radiovis.directory.stations_parser import Stations, parse_stations, station_id

MOST_HOURS = 24 * 366
"""For which an old password stays valid, at the most: one that never ends would be a second password."""
_NEW_MODE = 0o640  # A new file: hashes are secret, but the node's group may have to read it.


class StationsEditor:
    """Changes a stations file and leaves comments and order as they are; a reader never sees half a file.

    As a context it keeps a lock against other editors of this kind.

    :ivar text: what stands in it.
    :ivar stations: what that means.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """:param create: whether the file may be missing, as an empty one."""
        self._shown = path
        self._path = path.resolve()  # A link stays a link: what it points to is replaced.
        self._create = create
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
        if self._create and not self._path.exists():
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
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:  # tomllib has read it, so this is rare: the two differ in the corners of TOML.
        raise CommandError(f"the stations file cannot be edited: {error}; edit it by hand", WRONG) from None
    stations: Any = document["station"]
    station = next(each for each in stations if each["login"] == login)
    old = station.get("password")
    for key in ("old_password", "old_password_until"):
        station.pop(key, None)
    station["password"] = password
    if old_until is not None and old is not None:
        station["old_password"], station["old_password_until"] = old, old_until
    return tomlkit.dumps(document)


_EXITS = {
    DONE: "done",
    WRONG: "the file cannot be used or written, there is no such login, or no password was given: nothing was changed",
}


def command() -> CommandParser:
    """The arguments of the command: an action and its flags."""
    parser = CommandParser(
        "station",
        "Work with the stations file. Comments and order stay as they are, and a change is checked before it is written"
        " and takes effect by itself in running nodes. A password is asked for at a terminal, otherwise read from the"
        " first line of stdin.",
        _EXITS,
    )
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="hash|add|passwd|list", parser_class=argparse.ArgumentParser
    )
    actions.add_parser("hash", help="print what goes into the stations file for a password")
    add = actions.add_parser("add", help="add a station; the file is made if there is none")
    add.add_argument("login", help="<station id>.<name>, as in 1.rock")
    add.add_argument("--topic", action="append", default=[], metavar="PREFIX", help="a channel; may be repeated")
    add.add_argument("--network", action="append", default=[], metavar="NET", help="from where it may log in; repeat")
    add.add_argument("--name", default="", help="what people call it")
    passwd = actions.add_parser("passwd", help="give a login another password")
    passwd.add_argument("login")
    passwd.add_argument(
        "--keep", type=_hours, metavar="HOURS", help="let the password of now be valid as well, for so many hours"
    )
    listing = actions.add_parser("list", help="show the logins and their channels")
    listing.add_argument("--json", action="store_true", help="one JSON list")
    for action in (add, passwd, listing):
        action.add_argument("--file", metavar="PATH", help="the stations file (default: the setting STATIONS_FILE)")
    for action in actions.choices.values():
        action.error = parser.error  # type: ignore[method-assign]  # One line, in place of argparse's usage.
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: nothing was changed."""
    given = command().read(words)
    if given.action == "hash":
        print(hash_password(_password()))
    else:
        _ACTIONS[given.action](_path(given.file), given)
    return DONE


def _add(path: Path, given: argparse.Namespace) -> None:
    with StationsEditor(path, create=True) as editor:
        if given.login in editor.stations.accounts:
            raise CommandError(f"{path}: {given.login} is there already; passwd gives it another password", WRONG)
        hashed = hash_password(_password())
        editor.replace(with_station(editor.text, given.login, hashed, given.name, given.network, given.topic))
    print(f"{path}: added {given.login} with {len(given.topic)} channel{'' if len(given.topic) == 1 else 's'}")


def _passwd(path: Path, given: argparse.Namespace) -> None:
    with StationsEditor(path) as editor:
        if given.login not in editor.stations.accounts:
            raise CommandError(f"{path}: {_no_login(given.login, list(editor.stations.accounts))}", WRONG)
        until = None if given.keep is None else datetime.now(UTC).replace(microsecond=0) + given.keep
        editor.replace(with_password(editor.text, given.login, hash_password(_password()), until))
    also = "" if until is None else f"; the one from before is valid until {_shown(until.timestamp())}"
    print(f"{path}: {given.login} has another password{also}")


def _list(path: Path, given: argparse.Namespace) -> None:
    stations = read_stations(path)
    rows: list[dict[str, Any]] = [
        {
            "login": login,
            "networks": [str(network) for network in account.networks],
            "certificates": len(account.certificates),
            "old_password_until": _shown(account.old_until) if account.old_until else None,
            "channels": list(stations.channels.get(station_id(login), ())),
        }
        for login, account in stations.accounts.items()
    ]
    if given.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{printable(str(row['login']))}  from {', '.join(row['networks'])}")
        for channel in row["channels"]:
            print(f"    {printable(channel)}")


_ACTIONS: dict[str, Callable[[Path, argparse.Namespace], None]] = {"add": _add, "passwd": _passwd, "list": _list}


def _path(given: str | None) -> Path:
    path = given or found_settings().STATIONS_FILE
    if not path:
        raise CommandError("station: which file? Give --file, or set STATIONS_FILE", WRONG)
    return Path(path)


def _hours(text: str) -> timedelta:
    hours = float(text)
    if not 0 < hours <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"should be a number of hours up to {MOST_HOURS}")
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
            raise CommandError("the two passwords differ", WRONG)
    if not password:
        raise CommandError("no password was given", WRONG)
    return password
