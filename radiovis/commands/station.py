"""``station``: add a station, change its password, list them, or make the hash of a password."""

from __future__ import annotations

import argparse
import difflib
import getpass
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fanout.settings import read_settings
from radiovis.commands.arguments import DONE, WRONG, CommandError, CommandParser
from radiovis.commands.stations_editor import StationsEditor, with_password, with_station
from radiovis.commands.terminal import printable
from radiovis.directory.password import hash_password
from radiovis.directory.stations import station_id
from radiovis.directory.stations_file import read_stations
from radiovis.settings import Settings

_EXITS = {
    DONE: "done",
    WRONG: "the file cannot be used or written, there is no such login, or no password was given: nothing was changed",
}


def command() -> CommandParser:
    """What it takes: an action and its flags."""
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
        editor.replace(with_password(editor.text, given.login, hash_password(_password())))
    print(f"{path}: {given.login} has another password")


def _list(path: Path, given: argparse.Namespace) -> None:
    stations = read_stations(path)
    rows = [
        {
            "login": login,
            "networks": [str(network) for network in account.networks],
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
    path = given or read_settings(Settings, {}, os.environ).STATIONS_FILE
    if not path:
        raise CommandError("station: which file? Give --file, or set STATIONS_FILE", WRONG)
    return Path(path)


def _no_login(login: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(login, known, 1)
    return f"no such login: {login}" + (f"; did you mean {near[0]}?" if near else "")


def _password() -> str:
    """Asked for twice at a terminal: nobody sees what he types."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("Password: ")
        if password and getpass.getpass("Once more: ") != password:
            raise CommandError("the two passwords differ", WRONG)
    if not password:
        raise CommandError("no password was given", WRONG)
    return password
