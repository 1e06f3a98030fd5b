"""``bench``: measure fan-out on this machine, and compare it with the fan-out of another server."""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

from radiovis.bench.load import TOPIC, Figures, Load, Target, Workload, own_node
from radiovis.client.command_line import DONE, FAILED, WRONG, CommandError, CommandParser, positive, progress
from radiovis.client.server_address import FORM, ServerAddress, address

_BAR = 20
_RESERVED_FILES = 100
_COLUMNS = (
    ("rate", "deliveries/s", "{:,.0f}"),
    ("p50", "p50 ms", "{:.2f}"),
    ("p99", "p99 ms", "{:.2f}"),
    ("cpu", "CPU µs", "{:.2f}"),
    ("memory", "KiB/connection", "{:.2f}"),
    ("connects", "connects/s", "{:,.0f}"),
    ("lost", "lost", "{:,}"),
)


def command() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(
        "bench",
        "Measure fan-out on this machine: one publisher, and many subscribers of one topic.",
        {DONE: "the figures are on stdout", FAILED: "a server cannot be reached, or refuses", WRONG: "wrong usage"},
        "Without --server, a stand-alone node is started and measured. Figures vary between runs, so compare only those"
        " of the same run.",
    )
    parser.add_argument(
        "--server", type=_plain, metavar="URL", help=f"the server to measure, as {FORM} (default: a new node)"
    )
    parser.add_argument(
        "--pid", type=int, metavar="PID", nargs="*", default=[], help="the processes of --server, for CPU and memory"
    )
    parser.add_argument(
        "--compare",
        type=_plain,
        metavar="URL",
        action="append",
        default=[],
        help="also measure this server; may be repeated",
    )
    parser.add_argument(
        "--compare-pid", type=int, metavar="PID", nargs="*", default=[], help="the processes of --compare"
    )
    parser.add_argument("--topic", default=TOPIC, help=f"the topic, which the login may publish to (default: {TOPIC})")
    parser.add_argument(
        "--subscribers", type=positive, metavar="N", default=1_000, help="number of subscribers (default: 1000)"
    )
    parser.add_argument("--messages", type=positive, metavar="N", default=400, help="number of messages (default: 400)")
    parser.add_argument(
        "--window", type=positive, metavar="N", default=8, help="messages in flight in a burst (default: 8)"
    )
    parser.add_argument("--body", type=positive, metavar="N", default=64, help="octets of a message (default: 64)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: a server could not be measured."""
    given = command().read(words)
    burst = Workload(given.subscribers, given.messages, given.window, given.body)
    works = {f"bursts of {given.window}": burst}
    works["one by one"] = dataclasses.replace(burst, messages=max(20, given.messages // 4), window=1)
    _check_files(given.subscribers)
    with ExitStack() as stack:
        targets = _entered(stack, given)
        runs = [(target, name, work) for name, work in works.items() for target in targets]
        rows = []
        for number, (target, name, work) in enumerate(runs, 1):
            shown = f"run {number} of {len(runs)}: {target.name}, {name}"
            rows.append((target, name, _measure(target, shown, work)))
    _print(rows, burst, as_json=given.json)
    return DONE


def _entered(stack: ExitStack, given: argparse.Namespace) -> list[Target]:
    """All servers to measure. Without ``--server``, this starts a node, which takes a few seconds."""
    progress("" if given.server else "starting a node")
    try:
        return [stack.enter_context(each) for each in _targets(given)]
    finally:
        progress("")


def _targets(given: argparse.Namespace) -> Iterator[AbstractContextManager[Target]]:
    if given.server:
        yield nullcontext(Target.of(given.server, given.topic, given.pid))
    else:
        yield own_node()
    for server in given.compare:
        yield nullcontext(Target.of(server, given.topic, given.compare_pid))


def _plain(text: str) -> ServerAddress:
    server = address(text)
    if server.tls or server.path:
        raise argparse.ArgumentTypeError(f"bench measures STOMP over plain TCP only: {FORM}")
    return server


def _check_files(subscribers: int) -> None:
    """Raise the limit of open files, as each subscriber needs one. :raises CommandError: the hard limit is too low."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and subscribers + _RESERVED_FILES > hard:
        text = f"{subscribers} subscribers need more than the {hard} files this process may open (ulimit -n)"
        raise CommandError(text, WRONG)


def _measure(target: Target, shown: str, work: Workload) -> Figures:
    """:param shown: the name of the run, for the progress line."""
    try:
        return Load(target, work, lambda doing, part: progress(f"{shown}: {doing} {_bar(part)}")).run()
    finally:
        progress("")


def _bar(part: float) -> str:
    done = int(part * _BAR)
    return f"{part:4.0%} [{'#' * done}{'.' * (_BAR - done)}]"  # A narrow terminal cuts off the bar.


def _print(rows: list[tuple[Target, str, Figures]], work: Workload, *, as_json: bool) -> None:
    if as_json:
        runs = [{"server": target.name, "work": name, **dataclasses.asdict(each)} for target, name, each in rows]
        print(json.dumps({"work": dataclasses.asdict(work), "runs": runs}))
        return
    print(f"{work.subscribers} subscribers of one topic, {work.body} octets in each message.")
    print("CPU µs is the CPU time of one delivery.\n")
    table = [["server", "work", *(title for _, title, _ in _COLUMNS)]]
    for target, name, figures in rows:
        table.append([target.name, name, *(_shown(getattr(figures, key), form) for key, _, form in _COLUMNS)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print(
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
