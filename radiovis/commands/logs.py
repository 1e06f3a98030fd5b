"""``logs``: print the journal of a node as lines, JSON or CSV, or delete records from it. The node may be running."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fanout.journal.records import HEADER, JournalError, Ledger, Place, Record, Selection, csv_rows
from radiovis.client.command_line import (
    DONE,
    FAILED,
    WRONG,
    CommandError,
    CommandParser,
    found_settings,
    paint,
    positive,
    printable,
)
from radiovis.client.command_line import seconds as span

_DAY = 86_400
_LATER = 2**53
_PAGE = 1_000
_DELETED_AT_ONCE = 100
"""Records deleted in one transaction. It is short, so that the process that writes the journal does not wait long."""
_INTERVAL = 0.5
"""Seconds between two reads of the journal with ``--follow``."""


def command() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(
        "logs",
        "Show what was published, oldest first: the journal of a node or of a watchdog. The process may be running.",
        {
            DONE: "done, or ended by Ctrl-C",
            FAILED: "the journal does not exist, or cannot be read",
            WRONG: "wrong usage",
        },
        "A TIME is a date and time such as 2026-12-31T23:59:59Z, a Unix time, or an age such as 10m, 3h or 7d.",
    )
    parser.add_argument(
        "topic", nargs="?", default="*", metavar="TOPIC", help="a topic, or the beginning of topics followed by *"
    )
    parser.add_argument("--station", metavar="ID", help="only messages of this station")
    parser.add_argument("--login", metavar="LOGIN", help="only messages of this login, such as 1.studio")
    parser.add_argument("--from", dest="start", type=_when, metavar="TIME", help="the earliest time (default: 1d)")
    parser.add_argument(
        "--to", dest="end", type=_when, metavar="TIME", help="the end; messages at this time are not shown"
    )
    number = parser.add_mutually_exclusive_group()
    number.add_argument("--limit", type=positive, metavar="N", help="show only the first N messages")
    number.add_argument(
        "--tail", type=positive, metavar="N", help="show only the last N messages, of all times unless --from is given"
    )
    parser.add_argument("--follow", "-f", action="store_true", help="then show new messages until Ctrl-C")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV, with a line of headings")
    form.add_argument("--json", action="store_true", help="print one JSON object on each line")
    form.add_argument(
        "--delete",
        action="store_true",
        help="delete the messages permanently, of all times unless --from is given; needs --station or --login",
    )
    parser.add_argument("--file", metavar="PATH", help="the journal (default: the setting JOURNAL_FILE)")
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: wrong usage, or the journal cannot be read."""
    given = command().read(words)
    ledger = Ledger(_path(given), None, max_bytes=_LATER, read_only=not given.delete)
    try:
        (_delete_all if given.delete else _write_all)(ledger, given)
    except JournalError as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt:
        return DONE
    finally:
        ledger.close()
    return DONE


def _path(given: argparse.Namespace) -> str:
    """The path of the journal. :raises CommandError: there is no journal, or flags cannot be combined."""
    path: str = given.file or found_settings().JOURNAL_FILE
    if not path:
        text = "logs: JOURNAL_FILE is empty, so the node keeps its journal in memory; --file names another journal"
        raise CommandError(text, WRONG)
    if not Path(path).exists():
        raise CommandError(
            f"{Path(path).absolute()}: there is no journal. A node with STANDALONE keeps its journal in JOURNAL_FILE;"
            " --file names another journal"
        )
    if given.delete and given.station is None and given.login is None:
        raise CommandError("logs: --delete needs --station or --login; it never deletes a whole journal", WRONG)
    if given.delete and (given.follow or given.limit or given.tail):
        raise CommandError("logs: --delete cannot be combined with --follow, --limit or --tail", WRONG)
    return path


def _selection(given: argparse.Namespace, begin: int) -> Selection:
    """:param begin: the earliest time unless ``--from`` is given, in seconds since 1970."""
    return Selection(
        given.topic.removesuffix("*"),
        begin if given.start is None else given.start,
        given.end or _LATER,
        prefix=given.topic.endswith("*"),
        owner=given.station,
        login=given.login,
    )


def _delete_all(ledger: Ledger, given: argparse.Namespace) -> None:
    selection, total = _selection(given, 0), 0
    while dropped := ledger.drop_selected(selection, _DELETED_AT_ONCE):
        total += dropped
    ledger.clear_log()
    _put(f"{total} {'message was' if total == 1 else 'messages were'} deleted\n".encode())


def _write_all(ledger: Ledger, given: argparse.Namespace, pause: Callable[[float], None] = time.sleep) -> None:
    selection = _selection(given, 0 if given.tail else int(time.time()) - _DAY)
    write = _csv if given.csv else _json if given.json else _lines
    if given.csv:
        _put(HEADER)
    after: Place | None = ledger.place_before_last(selection, given.tail) if given.tail else None
    left = given.limit or _LATER
    while left:
        page = ledger.between(selection, min(left, _PAGE), after)
        write(page)
        if page:
            after, left = page[-1].place, left - len(page)
        elif not given.follow:
            return
        else:
            pause(_INTERVAL)


def _csv(records: Iterable[Record]) -> None:
    _put(csv_rows(records))


def _json(records: Iterable[Record]) -> None:
    for record in records:
        entry = {
            "timestamp": record.timestamp,
            "topic": record.topic,
            "body": record.body.decode("utf-8", "replace"),
            "headers": record.headers,
            "serial": record.serial,
            "publisher": None if record.origin is None else record.origin._asdict(),
        }
        _put(json.dumps(entry).encode() + b"\n")


def _lines(records: Iterable[Record]) -> None:
    for record in records:
        moment = paint(datetime.fromtimestamp(record.timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "grey")
        body = printable(record.body.decode("utf-8", "replace"))
        _put(f"{moment}  {printable(record.topic)}  {body}{_publisher(record)}\n".encode())


def _publisher(record: Record) -> str:
    if record.origin is None:
        return ""
    _, login, address, interface = record.origin
    by = f"{login} from {address}" if address else login
    return paint(printable(f"  ({by} over {interface})"), "grey")


def _put(octets: bytes) -> None:
    sys.stdout.buffer.write(octets)  # print() would change the line ends of CSV.
    sys.stdout.buffer.flush()


def _when(text: str) -> int:
    """A time on the command line, as Unix time in seconds."""
    if re.fullmatch(r"\d{9,12}", text):
        return int(text)
    if re.fullmatch(r"[\d.]+[smhd]", text):
        return int(time.time() - span(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a time such as 2026-12-31T23:59:59Z, a Unix time, or an age such as 3h"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
