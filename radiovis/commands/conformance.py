"""``conformance``: try a RadioVIS server with everything receivers taught us and STOMP asks."""

from __future__ import annotations

import fnmatch
import json
import ssl
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from radiovis.commands.arguments import DONE, FAILED, WRONG, CommandError, CommandParser, seconds
from radiovis.commands.server_address import address
from radiovis.commands.terminal import paint
from radiovis.conformance.check import Check, Outcome
from radiovis.conformance.subject import SECONDS, Subject
from radiovis.conformance.suite import CHECKS

_COLOURS = {"PASS": "green", "FAIL": "red", "SKIP": "yellow"}


def command() -> CommandParser:
    """What it takes."""
    parser = CommandParser(
        "conformance",
        "Check a RadioVIS server, anybody's, from outside: the rules of STOMP and what receivers need.",
        {DONE: "no check failed", FAILED: "a check failed, or the server cannot be reached", WRONG: "wrong usage"},
        "It publishes to unused topics below --topic; without a login checks that need to publish are skipped.",
    )
    parser.add_argument("server", type=address, metavar="SERVER", help="host:port or stomp://login:passcode@host:port")
    parser.add_argument(
        "--topic",
        default="/topic/test/1/",
        metavar="PREFIX",
        help="what the login may publish to; its last character separates parts (default: /topic/test/1/)",
    )
    parser.add_argument(
        "--host", default="", help="the virtual host, as RabbitMQ has them (default: the server's name)"
    )
    parser.add_argument("--ca", default="", metavar="PATH", help="who vouches for its certificate, with stomps://")
    parser.add_argument("--only", metavar="IDS", help="these checks, with commas: N1,F*")
    parser.add_argument("--seconds", type=seconds, default=SECONDS, help="how long to wait for an answer (default: 5)")
    parser.add_argument("--list", action="store_true", help="only say what would be checked")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: it could not begin."""
    given = command().read(words)
    checks = _chosen(given.only)
    if not given.topic.startswith("/topic/"):
        raise CommandError("conformance: --topic: a topic begins with /topic/", WRONG)
    if given.list:
        print("\n".join(f"{check.id:<4} {check.rule}" for check in checks))
        return DONE
    try:
        subject = Subject(given.server, given.topic, given.seconds, given.host, given.ca)
    except OSError as error:
        raise CommandError(f"conformance: --ca {given.ca}: {error.strerror or error}", WRONG) from None
    _reach(subject)
    results = [(check, _tried(check, subject, show=not given.json)) for check in checks]
    counts = Counter(outcome.verdict for _, outcome in results)
    if given.json:
        report = [{"id": check.id, "rule": check.rule, **asdict(outcome)} for check, outcome in results]
        print(json.dumps({"server": str(given.server), "checks": report, "counts": counts}))
    else:
        print(f"{counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped")
    return FAILED if counts["FAIL"] else DONE


def _tried(check: Check, subject: Subject, *, show: bool) -> Outcome:
    if sys.stdout.isatty() and show:
        print(f"     {check.id:<4} {check.rule}", end="\r", flush=True)
    outcome = check.run(subject)
    if show:
        why = f": {outcome.why}" if outcome.why else ""
        print(f"{paint(outcome.verdict, _COLOURS[outcome.verdict])} {check.id:<4} {check.rule}{why}", flush=True)
    return outcome


def _chosen(only: str | None) -> list[Check]:
    patterns = only.split(",") if only else ["*"]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(check.id, pattern) for check in CHECKS):
            raise CommandError(f"conformance: --only: no such check: {pattern}; see --list", WRONG)
    return [check for check in CHECKS if any(fnmatch.fnmatchcase(check.id, pattern) for pattern in patterns)]


def _reach(subject: Subject) -> None:
    try:
        subject.wire()
    except ssl.SSLCertVerificationError as error:
        raise CommandError(f"{subject.server}: its certificate cannot be trusted: {error.verify_message}") from None
    except OSError as error:
        # getaddrinfo's errors have a text for people, but for the number in front.
        reason = error.strerror or ("no answer" if isinstance(error, TimeoutError) else str(error))
        raise CommandError(f"cannot connect to {subject.server}: {reason}") from None
    finally:
        subject.hang_up()
