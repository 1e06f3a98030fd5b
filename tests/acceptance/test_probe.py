"""probe: from a bearer to its slide, with a DNS server of our own that also lies, loops and keeps silent."""

from __future__ import annotations

import json
import socket
import threading
import unittest
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from typing import Any, ClassVar

from twisted.names import dns

from tests.acceptance.case import NodeCase
from tests.acceptance.command_case import Done, node, run
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
        self.assert_fails(self.probe(BEARER), "the CNAMEs form a circle: ", "a.example → b.example → a.example")
        self.dns.cnames = {NAME: "0.example", **{f"{n}.example": f"{n + 1}.example" for n in range(30)}}
        self.assert_fails(self.probe(BEARER), "the chain of CNAMEs has more than 8 names")

    def test_a_broadcaster_who_says_that_there_is_nothing(self) -> None:
        self.dns.srv[f"_radiovis._tcp.{HOME}"] = [("", 0)]
        self.assert_fails(self.probe(BEARER), "declares that it has no such service")

    def test_a_dns_server_that_cuts_its_answers_short(self) -> None:
        self.dns.truncated = True
        self.assert_fails(self.probe(BEARER), f"CNAME: the DNS server cannot answer for {NAME}: ")

    def test_a_dns_server_that_answers_nonsense(self) -> None:
        self.dns.garbage = b"\xff" * 40
        self.assert_fails(self.probe(BEARER), f"CNAME: the DNS server cannot answer for {NAME}: ")

    def test_a_server_with_an_impossible_name(self) -> None:
        self.dns.srv[f"_radiovis._tcp.{HOME}"] = [("no-such-host.invalid", 61613)]
        self.assert_fails(self.probe(BEARER), "address: no-such-host.invalid does not exist (NXDOMAIN)")

    def test_without_dns_servers_this_machine_looks_a_server_up(self) -> None:
        done = run("probe", BEARER, "--server", "no-such-host.invalid")
        self.assert_fails(done, "cannot connect to no-such-host.invalid:61613: no such host")


