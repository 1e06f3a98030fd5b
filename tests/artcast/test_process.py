"""The process: its options, its files, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import unittest
from pathlib import Path

from artcast.settings import Settings
from tests.artcast.server import HOST, ArtcastServer, Asking
from tests.processes import ROOT
from tests.web import ask

NOBODY = 65534
SECONDS = 30
_ROOT_ONLY = unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")


def run(*flags: str, folder: str | Path = "/", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "artcast", *flags],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Start(unittest.TestCase):
    def test_the_defaults_are_those_of_the_contract(self) -> None:
        settings = Settings()
        for name, value in {
            "ACCESS_CONTROL_ALLOW_ORIGIN": "*",
            "ACCESS_LOG": "",
            "ACCESS_LOG_COUNT": 100,
            "ACCESS_LOG_SIZE": 10_000_000,
            "CLIENT_PORT": 8888,
            "DAEMONIZE": False,
            "DATA_GROUP": "224.1.1.1",
            "DATA_PORT": 5007,
            "ERROR_LOG": "",
            "ERROR_LOG_COUNT": 100,
            "ERROR_LOG_SIZE": 10_000_000,
            "PIDFILE": "",
            "REGISTER_GROUP": "224.1.1.1",
            "REGISTER_PORT": 5008,
            "UID": "",
            "VERBOSE": False,
            "MAX_DATAGRAM_BYTES": 4096,
        }.items():
            self.assertEqual(getattr(settings, name), value, name)

    def test_verbose_prints_every_option_in_order(self) -> None:
        with ArtcastServer("--verbose", "--rabbitmq-password", "very-secret") as server:
            lines = [str(each["event"]) for each in server.log if each.get("level") == "raw"]
        names = [line.partition(" : ")[0] for line in lines]
        self.assertEqual(names, sorted(name.lower().replace("_", "-") for name in Settings.model_fields))
        self.assertIn("access-control-allow-origin : *", lines)
        self.assertIn("access-log-count : 100", lines)
        self.assertIn("uid : none", lines)
        self.assertNotIn("very-secret", "".join(lines))

    def test_what_is_wrong_is_a_line_each_and_exit_code_2(self) -> None:
        done = run("--client-port", "99999", "--data-group", "10.0.0.1", ARTCAST_UID="root", ARTCAST_SOURCES="here")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(len(done.stderr.splitlines()), 4)
        for part in ("CLIENT_PORT", "should be a multicast address", "UID", "SOURCES", "(environment)"):
            self.assertIn(part, done.stderr)
        self.assertIn("did you mean --client-port?", run("--client-prot", "1").stderr)

    def test_nothing_is_opened_before_the_process_is_in_the_background(self) -> None:
        program = "import sys, artcast.cli; print('twisted.internet.reactor' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "False\n")

    def test_other_programs_variables_are_not_ours(self) -> None:
        self.assertEqual(run("--help", UID="abc", VERBOSE="very").returncode, 0)

    def test_a_port_that_is_taken(self) -> None:
        with socket.create_server((HOST, 0)) as taken:
            port = str(taken.getsockname()[1])
            done = run("--client-ip", HOST, "--client-port", port, "--data-port", "0", "--register-port", "0")
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"cannot listen on {HOST}:{port}: ", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_a_file_of_settings(self) -> None:
        server = ArtcastServer()
        self.addCleanup(server.close)
        (server.folder / "artcast_config.py").write_text("MAX_KEYS = 1\n")
        server.start()
        server.send("a", 1)
        server.send("b", 1)
        server.wait_for("keys.full", limit=1)


class Files(unittest.TestCase):
    def test_the_pidfile_goes_with_the_process_however_it_ends(self) -> None:
        for end in (ArtcastServer.ask_to_end, ArtcastServer.interrupt):
            with ArtcastServer("--pidfile", "pid") as server:
                pidfile = server.folder / "pid"
                self.assertEqual(pidfile.read_bytes(), str(server.pid).encode())
                end(server)
                self.assertEqual(server.exit_code(), 0)
                self.assertFalse(pidfile.exists())

    def test_logs_go_to_files_are_turned_over_and_opened_again_after_a_sighup(self) -> None:
        flags = ("--error-log", "error.log", "--access-log-size", "400", "--access-log-count", "2")
        server = ArtcastServer(*flags, LOG_FORMAT="console")
        self.addCleanup(server.close)
        server.launch()
        log = server.folder / "error.log"
        address = _ready(log)
        for _ in range(20):
            ask(address, "/artcasts")
        files = sorted(each.name for each in server.folder.glob("access.log*"))
        self.assertEqual(files, ["access.log", "access.log.1", "access.log.2"])
        self.assertTrue(all(each.stat().st_size <= 400 for each in server.folder.glob("access.log*")))
        (server.folder / "access.log").rename(server.folder / "moved")
        server.hang_up()
        _until(lambda: ask(address, "/artcasts").status == 200 and (server.folder / "access.log").exists())
        server.terminate()
        self.assertEqual(server.text, "")  # nothing of it on stderr

    def test_the_error_log_has_tracebacks(self) -> None:
        server = ArtcastServer("--error-log", "error.log", LOG_FORMAT="console", TEMPLATES="templates")
        self.addCleanup(server.close)
        (server.folder / "templates").mkdir()
        (server.folder / "templates" / "broken.html").write_text("{{ nothing.at.all }}")
        server.launch()
        log = server.folder / "error.log"
        address = _ready(log)
        self.assertEqual(ask(address, "/artcasts/broken", accept="text/html").status, 500)
        _until(lambda: "Traceback (most recent call last)" in log.read_text())
        self.assertEqual(ask(address, "/artcasts").status, 200)

    def test_without_files_both_logs_are_on_stderr(self) -> None:
        with ArtcastServer(ACCESS_LOG="") as server:
            ask(server.client, "/artcasts")
            _until(lambda: '"GET /artcasts HTTP/1.1" 200' in server.text)


class Background(unittest.TestCase):
    def setUp(self) -> None:
        self.server = ArtcastServer()  # for its folder and settings; it is started by the test
        self.addCleanup(self.server.close)
        self.folder = self.server.folder
        self.folder.chmod(0o755)

    def command(self, *flags: str, port: int = 0) -> subprocess.CompletedProcess[str]:
        ports = ("--client-ip", HOST, "--client-port", str(port), "--data-port", "0", "--register-port", "0")
        logs = ("--error-log", "error.log", "--access-log", "access.log", "--data-group", "", "--register-group", "")
        return run("--pidfile", "pid", "--daemonize", *ports, *logs, *flags, folder=self.folder)

    def end(self) -> None:
        os.kill(int((self.folder / "pid").read_text()), signal.SIGTERM)
        _until(lambda: not (self.folder / "pid").exists())

    def test_the_command_ends_when_the_server_answers(self) -> None:
        done = self.command()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        pid = int((self.folder / "pid").read_text())
        self.assertEqual(os.getsid(pid), pid)
        self.assertEqual(ask(_ready(self.folder / "error.log"), "/artcasts").status, 200)
        self.end()

    def test_what_is_wrong_is_said_before_the_terminal_is_left(self) -> None:
        with socket.create_server((HOST, 0)) as taken:
            done = self.command(port=taken.getsockname()[1])
        self.assertEqual(done.returncode, 2)
        self.assertIn("cannot listen on", done.stderr)
        self.assertFalse((self.folder / "pid").exists())

    @_ROOT_ONLY
    def test_root_is_given_up_after_the_bind_and_before_the_pidfile(self) -> None:
        os.chown(self.folder, NOBODY, NOBODY)
        port = _privileged_port()
        self.assertEqual(self.command("--uid", str(NOBODY), port=port).stderr, "")
        pid = int((self.folder / "pid").read_text())
        status = Path(f"/proc/{pid}/status").read_text()
        self.assertIn(f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}", status)
        self.assertIn(f"Gid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}", status)
        groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
        self.assertNotIn("0", groups.split()[1:])
        self.assertEqual((self.folder / "pid").stat().st_uid, NOBODY)
        self.assertEqual(ask((HOST, port), "/artcasts").status, 200)
        self.end()

    @_ROOT_ONLY
    def test_who_may_not_give_up_root_is_told(self) -> None:
        as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        if subprocess.run([*as_nobody, sys.executable, "-c", ""], check=False, capture_output=True).returncode:
            self.skipTest(f"{sys.executable} is in a folder that other users may not enter")
        ports = ("--client-ip", HOST, "--client-port", "0", "--data-port", "0", "--register-port", "0")
        done = subprocess.run(
            [*as_nobody, sys.executable, "-m", "artcast", "--uid", "0", *ports],
            cwd="/",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.assertEqual(done.returncode, 2)
        self.assertIn("cannot become user 0", done.stderr)


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = ArtcastServer(MAX_KEYS=500, MAX_DATAGRAM_BYTES=4096).start()
        cls.addClassCleanup(cls.server.close)

    def test_malformed_datagrams_are_logged_and_ignored(self) -> None:
        server = self.server
        for port in ("data", "register"):
            for datagram in (b"", b"\xff\xff", b"[" * 4096, b'["k", NaN]', b'["k"]', b"x" * 5000, b"{}", b"[1, {}]"):
                server.datagram(datagram, port)
            server.wait_for("datagram.ignored", port=port, address=HOST)
        with Asking(server.client, "still/here") as client:
            client.held()
            server.send("still/here", 1)
            self.assertEqual(client.answer().body, b"1")
        self.assertLessEqual({each["event"] for each in server.faults}, {"datagram.ignored", "keys.full"})

    def test_the_longest_datagram_is_heard(self) -> None:
        with Asking(self.server.client, "long") as client:
            client.held()
            self.server.datagram(b'["long", "' + b"x" * 4084 + b'"]')
            self.assertEqual(len(client.answer().body), 4084)

    def test_a_flood_of_keys_is_capped_and_logged_once_and_values_still_arrive(self) -> None:
        for number in range(5_000):
            self.server.send(f"flood/{number}", number)
        self.server.wait_for("keys.full", limit=500)
        with Asking(self.server.client, "flood/not/listed") as client:
            client.held()
            self.server.send("flood/not/listed", 1)
            self.assertEqual(client.answer().body, b"1")
        self.assertEqual(len(self.server.listed()), 500)
        self.assertEqual(len(self.server.events("keys.full")), 1)

    def test_strangers_are_not_heard_where_sources_are_named(self) -> None:
        with ArtcastServer("--sources", "192.0.2.0/24") as server:
            server.send("key", 1)
            server.wait_for("datagram.ignored", reason="its sender is not in an allowed network")
            self.assertEqual(server.listed(), [])


def _ready(log: Path) -> tuple[str, int]:
    """Where a server listens that says it in a file."""
    _until(lambda: log.exists() and "server.ready" in log.read_text())
    line = next(line for line in log.read_text().splitlines() if "server.ready" in line)
    place = next(word for word in line.split() if word.startswith("client="))
    return HOST, int(place.rpartition(":")[2])


def _privileged_port() -> int:
    """One that only root may take."""
    for port in range(1000, 600, -1):
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)):
                return port
    raise AssertionError("all are taken")


def _until(happened: object) -> None:
    assert callable(happened)
    deadline = time.monotonic() + SECONDS
    while not happened():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.02)
