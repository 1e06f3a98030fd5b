"""Commands as an operator types them, beside a real node."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from typing import Any

from tests.processes import ROOT, node

__all__ = ["Command", "Done", "finish", "line", "node", "objects", "on_terminal", "run", "start", "visible"]

SECONDS = 60.0
Command = subprocess.Popen[str]
Done = subprocess.CompletedProcess[str]


def start(*words: str, **settings: str) -> Command:
    """A command that goes on while the test does something else; :func:`finish` it."""
    return subprocess.Popen(
        [sys.executable, "-m", "radiovis", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **settings},
    )


def finish(command: Command, stdin: str = "") -> Done:
    """Wait for its end; there must be no traceback."""
    try:
        out, error = command.communicate(stdin, SECONDS)
    except subprocess.TimeoutExpired:
        command.kill()
        out, error = command.communicate()
        raise AssertionError(f"it still runs after {SECONDS} s: {out}{error}") from None
    if "Traceback" in error or "Unhandled" in error:
        raise AssertionError(error)
    return subprocess.CompletedProcess(command.args, command.returncode, out, error)


def run(*words: str, stdin: str = "", **settings: str) -> Done:
    """A command from its beginning to its end."""
    return finish(start(*words, **settings), stdin)


def on_terminal(*words: str, columns: int = 60, **settings: str) -> tuple[int, str]:
    """A command whose stderr is a terminal: its exit code, and the octets that the terminal got."""
    reader, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "radiovis", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": str(columns), **settings},
        )
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # Linux reports the end of the other side in this way.
            while octets := os.read(reader, 65_536):
                shown += octets
        return process.wait(SECONDS), shown.decode()
    finally:
        os.close(reader)


def visible(shown: str) -> str:
    """What is left on a terminal of one line after these octets; each line of progress is written over the last one."""
    return shown.rpartition("\r\x1b[K")[2]


def line(command: Command) -> str:
    """The next line it prints."""
    assert command.stdout is not None
    found = command.stdout.readline()
    if not found:
        raise AssertionError(f"it printed no further line: {finish(command).stderr}")
    return found.rstrip("\n")


def objects(done: Done) -> list[dict[str, Any]]:
    """What it printed with --json."""
    return [json.loads(each) for each in done.stdout.splitlines()]
