"""A node by itself has its slides again after a restart: its journal has the last message of each topic."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
import unittest
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from fanout.journal.records import JournalError, Ledger, Selection
from radiovis.directory.password import hash_password
from tests.acceptance.watched import until
from tests.artcast.server import HOST, Asking
from tests.processes import ROOT, Server
from tests.radio import Radio
from tests.services import free_port
from tests.web import Events, ask, poll_path

CHANNEL = "/topic/fm/4e1/4000/09580/"
COUNTRY = "/topic/fm/ch/4000/09580/"
IMAGE, TEXT = CHANNEL + "image", CHANNEL + "text"
SILENT = "/topic/silent/text"
SLIDE = b"SHOW http://rock.example/live.png"
NO_PUBLISHER = "owner = '', login = '', address = '', interface = ''"
"""As in rows of before version 3; only those may be without a checksum."""
EVERYTHING = Selection("", 0, 2**40, prefix=True)
STATIONS = f"""
[countries]
ch = "4e1"

[[station]]
login = "1.rock"
name = "Rock"
password = "{hash_password("rock")}"
[[station.channel]]
topic = "{CHANNEL}"
text = "This is Rock"
image = "http://rock.example/logo.png"
[[station.channel]]
topic = "/topic/silent/"
text = "This is silent"
"""
PORTS = {"CLIENT_IP": HOST, **dict.fromkeys(("CLIENT_PORT", "DATA_PORT", "REGISTER_PORT"), 0)}
NO_GROUPS = {"DATA_GROUP": "", "REGISTER_GROUP": "", "ACCESS_LOG": "access.log"}
ARTCAST = {f"ARTCAST_{name}": value for name, value in {**PORTS, **NO_GROUPS}.items()}
WAYS: tuple[Callable[[Server], None], ...] = (Server.terminate, Server.kill)


class _Case(unittest.TestCase):
    def node(self, *flags: str, **settings: object) -> Server:
        server = Server("--standalone", *flags, STATIONS_FILE="stations.toml", **settings)
        self.addCleanup(server.close)
        (server.folder / "stations.toml").write_text(STATIONS)
        return server.start()

    def journal(self, server: Server) -> Path:
        return server.folder / "radiovis-journal.sqlite"

    def last_in_journal(self, server: Server, topic: str) -> bytes:
        ledger = Ledger(str(self.journal(server)), time.time, read_only=True)
        try:
            return {each.topic: each.body for each in ledger.latest(1000, 2**20)}.get(topic, b"")
        except JournalError:
            return b""  # It is being made.
        finally:
            ledger.close()

    def publish(self, server: Server, *messages: tuple[str, bytes], **headers: str) -> None:
        """Publish, and wait until the journal has it."""
        with Radio.connect(server.address, "1.rock", "rock", version="1.2") as station:
            for topic, body in messages:
                station.publish(topic, body, headers)
        topic, body = messages[-1]
        until(lambda: self.last_in_journal(server, topic.replace(COUNTRY, CHANNEL)) == body, f"{body!r} in the journal")

    def restart(self, server: Server, end: Callable[[Server], None]) -> None:
        end(server)
        server.start()

    def shown(self, server: Server, topic: str) -> list[bytes]:
        """What a radio that comes now gets at once."""
        with Radio.connect(server.address) as radio:
            radio.subscribe(topic)
            return [radio.expect("MESSAGE", destination=topic).body, *(each.body for each in radio.so_far())]


class TestSlides(_Case):
    def test_the_first_subscribe_after_a_restart_gets_the_last_slide_at_once_with_its_headers(self) -> None:
        for end in WAYS:
            with self.subTest(end.__name__):
                server = self.node()
                link = {"link": "http://rock.example/", "trigger-time": "NOW"}
                self.publish(server, (IMAGE, b"SHOW http://old/"), (TEXT, b"TEXT caf\xc3\xa9"), (IMAGE, SLIDE), **link)
                with Radio.connect(server.address) as radio:
                    radio.subscribe(IMAGE)
                    before = radio.expect("MESSAGE", **link)
                self.restart(server, end)
                with Radio.connect(server.address) as radio:
                    radio.subscribe(IMAGE)
                    after = radio.expect("MESSAGE")
                    self.assertEqual(radio.so_far(), [])
                self.assertEqual(after.raw, before.raw)
                self.assertEqual(self.shown(server, TEXT), [b"TEXT caf\xc3\xa9"])
                server.terminate()
                self.assertEqual(server.faults, [])

    def test_polls_and_event_streams_get_it_too_and_no_poll_gets_what_it_has_seen(self) -> None:
        server = self.node(HTTP_PORT=free_port(), FB_FALLBACK_TIME=3600)
        self.publish(server, (TEXT, b"TEXT live"), (IMAGE, SLIDE))
        path = "/radiodns/push/1.0/" + CHANNEL.removeprefix("/topic/").rstrip("/")
        _, seen = self.polled(server)
        for end in WAYS:
            self.restart(server, end)
            self.assertEqual(self.polled(server), (SLIDE.decode(), seen))
            with Events(server.http, path) as events:
                self.assertEqual([events.next().id, events.next().id][-1], seen)  # The text first: it came first.
            with Events(server.http, path, last_event_id=seen) as events:
                self.publish(server, (IMAGE, b"SHOW http://new/" + end.__name__.encode()))
                self.assertNotEqual(events.next().id, seen)
            self.publish(server, (IMAGE, SLIDE))
            _, seen = self.polled(server)

    def polled(self, server: Server) -> tuple[str, str]:
        answer = ask(server.http, poll_path(IMAGE)).json
        return answer["body"], answer["headers"]["RadioVIS-Message-ID"]

    def test_the_default_of_a_silent_topic_overwrites_no_slide(self) -> None:
        server = self.node(FB_FALLBACK_TIME=600, FB_FALLBACK_CHECK=0.1)
        self.publish(server, (TEXT, b"TEXT live"), (IMAGE, SLIDE))
        until(lambda: self.last_in_journal(server, SILENT) != b"", "the default of the silent topic")
        with closing(sqlite3.connect(self.journal(server))) as db, db:
            db.execute("DELETE FROM records WHERE topic = ?", (SILENT,))
        self.restart(server, Server.kill)
        with Radio.connect(server.address) as radio:
            radio.subscribe(IMAGE)
            radio.subscribe(TEXT)
            self.assertEqual([radio.frame().body, radio.frame().body], [SLIDE, b"TEXT live"])
            server.wait_for("defaults.sent", topics=1)  # that of the silent topic, which the journal does not know
            self.assertEqual(radio.so_far(), [])
        self.assertEqual(self.shown(server, SILENT), [b"TEXT This is silent"])
        self.assertEqual((self.shown(server, IMAGE), self.shown(server, TEXT)), ([SLIDE], [b"TEXT live"]))

    def test_what_was_sent_to_the_country_is_shown_to_all_spellings(self) -> None:
        server = self.node()
        self.publish(server, (COUNTRY + "image", SLIDE))
        self.restart(server, Server.kill)
        for topic in (IMAGE, COUNTRY + "image"):
            self.assertEqual(self.shown(server, topic), [SLIDE])

    def test_a_clock_that_was_set_back_brings_no_older_slide(self) -> None:
        server = self.node()
        self.publish(server, (IMAGE, b"SHOW http://old/"))
        with closing(sqlite3.connect(self.journal(server))) as db, db:
            db.execute(f"UPDATE records SET timestamp = timestamp + 5000, checksum = NULL, {NO_PUBLISHER}")
        self.publish(server, (IMAGE, SLIDE))
        self.restart(server, Server.kill)
        self.assertEqual(self.shown(server, IMAGE), [SLIDE])

    def test_a_journal_that_another_process_holds_delays_no_subscriber_and_is_shown_when_it_is_free(self) -> None:
        constants = {"radiovis.node.restore.RESTORE_SECONDS": 0.2, "fanout.journal.sqlite.BUSY": 60.0}
        server = self.node(**constants)
        self.publish(server, (IMAGE, SLIDE))
        server.terminate()
        with closing(sqlite3.connect(self.journal(server), isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            server.start()
            with Radio.connect(server.address) as radio:
                radio.subscribe(IMAGE)
                self.assertEqual(radio.so_far(), [])
                other.execute("ROLLBACK")
                other.close()
                self.assertEqual(radio.expect("MESSAGE").body, SLIDE)
                self.assertEqual(radio.so_far(), [])

    def test_a_journal_that_cannot_be_read_is_said_and_the_node_serves(self) -> None:
        server = self.node()
        server.terminate()
        with closing(sqlite3.connect(self.journal(server))) as db:
            db.execute("PRAGMA user_version = 99")
        server.start()
        reason = server.wait_for("journal.not_restored")["reason"]
        self.assertIn("its version is 99, and this program knows up to 3", reason)
        with Radio.connect(server.address) as radio, Radio.connect(server.address, "1.rock", "rock") as station:
            radio.subscribe(IMAGE)
            station.publish(IMAGE, SLIDE)
            self.assertEqual(radio.expect("MESSAGE").body, SLIDE)


class TestGuests(_Case):
    """Artcast beside RadioVIS: its values and registrations are in the journal, and come back through it."""

    def send(self, server: Server, port: str, *content: object) -> None:
        place = server.wait_for("server.ready")[port]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.sendto(json.dumps(content).encode(), (HOST, int(place.rpartition(":")[2])))

    def client(self, server: Server) -> tuple[str, int]:
        return HOST, int(server.wait_for("server.ready")["client"].rpartition(":")[2])

    def test_after_a_restart_its_clients_get_the_last_value(self) -> None:
        server = self.node("--with", "artcast", PYTHONPATH=ROOT, **ARTCAST)
        facts = {"description": "Now playing"}
        self.send(server, "register", "now/playing", facts)
        registration = "/artcast/registrations/now/playing"
        until(lambda: self.last_in_journal(server, registration) != b"", "the registration in the journal")
        for value in (b'"a"', b'"b"'):
            self.send(server, "data", "now/playing", json.loads(value))
            until(
                lambda value=value: self.last_in_journal(server, "/topic/artcast/now/playing") == value,
                "in the journal",
            )  # type: ignore[misc]
        self.publish(server, (IMAGE, SLIDE))
        for end in WAYS:
            with self.subTest(end.__name__):
                self.restart(server, end)
                self.assertEqual(self.shown(server, "/topic/artcast/now/playing"), [b'"b"'])
                self.assertEqual(self.shown(server, IMAGE), [SLIDE])
                self.assertEqual(ask(self.client(server), "/artcasts").json, [{"key": "now/playing", **facts}])
                with Asking(self.client(server), "now/playing") as poll:
                    poll.held()
                    self.send(server, "data", "now/playing", end.__name__)
                    self.assertEqual(poll.answer().body.decode(), end.__name__)
                self.send(server, "data", "now/playing", "b")
                until(
                    lambda: self.last_in_journal(server, "/topic/artcast/now/playing") == b'"b"', "'b' in the journal"
                )
        self.assertEqual(server.faults, [])
