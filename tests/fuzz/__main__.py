"""``python -m tests.fuzz``: each target with atheris for some time; the number of inputs, and the slowest one. See
``make fuzz``.

Every target has a process of its own: atheris ends the process when its time is over.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import atheris

NAMES = (
    *("codec", "session", "opening", "topic", "vis_query", "vis_answer", "websocket", "amqp", "path", "accept"),
    *("datagram", "http", "http_headers", "byte_ranges", "proxy", "stations", "site", "plugit", "publish", "form"),
    *("content_type", "log", "last_id", "slide", "picture", "address"),
)
INSTRUMENTED = ["fanout", "radiovis", "webserver", "pika.data", "wsproto", "multipart", "twisted.web.http"]
_RUNS = re.compile(r"Done (\d+) runs|^#(\d+)", re.MULTILINE)
_SLOWEST = re.compile(r"^slowest: (.*)$", re.MULTILINE)
LONG = 256
"""Octets from which an input's time counts for each octet; a shorter one costs what each call costs."""
MOST_SECONDS = 0.001
"""CPU time for one octet, which nothing linear comes near: 4 kB would then take four seconds."""


def main() -> int:
    """Fuzz the targets named, or all. The exit code is the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", metavar="FOLDER", help="fuzz one target in this process; for internal use")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    given = parser.parse_args()
    if given.inside:
        _fuzz(given.only[0], given.seconds, Path(given.inside))
    return sum(not _well(name, given.seconds) for name in given.only)


def _fuzz(name: str, seconds: int, folder: Path) -> None:
    """Does not return."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415  What is imported here is instrumented.
    target, seeds = TARGETS[name]
    for number, seed in enumerate(seeds):
        (folder / str(number)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/found-", str(folder)], _Timed(target))
    atheris.Fuzz()


class _Timed:
    """A target that says what the slowest of its inputs took for each octet: the last line of these counts."""

    def __init__(self, target: Callable[[bytes], None]) -> None:
        self._target = target
        self._slowest = 0.0

    def __call__(self, data: bytes) -> None:
        """Raises if the input took too long, even when it is tried once more."""
        taken = self._time(data) / max(LONG, len(data))
        if taken > self._slowest:
            taken = min(taken, self._time(data) / max(LONG, len(data)))  # another process may have been in the way
        if taken > self._slowest:
            self._slowest = taken
            print(f"slowest: {taken * 1e6:.1f} µs for each of {len(data)} octets", flush=True)
        if taken > MOST_SECONDS:
            raise AssertionError(f"{taken * 1e6:.0f} µs for each of {len(data)} octets")

    def _time(self, data: bytes) -> float:
        began = time.thread_time()
        self._target(data)
        return time.thread_time() - began


def _well(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own, and say what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(seconds), "--inside", folder, "--only", name]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = done.stdout.decode(errors="replace")
        tried = max((int(one or other) for one, other in _RUNS.findall(said)), default=0)
        found = [each.read_bytes() for each in Path(folder).glob("found-*")]
    slowest = (_SLOWEST.findall(said) or ["unknown"])[-1]
    print(f"{name}: {tried:,} inputs in {seconds} s, {len(found)} faults; slowest: {slowest}", flush=True)
    if done.returncode or found or not tried:
        print(said[-3000:], *(f"input: {each!r}" for each in found), sep="\n")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
