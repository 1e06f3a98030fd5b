"""``fallback.py`` processes on a real broker: defaults, one leader, and an end in order."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import unittest
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pika

from fanout.bus.leader import QUORUM
from radiovis.watchdog.status import ask as ask_status
from radiovis.watchdog.status import running_daemons
from tests import services
from tests.acceptance.watched import until
from tests.fanout.bus import queue_reader
from tests.processes import Event
from tests.prometheus import parse
from tests.radiovis.watchdog.daemon import Daemon, status_in
from tests.radiovis.watchdog.log_receiver import log_receiver
from tests.web import ask

WATCHED = "/topic/id/tests._ebu.nowhere/topicwatchdogeg/"


def seconds(event: Event) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def leaderless(daemon: Daemon) -> dict[str, Any]:
    """What it says of the time without a leader."""
    report = ask_status(str(daemon.folder / "fallback.socket"))
    assert report is not None
    found: dict[str, Any] = report["leaderless"]
    return found


class Exchange:
    """A radio's view: everything on an exchange of one's own, in order."""

    def __init__(self, address: services.AmqpAddress, name: str) -> None:
        credentials = pika.PlainCredentials(address.user, address.password)
        self.connection = pika.BlockingConnection(
            pika.ConnectionParameters(address.host, address.port, address.vhost, credentials)
        )
        self.name = name
        self.channel = self.connection.channel()
        self.channel.exchange_declare(name, "fanout", durable=True)
        self.queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.queue_bind(self.queue, name)
        self.got: list[tuple[dict[str, Any], bytes]] = []
        self.channel.basic_consume(self.queue, self._on_message, auto_ack=True)

    def _on_message(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        self.got.append((properties.headers, body))

    def wait(self, count: int, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while len(self.got) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(self.got)} of {count} messages within {seconds} s: {self.got}")
            self.connection.process_data_events(0.05)

    def texts(self) -> list[float]:
        """When each default text was sent: by its own word, for we may have looked elsewhere when it came."""
        return [int(headers["timestamp"]) / 1000 for headers, _ in self.got if headers["topic"].endswith("text")]

    def publish(self, kind: str, body: bytes, **headers: str) -> None:
        properties = pika.BasicProperties(headers={"topic": WATCHED + kind, **headers})
        self.channel.basic_publish(self.name, "", body, properties)


class Daemons(unittest.TestCase):
    def setUp(self) -> None:
        self.address = services.rabbitmq()
        self.exchange_name, self.queue = f"exchange-{uuid4().hex}", f"queue-{uuid4().hex}"
        self.exchange = Exchange(self.address, self.exchange_name)
        self.addCleanup(self.exchange.connection.close)

    def daemon(self, *flags: str, **settings: object) -> Daemon:
        quick = {"TEST_FB_FALLBACK_TIME": 2, "TEST_FB_FALLBACK_CHECK": 0.2, "TEST_FB_QUEUE": self.queue}
        daemon = Daemon(self.address, self.exchange_name, *(flags or ("--test",)), **{**quick, **settings})
        self.addCleanup(daemon.close)
        return daemon

    def test_defaults_with_the_originals_bodies_and_headers_and_again_and_again(self) -> None:
        self.daemon().start()
        self.exchange.wait(4)
        (headers, text), (_, image), (_, again), _ = self.exchange.got
        first, second = self.exchange.texts()
        self.assertEqual((text, image, again), (b"TEXT testdefaultext", b"SHOW testfilename", text))
        names = ["expires", "link", "message-id", "priority", "timestamp", "topic", "trigger-time", "when"]
        self.assertEqual(sorted(headers), names)
        self.assertEqual((headers["topic"], headers["trigger-time"]), (WATCHED + "text", "NOW"))
        self.assertTrue(1.8 <= second - first <= 4, second - first)

    def test_a_leader_that_is_killed_is_replaced_within_ten_seconds_and_nothing_is_said_twice(self) -> None:
        leader = self.daemon().start()
        leader.wait_for("leader.leading")
        self.exchange.wait(2)
        standby = self.daemon().start()
        standby.wait_for("leader.standing_by")
        self.assertEqual([leader.report()["leading"], standby.report()["leading"]], [True, False])
        self.exchange.wait(4)
        leader.kill()
        killed = time.monotonic()
        standby.wait_for("leader.leading", seconds=10)
        self.assertLess(time.monotonic() - killed, 10)
        self.exchange.wait(6, seconds=10)
        times = self.exchange.texts()
        for one, two in pairwise(times):
            self.assertGreater(two - one, 1.8)

    def test_a_leader_that_is_frozen_is_replaced_and_says_nothing_when_it_wakes(self) -> None:
        fast = {"radiovis.node.fallback_daemon.HEARTBEAT_SECONDS": 1}
        leader = self.daemon(**fast).start()
        leader.wait_for("leader.leading")
        standby = self.daemon(**fast).start()
        standby.wait_for("leader.standing_by")
        leader.pause()
        standby.wait_for("leader.leading", seconds=10)
        self.exchange.got.clear()
        self.exchange.wait(2)
        leader.resume()
        leader.wait_for("leader.standing_by", seconds=20)
        self.exchange.wait(6)
        times = self.exchange.texts()
        for one, two in pairwise(times):
            self.assertGreater(two - one, 1.8)

    def test_sigterm_ends_it_in_order(self) -> None:
        daemon = self.daemon().start()
        daemon.wait_for("queue.consuming")
        daemon.terminate()
        self.assertEqual(daemon.faults, [])
        self.assertEqual(daemon.status()[0], 2)

    def test_status(self) -> None:
        daemon = self.daemon().start()
        daemon.wait_for("queue.consuming")
        code, table = daemon.status()
        self.assertEqual(code, 0, table)
        for task in ("topic_listing", "broker_liveness", "stale_topics", "log_cleanup", "leading"):
            self.assertIn(task, table)
        report = daemon.report()
        self.assertEqual([task["failing"] for task in report["tasks"]], [False] * 4)
        self.assertTrue(report["bus"]["connected"])
        daemon._signal(signal.SIGKILL)
        daemon.exit_code()
        self.assertEqual(daemon.status()[0], 2)
        daemon.start()
        self.assertEqual(daemon.status("--json")[0], 0)

    def test_status_finds_it_from_any_folder(self) -> None:
        daemon = self.daemon().start()
        daemon.wait_for("queue.consuming")
        path = str(daemon.folder.resolve() / "fallback.socket")
        with tempfile.TemporaryDirectory() as elsewhere:
            done = status_in(Path(elsewhere))
        told = f"no answer at {Path(elsewhere).resolve()}/fallback.socket"
        self.assertIn(told, done.stderr)
        self.assertIn(path, done.stderr)
        if done.returncode == 2:  # Other tests run watchdogs, too: all are named.
            self.assertIn("several watchdogs run on this machine", done.stderr)
        else:
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("topic_listing", done.stdout)

    def test_the_sockets_of_running_watchdogs_are_found_also_of_one_that_was_told_another_name(self) -> None:
        daemon = self.daemon(FB_STATUS_SOCKET="another.socket").start()
        with tempfile.TemporaryDirectory() as proc:  # With this process only: other tests run watchdogs, too.
            Path(proc, "net").symlink_to("/proc/net")
            Path(proc, str(daemon.pid)).symlink_to(f"/proc/{daemon.pid}")
            Path(proc, str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
            self.assertEqual(running_daemons(Path(proc)), [str(daemon.folder.resolve() / "another.socket")])
            daemon.terminate()
            self.assertEqual(running_daemons(Path(proc)), [])
        self.assertEqual(running_daemons(Path("/nowhere")), [])

    def test_status_of_none_says_where_it_looked(self) -> None:
        with tempfile.TemporaryDirectory() as elsewhere:
            done = status_in(Path(elsewhere), "--fb-status-socket", "some.socket")
            here = Path(elsewhere).resolve()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, f"fallback.py: not running: no answer at {here}/some.socket\n")

    def test_status_of_one_without_a_broker(self) -> None:
        port = services.free_port()
        daemon = self.daemon(RABBITMQ_PORT=port).start()
        daemon.wait_for("task.failed", task="broker_liveness")
        code, table = daemon.status()
        self.assertEqual(code, 1)
        self.assertIn("Connection was refused", table)
        self.assertIn(f":{port}: ", table)

    def test_every_message_is_logged_as_a_datagram(self) -> None:
        with log_receiver() as heard:
            heard.settimeout(20)
            daemon = self.daemon(TEST_FB_FALLBACK_TIME=1000).start()
            daemon.wait_for("queue.consuming")
            self.exchange.publish("text", b"TEXT hello", link="http://l/")
            datagrams = b""
            while b"TEXT hello" not in datagrams:
                datagrams += heard.recv(65536)
            self.assertIn(b'"type":"log"', datagrams)
            self.assertIn(b'"type":"cleanup_logs"', datagrams)

    def test_bad_messages_hurt_nobody(self) -> None:
        daemon = self.daemon(TEST_FB_FALLBACK_TIME=1000).start()
        daemon.wait_for("queue.consuming")
        self.exchange.channel.basic_publish(self.exchange_name, "", b"no topic")
        self.exchange.publish("text", b"x" * 1_048_576)
        self.exchange.publish("text", b"\xff\xfe", when="99999999999999")
        self.exchange.publish("text", b"TEXT x", when="soon")
        daemon.wait_for("queue.malformed")
        daemon.wait_for("defaults.sent")
        daemon.terminate()
        self.assertEqual(daemon.faults, [])

    def test_a_restart_of_the_broker_overwrites_nothing_that_was_alive(self) -> None:
        """The broker is away for longer than FB_FALLBACK_TIME: nobody could be heard, so nobody was silent."""
        with services.RabbitMQ() as broker:
            self.address = broker.address
            daemon = self.daemon(TEST_FB_FALLBACK_TIME=3).start()
            daemon.wait_for("queue.consuming")
            daemon.wait_for("defaults.sent")
            broker.kill()
            daemon.wait_for("bus.lost", count=2)
            broker.start()
            connected = seconds(daemon.wait_for("bus.connected", count=2))
            daemon.wait_for("queue.consuming", count=2)
            daemon.wait_for("defaults.sent", count=len(daemon.events("defaults.sent")) + 1)
            daemon.terminate()
            sent = [seconds(event) for event in daemon.events("defaults.sent")]
            self.assertGreater(min(at for at in sent if at > connected) - connected, 2.7)

    def test_when_no_watchdog_leads_everything_says_so_until_one_does(self) -> None:
        """Another consumer is active, and acts as nobody: as with a broker that lets none be elected."""
        port, alarm = services.free_port(), {"radiovis.watchdog.watchdog._LEAST_LEADERLESS_SECONDS": 1.0}
        with queue_reader.channel(self.address) as other:
            election = f"{self.queue}.leader.elected"
            other.queue_declare(election, durable=True, arguments=QUORUM)
            other.basic_consume(election, lambda *_: None, auto_ack=True)
            daemon = self.daemon(FB_ADMIN_PORT=port, **alarm).start()
            daemon.wait_for("leader.standing_by")
            until(lambda: leaderless(daemon)["alarm"], "an alarm")
            code, text = daemon.status()
            self.assertEqual((code, "NO WATCHDOG LEADS for" in text), (1, True))
            ready = ask(("127.0.0.1", port), "/readyz").json
            self.assertTrue(ready["ready"])
            self.assertIn("leader: no watchdog has led for", ready["degraded"][0])
            metrics = parse(ask(("127.0.0.1", port), "/metrics").body)
            self.assertGreater(metrics["radiovis_watchdog_leaderless_seconds"][()], 1)
            self.assertEqual(metrics["fanout_condition_well"][(("condition", "leader"),)], 0)
        daemon.wait_for("leader.leading")
        until(lambda: not leaderless(daemon)["alarm"], "the end of the alarm")
        standby = self.daemon(FB_ADMIN_PORT=0, **alarm).start()
        standby.wait_for("leader.standing_by")
        until(lambda: leaderless(standby)["seconds"] < 1, "a heart-beat of the leader")

    def test_a_mistake_in_the_settings_is_one_clear_line_and_exit_code_2(self) -> None:
        for settings, complaint in (
            ({"FB_FALLBACK_TIME": "soon"}, "FB_FALLBACK_TIME"),
            ({"STANDALONE": "true"}, "server.py --standalone"),
            ({"STATIONS_FILE": "/nowhere.toml"}, "/nowhere.toml"),
        ):
            daemon = self.daemon("run", **settings)
            daemon.launch()
            self.assertEqual(daemon.exit_code(), 2)
            self.assertIn(complaint, daemon.text)
            self.assertEqual(len(daemon.text.splitlines()), 1, daemon.text)
