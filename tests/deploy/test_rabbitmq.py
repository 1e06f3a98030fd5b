"""docs/deploy.md's commands for RabbitMQ, and what a cluster with these users and policies leaves on the broker."""

from __future__ import annotations

import json
import re
import shlex
import unittest
from pathlib import Path
from typing import ClassVar

import pika
import pika.exceptions

from radiovis.settings import Settings
from radiovis.watchdog.sources import REMOTE_PREFETCH
from tests import services
from tests.acceptance.plugit_process import PlugItProcess
from tests.acceptance.watched import until
from tests.processes import ROOT, Server
from tests.prometheus import parse
from tests.radio import Radio
from tests.radiovis.watchdog.daemon import Daemon
from tests.web import ask

PAGE = (ROOT / "docs" / "deploy.md").read_text()

COMMANDS = re.findall(r"^(?:rabbitmqctl|/opt/radiovis/deploy/rabbitmq/.*\.sh) .*", PAGE, re.MULTILINE)
WATCHDOG_LIMIT = 2**30
PASSWORD, DEVICE_PASSWORD = "a long password", "another long password"
TOPIC = "/topic/id/tests._ebu.nowhere/topic1/image"


class RabbitMQ(unittest.TestCase):
    broker: ClassVar[services.RabbitMQ]

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = services.RabbitMQ()
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()
        for command in COMMANDS:
            program, *arguments = shlex.split(command)
            if program == "rabbitmqctl":
                cls.broker.ctl(*arguments)
            else:
                cls.broker.run(ROOT / Path(program).relative_to("/opt/radiovis"), *arguments)

    def settings(self) -> dict[str, object]:
        return {
            "RABBITMQ_HOST": self.broker.host,
            "RABBITMQ_PORT": self.broker.port,
            "RABBITMQ_USER": "radiovis",
            "RABBITMQ_PASSWORD": PASSWORD,
            "RABBITMQ_VHOST": "radiovis",
            "MONITORING_ENABLED": True,
            "MONITORING_HOST": self.broker.host,
            "MONITORING_PORT": self.broker.port,
            "MONITORING_USER": "radiovis",
            "MONITORING_PASSWORD": PASSWORD,
            "MONITORING_VHOST": "radiovis",
        }

    def device(self) -> pika.BlockingConnection:
        login = pika.PlainCredentials("device", DEVICE_PASSWORD)
        where = pika.ConnectionParameters(self.broker.host, self.broker.port, "radiovis", login)
        connection = pika.BlockingConnection(where)
        self.addCleanup(lambda: connection.is_open and connection.close())
        return connection

    def test_a_cluster_leaves_nothing_that_rabbitmq_4_refuses_and_the_policies_hold(self) -> None:
        settings = self.settings()
        watchdog = Daemon(services.AmqpAddress(self.broker.host, self.broker.port), "amq.fanout", "--test", **settings)
        self.addCleanup(watchdog.close)
        with Server("--test", **settings) as node:
            node.wait_for("bus.caught_up")
            watchdog.start()
            watchdog.wait_for("leader.leading")
            radio = Radio.connect(node.address)
            self.addCleanup(radio.close)
            radio.subscribe(TOPIC, fast_reply=False)
            properties = pika.BasicProperties(headers={"topic": TOPIC})
            self.device().channel().basic_publish("amq.fanout", "", b"SHOW http://s/device.png", properties)
            self.assertEqual(radio.frame().body, b"SHOW http://s/device.png")
            listed = self.broker.ctl(
                "list_queues", "-p", "radiovis", "--no-table-headers", "name", "durable", "exclusive", "policy"
            )
        queues = {name: rest for name, *rest in (line.split("\t") for line in listed.splitlines())}
        self.assertGreaterEqual(queues.keys(), {"fallbacklogs_testMode", "radiovis"})
        self.assertNotIn(["false", "false"], [rest[:2] for rest in queues.values()])
        self.assertEqual(queues["radiovis"][2], "monitoring")

    def policy(self, name: str) -> tuple[str, str]:
        """Pattern and definition."""
        listed = self.broker.ctl("list_policies", "-p", "radiovis", "--no-table-headers")
        (found,) = (line.split("\t") for line in listed.splitlines() if line.split("\t")[1] == name)
        return found[2], found[4]

    def test_the_policies_are_for_the_queues_of_the_settings(self) -> None:
        for name, queue in (("watchdog", Settings().FB_QUEUE), ("monitoring", Settings().MONITORING_QUEUE)):
            pattern, definition = self.policy(name)
            self.assertTrue(re.search(pattern, queue))
            self.assertFalse(re.search(pattern, f"{queue}.held"))
            self.assertEqual(json.loads(definition)["overflow"], "drop-head")

    def small_policy(self, octets: int) -> None:
        """The watchdogs' policy as it is, for fewer octets."""
        pattern, definition = self.policy("watchdog")
        self.assertEqual(json.loads(definition)["max-length-bytes"], WATCHDOG_LIMIT)
        self.addCleanup(
            self.broker.ctl, "set_policy", "-p", "radiovis", "watchdog", pattern, definition, "--apply-to", "queues"
        )
        small = json.dumps({**json.loads(definition), "max-length-bytes": octets})
        self.broker.ctl("set_policy", "-p", "radiovis", "watchdog", pattern, small, "--apply-to", "queues")

    def test_a_full_log_queue_drops_the_oldest_and_they_are_counted(self) -> None:
        """The queue was there before the policy, as at an upgrade, and keeps its arguments."""
        plugit, port = PlugItProcess(), services.free_port()
        self.addCleanup(plugit.stop)
        topic = "/topic/fm/4e1/4000/00001/text"
        plugit.know(passwords={"1.rock": "1.rock"}, channels={"1": [topic.removesuffix("text")]})
        plugit.know(all_channels=[], vis_channels=[])  # No defaults among the entries.
        settings = {**self.settings(), "RADIODNS_API_URL": plugit.url, "MONITORING_ENABLED": False}
        address = services.AmqpAddress(self.broker.host, self.broker.port)
        once = {"radiovis.directory.plugit_http.ATTEMPTS": 1}
        watchdog = Daemon(address, "amq.fanout", **settings, **once, FB_ADMIN_PORT=port)
        self.addCleanup(watchdog.close)
        watchdog.start().wait_for("queue.consuming")
        plugit.behave("good", add_log="503", cleanup_logs="503")
        self.small_policy(100_000)
        bodies = [b"TEXT %03d " % number + 1_000 * b"x" for number in range(300)]
        with Server(**settings) as node:
            node.wait_for("bus.caught_up")
            station = Radio.connect(node.address, "1.rock", "1.rock", version="1.2")
            self.addCleanup(station.close)
            for body in bodies:
                station.publish(topic, body)
        watchdog.wait_for("log.failing")
        plugit.behave("good")
        until(lambda: plugit.logs()[-1:] and plugit.logs()[-1]["message"].encode() == bodies[-1], "the newest logged")
        logged = [entry["message"].encode() for entry in plugit.logs()]
        kept = logged[REMOTE_PREFETCH:]  # The broker drops nothing of what the watchdog has in hand.
        self.assertEqual(logged[:REMOTE_PREFETCH], bodies[:REMOTE_PREFETCH])
        self.assertEqual(kept, bodies[-len(kept) :])
        self.assertTrue(80 < len(kept) <= 100, len(kept))
        dropped = parse(ask(("127.0.0.1", port), "/metrics").body)["radiovis_log_dropped_total"]
        self.assertEqual(dropped, {(("why", "lost"),): len(bodies) - len(logged), (("why", "refused"),): 0})
        watchdog.terminate()

    def test_a_device_can_publish_and_nothing_else(self) -> None:
        with self.assertRaisesRegex(pika.exceptions.ChannelClosedByBroker, "ACCESS_REFUSED"):
            self.device().channel().queue_declare("mine")
        with self.assertRaisesRegex(pika.exceptions.ChannelClosedByBroker, "ACCESS_REFUSED"):
            self.device().channel().basic_get("fallbacklogs")

    def test_nobody_is_guest(self) -> None:
        self.assertNotIn("guest", self.broker.ctl("list_users"))
