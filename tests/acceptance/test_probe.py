"""probe: from a bearer to its slide, with a DNS server of our own that also lies, loops and keeps silent."""

from __future__ import annotations

import json
import socket
import threading
import unittest
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from typing import Any, ClassVar

from tests.acceptance.case import NodeCase
from tests.acceptance.command_case import Done, run
from tests.acceptance.test_commands import GOOD, Pictures
from tests.name_server import NameServer
from tests.radiovis.commands.calling import call

NAME = "09580.4000.4e1.fm.radiodns.org"
HOME = "vis.example.net"
BEARER = "fm:4e1.4000.09580"


class ProbeCase(NodeCase):
    settings: ClassVar[Mapping[str, Any]] = {
        "TEST_TOPICS": '["/topic/fm/4e1/4000/09580/", "/topic/id/vis.example.net/rock/"]'
    }

    def setUp(self) -> None:
        host, port = self.server.address
        self.dns = NameServer({NAME: HOME}, {f"_radiovis._tcp.{HOME}": [(host, port)]})
        self.addCleanup(self.dns.close)

    def probe(self, *words: str) -> Done:
        return run("probe", *words, "--dns", self.dns.address)

    def publish_slide(self, topic: str = "/topic/fm/4e1/4000/09580/image", name: str = "good.png") -> None:
        pictures = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
        threading.Thread(target=pictures.serve_forever, daemon=True).start()
        self.addCleanup(pictures.server_close)
        self.addCleanup(pictures.shutdown)
        self.station().publish(topic, f"SHOW http://127.0.0.1:{pictures.server_port}/{name}".encode())

    def assert_fails(self, done: Done, *parts: str) -> None:
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr)


class ToTheSlide(ProbeCase):
    def test_every_step_from_a_bearer(self) -> None:
        self.publish_slide()
        done = self.probe(BEARER, "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        report = json.loads(done.stdout)
        self.assertEqual([step["step"] for step in report["steps"]], ["CNAME", "SRV", "connect", "slide", "picture"])
        self.assertTrue(report["ok"] and all(step["ok"] for step in report["steps"]))
        self.assertEqual(report["steps"][0]["found"], f"{NAME} → {HOME}")
        self.assertTrue(all(step["milliseconds"] > 0 for step in report["steps"]))

    def test_a_line_for_each_step_from_a_topic(self) -> None:
        self.publish_slide()
        done = self.probe("/topic/fm/4e1/4000/09580/image")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = done.stdout.splitlines()
        self.assertEqual([line.split()[:2] for line in lines][2:4], [["ok", "connect"], ["ok", "slide"]])
        self.assertTrue(lines[-1].endswith(f"320x240 PNG, {len(GOOD) / 1000:.1f} kB"), lines[-1])

    def test_a_broadcaster_by_name_and_a_second_server(self) -> None:
        self.publish_slide("/topic/id/vis.example.net/rock/image")
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        self.dns.srv[f"_radiovis._tcp.{HOME}"].insert(0, ("127.0.0.1", port))
        done = self.probe("/topic/id/vis.example.net/rock/", "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        steps = json.loads(done.stdout)["steps"]
        self.assertEqual(
            [(step["step"], step["ok"]) for step in steps][:3], [("SRV", True), ("connect", False), ("connect", True)]
        )

    def test_a_named_server_needs_no_dns(self) -> None:
        self.publish_slide()
        host, port = self.server.address
        done = run("probe", BEARER, "--server", f"{host}:{port}")
        self.assertEqual((done.returncode, len(done.stdout.splitlines())), (0, 3), done.stderr)

    def test_a_slide_no_radio_can_show(self) -> None:
        self.publish_slide(name="large.png")
        self.assert_fails(self.probe(BEARER), "picture: it is 640x480, radios expect 320x240")

    def test_a_station_without_a_slide(self) -> None:
        self.dns.cnames["10800.4000.4e1.fm.radiodns.org"] = HOME
        done = self.probe("fm:4e1.4000.10800", "--seconds", "0.5")
        self.assert_fails(done, "no slide on /topic/fm/4e1/4000/10800/image within 0.5 s")


class Names(ProbeCase):
    def test_a_station_nobody_registered(self) -> None:
        self.dns.cnames.clear()
        self.assert_fails(self.probe(BEARER), f"CNAME: {NAME} does not exist (NXDOMAIN)")

    def test_a_broadcaster_without_the_service(self) -> None:
        self.dns.srv.clear()
        self.assert_fails(self.probe(BEARER), f"SRV: _radiovis._tcp.{HOME} does not exist")
        self.dns.srv[f"_radiovis._tcp.{HOME}"] = []
        self.assert_fails(self.probe(BEARER), "offers no RadioVIS over STOMP")

    def test_cnames_in_a_circle_and_without_end(self) -> None:
        self.dns.cnames = {NAME: "a.example", "a.example": "b.example", "b.example": "a.example"}
        self.assert_fails(self.probe(BEARER), "the CNAMEs go in a circle: ", "a.example → b.example → a.example")
        self.dns.cnames = {NAME: "0.example", **{f"{n}.example": f"{n + 1}.example" for n in range(30)}}
        self.assert_fails(self.probe(BEARER), "more than 8 CNAMEs")

    def test_a_broadcaster_who_says_that_there_is_nothing(self) -> None:
        self.dns.srv[f"_radiovis._tcp.{HOME}"] = [("", 0)]
        self.assert_fails(self.probe(BEARER), "says in so many words that there is no such service (target .)")

    def test_a_dns_server_that_cuts_its_answers_short(self) -> None:
        self.dns.truncated = True
        self.assert_fails(self.probe(BEARER), f"CNAME: the DNS server cannot answer for {NAME}: ")

    def test_a_dns_server_that_answers_nonsense(self) -> None:
        self.dns.garbage = b"\xff" * 40
        self.assert_fails(self.probe(BEARER), f"CNAME: the DNS server cannot answer for {NAME}: ")

    def test_a_server_with_an_impossible_name(self) -> None:
        self.dns.srv[f"_radiovis._tcp.{HOME}"] = [("no-such-host.invalid", 61613)]
        self.assert_fails(self.probe(BEARER), "cannot connect to no-such-host.invalid:61613: no such host")


class WrongUsage(unittest.TestCase):
    def test_what_is_no_station(self) -> None:
        for words, part in (
            (("fm:4e1.4000",), "should be fm:<gcc>.<pi>.<frequency>"),
            (("/topic/fm/4e1/4000/*/image",), "* is for broadcasters"),
            (("vhf:1",), "is no bearer or topic"),
            ((BEARER, "--dns", "nine"), "should be an address of a DNS server"),
            ((), "STATION"),
        ):
            with self.subTest(words=words):
                done = call("probe", *words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(part, done.stderr)
