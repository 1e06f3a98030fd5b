"""``conformance``: check any RadioVIS server from outside.

The checks are in ``radiovis/conformance``. This module has their order, selects some of them by number, and opens the
first connection to the server.

==================  ====================================================================
``negotiation.py``  N: CONNECT and versions · H: heart-beats
``frames.py``       F: line ends, bodies, escapes · B: input that must not harm a server
``behaviour.py``    C: commands · R: receipts and errors · T: half-closed connections
``receivers.py``    L: lessons of real receivers · M: STOMP 1.0 · V: RadioVIS
==================  ====================================================================
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from radiovis.client.command_line import DONE, FAILED, WRONG, CommandError, CommandParser, paint, progress, seconds
from radiovis.client.server_address import FORM, add_ca_flag, address, given_server
from radiovis.client.sockets import connect_error
from radiovis.conformance import behaviour, frames, negotiation, receivers
from radiovis.conformance.check import ConformanceCheck, Outcome
from radiovis.conformance.subject import NEEDS_LOGIN, SECONDS, Subject

CHECKS = (*negotiation.CHECKS, *frames.CHECKS, *behaviour.CHECKS, *receivers.CHECKS, *frames.BAD_INPUT_CHECKS)


def chosen(patterns: Sequence[str]) -> list[ConformanceCheck]:
    """The checks whose number matches at least one pattern, such as ``N1`` or ``F*``.

    :raises LookupError: a pattern matches no check; the text is the pattern.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(check.id, pattern) for check in CHECKS):
            raise LookupError(pattern)
    return [check for check in CHECKS if any(fnmatch.fnmatchcase(check.id, pattern) for pattern in patterns)]


def reach(subject: Subject) -> None:
    """Open one connection, so that an unreachable server is reported once instead of for each check.

    :raises CommandError: the connection cannot be opened.
    """
    try:
        subject.connect()
    except OSError as error:
        raise CommandError(connect_error(subject.server, error)) from None
    finally:
        subject.close_all()


_COLOURS = {"PASS": "green", "FAIL": "red", "SKIP": "yellow"}


def command() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(
        "conformance",
        "Check any RadioVIS server from outside, against the rules of STOMP and the needs of receivers.",
        {DONE: "no check failed", FAILED: "a check failed, or the server cannot be reached", WRONG: "wrong usage"},
        "The checks publish to unused topics below --topic. Without a login, checks that publish are skipped. "
        "L10 sends 12 MB.",
    )
    parser.add_argument("server", type=address, metavar="SERVER", help=f"{FORM}, stomps:// for TLS, ws://, wss://")
    parser.add_argument(
        "--topic",
        default="/topic/id/tests._ebu.nowhere/topic1/",
        metavar="PREFIX",
        help="a channel that the login may publish to; its last character separates the parts of a topic"
        " (default: station 1 of --test)",
    )
    parser.add_argument(
        "--any-frequency", default="", metavar="PREFIX", help="a channel for all frequencies: /topic/fm/4e1/4000/*/"
    )
    parser.add_argument("--host", default="", help="the STOMP virtual host, for RabbitMQ (default: the server's name)")
    add_ca_flag(parser)
    parser.add_argument("--only", metavar="IDS", help="run only these checks, such as N1,F*")
    parser.add_argument(
        "--seconds", type=seconds, default=SECONDS, metavar="S", help="how long to wait for an answer (default: 5)"
    )
    parser.add_argument("--list", action="store_true", help="list the checks without running them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: wrong usage, or the server cannot be reached."""
    given = command().read(words)
    checks = _chosen(given.only)
    _check_topics(given)
    if given.list:
        _list(checks, as_json=given.json)
        return DONE
    subject = Subject(given_server(given), given.topic, given.seconds, given.host, given.any_frequency)
    reach(subject)
    results = [(check, _tried(check, subject, f"{n} of {len(checks)}:", given)) for n, check in enumerate(checks, 1)]
    counts = Counter(outcome.verdict for _, outcome in results)
    if given.json:
        report = [{"id": check.id, "rule": check.rule, **asdict(outcome)} for check, outcome in results]
        print(json.dumps({"server": str(given.server), "checks": report, "counts": counts}))
    else:
        if any(outcome.why == NEEDS_LOGIN for _, outcome in results):
            print("Some checks need a login that may publish below --topic: stomp://login:passcode@host:port")
        print(f"{counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped")
    return FAILED if counts["FAIL"] else DONE


def _check_topics(given: argparse.Namespace) -> None:
    if not given.topic.startswith("/topic/"):
        raise CommandError("conformance: --topic must begin with /topic/", WRONG)
    if re.match(r"/topic/fm/[^/]*/[^/]*/\*", given.topic):
        raise CommandError("conformance: --topic must not have * as its frequency; use --any-frequency for it", WRONG)
    if given.any_frequency and not re.fullmatch(r"/topic/fm/[^/*]+/[^/*]+/\*/", given.any_frequency):
        raise CommandError("conformance: --any-frequency must have the form /topic/fm/4e1/4000/*/", WRONG)


def _list(checks: Sequence[ConformanceCheck], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"id": check.id, "rule": check.rule} for check in checks]))
        return
    for check in checks:
        print(f"{check.id:<4} {check.rule}")


def _tried(check: ConformanceCheck, subject: Subject, place: str, given: argparse.Namespace) -> Outcome:
    """:param place: the number of the check and the number of all checks, for the progress line."""
    progress(f"{place} {check.id} {check.rule}")
    outcome = check.run(subject)
    progress("")
    if not given.json:
        why = f": {outcome.why}" if outcome.why else ""
        print(f"{paint(outcome.verdict, _COLOURS[outcome.verdict])} {check.id:<4} {check.rule}{why}", flush=True)
    return outcome


def _chosen(only: str | None) -> list[ConformanceCheck]:
    try:
        return chosen(only.split(",") if only else ["*"])
    except LookupError as error:
        raise CommandError(f"conformance: --only: no such check: {error}; see --list", WRONG) from None
