"""The log of a cluster: nothing is lost while PlugIt, the disk or ``fallback.py`` itself is not there."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import ClassVar

from fanout.journal.records import Ledger, Selection
from radiovis.directory.password import hash_password
from radiovis.watchdog.spool import Spool
from radiovis.watchdog.spool_record import decode
from tests.acceptance.device import Device
from tests.acceptance.watched import Service, channel, until
from tests.fanout.bus import queue_reader
from tests.processes import Server
from tests.radiovis.watchdog.daemon import Daemon

OUTAGE = 6.0  # Seconds without the log API. With 30, which a test of the spool with its own clock has, all is the same.
NO_LOG = {"add_log": "503", "cleanup_logs": "503"}
"""The log API is away as a whole: an entry that it alone refused for long would be set aside, and not be missed."""
BODY = b"TEXT " + 200_000 * b"x"
TOO_MANY = 110  # Of these bodies for a spool of 16 MiB, the smallest there is.


class _Logged(Service):
    quick: ClassVar[dict[str, object]] = {"FB_FALLBACK_TIME": 60, "FB_FALLBACK_CHECK": 0.2, "FB_CHANNEL_CACHE": 1}
    node: ClassVar[Server]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.node = cls.make_node()

    def watch(self, **settings: object) -> Daemon:
        """A watchdog that takes messages from the queue."""
        fallback = self.make_fallback(**settings).start()
        self.addCleanup(fallback.close)
        fallback.wait_for("queue.consuming")
        return fallback

    def waiting(self, queue: str) -> int:
        """Messages in the queue that no watchdog has in hand."""
        with queue_reader.channel(self.broker) as asking:
            count: int = asking.queue_declare(queue, passive=True).method.message_count
            return count

    def left(self, queue: str) -> list[bytes]:
        """Takes what is in the queue."""
        count = self.waiting(queue)
        if not count:
            return []
        return [body for _, body in queue_reader.take_until(self.broker, queue, lambda came: len(came) == count)]


class TestLogApi(_Logged):
    def test_entries_as_the_original_wrote_them(self) -> None:
        fallback = self.watch()
        before = int(time.time())
        body = "TEXT café".encode()
        self.station(self.node).publish("/topic/fm/4e1/4000/00001/text", body, {"link": "http://l/?a=1"})
        (entry,) = [each for each in self.logged([body]) if each["message"] == body.decode()]
        self.assertEqual(entry["topic"], channel(1) + "text")
        self.assertTrue(before <= int(entry["timestamp"]) <= time.time())
        headers = dict(json.loads(entry["headers"]))
        self.assertEqual(sorted(headers), ["link", "message-id", "when"])
        self.assertEqual(headers["link"], "http://l/?a=1")
        fallback.terminate()

    def test_an_outage_under_load_loses_nothing_and_keeps_the_order(self) -> None:
        fallback = self.watch()
        with self.make_broadcaster(self.node, channel(2) + "text", pause=0.01) as station:
            station.wait_for(50)
            self.plugit.behave("good", **NO_LOG)
            self.addCleanup(self.plugit.behave, "good")
            fallback.wait_for("log.failing")
            self.assertEqual(fallback.status()[0], 1)
            began = time.monotonic()
            while time.monotonic() < began + OUTAGE:
                station.wait_for(20)
            self.plugit.behave("good")
            station.wait_for(50)
        fallback.wait_for("log.well")
        entries = self.logged(station.confirmed)
        self.assertEqual(self.bodies(entries, 2), station.confirmed)
        self.assertEqual(fallback.status()[0], 0)
        fallback.terminate()

    def test_a_full_spool_leaves_the_rest_in_the_queue_and_goes_on_when_there_is_room(self) -> None:
        fallback = self.watch(FB_SPOOL_BYTES=2**24, RABBITMQ_PREFETCH=5)
        self.plugit.behave("good", **NO_LOG)
        self.addCleanup(self.plugit.behave, "good")
        bodies = [b"%s %d" % (BODY, number) for number in range(TOO_MANY)]
        with Device(self.broker, self.exchange) as device:
            for body in bodies:
                device.publish({"topic": channel(3) + "text"}, body, delivery_mode=2)
        fallback.wait_for("handover.refused")
        until(lambda: self.waiting(self.queue) > 10, "messages waiting in the queue")
        code, told = fallback.status()
        self.assertEqual(code, 1)
        self.assertIn("full", told)
        self.station(self.node).publish(channel(3) + "image", b"the last one")  # Nobody who publishes has to wait.
        self.assertGreater(self.waiting(self.queue), 10)
        fallback.terminate()  # With all of this in hand.
        fallback.start()
        fallback.wait_for("handover.refused")
        self.plugit.behave("good")
        entries = self.logged([*bodies, b"the last one"])
        self.assertEqual(self.bodies(entries, 3), [*bodies, b"the last one"])
        until(lambda: fallback.status()[0] == 0, "well again")
        self.assertEqual(self.waiting(self.queue), 0)
        self.assertEqual(len(fallback.events("handover.refused")), 1)
        fallback.terminate()


class TestSigterm(_Logged):
    """An end in order, under load: every message is in the log, in the spool or in the queue, and in one of them."""

    def test_with_a_spool(self) -> None:
        fallback = self.watch()
        with self.make_broadcaster(self.node, channel(1) + "text", pause=0.002) as station:
            station.wait_for(200)
            self.plugit.behave("good", **NO_LOG)
            self.addCleanup(self.plugit.behave, "good")
            fallback.wait_for("log.failing")
            station.wait_for(200)
            fallback.terminate()
            station.wait_for(50)
        self.assertEqual([event for event in fallback.faults if event["event"] != "log.failing"], [])
        logged, spooled, left = self.bodies(self.plugit.logs(), 1), spool(fallback.folder), self.left(self.queue)
        self.assertGreater(min(map(len, (logged, spooled, left))), 10)
        self.assertEqual(
            [each for each in logged + spooled + left if each in set(station.confirmed)], station.confirmed
        )

    def test_with_a_journal(self) -> None:
        queue = self.queue + ".journal"
        fallback = self.make_fallback(FB_QUEUE=queue, STATIONS_FILE="stations.toml")
        (fallback.folder / "stations.toml").write_text(STATIONS)
        fallback.start().wait_for("queue.consuming")
        with self.make_broadcaster(self.node, channel(2) + "text", pause=0.002) as station:
            station.wait_for(400)
            fallback.terminate()
            station.wait_for(50)
        self.assertEqual(fallback.faults, [])
        kept, left = journal(fallback.folder, channel(2)), self.left(queue)
        self.assertGreater(min(len(kept), len(left)), 10)
        self.assertEqual([each for each in kept + left if each in set(station.confirmed)], station.confirmed)


STATIONS = f"""
[[station]]
login = "1.rock"
name = "Rock"
password = "{hash_password("rock")}"
[[station.channel]]
topic = "{channel(1)}"
text = "This is rock"
"""


def journal(folder: Path, prefix: str) -> list[bytes]:
    """The bodies in a watchdog's journal, whose file must be whole."""
    path = folder / "radiovis-journal.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as file:
        (verdict,) = file.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise AssertionError(verdict)
    ledger = Ledger(str(path), time.time)
    try:
        bodies, after = [], None
        while page := ledger.between(Selection(prefix, 0, 2**40, prefix=True), after=after):
            bodies += [record.body for record in page]
            after = page[-1].place
        return bodies
    finally:
        ledger.close()


def spool(folder: Path) -> list[bytes]:
    """What waits in a watchdog's spool, which must open clean."""
    spool = Spool(folder / "radiovis-spool")
    spool.open()
    try:
        waiting, records = spool.waiting, []
        while read := spool.read(100):
            records += [decode(each.record or b"").body for each in read]
        if len(records) != waiting:
            raise AssertionError(f"the spool says {waiting} and has {len(records)} records")
        return records
    finally:
        spool.close()
