"""Commands called without a process, for what needs no reactor and no server."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from unittest import mock

from radiovis.commands import main as cli

Done = subprocess.CompletedProcess[str]


def call(*words: str, stdin: str = "", **settings: str) -> Done:
    """``server.py`` with these words, in an environment with these settings only."""
    out, error = io.TextIOWrapper(io.BytesIO(), write_through=True, newline=""), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        mock.patch("sys.stdin", io.StringIO(stdin)),
        mock.patch.dict(os.environ, settings, clear=True),
    ):
        try:
            code = cli.main(words)
        except SystemExit as end:  # --help
            code = int(end.code or 0)
    out.flush()
    return subprocess.CompletedProcess(words, code, out.buffer.getvalue().decode(), error.getvalue())  # type: ignore[attr-defined]
