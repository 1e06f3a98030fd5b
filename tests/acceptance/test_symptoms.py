"""The table of symptoms in docs/production.md: with each cause, what the row says to look at is really there to see.

A row is proved here, or by a test that :data:`ELSEWHERE` names.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import unittest
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

from tests import services
from tests.acceptance.admin_case import AdminCase, until
from tests.acceptance.cluster import node
from tests.acceptance.command_case import run
from tests.acceptance.device import Device
from tests.processes import ROOT
from tests.prometheus import parse
from tests.radiovis.watchdog.daemon import Daemon
from tests.web import Address, ask

ELSEWHERE = {
    "no radio shows anything": ["test_probe.py test_a_station_without_a_slide"],
    "web player fine, radios blank": ["test_commands.py test_what_is_wrong_with_a_slide_is_said"],
    "`/readyz` says bus": ["test_outages.py test_is_killed", "test_outages.py test_is_short_of_disk"],
    '`/readyz` says "reading what was missed" for long': [
        "../fanout/bus/test_stream.py test_the_stream_is_down_for_long",
        "../fanout/bus/test_stream.py test_others_publish_and_the_marker_does_not_come",
    ],
    "the stream stays `down` though all brokers run": [
        "test_restarts.py test_a_node_is_ready_after_seconds_and_publishes_are_confirmed"
    ],
    "a device's messages do not arrive": [
        "test_accepted_arrives.py test_headers_nobody_can_read_cost_neither_node_nor_log_a_message",
        "test_devices.py test_without_a_usable_topic",
    ],
    "a device's connection ends with 541": [
        "test_devices.py test_a_decimal_costs_its_publisher_the_connection_and_nobody_else_anything"
    ],
    "`/readyz` says memcached": ["test_outages.py test_memcached_is_killed"],
    "`/readyz` says directory": ["test_outages.py test_plugit_is_cut_off"],
    "`/readyz` says stations_file": [
        "test_degraded.py test_a_mistake_in_the_stations_file",
        "test_degraded.py test_a_stations_file_that_vanishes",
    ],
    "`/readyz` says monitoring": ["test_degraded.py test_a_monitoring_broker_that_dies_and_comes_back"],
    "`/readyz` says certificate": [
        "test_degraded.py test_one_that_expires_soon_or_has_expired",
        "test_degraded.py test_a_new_one_that_cannot_be_used",
    ],
    '"NO WATCHDOG LEADS" in `fallback.py status`; `leader` in `/readyz`': [
        "../radiovis/watchdog/test_watchdog.py test_when_no_watchdog_leads_everything_says_so_until_one_does",
        "test_watchdog_leader.py test_the_remedy_of_the_documentation_helps",
    ],
    "a node by itself shows nothing after a restart": [
        "test_alone_restarts.py test_a_journal_that_cannot_be_read_is_said_and_the_node_serves"
    ],
    "many clients went at once": ["../fanout/stomp_server/test_slow_clients.py test_five_thousand_vanish_at_once"],
    "slow clients in the dashboard": ["test_admin.py test_the_slowest_client"],
    "log entries wait": ["test_watchdog_log.py test_a_backlog_waits_in_the_queue_over_a_restart_and_comes_in_order"],
    "log entries are missing": [
        "../deploy/test_rabbitmq.py test_a_full_log_queue_drops_the_oldest_and_they_are_counted"
    ],
    "nothing starts, exit code 2": ["test_start.py test_a_port_that_is_taken"],
    "TLS clients fail": [
        "test_conformance.py test_what_is_wrong_with_a_certificate_is_said",
        "test_tls.py test_a_new_certificate_is_for_those_who_come_and_a_broken_one_is_for_nobody",
    ],
    "a receiver shows nothing, others do": ["test_conformance.py test_our_server_passes_all_that_can_be_made"],
}
"""Symptoms, and where the tests are that have the cause: file and name."""

_ROW = re.compile(r"^\| ([^|]+?) \|", re.MULTILINE)
_SYMPTOMS = "symptoms"
T = TypeVar("T", bound=Callable[..., object])


def proves(*symptoms: str) -> Callable[[T], T]:
    """Marks the test that has the causes of these."""

    def mark(test: T) -> T:
        setattr(test, _SYMPTOMS, symptoms)
        return test

    return mark


class Table(unittest.TestCase):
    def test_every_row_is_proved_and_nothing_else(self) -> None:
        section = (ROOT / "docs" / "production.md").read_text().partition("## When something is wrong")[2]
        _, _, *rows = _ROW.findall(section.partition("\n## ")[0])  # Behind the two lines of the head.
        tests = [test for case in (OneNode, Cluster) for test in vars(case).values()]
        here = [symptom for test in tests for symptom in getattr(test, _SYMPTOMS, ())]
        self.assertEqual(sorted([*here, *ELSEWHERE]), sorted(rows))

    def test_the_others_are_there(self) -> None:
        for place in itertools.chain.from_iterable(ELSEWHERE.values()):
            file, test = place.split()
            self.assertIn(f"def {test}(", (ROOT / "tests" / "acceptance" / file).read_text())


class OneNode(AdminCase):
    settings: ClassVar[dict[str, Any]] = {"OUTBOX_BYTES": 4096, "MAX_CONNECTIONS_PER_ADDRESS": 20}

    @proves("radios show an old slide", "one station shows its default all the time", "radios on one frequency blank")
    def test_topics_that_are_in_no_channel(self) -> None:
        lost, silent = "/topic/id/tests._ebu.nowhere/topic1/lost/text", "/topic/fm/4e1/4000/10990/image"
        self.station(version="1.2").publish(lost, b"TEXT lost")
        self.radio().subscribe(silent, fast_reply=False)
        host, port = self.server.admin
        done = run("topics", "--test", "--admin", f"http://{host}:{port}")
        others = done.stdout.partition("in no channel of the directory:")[2]
        self.assertIn(f"{lost}  TEXT lost", others)
        self.assertIn(f"{silent}  nothing yet  (1 client)", others)

    @proves("a broadcaster cannot log in")
    def test_a_wrong_password(self) -> None:
        radio = self.dial()
        radio.say("CONNECT", {"login": "1.test", "passcode": "wrong"})
        self.assert_error_and_end(radio, "Wrong credentials")
        self.server.wait_for("login.refused", login="1.test")

    @proves("publishing is refused")
    def test_a_topic_of_another_station(self) -> None:
        station = self.station(version="1.2")
        station.say("SEND", {"destination": "/topic/id/tests._ebu.nowhere/topic3/image"}, b"SHOW http://s/1.png")
        self.assertIn("none of the station's channels", station.expect("ERROR").body.decode())
        self.assertGreater(self.value("fanout_publishes_total", outcome="forbidden"), 0)

    @proves("clients are turned away")
    def test_too_many_from_one_address(self) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(25):
                stack.enter_context(socket.create_connection(self.server.address, 20))
            self.server.wait_for("client.turned_away", address="127.0.0.1")
        until(lambda: self.value("fanout_connections_refused_total", limit="connections_per_address") > 0)

    @proves("memory grows")
    def test_a_radio_that_does_not_read(self) -> None:
        self.slow_radio()
        station = self.station()

        def grew() -> bool:
            for _ in range(20):
                station.publish(self.topic(), b"x" * 3000)
            return self.value("fanout_outboxes_bytes") > 0

        until(grew)
        self.assertGreater(self.value("fanout_last_messages_bytes"), 3000)


class Cluster(unittest.TestCase):
    broker: ClassVar[services.AmqpAddress]

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = services.rabbitmq()

    def metrics(self, address: Address) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        return parse(ask(address, "/metrics").body)

    @proves("slides of other nodes missing")
    def test_what_another_node_published_did_not_come(self) -> None:
        exchange, publisher = f"radiovis.{uuid4()}", f"fanout-{uuid4().hex}"
        once = {"fanout.bus.rabbitmq.GIVE_UP_SECONDS": 3_600}
        with (
            node(self.broker, exchange, ADMIN_PORT=services.free_port(), **once) as server,
            Device(self.broker, exchange) as another,
        ):
            for number in (1, 5, 9):
                server.wait_for("bus.caught_up", count=2 if number == 9 else 1)
                another.publish(
                    {"topic": "/topic/id/tests._ebu.nowhere/topic1/text"},
                    b"TEXT x",
                    correlation_id=f"{publisher}-{number}",
                )
            server.wait_for("bus.gap", reads="stream")
            server.wait_for("bus.gap", messages=3)
            self.assertEqual(self.metrics(server.admin)["fanout_rabbitmq_missed_total"][()], 3)

    @proves("no defaults, nothing logged", "two watchdogs lead")
    def test_watchdogs_that_know_nothing_of_each_other(self) -> None:
        exchange, ports = f"radiovis.{uuid4()}", [services.free_port(), services.free_port()]
        watchdogs = [
            Daemon(self.broker, exchange, "--test", FB_ADMIN_PORT=port, TEST_FB_QUEUE=f"{exchange}.{port}")
            for port in ports
        ]
        code, told = watchdogs[0].status()
        self.assertEqual(code, 2)
        self.assertIn("not running", told)
        for watchdog in watchdogs:
            self.addCleanup(watchdog.close)
            watchdog.launch()
        for watchdog, port in zip(watchdogs, ports, strict=True):
            watchdog.wait_for("queue.consuming")
            self.assertEqual(self.metrics(("127.0.0.1", port))["radiovis_watchdog_leading"][()], 1)
