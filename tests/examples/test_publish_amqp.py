"""examples/publish_amqp.py, at a real broker with a node on it."""

from __future__ import annotations

from tests import services
from tests.acceptance.cluster import Cluster
from tests.examples.publisher import ExampleCase
from tests.radio import Radio

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/image"


class TestPublishAmqp(ExampleCase):
    program = "publish_amqp.py"
    cluster: Cluster

    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = Cluster(services.rabbitmq(), nodes=1).__enter__()
        cls.addClassCleanup(cls.cluster.close)

    def setUp(self) -> None:
        self.broker = ("--port", str(services.rabbitmq().port), "--exchange", self.cluster.exchange)

    def test_a_slide_with_its_link(self) -> None:
        radio = Radio.connect(self.cluster.nodes[0].address)
        self.addCleanup(radio.close)
        radio.subscribe(TOPIC)
        self.publish(*self.broker, TOPIC, "SHOW http://s/é.png", "--link", "http://s/")
        shown = radio.expect("MESSAGE", destination=TOPIC, link="http://s/", trigger_time="NOW")
        self.assertEqual(shown.body, "SHOW http://s/é.png".encode())
        self.assertTrue(shown.get("message-id") and shown.get("when"))

    def test_refusals_are_told(self) -> None:
        self.assert_fails(*self.broker, "--password", "wrong", TOPIC, "SHOW x", saying="ACCESS_REFUSED")
        port = ("--port", str(services.rabbitmq().port))
        self.assert_fails(*port, "--exchange", "none.such", TOPIC, "SHOW x", saying="no exchange 'none.such'")
        self.assert_fails(*port, "--vhost", "nowhere", TOPIC, "SHOW x", saying="nowhere")

    def test_nobody_there(self) -> None:
        nowhere = ("--port", str(services.free_port()))
        self.assert_fails(*nowhere, TOPIC, "SHOW x", saying="no broker answers there")
        self.assert_fails("--host", "no-such-host.invalid", TOPIC, "SHOW x", saying="no-such-host.invalid")

    def test_is_short(self) -> None:
        self.assert_short()