class Addresses(ProbeCase):
    """The name of a server, which only the DNS server of ``--dns`` knows."""

    def setUp(self) -> None:
        super().setUp()
        self.host, self.port = self.server.address
        self.publish_slide()
        self.point_to("stomp.example.test")

    def point_to(self, name: str) -> None:
        self.dns.srv[f"_radiovis._tcp.{HOME}"] = [(name, self.port)]

    def steps(self, done: Done) -> list[tuple[str, bool, str]]:
        return [(step["step"], step["ok"], step["found"]) for step in json.loads(done.stdout)["steps"]]

    def test_the_target_of_srv_is_looked_up_at_the_same_server(self) -> None:
        self.dns.addresses["stomp.example.test"] = [self.host]
        done = self.probe(BEARER, "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertIn(("address", True, f"stomp.example.test → {self.host}"), self.steps(done))

    def test_the_server_is_still_told_its_name(self) -> None:
        with node(STOMP_HOSTS="stomp.example.test") as strict:
            self.port = strict.address[1]
            self.point_to("stomp.example.test")
            self.dns.addresses["stomp.example.test"] = [self.host]
            self.assertIn("connected, STOMP 1.2", self.probe(BEARER, "--seconds", "0.1").stdout)

    def test_aliases_are_followed_in_one_answer_and_one_by_one(self) -> None:
        self.dns.cnames |= {"stomp.example.test": "a.cdn.test", "a.cdn.test": "b.cdn.test"}
        self.dns.addresses["b.cdn.test"] = [self.host]
        for follows in (True, False):
            with self.subTest(follows=follows):
                self.dns.follows = follows
                done = self.probe(BEARER, "--json")
                self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
                expected = f"stomp.example.test → a.cdn.test → b.cdn.test → {self.host}"
                self.assertIn(("address", True, expected), self.steps(done))

    def test_aliases_in_a_circle_and_without_end(self) -> None:
        for follows in (True, False):
            with self.subTest(follows=follows):
                self.dns.follows = follows
                self.dns.cnames |= {"stomp.example.test": "a.test", "a.test": "stomp.example.test"}
                self.assert_fails(self.probe(BEARER), "address: the CNAMEs form a circle: stomp.example.test → a.test")
                self.dns.cnames |= {"stomp.example.test": "0.test", **{f"{n}.test": f"{n + 1}.test" for n in range(30)}}
                self.assert_fails(
                    self.probe(BEARER), "address: the chain of CNAMEs has more than 8 names; it begins with stomp.exam"
                )

    def test_a_name_without_an_address(self) -> None:
        self.assert_fails(self.probe(BEARER), "address: stomp.example.test does not exist (NXDOMAIN)")
        self.dns.addresses["stomp.example.test"] = []
        self.assert_fails(
            self.probe(BEARER), "address: stomp.example.test has no address: neither an A nor an AAAA record"
        )
        self.dns.cnames["stomp.example.test"] = "gone.test"
        self.dns.addresses["gone.test"] = []
        self.assert_fails(self.probe(BEARER), "address: stomp.example.test → gone.test has no address: neither")

    def test_a_dns_server_that_falls_silent(self) -> None:
        self.dns.silent.add("stomp.example.test")
        self.assert_fails(self.probe(BEARER), "address: no DNS server answers when asked for stomp.example.test")

    def test_a_dns_server_that_does_not_know_ipv6(self) -> None:
        self.dns.refused.add(dns.AAAA)
        self.dns.addresses["stomp.example.test"] = [self.host]
        self.assertEqual(self.probe(BEARER).returncode, 0)
        self.dns.refused.add(dns.A)
        self.assert_fails(self.probe(BEARER), "address: the DNS server cannot answer for stomp.example.test: DNSServer")

    def test_the_next_server_is_tried_when_one_has_no_address(self) -> None:
        self.dns.srv[f"_radiovis._tcp.{HOME}"].insert(0, ("gone.test", self.port))
        self.dns.addresses["stomp.example.test"] = [self.host]
        done = self.probe(BEARER, "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertEqual(
            [step[:2] for step in self.steps(done)][2:5], [("address", False), ("address", True), ("connect", True)]
        )

    def test_the_next_address_is_tried_when_one_does_not_answer(self) -> None:
        """127.0.0.2 is this machine as well, but the node is not there."""
        self.dns.addresses["stomp.example.test"] = ["127.0.0.2", "::1", self.host]
        done = self.probe(BEARER)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"cannot connect to stomp.example.test:{self.port} at 127.0.0.2: ", done.stdout)
        self.assertNotIn("::1:", done.stdout, "IPv4 comes first")

    def test_a_dns_server_over_ipv6_and_a_server_over_ipv6(self) -> None:
        with node(STOMP_IP="::1", TEST_TOPICS='["/topic/fm/4e1/4000/09580/"]') as six:
            names = NameServer(
                {NAME: HOME},
                {f"_radiovis._tcp.{HOME}": [("stomp.example.test", six.address[1])]},
                {"stomp.example.test": ["::1"]},
                host="::1",
            )
            self.addCleanup(names.close)
            done = run("probe", BEARER, "--dns", names.address, "--seconds", "0.1")
        self.assertIn("stomp.example.test → ::1", done.stdout)
        self.assertIn("connected, STOMP 1.2", done.stdout)

    def test_a_named_server_is_looked_up_there_as_well(self) -> None:
        self.dns.addresses["stomp.example.test"] = [self.host]
        done = self.probe(BEARER, "--server", f"stomp.example.test:{self.port}")
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class WrongUsage(unittest.TestCase):
    def test_what_is_no_station(self) -> None:
        for words, part in (
            (("fm:4e1.4000",), "must have the form fm:<gcc>.<pi>.<frequency>"),
            (("/topic/fm/4e1/4000/*/image",), "only broadcasters use *"),
            (("vhf:1",), "is neither a bearer nor a topic"),
            *(
                ((BEARER, "--dns", text), "must be the address of a DNS server")
                for text in ("nine", "9.9.9.999", "9.9.9.9:0", "9.9.9.9:65536", "[::1", "[9.9.9.9]:x", "::1]:53", "")
            ),
            ((), "STATION"),
        ):
            with self.subTest(words=words):
                done = call("probe", *words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(part, done.stderr)
