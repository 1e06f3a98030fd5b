"""conformance: our server passes every check; RabbitMQ's STOMP plugin does not, which shows that checks can fail."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any

from radiovis.conformance.suite import CHECKS
from tests.acceptance.case import NodeCase
from tests.acceptance.command_case import Done, run
from tests.authority import Authority
from tests.processes import node
from tests.radiovis.commands.calling import call
from tests.services import HOST, RabbitMQ, free_port


def verdicts(done: Done) -> dict[str, str]:
    """The verdict on each check, of a run with --json."""
    checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    return {check["id"]: check["verdict"] for check in checks}


class OurServer(NodeCase):
    def url(self, login: str = "") -> str:
        host, port = self.server.address
        return f"stomp://{login}{host}:{port}"

    def test_passes_all(self) -> None:
        done = run("conformance", self.url("1.test:test@"), "--json")
        failed = [check for check in json.loads(done.stdout)["checks"] if check["verdict"] != "PASS"]
        self.assertEqual((done.returncode, failed, done.stderr), (0, [], ""))
        self.assertEqual(list(verdicts(done)), [check.id for check in CHECKS])

    def test_without_a_login_what_publishes_is_skipped(self) -> None:
        done = call("conformance", self.url(), "--only", "N2,C*,V1")
        self.assertEqual(done.returncode, 0, done.stdout)
        lines = done.stdout.splitlines()
        self.assertTrue(lines[0].startswith("PASS N2   a plain CONNECT"), lines[0])
        self.assertIn("needs a login that may publish", next(each for each in lines if " V1 " in each))
        self.assertIn(" 0 failed, ", lines[-1])

    def test_a_login_that_may_not_publish_there_fails(self) -> None:
        done = call("conformance", self.url("1.test:test@"), "--topic", "/topic/other/", "--only", "C5", "--json")
        self.assertEqual((done.returncode, verdicts(done)), (1, {"C5": "FAIL"}))


class OverTls(unittest.TestCase):
    def test_our_server_passes_all_that_can_be_made(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            authority, port = Authority(Path(folder)), free_port()
            file = authority.issue("node.pem", HOST)
            url = f"stomps://1.test:test@{HOST}:{port}"
            with node(TLS_CERTIFICATE=file, STOMP_TLS_PORT=port, HTTPS_PORT=0):
                done = run("conformance", url, "--ca", str(authority.certificate), "--json")
                stranger = run("conformance", url)
                publisher = run("pub", "/topic/test/1/", "--text", "x", "--server", url)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([id for id, verdict in verdicts(done).items() if verdict != "PASS"], ["T1"])
        self.assertEqual((stranger.returncode, publisher.returncode), (1, 1))
        self.assertIn("its certificate cannot be trusted", stranger.stderr)
        self.assertIn("its certificate is not one we can trust", publisher.stderr)


class PluginBroker(RabbitMQ):
    """RabbitMQ with its STOMP plugin."""

    def __init__(self) -> None:
        super().__init__()
        self.stomp_port = free_port()
        with (self.folder / "rabbitmq.conf").open("a") as conf:
            conf.write(f"stomp.listeners.tcp.1 = {HOST}:{self.stomp_port}\n")
            conf.write("stomp.default_user = guest\nstomp.default_pass = guest\n")
        (self.folder / "plugins").write_text("[rabbitmq_stomp].\n")


class OtherServers(unittest.TestCase):
    def test_rabbitmq_fails_where_radios_need_more_than_stomp(self) -> None:
        with PluginBroker() as broker:
            url = f"stomp://guest:guest@{HOST}:{broker.stomp_port}"
            done = run("conformance", url, "--topic", "/topic/test.", "--host", "/", "--seconds", "2", "--json")
        found = verdicts(done)
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        self.assertEqual([id for id in ("N3", "C2", "C8", "R1", "F4") if found[id] != "PASS"], [])
        self.assertEqual([id for id in ("V1", "V4", "C4", "L8", "N8") if found[id] != "FAIL"], [])

    def test_a_server_that_only_listens_fails_in_time(self) -> None:
        with socket.create_server((HOST, 0)) as silent:
            port = silent.getsockname()[1]
            done = call("conformance", f"{HOST}:{port}", "--only", "N1,N2", "--seconds", "0.2")
        self.assertEqual(done.returncode, 1)
        self.assertIn("FAIL N2   ", done.stdout)
        self.assertIn(": it said nothing for 0.2 s", done.stdout)

    def test_a_server_that_speaks_something_else(self) -> None:
        with socket.create_server((HOST, 0)) as server:
            threading.Thread(target=_greet, args=(server,), daemon=True).start()
            done = call("conformance", f"{HOST}:{server.getsockname()[1]}", "--only", "N2", "--seconds", "2")
        self.assertEqual(done.returncode, 1)
        self.assertIn("FAIL N2", done.stdout)

    def test_no_server(self) -> None:
        for server, reason in (
            (f"{HOST}:{free_port()}", "Connection refused"),
            ("no-such-host.invalid", "cannot connect to no-such-host.invalid:61613: "),
        ):
            done = call("conformance", server)
            self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (1, "", 1))
            self.assertIn(reason, done.stderr)

    def test_wrong_usage(self) -> None:
        for words, part in (
            ((), "SERVER"),
            (("x", "--only", "Z9"), "no such check: Z9"),
            (("x", "--topic", "y"), "a topic begins with /topic/"),
        ):
            done = call("conformance", *words)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(part, done.stderr)


def _greet(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"220 mail.example ESMTP\r\n\0")
