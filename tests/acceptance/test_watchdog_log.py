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
from tests import services
from tests.acceptance.device import Device
from tests.acceptance.watched import Service, channel, until
from tests.fanout.bus import queue_reader
from tests.processes import Server
from tests.prometheus import parse
from tests.radiovis.watchdog.daemon import Daemon
from tests.web import ask

OUTAGE = (
    6.0  # Seconds without the log API. tests/radiovis/watchdog/test_plugit_log.py has longer ones on its own clock.
)
NO_LOG = {"add_log": "503", "cleanup_logs": "503"}
"""The log API is away as a whole: an entry that it alone refused for long would be dropped, and not be missed."""
BODY = b"TEXT " + 200_000 * b"x"
MANY = 110  # Of these bodies.


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
        with self.make_broadcaster(self.node, channel(2) + "text", name="outage", pause=0.01) as station:
            station.wait_for(50)
            self.plugit.behave("good", **NO_LOG)
            self.addCleanup(self.plugit.behave, "good")
            fallback.wait_for("log.failing")
            self.assertEqual(fallback.status()[0], 1)
            began = time.monotonic()
            while time.monotonic() < began + OUTAGE:
                station.wait_for(20)
            self.assertGreater(self.waiting(self.queue), 100)
            self.plugit.behave("good")
            station.wait_for(50)
        fallback.wait_for("log.well")
        entries = self.logged(station.confirmed)
        self.assertEqual(
            [each for each in self.bodies(entries, 2) if each in set(station.confirmed)], station.confirmed
        )
        until(lambda: fallback.status()[0] == 0, "well again")
        self.assertEqual(self.waiting(self.queue), 0)
        fallback.terminate()

    def test_a_backlog_waits_in_the_queue_over_a_restart_and_comes_in_order(self) -> None:
        fallback = self.watch(**{"radiovis.watchdog.sources.REMOTE_PREFETCH": 5})
        self.plugit.behave("good", **NO_LOG)
        self.addCleanup(self.plugit.behave, "good")
        bodies = [b"%s %d" % (BODY, number) for number in range(MANY)]
        with Device(self.broker, self.exchange) as device:
            for body in bodies:
                device.publish({"topic": channel(3) + "text"}, body, delivery_mode=2)
        fallback.wait_for("log.failing")
        until(lambda: self.waiting(self.queue) >= MANY - 5, "all but the prefetch waiting in the queue")
        until(lambda: fallback.report()["log"]["waiting"] >= MANY, "all counted")
        code, told = fallback.status()
        self.assertEqual(code, 1)
        self.assertIn("FAILING", told)
        self.assertIn("503", told)
        self.station(self.node).publish(channel(3) + "image", b"the last one")  # Nobody who publishes has to wait.
        fallback.terminate()  # With all of this waiting.
        self.assertGreaterEqual(self.waiting(self.queue), MANY + 1)
        fallback.start()
        fallback.wait_for("log.failing")
        self.plugit.behave("good")
        entries = self.logged([*bodies, b"the last one"])
        self.assertEqual(self.bodies(entries, 3), [*bodies, b"the last one"])
        until(lambda: fallback.status()[0] == 0, "well again")
        self.assertEqual(self.waiting(self.queue), 0)
        fallback.terminate()

    def test_a_watchdog_on_another_machine_sends_what_a_killed_one_could_not(self) -> None:
        port = services.free_port()
        first = self.watch(FB_ADMIN_PORT=port)
        self.plugit.behave("good", **NO_LOG)
        self.addCleanup(self.plugit.behave, "good")
        with self.make_broadcaster(self.node, channel(1) + "text", name="killed", pause=0.002) as station:
            station.wait_for(100)
            first.wait_for("log.failing")
            before = list(station.confirmed)
            until(lambda: first.report()["log"]["waiting"] >= len(before), "waiting")
            metrics = parse(ask(("127.0.0.1", port), "/metrics").body)
        self.assertGreaterEqual(metrics["radiovis_log_waiting"][()], len(before))
        self.assertEqual(metrics["radiovis_log_failing"][()], 1)
        self.assertEqual(first.status()[0], 1)
        first.kill()
        second = self.watch()
        self.plugit.behave("good")
        entries = self.logged(station.confirmed)
        self.assertEqual(
            [each for each in self.bodies(entries, 1) if each in set(station.confirmed)], station.confirmed
        )
        second.terminate()
        self.assertEqual([event for event in second.faults if event["event"] != "log.failing"], [])

    def test_an_entry_plugit_never_takes_is_dropped_and_counted_and_the_others_come_in_order(self) -> None:
        """PlugIt has status 500 for it, as for everything."""
        port = services.free_port()
        fallback = self.watch(FB_ADMIN_PORT=port)
        bodies = [b"SHOW slide %d" % number for number in range(5)]
        self.plugit.know(poison=[bodies[1].decode()])
        station = self.station(self.node)
        for body in bodies:
            station.publish(channel(2) + "image", body)
        refused = fallback.wait_for("log.entry_refused", seconds=120)
        self.assertEqual((refused["topic"], refused["dropped"]), (channel(2) + "image", 1))
        self.assertIn("500", refused["error"])
        entries = self.logged([bodies[0], *bodies[2:]])
        self.assertEqual([each for each in self.bodies(entries, 2) if each in bodies], [bodies[0], *bodies[2:]])
        metrics = parse(ask(("127.0.0.1", port), "/metrics").body)
        self.assertEqual(metrics["radiovis_log_dropped_total"][(("why", "refused"),)], 1)
        fallback.terminate()

    def test_while_plugit_takes_no_entry_none_is_dropped_though_all_else_works(self) -> None:
        fallback = self.watch()
        self.plugit.behave("good", add_log="500")
        self.addCleanup(self.plugit.behave, "good")
        bodies = [b"TEXT broken log %d" % number for number in range(3)]
        station = self.station(self.node)
        for body in bodies:
            station.publish(channel(1) + "text", body)
        asked = self.plugit.count("add_log")
        until(lambda: self.plugit.count("add_log") >= asked + 7, "asked again and again", 120)
        self.plugit.behave("good")
        entries = self.logged(bodies)
        self.assertEqual([each for each in self.bodies(entries, 1) if each in bodies], bodies)
        self.assertEqual(fallback.report()["log"]["refused"], 0)
        fallback.terminate()


