"""The commands, and what an operator sees when something is wrong: one clear line each, and exit code 2."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from twisted.trial import unittest

from fanout import __version__
from radiovis.commands import main as cli
from radiovis.directory.password import check_password
from radiovis.settings import Settings

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

    def test_help_fits_one_screen_and_names_each_command_in_a_sentence(self) -> None:
        with mock.patch.dict(os.environ, COLUMNS="80"):
            done = call("--help")
        self.assertEqual(done.returncode, 0)
        lines = done.stdout.splitlines()
        self.assertLessEqual(len(lines), 40)
        self.assertLessEqual(max(map(len, lines)), 80)
        for name, summary in cli.summaries().items():
            self.assertRegex(done.stdout, rf"\n  {name} +{re.escape(summary)}\n")
            self.assertRegex(summary, r"^[A-Z].*\.$")
        for part in ("--test", "--stomp-port", "--config", "--help-settings", "--version"):
            self.assertIn(part, done.stdout)
        self.assertNotIn("--max-connections", done.stdout)

    def test_help_settings_shows_all_of_them(self) -> None:
        done = call("--help-settings")
        self.assertEqual(done.returncode, 0)
        for name in Settings.advertised():
            self.assertIn("--" + name.lower().replace("_", "-"), done.stdout)

    def test_version_as_a_flag(self) -> None:
        self.assertEqual(call("--version").stdout, f"radiovis {__version__}\n")

    def test_help_as_a_command(self) -> None:
        self.assertEqual(call("help").stdout, call("--help").stdout)
        self.assertEqual(call("help", "pub").stdout, call("pub", "--help").stdout)
        self.assert_complains(call("help", "pubb"), "no such command: pubb; did you mean pub?")

    def test_no_command_prints_a_page_of_settings_unasked(self) -> None:
        for name in cli.summaries():
            self.assertNotIn("--max-connections", call(name, "--help").stdout, name)

    def test_a_settings_file_that_others_may_write_is_read_by_serve_only(self) -> None:
        folder = Path(tempfile.mkdtemp())
        path = folder / "config.py"
        path.write_text("STATIONS_FILE = 'mine.toml'\n")
        path.chmod(0o666)
        (folder / "mine.toml").write_text("")
        with contextlib.chdir(folder):
            done = call("station", "list")
            self.assertIn("config.py is not read: other users may write it (mode 666)", done.stderr)
            self.assertNotIn("mine.toml", done.stderr)
            checked = call("check-config", "--changed", "--test")
            self.assertIn('"mine.toml"', checked.stdout)
            self.assertIn("warning: config.py: other users may write it", checked.stdout)
            health = call("health", "--config", "config.py")
            self.assertNotIn("is not read", health.stderr)
            path.chmod(0o644)
            self.assertIn("mine.toml", call("station", "list").stderr)


class TestNames(unittest.TestCase):
    """Usage lines name the program as it was started."""

    def usage(self, name: str, statement: str) -> str:
        folder = Path(tempfile.mkdtemp())
        program = folder / name
        program.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r}); {statement}; sys.exit(main())")
        done = subprocess.run(
            [sys.executable, str(program), "--help"], capture_output=True, text=True, timeout=60, check=True, cwd=folder
        )
        return done.stdout.partition("\n")[0]

    def test_installed_names(self) -> None:
        for name, statement in (
            ("radiovis", "from radiovis.__main__ import main"),
            ("radiovis-fallback", "from radiovis.__main__ import fallback as main"),
            ("artcast", "from artcast.cli import main"),
        ):
            self.assertTrue(self.usage(name, statement).startswith(f"usage: {name} ["), name)

    def test_names_in_a_clone(self) -> None:
        for program in ("server.py", "fallback.py"):
            done = subprocess.run(
                [sys.executable, str(ROOT / program), "--help"], capture_output=True, text=True, timeout=60, check=True
            )
            self.assertTrue(done.stdout.startswith(f"usage: {program} ["), done.stdout)
            self.assertLessEqual(len(done.stdout.splitlines()), 40)


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
