"""``python -m tests [--jobs N] [arguments of nosetests]``: every test, with servers of its own, one line to end with.

The last line is ``N passed, N failed`` (and ``, N skipped``). The exit code is 0 only if tests ran and none failed.
More than one job run files side by side, each with servers of its own; the arguments are files and folders then.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from tests import runner, services
from tests.runner import Tally, nosetests

ROOT = Path(__file__).parent.parent
SERVERS = {"RADIOVIS_TESTS_RABBITMQ": services.RabbitMQ, "RADIOVIS_TESTS_MEMCACHED": services.Memcached}
JOBS = 4  # They mostly wait: three at a time keep two cores busy for 70 % of the time.

# Begun first, so that no long one is left for the end.
SLOW = (
    "tests/acceptance",
    "tests/chaos",
    "tests/fanout/bus",
    "tests/radiovis/watchdog/test_watchdog.py",
    "tests/test_hardening.py",
    "tests/test_packaging.py",
)


def executable_files() -> list[Path]:
    """Test files with the executable bit, which nosetests skips without a word."""
    files = [ROOT / "test.py", *(ROOT / "tests").rglob("*.py")]
    return [file for file in files if file.exists() and os.access(file, os.X_OK)]


def files_within(names: list[str]) -> list[str]:
    """The test files among these files and folders, slow ones first."""
    files: list[str] = []
    for name in names:
        found = sorted(map(str, Path(name).rglob("test_*.py"))) if Path(name).is_dir() else [name]
        files += [file for file in found if file not in files]
    return sorted(files, key=lambda file: not file.startswith(SLOW))


def start_servers(started: ExitStack) -> dict[str, str]:
    """Variables that name a broker and a memcached; those the environment does not name are started."""
    variables = {}
    for variable, service in SERVERS.items():
        if variable not in os.environ:
            server = started.enter_context(service())
            variables[variable] = f"{server.host}:{server.port}"
    return variables


def run_alone(arguments: list[str]) -> Tally:
    """Run nosetests in this process."""
    with ExitStack() as started:
        os.environ.update(start_servers(started))
        return nosetests(arguments)


def run_side_by_side(count: int, files: list[str]) -> Tally:
    """Run the files in this many processes: a line for each, and the whole output of those that fail."""
    tally, failures = Tally(), []
    with ExitStack() as started:
        try:
            environments = [
                {services.JOB_VARIABLE: f"{number}/{count}", **start_servers(started)} for number in range(count)
            ]
            for report in runner.run(files, environments):
                tally += report.tally
                line = f"{report.file}: {report.tally} in {report.seconds:.1f} s"
                if report.tally.failed:
                    failures.append(line)
                    print(report.output, end="", file=sys.stderr)
                print("FAILED" if report.tally.failed else "ok    ", line, file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            failures.append("interrupted")
            tally += Tally(failed=1)
    print(*failures, sep="\n", file=sys.stderr)
    return tally


def run(arguments: list[str]) -> Tally:
    """Run what the command line asks for. Raises :class:`services.ServiceError`."""
    parser = argparse.ArgumentParser(prog="python -m tests", add_help=False, allow_abbrev=False)
    parser.add_argument("--jobs", type=int, default=1 if arguments else JOBS)
    options, names = parser.parse_known_args(arguments)
    if options.jobs <= 1:
        return run_alone(names)
    if strange := [name for name in names if not Path(name).exists()]:
        parser.error(f"with --jobs, name files and folders; these are neither: {' '.join(strange)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run_side_by_side(options.jobs, files_within(names or ["test.py", "tests"]))


def main(arguments: list[str]) -> int:
    """Run the tests and return the exit code."""
    os.chdir(ROOT)
    # A shell starts what runs in the background with SIGINT ignored, and every program started from here inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tally = Tally()
    if executable := executable_files():
        print("nosetests skips executable files; chmod -x", *executable, file=sys.stderr)
    else:
        try:
            tally = run(arguments)
        except services.ServiceError as error:
            print(error, file=sys.stderr)
    sys.stderr.flush()
    print(tally, flush=True)
    return 0 if tally.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
