"""``server.py --workers 2``: two processes that share a port, and their supervisor."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from tests import services
from tests.acceptance.cluster import node
from tests.processes import Server
from tests.prometheus import parse
from tests.radio import Radio
from tests.radiovis.commands.calling import Done, call

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/text"
WORKERS = (0, 1)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


class WorkersCase(unittest.TestCase):
    """Two workers on a broker, started once: a test that ends them calls :meth:`begin` for those behind it."""

    server: ClassVar[Server]
    admin_port: ClassVar[int]
    logs: ClassVar[dict[str, object]] = {"LOG_LEVEL": "DEBUG"}

    @classmethod
    def setUpClass(cls) -> None:
        cls.admin_port = services.free_ports_in_a_row(len(WORKERS))
        settings = {"ADMIN_PORT": cls.admin_port, "MONITORING_ENABLED": False, "WORKERS": 2, **cls.logs}
        cls.server = node(services.rabbitmq(), f"radiovis.{uuid4()}", **settings)
        cls.addClassCleanup(cls.server.close)
        cls.begin()

    @classmethod
    def begin(cls) -> None:
        cls.server.launch()
        for worker in WORKERS:
            cls.server.wait_for("server.ready", worker=worker)
            cls.server.wait_for("bus.caught_up", worker=worker)

    def tearDown(self) -> None:
        self.assertEqual([fault for fault in self.server.faults if fault["event"] != "worker.died"], [])

    def radios(self) -> dict[int, Radio]:
        """A listening radio on each worker; the kernel decides who gets which, so there are as many as it takes."""
        found: dict[int, Radio] = {}
        for _ in range(200):
            radio = Radio.connect(self.server.address)
            self.addCleanup(radio.close)
            radio.subscribe(TOPIC, fast_reply=False)
            worker = self.server.wait_for("client.connected", session=radio.session[:8])["worker"]
            found.setdefault(worker, radio)
            if len(found) == len(WORKERS):
                return found
        raise AssertionError(f"all radios came to the workers {list(found)}")

    def publish(self, body: bytes) -> None:
        with Radio.connect(self.server.address, "1.test", "test", version="1.2") as station:
            station.publish(TOPIC, body)

    def pid(self, worker: int) -> int:
        pid: int = self.server.events("worker.started", worker=worker)[-1]["pid"]
        return pid

    def get(self, path: str, worker: int = 0) -> tuple[int, str]:
        """From a worker's own listener for operators. :return: 0 where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port + worker}/{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except urllib.error.URLError:
            return 0, ""

    def health(self) -> Done:
        """As a container asks."""
        return call("health", "--ready", ADMIN_PORT=str(self.admin_port), WORKERS=str(len(WORKERS)))


class Reloaded(WorkersCase):
    logs: ClassVar[dict[str, object]] = {}

    @classmethod
    def begin(cls) -> None:
        (cls.server.folder / "config.py").write_text('LOG_LEVEL = "INFO"\n')
        super().begin()

    def edit(self, level: str) -> None:
        (self.server.folder / "config.py").write_text(f'LOG_LEVEL = "{level}"\n')
        self.server.hang_up()

    def test_the_supervisor_takes_the_log_level_too(self) -> None:
        self.edit("WARNING")
        os.kill(self.pid(0), signal.SIGKILL)
        self.server.wait_for("worker.died")
        deadline = time.monotonic() + 20
        while self.health().returncode != 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        self.edit("INFO")
        self.server.wait_for("settings.reloaded", worker=0)
        self.assertEqual(len(self.server.events("worker.started", worker=0)), 1)  # The second one was not worth a line.


