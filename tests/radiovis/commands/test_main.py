"""The commands, and what an operator sees when something is wrong: one clear line each, and exit code 2."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
from pathlib import Path
from unittest import mock

from twisted.trial import unittest

from fanout import __version__
from radiovis.commands import main as cli
from radiovis.directory.password import check_password

ROOT = Path(__file__).parents[3]


def call(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The same as :func:`run`, without a process: for what starts no server."""
    out, error = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        mock.patch("sys.stdin", io.StringIO(stdin)),
    ):
        try:
            code = cli.main(words)
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), error.getvalue())


def run(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """``server.py`` with these words, in a folder without config.py and an environment without settings."""
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(
        [sys.executable, str(ROOT / "server.py"), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
        cwd=Path(__file__).parent,
    )


class _Case(unittest.TestCase):
    def assert_complains(self, done: subprocess.CompletedProcess[str], *parts: str) -> None:
        """Exit code 2, and lines on stderr that each begin with the program and are no traceback."""
        self.assertEqual(done.returncode, 2, done.stderr)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
        self.assertTrue(lines)
        for line in lines:
            self.assertTrue(line.startswith("server.py: "), done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr)
        self.assertNotIn("Traceback", done.stderr)


class TestCommands(_Case):
    def test_version(self) -> None:
        done = run("version")
        self.assertEqual((done.returncode, done.stdout), (0, f"radiovis {__version__}\n"))

    def test_an_unknown_command_is_named_and_the_near_one_suggested(self) -> None:
        self.assert_complains(call("sation"), "no such command: sation", "did you mean station?")
        self.assert_complains(call("xyzzy"), "no such command: xyzzy", "serve", "station", "version")

    def test_help_names_flags_and_commands(self) -> None:
        done = call("--help")
        self.assertEqual(done.returncode, 0)
        for part in ("--test", "--stomp-port", "commands: serve, station, "):
            self.assertIn(part, done.stdout)


class TestStationHash(_Case):
    def test_prints_what_goes_into_the_stations_file(self) -> None:
        done = call("station", "hash", stdin="pass word é\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        hashed = done.stdout.rstrip("\n")
        self.assertTrue(hashed.startswith("scrypt$"))
        self.assertTrue(check_password("pass word é", hashed))
        self.assertFalse(check_password("pass word", hashed))

    def test_twice_gives_two_hashes(self) -> None:
        hashes = {call("station", "hash", stdin="rock\n").stdout for _ in range(2)}
        self.assertEqual(len(hashes), 2)

    def test_no_password_is_a_mistake(self) -> None:
        for stdin in ("", "\n"):
            self.assert_complains(call("station", "hash", stdin=stdin), "no password was given")

    def test_an_action_is_needed(self) -> None:
        done = call("station")
        self.assertEqual(done.returncode, 2)
        self.assertIn("hash", done.stderr)


class TestServe(_Case):
    def test_wrong_settings_are_all_named(self) -> None:
        done = run("--test", STOMP_PORT="70000", RABBITMQ_LOOPBACK="maybe")
        self.assert_complains(done, "STOMP_PORT", "RABBITMQ_LOOPBACK")

    def test_an_unknown_flag_is_named(self) -> None:
        done = call("--stomp-prt", "1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--stomp-prt", done.stderr)

    def test_standalone_needs_a_stations_file(self) -> None:
        self.assert_complains(run(STANDALONE="true"), "STANDALONE needs STATIONS_FILE")

    def test_an_unreadable_stations_file(self) -> None:
        done = run("--stations-file", "/nowhere/stations.toml", RABBITMQ_LOOPBACK="true", STOMP_PORT="0")
        self.assert_complains(done, "/nowhere/stations.toml")

    def test_a_taken_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            done = run("--test", RABBITMQ_LOOPBACK="true", STOMP_IP="127.0.0.1", STOMP_PORT=port, MEMCACHED_HOST="")
        self.assert_complains(done, f"cannot listen on 127.0.0.1:{port}", "Is another server.py running?")

    def test_an_address_of_another_machine(self) -> None:
        done = run("--test", RABBITMQ_LOOPBACK="true", STOMP_IP="192.0.2.1", STOMP_PORT="0", MEMCACHED_HOST="")
        self.assert_complains(done, "cannot listen on 192.0.2.1")
