"""docs/deploy.md's commands for RabbitMQ, and what a cluster with these users and policies leaves on the broker."""

from __future__ import annotations

import re
import shlex
import unittest
from typing import ClassVar

import pika
import pika.exceptions

from tests import services
from tests.processes import ROOT, Server
from tests.radio import Radio
from tests.radiovis.watchdog.daemon import Daemon

COMMANDS = re.findall(r"^rabbitmqctl .*", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE)
PASSWORD, DEVICE_PASSWORD = "a long password", "another long password"
TOPIC = "/topic/test/1/image"


class RabbitMQ(unittest.TestCase):
    broker: ClassVar[services.RabbitMQ]

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = services.RabbitMQ()
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()
        for command in COMMANDS:
            cls.broker.ctl(*shlex.split(command)[1:])

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
            node.wait_for("bus.connected")
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

    def test_a_device_can_publish_and_nothing_else(self) -> None:
        with self.assertRaisesRegex(pika.exceptions.ChannelClosedByBroker, "ACCESS_REFUSED"):
            self.device().channel().queue_declare("mine")
        with self.assertRaisesRegex(pika.exceptions.ChannelClosedByBroker, "ACCESS_REFUSED"):
            self.device().channel().basic_get("fallbacklogs")

    def test_nobody_is_guest(self) -> None:
        self.assertNotIn("guest", self.broker.ctl("list_users"))
