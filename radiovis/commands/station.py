"""``station``: edit stations, passwords and channels of the stations file, hash a password, or import stations."""

from __future__ import annotations

import argparse
import difflib
import getpass
import json
import os
import sys
import tomllib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from radiovis.client.command_line import DONE, PROGRAM, WRONG, CommandError, CommandParser, found_settings, printable
from radiovis.directory.bbc_services import ServicesFileError, read_services, stations_text
from radiovis.directory.password import LOCKED, hash_password
from radiovis.directory.stations_editor import (
    StationsEditor,
    with_channel,
    with_names,
    with_password,
    with_station,
    without_channel,
    without_station,
)
from radiovis.directory.stations_file import read_stations
from radiovis.directory.stations_parser import EVERYWHERE, parse_stations, station_id

MOST_HOURS = 24 * 366
"""The longest time for which an old password stays valid. Without an end it would be a second password."""

_EXITS = {
    DONE: "done",
    WRONG: "nothing was changed: a file cannot be read or written, the login or channel does not exist, or no password"
    " was given",
}


def command() -> CommandParser:
    """The arguments of the command: an action, and the flags of each action."""
    parser = CommandParser(
        "station",
        "Edit the stations file. Comments and the order of entries are kept. A change is checked before it is written,"
        " and running nodes apply it within a second. On a terminal, the command asks for a password; otherwise the"
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
    add.add_argument("login", type=_login, help="a station id, a dot and a name, such as 1.rock")
    add.add_argument(
        "--topic", action="append", default=[], metavar="PREFIX", help="a channel of the station; may be repeated"
    )
    add.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="NET",
        help="a network from which the station may log in, such as 192.0.2.0/24; may be repeated (default: any)",
    )
    add.add_argument("--name", default="", help="the station's name for listeners")
    remove = _action(actions, "remove", "remove a station and its channels")
    remove.add_argument("login", help="the login to remove")
    rename = _action(actions, "rename", "change the login or the name of a station, or both")
    rename.add_argument("login", help="the current login")
    rename.add_argument("new_login", nargs="?", type=_login, metavar="new-login", help="the new login")
    rename.add_argument("--name", default="", help="the station's new name for listeners")
    channel = _action(actions, "channel", "add or remove a channel of a station")
    channel.add_argument("change", choices=("add", "remove"), metavar="add|remove", help="the change")
    channel.add_argument("login", help="the station's login")
    channel.add_argument("topic", help="the channel, such as /topic/fm/4e1/4000/09580/")
    channel.add_argument("--image", metavar="URL", help="with add: the default slide, for a silent station")
    channel.add_argument("--text", help="with add: the default text")
    channel.add_argument("--link", metavar="URL", help="with add: the link of the default slide")
    passwd = _action(actions, "passwd", "change the password of a login")
    passwd.add_argument("login", help="the login whose password changes")
    passwd.add_argument(
        "--keep", type=_hours, metavar="HOURS", help="also accept the old password, for this many hours"
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
    importing.add_argument("--force", action="store_true", help="replace the output file if it exists")
    importing.add_argument(
        "--password",
        action="store_true",
        help="ask for one password for all stations (default: stations have no password until passwd sets one)",
    )
    for action in actions.choices.values():
        action.error = parser.error  # type: ignore[method-assign]  # One line instead of argparse's usage.
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
        print(f"Next, give it a channel to publish to: {PROGRAM} station channel add {given.login} TOPIC")


def _remove(path: Path, given: argparse.Namespace) -> None:
    with StationsEditor(path) as editor:
        _check_login(path, editor, given.login)
        if len(editor.stations.accounts) == 1:
            text = f"{path}: {given.login} is the only station, and a node needs one. Add another station first"
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
        changes.append(f"{given.new_login or given.login} now has the name {printable(given.name)}")
    old, new = station_id(given.login), station_id(given.new_login or given.login)
    if old != new:
        changes.append(f"its channels now belong to station {new} instead of station {old}")
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
        raise CommandError("station channel remove: --image, --text and --link can only be used with add", WRONG)
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
    """The channels of this login, spelled as in the file."""
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
        raise CommandError("station import-bbc: --force needs --output", WRONG)
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
    with StationsEditor(path, overwrite=True) as editor:
        if not replace and os.path.lexists(path):
            raise CommandError(f"{path}: already exists; --force replaces it", WRONG)
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
    """The login of a new station. Files of earlier versions may also have logins that are an id without a name."""
    station, dot, name = text.partition(".")
    if not (station and dot and name):
        raise argparse.ArgumentTypeError(
            f"{text!r} must have the form <station id>.<name>, such as {station or '1'}.{name or 'studio'}"
        )
    return text


def _hours(text: str) -> timedelta:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of hours above 0 and at most {MOST_HOURS}")
    return timedelta(hours=hours)


def _shown(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _no_login(login: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(login, known, 1)
    return f"no such login: {login}" + (f"; did you mean {near[0]}?" if near else "")


def _password() -> str:
    """Read a password from stdin. On a terminal it is read without echo, and twice.

    :raises CommandError: the password is empty, or the two passwords differ.
    """
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("Password: ")
        if password and getpass.getpass("Once more: ") != password:
            raise CommandError("station: the two passwords differ; nothing was changed", WRONG)
    if not password:
        raise CommandError("station: no password was given; nothing was changed", WRONG)
    return password