class Together(WorkersCase):
    def test_what_is_published_at_one_is_heard_at_all(self) -> None:
        radios = self.radios()
        for body in (b"TEXT 1", b"TEXT 2", b"TEXT 3"):
            self.publish(body)
            for radio in radios.values():
                self.assertEqual(radio.expect("MESSAGE").body, body)

    def test_metrics_and_readiness_of_each(self) -> None:
        self.radios()
        for worker in WORKERS:
            status, page = self.get("metrics", worker)
            self.assertEqual(status, 200)
            told = parse(page.encode())
            self.assertGreaterEqual(told["fanout_connections"][()], 1)
            self.assertEqual(told["fanout_ready"][()], 1)
            status, ready = self.get("readyz", worker)
            self.assertEqual((status, json.loads(ready)["ready"]), (200, True))
        self.assertEqual((self.health().returncode, self.health().stdout), (0, "ready\n"))

    def test_one_is_killed_and_the_others_radios_notice_nothing(self) -> None:
        radios = self.radios()
        os.kill(self.pid(0), signal.SIGKILL)
        self.assertTrue(radios[0].ends())
        self.server.wait_for("worker.died", worker=0, reason="signal 9")
        self.assertEqual(self.get("readyz", 1)[0], 200)
        self.assertIn("nothing listens at", self.health().stderr)
        self.publish(b"TEXT while it is away")
        self.assertEqual(radios[1].expect("MESSAGE").body, b"TEXT while it is away")
        self.server.wait_for("server.ready", worker=0, count=2)
        self.server.wait_for("bus.caught_up", worker=0, count=2)
        again = self.radios()
        self.publish(b"TEXT with it again")
        for radio in (radios[1], again[0], again[1]):
            self.assertEqual(radio.expect("MESSAGE", destination=TOPIC).body, b"TEXT with it again")


class Ends(WorkersCase):
    def test_the_end_in_order(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number):
                radios = self.radios()
                pids = [self.pid(worker) for worker in WORKERS]
                os.kill(self.server.pid, number)
                self.assertEqual(self.server.exit_code(), 0)
                self.assertEqual([pid for pid in pids if alive(pid)], [])
                for radio in radios.values():
                    self.assertTrue(radio.ends())
                self.assertEqual(self.server.faults, [])
                self.begin()

    def test_no_worker_outlives_a_killed_supervisor(self) -> None:
        pids = [self.pid(worker) for worker in WORKERS]
        self.server.kill()
        deadline = time.monotonic() + 20
        while any(alive(pid) for pid in pids):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        self.begin()


class Refused(unittest.TestCase):
    """One line says what is wrong, and the exit code is 2."""

    def refused(self, text: str, **settings: object) -> None:
        server = Server("--test", WORKERS=2, **settings)
        self.addCleanup(server.close)
        server.launch()
        self.assertEqual(server.exit_code(), 2)
        self.assertEqual(len(server.text.splitlines()), 1, server.text)
        self.assertRegex(server.text, text)

    def test_without_a_broker(self) -> None:
        self.refused("WORKERS = 2: .* RABBITMQ_LOOPBACK", RABBITMQ_LOOPBACK=True)
        self.refused("WORKERS = 2: .* STANDALONE", STANDALONE=True)

    def test_a_port_that_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.refused(f"cannot listen on 127.0.0.1:{port}: Address already in use", STOMP_PORT=port)

    def test_a_port_for_operators_that_is_taken(self) -> None:
        first = services.free_ports_in_a_row(2)
        with socket.create_server(("127.0.0.1", first + 1)):
            for port in (first, first + 1):
                self.refused(f"cannot listen on 127.0.0.1:{first + 1}", ADMIN_PORT=port)

    def test_a_port_that_another_program_shares(self) -> None:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.refused(f"cannot listen on 127.0.0.1:{port}: Address already in use", STOMP_PORT=port)

    def test_ports_beyond_the_last(self) -> None:
        self.refused("ADMIN_PORT = 65535", ADMIN_PORT=65535)
        self.refused("ADMIN_TLS_PORT = 65535", ADMIN_TLS_PORT=65535)

    def test_ports_for_operators_that_overlap(self) -> None:
        self.refused("ADMIN_TLS_PORT = 8082: too close to ADMIN_PORT = 8081", ADMIN_PORT=8081, ADMIN_TLS_PORT=8082)
