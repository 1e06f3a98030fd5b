"""``python -m tests.fuzz``: each target with atheris for some time; the count of inputs tried. See ``make fuzz``.

Every target has a process of its own: atheris ends the process when its time is over.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

NAMES = ("codec", "session", "opening", "topic", "vis_query", "vis_answer", "websocket", "amqp")
_RUNS = re.compile(r"Done (\d+) runs|^#(\d+)", re.MULTILINE)


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
    with atheris.instrument_imports(include=["fanout", "radiovis", "pika.data", "wsproto"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415  What is imported here is instrumented.
    target, seeds = TARGETS[name]
    for number, seed in enumerate(seeds):
        (folder / str(number)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/found-", str(folder)], target)
    atheris.Fuzz()


def _well(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own, and say what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(seconds), "--inside", folder, "--only", name]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = done.stdout.decode(errors="replace")
        tried = max((int(one or other) for one, other in _RUNS.findall(said)), default=0)
        found = [each.read_bytes() for each in Path(folder).glob("found-*")]
    print(f"{name}: {tried:,} inputs in {seconds} s, {len(found)} faults", flush=True)
    if done.returncode or found or not tried:
        print(said[-3000:], *(f"input: {each!r}" for each in found), sep="\n")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
