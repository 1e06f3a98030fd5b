"""Whether real processes are ready, as load balancers are told, while what they need comes and goes."""

from __future__ import annotations

import unittest

from tests import services
from tests.acceptance.admin_case import admin_port, until
from tests.acceptance.cluster import node as cluster_node
from tests.processes import Server, node
from tests.prometheus import parse
from tests.radio import Radio, frame
from tests.radiovis.watchdog.daemon import Daemon
from tests.web import Raw, ask


class TestReady(unittest.TestCase):
    def test_the_broker_dies_and_comes_back(self) -> None:
        with services.RabbitMQ() as broker:
            daemon = Daemon(broker.address, "amq.fanout", "--test", FB_ADMIN_PORT=services.free_port())
            self.addCleanup(daemon.close)
            with cluster_node(broker.address, "amq.fanout", **admin_port()) as server:
                daemon.start()
                addresses = (server.admin, _admin(daemon))
                for address in addresses:
                    until(lambda address=address: ask(address, "/readyz").status == 200)
                broker.kill()
                for address in addresses:
                    until(lambda address=address: ask(address, "/readyz").status == 503)
                    report = ask(address, "/readyz").json
                    self.assertFalse(report["ready"])
                    self.assertTrue(any(reason.startswith("bus: ") for reason in report["reasons"]), report)
                    self.assertEqual(ask(address, "/healthz").status, 200)
                    found = parse(ask(address, "/metrics").body)
                    self.assertEqual((found["fanout_ready"][()], found["fanout_bus_connected"][()]), (0.0, 0.0))
                broker.start()
                for address in addresses:
                    until(lambda address=address: ask(address, "/readyz").status == 200, 60.0)
                self.assertGreaterEqual(
                    parse(ask(server.admin, "/metrics").body)["fanout_rabbitmq_connects_total"][()], 2
                )
                tasks = parse(ask(addresses[1], "/metrics").body)["fanout_task_failing"]
                self.assertEqual(
                    {labels[0][1] for labels in tasks},
                    {"topic_listing", "broker_liveness", "stale_topics", "log_cleanup"},
                )

    def test_a_node_that_ends_takes_no_new_clients(self) -> None:
        """The broker does not confirm the last publish, so that the end takes a moment."""
        with services.RabbitMQ() as broker, cluster_node(broker.address, "amq.fanout", **admin_port()) as server:
            until(lambda: ask(server.admin, "/readyz").status == 200)
            with Radio.connect(server.address, "1.test", "test", version="1.2") as station:
                broker.pause()
                station.send(
                    frame(
                        "SEND", {"destination": "/topic/id/tests._ebu.nowhere/topic1/image", "receipt": "r"}, b"SHOW x"
                    )
                )
                until(lambda: parse(ask(server.admin, "/metrics").body)["fanout_bus_waiting"][()] == 1)
                server.interrupt()
                until(lambda: ask(server.admin, "/readyz").status == 503)
                self.assertEqual(ask(server.admin, "/readyz").json["reasons"], ["draining: shutting down"])
                self.assertEqual(ask(server.admin, "/healthz").status, 200)
            broker.resume()
            self.assertEqual(server.exit_code(), 0)

    def test_memcached_is_missed_but_not_needed(self) -> None:
        missing = f"127.0.0.1:{services.free_port()}"
        with (
            node(MEMCACHED_HOST=missing, **admin_port()) as server,
            Radio.connect(server.address) as radio,
        ):
            radio.subscribe("/topic/id/tests._ebu.nowhere/topic1/image")  # The last slide is asked for.
            until(lambda: bool(ask(server.admin, "/readyz").json["degraded"]))
            answer = ask(server.admin, "/readyz")
            self.assertEqual((answer.status, answer.json["ready"]), (200, True))
            self.assertEqual(answer.json["degraded"], [f"memcached: {missing} does not answer"])
            self.assertEqual(parse(ask(server.admin, "/metrics").body)["fanout_memcached_servers_down"][()], 1)

    def test_a_directory_that_never_answered(self) -> None:
        nobody = f"http://127.0.0.1:{services.free_port()}/secret/"
        once = {"radiovis.directory.plugit_http.ATTEMPTS": 1}
        server = Server(RABBITMQ_LOOPBACK=True, RADIODNS_API_URL=nobody, **once, **admin_port())
        with server:
            answer = ask(server.admin, "/readyz")
            self.assertEqual(answer.status, 503)
            self.assertEqual(answer.json["reasons"], ["directory: the stations have not been read yet"])
            # HAProxy's "option httpchk /readyz" means OPTIONS, and sends HTTP/1.0 without a host.
            with Raw(server.admin, b"OPTIONS /readyz HTTP/1.0\r\n\r\n") as haproxy:
                self.assertIn(b" 503 ", haproxy.until(b"\r\n"))
            head = ask(server.admin, "/readyz", method="HEAD")
            self.assertEqual((head.status, head.body), (503, b""))


def _admin(daemon: Daemon) -> tuple[str, int]:
    host, _, port = daemon.wait_for("fallback.ready")["admin"].rpartition(":")
    return host, int(port)
