"""RadioVIS nodes that host the web server: what is published at one site is read at those of the other nodes."""

from __future__ import annotations

import shutil
import tempfile
import time
import unittest
from pathlib import Path

from tests import services
from tests.acceptance.cluster import Cluster
from tests.acceptance.cluster import node as node_of_cluster
from tests.processes import ROOT, Server, node
from tests.radio import Radio
from tests.web import Address, Events, Raw, ask, basic

TOKEN = "a token of sixteen letters"
SITE = f"""
[server]
port = 0
access_log = "access.log"
[topics]
token = "{TOKEN}"
[[files]]
folder = "public"
"""
SECONDS = 30


class SiteCase(unittest.TestCase):
    def setUp(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="webserver-"))
        self.addCleanup(shutil.rmtree, self.home)
        (self.home / "public").mkdir()
        (self.home / "public" / "index.html").write_text("<h1>The station's site</h1>")
        (self.home / "SITE.toml").write_text(SITE)

    def settings(self, **settings: object) -> dict[str, object]:
        return {"WITH": "webserver", "WEBSERVER_SITE": self.home / "SITE.toml", "PYTHONPATH": ROOT, **settings}

    def web(self, server: Server) -> Address:
        host, _, port = server.wait_for("server.ready")["web"].rpartition(":")
        return host, int(port)

    def put(self, site: Address, name: str, body: bytes) -> int:
        login = basic("any", TOKEN)
        return ask(site, f"/channels/{name}", method="PUT", body=body, authorization=login).status

    def wait_for(self, site: Address, name: str, body: bytes) -> None:
        """Until this is the last value there."""
        deadline = time.monotonic() + SECONDS
        while ask(site, f"/channels/{name}").body != body:
            self.assertLess(time.monotonic(), deadline)


class OneNode(SiteCase):
    def start(self, *flags: str, **settings: object) -> Server:
        server = node(*flags, **self.settings(**settings))
        self.addCleanup(server.close)
        return server.start()

    def test_the_site_and_radiovis_share_a_hub(self) -> None:
        server = self.start()
        site = self.web(server)
        self.assertEqual(ask(site, "/").body, b"<h1>The station's site</h1>")
        with Radio.connect(server.address) as radio:
            radio.subscribe("/topic/web/kitchen/temperature")
            self.assertEqual(self.put(site, "kitchen/temperature", b"21.5"), 201)
            self.assertEqual(radio.frame().body, b"21.5")
            radio.subscribe("/topic/id/tests._ebu.nowhere/topic1/text")
            with Radio.connect(server.address, "1.test", "test") as publisher:
                publisher.publish("/topic/id/tests._ebu.nowhere/topic1/text", b"TEXT hello")
                self.assertEqual(radio.frame().body, b"TEXT hello")
        self.assertEqual([each["name"] for each in ask(site, "/channels").json], ["kitchen/temperature"])

    def test_a_client_without_the_token_publishes_nothing(self) -> None:
        site = self.web(self.start())
        self.assertEqual(ask(site, "/channels/a", method="PUT", body=b"1").status, 401)

    def test_a_sighup_opens_its_log_anew_and_a_sigterm_ends_it_in_order(self) -> None:
        server = self.start()
        site = self.web(server)
        ask(site, "/")
        log = self.home / "access.log"
        log.rename(self.home / "moved")
        server.hang_up()
        server.wait_for("settings.reloaded")
        self.assertIn("<h1>", ask(site, "/").body.decode())
        server.wait_for("access_log.reopened")
        self.assertEqual(len(log.read_text().splitlines()), 1)
        with Events(site, "/channels/a", accept="text/event-stream") as events:
            events.until(b"retry: 3000")
            server.ask_to_end()
            self.assertTrue(events.to_the_end().endswith(b"\r\n0\r\n\r\n"))
        self.assertEqual(server.exit_code(), 0)
        self.assertEqual(server.faults, [])

    def test_a_value_outlives_a_node_by_itself(self) -> None:
        journal = {"JOURNAL": self.home / "journal.sqlite"}
        server = node("--standalone", **self.settings(**journal))
        self.addCleanup(server.close)
        server.start()
        self.put(self.web(server), "a", b"kept")
        server.terminate()
        server.start()
        self.wait_for(self.web(server), "a", b"kept")

    def test_a_site_that_is_wrong_is_a_line_and_exit_code_2(self) -> None:
        (self.home / "wrong.toml").write_text("[[files]]\nfolder = 'nowhere'\n")
        for site, words in (
            (None, "set WEBSERVER_SITE to the path of the site file"),
            (self.home / "missing.toml", "missing.toml: No such file"),
            (self.home / "wrong.toml", "nowhere is not a folder"),
        ):
            server = node(**self.settings(WEBSERVER_SITE=site))
            self.addCleanup(server.close)
            server.launch()
            self.assertEqual(server.exit_code(), 2)
            self.assertIn(words, server.text)
            self.assertNotIn("Traceback", server.text)


class TwoNodes(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.cluster = Cluster(services.rabbitmq(), nodes=0)
        self.addCleanup(self.cluster.close)
        self.first, self.second = (self.web(self.node()) for _ in range(2))

    def node(self) -> Server:
        started = node_of_cluster(services.rabbitmq(), self.cluster.exchange, **self.settings())
        self.cluster.nodes.append(started)
        started.start()
        started.wait_for("bus.caught_up")
        return started

    def tearDown(self) -> None:
        self.assertEqual(self.cluster.faults, [])

    def test_what_is_published_at_one_is_read_at_the_other(self) -> None:
        self.assertEqual(self.put(self.first, "a", b"1"), 201)
        self.wait_for(self.second, "a", b"1")
        with Events(self.second, "/channels/a", accept="text/event-stream") as events:
            self.assertEqual(events.next().data, 1)
            self.assertEqual(self.put(self.first, "a", b"2"), 204)
            seen = events.next()
            self.assertEqual(seen.data, 2)
        poll = Raw(
            self.second, f"GET /channels/a?wait=30&last_id={seen.id} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        )
        self.addCleanup(poll.close)
        self.put(self.first, "a", b"3")
        self.put(self.first, "a", b"4")
        self.assertTrue(poll.until(b"\r\n\r\n3").startswith(b"HTTP/1.1 200 OK\r\n"))
        self.wait_for(self.first, "a", b"4")
        with Events(self.first, "/channels/a", accept="text/event-stream", last_event_id=seen.id) as events:
            self.assertEqual([events.next().data for _ in range(2)], [3, 4])

    def test_a_node_that_comes_later_knows_the_last_value(self) -> None:
        self.put(self.first, "a", b"old")
        self.put(self.first, "a", b"last")
        third = self.web(self.node())
        self.wait_for(third, "a", b"last")

    def test_what_the_broker_would_not_carry_is_refused(self) -> None:
        length = 300_000
        self.assertEqual(self.put(self.first, "a", b"x" * length), 413)
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (length, b"x" * length)
        head = f"PUT /channels/a HTTP/1.1\r\nhost: localhost\r\nauthorization: {basic('x', TOKEN)}\r\n".encode()
        head += b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        with Raw(self.first, head + chunked) as raw:
            self.assertTrue(raw.to_the_end().startswith(b"HTTP/1.1 413 "))
        self.assertEqual(ask(self.first, "/channels/a").status, 404)

    def test_nothing_is_forgotten_that_other_nodes_know(self) -> None:
        self.put(self.first, "a", b"1")
        answer = ask(self.first, "/channels/a", method="DELETE", authorization=basic("any", TOKEN))
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, POST, PUT, OPTIONS"))