class TestLiveness(_Logged):
    quick: ClassVar[dict[str, object]] = {"FB_FALLBACK_TIME": 2, "FB_FALLBACK_CHECK": 0.2, "FB_CHANNEL_CACHE": 1}

    def test_while_the_log_takes_nothing_no_living_topic_looks_silent(self) -> None:
        """More waits than a watchdog takes ahead, so nothing reaches it by the log's queue any more."""
        self.plugit.behave("good", **NO_LOG)
        self.addCleanup(self.plugit.behave, "good")
        radio = self.radio(self.node, 1, 2)
        with self.make_broadcaster(self.node, channel(2) + "text", channel(2) + "image", pause=0.05) as station:
            station.wait_for(20)
            fallback = self.watch(**{"radiovis.watchdog.sources.REMOTE_PREFETCH": 5})
            fallback.wait_for("log.failing")
            until(lambda: self.waiting(self.queue) > 20, "waiting in the queue")
            fallback.wait_for("defaults.sent", count=3)
            station.wait_for(20)
            self.assertEqual(fallback.status("--json")[0], 1)
            tasks = {task["name"]: task["failing"] for task in fallback.report()["tasks"]}
            self.assertFalse(tasks["broker_liveness"])
        defaults = {each.get("destination") for each in radio.so_far() if each.get("expires") == "0"}
        self.assertEqual(defaults, {channel(1) + "text", channel(1) + "image"})
        fallback.terminate()


class TestSigterm(_Logged):
    """An end in order, under load: every message is in the log or in the queue, and in one of them."""

    def stopped(self, number: int, *, outage: bool) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """What was confirmed, what is in the log, and what is left in the queue."""
        self.make_queue()
        self.left(self.queue)  # Of other tests.
        fallback = self.watch()
        with self.make_broadcaster(self.node, channel(number) + "text", name=self.id(), pause=0.002) as station:
            until(lambda: len(self.bodies(self.plugit.logs(), number)) > 20, "in the log")
            if outage:
                self.plugit.behave("good", **NO_LOG)
                self.addCleanup(self.plugit.behave, "good")
                fallback.wait_for("log.failing")
                station.wait_for(200)
            fallback.terminate()
            station.wait_for(50)
        self.assertEqual([event for event in fallback.faults if event["event"] != "log.failing"], [])
        logged, left = self.bodies(self.plugit.logs(), number), self.left(self.queue)
        self.assertGreater(min(len(logged), len(left)), 10)
        return station.confirmed, logged, left

    def test_with_plugit(self) -> None:
        confirmed, logged, left = self.stopped(1, outage=False)
        self.assertEqual([each for each in logged + left if each in set(confirmed)], confirmed)

    def test_while_plugit_is_away(self) -> None:
        confirmed, logged, left = self.stopped(3, outage=True)
        self.assertEqual([each for each in logged + left if each in set(confirmed)], confirmed)

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
        self.assertEqual(publishers(fallback.folder), {("127.0.0.1", "stomp")})


STATIONS = f"""
[[station]]
login = "1.rock"
name = "Rock"
password = "{hash_password("rock")}"
[[station.channel]]
topic = "{channel(1)}"
text = "This is rock"
"""


def publishers(folder: Path) -> set[tuple[str, str]]:
    """Address and interface of the logins in a watchdog's journal: they came over the broker."""
    with contextlib.closing(sqlite3.connect(folder / "radiovis-journal.sqlite")) as file:
        return set(file.execute("SELECT address, interface FROM records WHERE login <> ''"))


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
