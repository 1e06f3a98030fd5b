"""conformance: our server passes every check; RabbitMQ's STOMP plugin does not, which shows that checks can fail."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from radiovis.commands.conformance import CHECKS
from tests.acceptance.case import NodeCase
from tests.acceptance.command_case import Done, on_terminal, run, visible
from tests.authority import Authority
from tests.processes import Server, node
from tests.radiovis.commands.calling import call
from tests.services import HOST, RabbitMQ, free_port


def verdicts(done: Done) -> dict[str, str]:
    """The verdict on each check, of a run with --json."""
    checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    return {check["id"]: check["verdict"] for check in checks}


ANY_FREQUENCY = "/topic/fm/4e1/4000/*/"
FM = "/topic/fm/4e1/4001/09580/"
SETTINGS: dict[str, Any] = {
    "TEST_TOPICS": json.dumps(["/topic/id/tests._ebu.nowhere/topic1/", ANY_FREQUENCY, FM]),
    "fanout.stomp.limits.CONNECT_SECONDS": 1,
    "HEARTBEAT_MS": "1000,10000",
}
"""With a station for every check, and without long waits."""


class ConformanceCase(unittest.TestCase):
    def assert_passes_all(self, url: str, *words: str, skipped: Sequence[str] = ()) -> None:
        done = run("conformance", url, "--any-frequency", ANY_FREQUENCY, "--json", *words)
        failed = [check for check in json.loads(done.stdout)["checks"] if check["verdict"] == "FAIL"]
        self.assertEqual((done.returncode, failed, done.stderr), (0, [], ""))
        self.assertEqual(list(verdicts(done)), [check.id for check in CHECKS])
        self.assertEqual([id for id, verdict in verdicts(done).items() if verdict == "SKIP"], list(skipped))


class OurServer(NodeCase, ConformanceCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.settings = {**SETTINGS, "HTTP_PORT": free_port()}
        super().setUpClass()

    def url(self, login: str = "") -> str:
        host, port = self.server.address
        return f"stomp://{login}{host}:{port}"

    def test_passes_all(self) -> None:
        self.assert_passes_all(self.url("1.test:test@"))

    def test_passes_all_on_an_fm_channel(self) -> None:
        self.assert_passes_all(self.url("1.test:test@"), "--topic", FM)

    def test_passes_all_over_a_websocket(self) -> None:
        host, port = self.server.http
        self.assert_passes_all(f"ws://1.test:test@{host}:{port}", skipped=["T1"])

    def test_no_websocket_at_an_address_is_one_line(self) -> None:
        host, port = self.server.http
        for command in (("conformance",), ("sub", "/topic/x/", "--server")):
            done = run(*command, f"ws://{host}:{port}/nothing")
            self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (1, "", 1))
            self.assertIn("there is no WebSocket at this path: HTTP 404", done.stderr)

    def test_without_a_login_what_publishes_is_skipped(self) -> None:
        done = call("conformance", self.url(), "--only", "N2,C*,V1")
        self.assertEqual(done.returncode, 0, done.stdout)
        lines = done.stdout.splitlines()
        self.assertTrue(lines[0].startswith("PASS N2   a plain CONNECT"), lines[0])
        self.assertTrue(next(each for each in lines if " V1 " in each).endswith(": it needs a login"))
        self.assertIn("login:passcode@", lines[-2])
        self.assertIn(" 0 failed, ", lines[-1])

    def test_without_a_channel_for_every_frequency_that_check_is_skipped(self) -> None:
        done = call("conformance", self.url("1.test:test@"), "--only", "L3")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("needs a channel with * for its frequency", done.stdout)

    def test_a_login_that_may_not_publish_there_fails(self) -> None:
        done = call("conformance", self.url("1.test:test@"), "--topic", "/topic/other/", "--only", "C5", "--json")
        self.assertEqual((done.returncode, verdicts(done)), (1, {"C5": "FAIL"}))


class OverTls(ConformanceCase):
    """One certificate for STOMP and for WebSockets."""

    server: ClassVar[Server]
    authority: ClassVar[Authority]

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.authority, cls.stomps, cls.https = Authority(Path(folder.name)), free_port(), free_port()
        file = cls.authority.issue("node.pem", HOST)
        cls.server = node(TLS_CERTIFICATE=file, STOMP_TLS_PORT=cls.stomps, HTTPS_PORT=cls.https, **SETTINGS)
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    def ca(self) -> tuple[str, str]:
        return "--ca", str(self.authority.certificate)

    def test_our_server_passes_all_that_can_be_made(self) -> None:
        self.assert_passes_all(f"stomps://1.test:test@{HOST}:{self.stomps}", *self.ca(), skipped=["T1"])

    def test_and_over_a_websocket(self) -> None:
        self.assert_passes_all(f"wss://1.test:test@{HOST}:{self.https}", *self.ca(), skipped=["T1"])

    def test_every_command_trusts_whom_it_is_told_to(self) -> None:
        for server in (f"stomps://1.test:test@{HOST}:{self.stomps}", f"wss://1.test:test@{HOST}:{self.https}"):
            with self.subTest(server=server):
                published = run(
                    "pub", "/topic/id/tests._ebu.nowhere/topic1/", "--text", "x", "--server", server, *self.ca()
                )
                self.assertEqual((published.returncode, published.stderr), (0, ""))
                heard = run(
                    "sub", "/topic/id/tests._ebu.nowhere/topic1/text", "--count", "1", "--server", server, *self.ca()
                )
                self.assertIn("TEXT x", heard.stdout)
                probed = run("probe", "fm:4e1.4000.09580", "--server", server, "--seconds", "0.1", *self.ca())
                self.assertIn("connected, STOMP 1.2", probed.stdout)

    def test_and_nobody_else(self) -> None:
        server = f"stomps://1.test:test@{HOST}:{self.stomps}"
        for words in (
            ("conformance", server),
            ("pub", "/topic/id/tests._ebu.nowhere/topic1/", "--text", "x", "--server", server),
        ):
            done = run(*words)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("its certificate is not trusted: unable to get local issuer certificate", done.stderr)
        done = run("conformance", server, "--ca", "/nowhere.pem")
        self.assertEqual((done.returncode, done.stderr[:37]), (2, "server.py: --ca: /nowhere.pem cannot b"[:37]))


class Strangers(unittest.TestCase):
    """Certificates a server should not have, each refused in one line."""

    def test_what_is_wrong_with_a_certificate_is_said(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            authority = Authority(Path(folder))
            other = authority.issue("other.pem", "other.example")
            authority.days = -0.5
            old = authority.issue("old.pem", HOST)
            for file, reason in ((old, "certificate has expired"), (other, "IP address mismatch")):
                port = free_port()
                with node(TLS_CERTIFICATE=file, STOMP_TLS_PORT=port, HTTPS_PORT=0):
                    for words in (("conformance",), ("pub", "/topic/x/", "--text", "x", "--seconds", "1", "--server")):
                        done = run(*words, f"stomps://{HOST}:{port}", "--ca", str(authority.certificate))
                        self.assertEqual((done.returncode, done.stdout), (1, ""))
                        self.assertEqual(len(done.stderr.splitlines()), 1)
                        self.assertIn(f"{HOST}:{port}: its certificate is not trusted: ", done.stderr)
                        self.assertIn(reason, done.stderr)


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
            words = ("--topic", "/topic/test.", "--host", "/", "--seconds", "4")
            only = "N3,N6,N8,N10,F4,C2,C4,C8,R1,L8,L10,M3,V1,V4,V5"  # Others wait in vain, for a minute in all.
            done = run("conformance", url, *words, "--only", only, "--json")
            listed = run("conformance", url, *words, "--only", "N8,V1,C2")
        found = verdicts(done)
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        self.assertEqual([id for id in ("N3", "C2", "C8", "R1", "F4") if found[id] != "PASS"], [])
        self.assertEqual([id for id in ("V1", "V4", "C4", "L8", "N8") if found[id] != "FAIL"], [])
        self.assertEqual([id for id in ("N6", "N10", "L10", "M3") if found[id] != "PASS"], [])
        self.assertEqual(found["V5"], "FAIL", "guest may publish to every topic")
        self.assertEqual(listed.returncode, 1)
        self.assertEqual([each[:4] for each in listed.stdout.splitlines()], ["FAIL", "PASS", "FAIL", "1 pa"])
        self.assertRegex(listed.stdout, r"FAIL V1   a new subscriber gets .*: it sent nothing for 4 s")

    def test_rabbitmq_keeps_a_login_with_topic_permissions_from_the_topics_of_others(self) -> None:
        with PluginBroker() as broker:
            broker.erlang(
                'rabbit_auth_backend_internal:add_user(<<"radio">>, <<"secret">>, <<"tests">>),'
                "rabbit_auth_backend_internal:set_permissions("
                '<<"radio">>, <<"/">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>),'
                "rabbit_auth_backend_internal:set_topic_permissions("
                '<<"radio">>, <<"/">>, <<"amq.topic">>, <<"^test\\\\.">>, <<".*">>, <<"tests">>).'
            )
            words = ("--topic", "/topic/test.", "--host", "/", "--seconds", "5", "--only", "V5,C5", "--json")
            done = run("conformance", f"stomp://radio:secret@{HOST}:{broker.stomp_port}", *words)
        self.assertEqual(verdicts(done), {"V5": "PASS", "C5": "PASS"}, done.stdout)

    def test_a_server_that_only_listens_fails_in_time(self) -> None:
        with socket.create_server((HOST, 0)) as silent:
            port = silent.getsockname()[1]
            done = call("conformance", f"{HOST}:{port}", "--only", "N1,N2", "--seconds", "0.2")
        self.assertEqual(done.returncode, 1)
        self.assertIn("FAIL N2   ", done.stdout)
        self.assertIn(": it sent nothing for 0.2 s", done.stdout)

    def test_a_server_that_speaks_something_else(self) -> None:
        with socket.create_server((HOST, 0)) as server:
            threading.Thread(target=_greet, args=(server,), daemon=True).start()
            done = call("conformance", f"{HOST}:{server.getsockname()[1]}", "--only", "N2", "--seconds", "2")
        self.assertEqual(done.returncode, 1)
        self.assertIn("FAIL N2", done.stdout)

    def test_a_terminal_shows_the_progress_and_keeps_nothing_of_it(self) -> None:
        with socket.create_server((HOST, 0)) as silent:
            server = f"{HOST}:{silent.getsockname()[1]}"
            code, shown = on_terminal("conformance", server, "--only", "N1,N2", "--seconds", "0.2", "--json")
        self.assertEqual(code, 1)
        for part in ("1 of 2: N1 ", "2 of 2: N2 "):
            self.assertIn(part, shown)
        self.assertEqual(visible(shown), "")

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
            (("x", "--topic", "y"), "--topic must begin with /topic/"),
            (("x", "--topic", "/topic/fm/4e1/4000/*/"), "use --any-frequency for it"),
            (("x", "--any-frequency", "/topic/fm/4e1/4000/09580/"), "must have the form /topic/fm/4e1/4000/*/"),
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
