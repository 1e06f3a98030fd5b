"""One process serves RadioVIS and Artcast on one hub: a radio reads a datum over STOMP, and a poll waits for it."""

from __future__ import annotations

import json
import socket
import time
import unittest

from tests.artcast.server import HOST, Asking
from tests.processes import ROOT, Server, node
from tests.radio import Radio
from tests.web import ask

PORTS = {"CLIENT_IP": HOST, **dict.fromkeys(("CLIENT_PORT", "DATA_PORT", "REGISTER_PORT"), 0)}
NO_GROUPS = {"DATA_GROUP": "", "REGISTER_GROUP": ""}


def both(*flags: str, **settings: object) -> Server:
    """A RadioVIS node that Artcast runs with."""
    ours = {f"ARTCAST_{name}": value for name, value in {**PORTS, **NO_GROUPS, **settings}.items()}
    return node("--with", "artcast", *flags, PYTHONPATH=ROOT, **ours)


class TestOneProcess(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = both().start()
        cls.addClassCleanup(cls.server.close)
        ready = cls.server.wait_for("server.ready")
        cls.client, cls.data = ((HOST, int(ready[name].rpartition(":")[2])) for name in ("client", "data"))

    def send(self, key: str, value: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.sendto(json.dumps([key, value]).encode(), self.data)

    def test_a_datum_is_read_by_a_stomp_subscriber_and_by_a_poll(self) -> None:
        with Radio.connect(self.server.address) as radio, Asking(self.client, "test/tick") as client:
            radio.subscribe("/topic/artcast/test/tick")
            client.held()
            self.send("test/tick", {"a": 1})
            self.assertEqual(client.answer().body, b'{"a": 1}')
            message = radio.frame()
            self.assertEqual(json.loads(message.body), {"a": 1})

    def test_a_stomp_subscriber_who_comes_later_gets_the_last_value_at_once(self) -> None:
        self.send("late", 7)
        deadline = time.monotonic() + 20
        while {"key": "late"} not in ask(self.client, "/artcasts").json:
            self.assertLess(time.monotonic(), deadline)
        with Radio.connect(self.server.address) as radio:
            radio.subscribe("/topic/artcast/late")
            self.assertEqual(radio.frame().body, b"7")

    def test_radiovis_goes_on_beside_it(self) -> None:
        with Radio.connect(self.server.address) as radio:
            radio.subscribe("/topic/id/tests._ebu.nowhere/topic1/text")
            with Radio.connect(self.server.address, "1.test", "test") as publisher:
                publisher.publish("/topic/id/tests._ebu.nowhere/topic1/text", b"TEXT hello")
                self.assertEqual(radio.frame().body, b"TEXT hello")


class TestTextForRadios(unittest.TestCase):
    """Artcast on the topics of a station."""

    TOPIC = "/topic/id/tests._ebu.nowhere/topic1/"

    def server(self, *flags: str, **settings: object) -> Server:
        server = both(*flags, TOPIC_PREFIX=self.TOPIC, **settings).start()
        self.addCleanup(server.close)
        self.client, self.data = (
            (HOST, int(server.wait_for("server.ready")[name].rpartition(":")[2])) for name in ("client", "data")
        )
        return server

    def send(self, key: str, value: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.sendto(json.dumps([key, value]).encode(), self.data)

    def test_a_radio_gets_the_text_and_a_poll_the_value(self) -> None:
        server = self.server()
        with Radio.connect(server.address) as radio:
            for key, value in (
                ("text", 'TEXT Grüezi "all"'),
                ("image", "SHOW http://rock.example/slide.png"),
            ):
                with Asking(self.client, key, accept="application/json") as client:
                    radio.subscribe(self.TOPIC + key)
                    client.held()
                    self.send(key, value)
                    frame = radio.frame()
                    self.assertEqual((frame.body, frame.get("destination")), (value.encode(), self.TOPIC + key))
                    self.assertEqual(json.loads(client.answer().body), value)

    def test_what_is_no_such_text_is_json(self) -> None:
        server = self.server()
        for key, value in (("text", "TEXTILE"), ("text", ["TEXT a"]), ("text", "TEXT a\0b"), ("other", "TEXT a")):
            with Radio.connect(server.address) as radio, Asking(self.client, key, accept="application/json") as client:
                client.held()
                self.send(key, value)
                self.assertEqual(json.loads(client.answer().body), value)
                radio.subscribe(self.TOPIC + key)
                self.assertEqual(radio.frame().body, json.dumps(value).encode())

    def test_a_station_may_publish_there_as_well(self) -> None:
        server = self.server()
        with Radio.connect(server.address) as radio, Asking(self.client, "text", accept="text/plain") as client:
            radio.subscribe(self.TOPIC + "text")
            client.held()
            with Radio.connect(server.address, "1.test", "test") as publisher:
                publisher.publish(self.TOPIC + "text", b"TEXT from the station")
            self.assertEqual(radio.frame().body, b"TEXT from the station")
            self.assertEqual(client.answer().body, b"TEXT from the station")


class TestWrong(unittest.TestCase):
    def test_an_application_that_is_not_there_or_is_set_wrong_is_a_line_and_exit_code_2(self) -> None:
        for server, words in (
            (node("--with", "artcats"), "there is no application 'artcats'"),
            (both(CLIENT_PORT="many"), "CLIENT_PORT"),
            (both("--workers", "2", "--rabbitmq-loopback", "false"), "WITH = artcast"),
        ):
            self.addCleanup(server.close)
            server.launch()
            self.assertEqual(server.exit_code(), 2)
            self.assertIn(words, server.text)
            self.assertNotIn("Traceback", server.text)

    def test_a_sighup_has_the_guest_open_its_log_anew(self) -> None:
        with both(ACCESS_LOG="access.log") as server:
            client = HOST, int(server.wait_for("server.ready")["client"].rpartition(":")[2])
            ask(client, "/artcasts")
            log = server.folder / "access.log"
            log.rename(server.folder / "moved")
            server.hang_up()
            server.wait_for("settings.reloaded")
            ask(client, "/artcasts")
            self.assertEqual(len(log.read_text().splitlines()), 1)

    def test_both_let_go_at_the_end(self) -> None:
        with both() as server:
            client = HOST, int(server.wait_for("server.ready")["client"].rpartition(":")[2])
            with Asking(client, "key") as poll:
                poll.held()
                server.ask_to_end()
                self.assertEqual(poll.answer().status, 503)
                self.assertEqual(server.exit_code(), 0)
