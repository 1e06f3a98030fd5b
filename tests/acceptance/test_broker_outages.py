"""The broker crashes, freezes, or will not let the nodes in: they come back by themselves, and radios stay.

How it is shown: test_outages.py.
"""

from __future__ import annotations

import time
import unittest

from tests import services
from tests.acceptance.cluster import Cluster, node
from tests.radio import Radio, frame

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/text"
EXCHANGE = "amq.fanout"  # The default, and the broker's own: it is there again after any crash.
RECONNECT_SECONDS = 15.0  # From the broker's answer on; retries come at most 1 s apart here.


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [str(number).encode() for number in range(start, start + count)]


class TestBrokerOutages(unittest.TestCase):
    """One broker for all tests: each leaves it running."""

    broker: services.RabbitMQ

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = services.RabbitMQ()
        cls.broker.start()
        cls.addClassCleanup(cls.broker.close)

    def cluster(self, **settings: object) -> Cluster:
        """Two nodes, which in the end must have made no error of their own; pika calls every lost connection one."""
        cluster = Cluster(self.broker.address, **settings).__enter__()
        self.addCleanup(cluster.close)
        self.addCleanup(lambda: self.assertEqual([each for each in cluster.faults if "pika" not in each["logger"]], []))
        return cluster

    def radio(self, cluster: Cluster, number: int) -> Radio:
        radio = Radio.connect(cluster.nodes[number].address)
        self.addCleanup(radio.close)
        radio.subscribe(TOPIC, fast_reply=False)
        return radio

    def station(self, cluster: Cluster, number: int) -> Radio:
        station = Radio.connect(cluster.nodes[number].address, "1.test", "test", version="1.2")
        self.addCleanup(station.close)
        return station

    def send(self, station: Radio, bodies: list[bytes]) -> None:
        """Publish without waiting for the receipts, whose ids are the bodies."""
        for body in bodies:
            station.send(frame("SEND", {"destination": TOPIC, "receipt": body.decode()}, body))

    def receipts(self, station: Radio, count: int) -> list[bytes]:
        return [(station.expect("RECEIPT").get("receipt-id") or "").encode() for _ in range(count)]

    def bodies(self, radio: Radio, count: int) -> list[bytes]:
        return [radio.expect("MESSAGE").body for _ in range(count)]

    def crash(self, cluster: Cluster) -> None:
        """Kill the broker, and wait until all nodes know."""
        self.broker.kill()
        for each in cluster.nodes:
            each.wait_for("bus.lost")

    def come_back(self, cluster: Cluster) -> float:
        """Start the broker; seconds until all nodes are connected to it."""
        self.broker.start()
        began = time.monotonic()
        cluster.wait_until_connected(2)
        return time.monotonic() - began

    # It crashes

    def test_both_reconnect_radios_stay_and_nothing_with_a_receipt_is_lost(self) -> None:
        cluster = self.cluster()
        radios = [self.radio(cluster, number) for number in (0, 1)]
        stations = [self.station(cluster, number) for number in (0, 1)]
        stations[0].publish(TOPIC, b"before")
        for radio in radios:
            self.assertEqual(self.bodies(radio, 1), [b"before"])
        self.crash(cluster)
        self.assertLess(self.come_back(cluster), RECONNECT_SECONDS)
        for station in stations:  # The same sockets as before the crash.
            self.send(station, numbered(200))
            self.assertEqual(self.receipts(station, 200), numbered(200))
        for radio in radios:
            self.assertEqual(sorted(self.bodies(radio, 400)), sorted(numbered(200) * 2))
            self.assertEqual(radio.so_far(), [])

    def test_publishes_of_the_outage_wait_for_their_receipts_and_arrive_once_when_it_is_over(self) -> None:
        cluster = self.cluster()
        station, radio = self.station(cluster, 0), self.radio(cluster, 0)
        self.crash(cluster)
        self.send(station, numbered(100))
        newcomer = self.radio(cluster, 0)  # Radios come and go meanwhile ...
        self.assertEqual(newcomer.so_far(), [])
        with self.assertRaises(TimeoutError):
            station.frame(0.5)  # ... and the publisher is kept waiting.
        self.come_back(cluster)
        self.assertEqual(self.receipts(station, 100), numbered(100))
        for each in (radio, newcomer):
            self.assertEqual(self.bodies(each, 100), numbered(100))
            self.assertEqual(each.so_far(), [])

    def test_a_node_that_comes_back_late_shows_what_it_missed(self) -> None:
        """It asks memcached, as there will be no other word of it until the next slide."""
        topic = "/topic/id/tests._ebu.nowhere/topic1/missed/image"
        cluster = self.cluster(MEMCACHED_HOST=services.memcached())
        start_eagerly, late = cluster.nodes
        radio = Radio.connect(late.address)
        self.addCleanup(radio.close)
        radio.subscribe(topic)
        late.pause()
        self.broker.kill()
        start_eagerly.wait_for("bus.lost")
        self.broker.start()
        start_eagerly.wait_for("bus.connected", count=2)
        self.station(cluster, 0).publish(topic, b"SHOW http://s/missed.png", {"message-id": "ID-1"})
        late.resume()
        self.assertEqual(radio.expect("MESSAGE", message_id="ID-1").body, b"SHOW http://s/missed.png")
        self.assertEqual(radio.so_far(), [])

    def test_publishes_under_way_at_the_crash_arrive_once_at_most_and_those_behind_all(self) -> None:
        """Nobody knows which the broker had taken: those are sent again, and second copies are dropped. What it took,
        and had not handed on when it crashed, is lost with the nodes' queues."""
        cluster = self.cluster()
        station, radio = self.station(cluster, 0), self.radio(cluster, 0)
        self.send(station, numbered(500))
        self.broker.kill()
        self.send(station, numbered(100, 500))
        self.come_back(cluster)
        self.assertEqual(self.receipts(station, 600), numbered(600))
        heard = [int(radio.expect("MESSAGE").body)]
        while heard[-1] != 599:
            heard.append(int(radio.expect("MESSAGE").body))
        self.assertEqual(heard, sorted(set(heard)))
        self.assertEqual(heard[-100:], list(range(500, 600)))
        self.assertEqual(radio.so_far(), [])

    # It freezes

    def test_a_few_seconds_cost_nothing(self) -> None:
        cluster = self.cluster()
        radios = [self.radio(cluster, number) for number in (0, 1)]
        station = self.station(cluster, 0)
        self.broker.pause()
        self.addCleanup(self.broker.resume)
        self.send(station, numbered(50))
        with self.assertRaises(TimeoutError):
            station.frame(2)
        self.broker.resume()
        self.assertEqual(self.receipts(station, 50), numbered(50))
        for radio in radios:
            self.assertEqual(self.bodies(radio, 50), numbered(50))
            self.assertEqual(radio.so_far(), [])
        for each in cluster.nodes:
            self.assertEqual(each.events("bus.lost"), [])

    # It does not let us in

    def test_a_wrong_password_is_told_and_served_as_soon_as_it_is_right(self) -> None:
        with node(
            self.broker.address, EXCHANGE, RABBITMQ_USER="radiovis", RABBITMQ_PASSWORD="broker-password"
        ) as server:
            lost = server.wait_for("bus.lost")
            where = f"{self.broker.address.host}:{self.broker.address.port}"
            reason = f"{where}: the broker does not accept the password of user 'radiovis'"
            self.assertEqual(lost["reason"], reason)
            radio = Radio.connect(server.address)
            self.addCleanup(radio.close)
            radio.subscribe(TOPIC)
            self.make_user("radiovis", "broker-password")
            server.wait_for("bus.caught_up")
            station = Radio.connect(server.address, "1.test", "test", version="1.2")
            self.addCleanup(station.close)
            station.publish(TOPIC, b"TEXT let in")
            self.assertEqual(self.bodies(radio, 1), [b"TEXT let in"])
            self.assertNotIn("broker-password", server.text)

    def make_user(self, name: str, password: str) -> None:
        """As ``rabbitmqctl add_user`` and ``set_permissions``, in one call: each takes seconds."""
        who = f'<<"{name}">>'
        all_of = '<<".*">>, <<".*">>, <<".*">>'
        command = (
            f'ok = rabbit_auth_backend_internal:add_user({who}, <<"{password}">>, <<"tests">>),'
            f'ok = rabbit_auth_backend_internal:set_permissions({who}, <<"/">>, {all_of}, <<"tests">>).'
        )
        self.broker.ctl("eval", command)
