from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pika
from pymemcache.client.base import Client
from twisted.trial import unittest

from tests import services

ROOT = Path(__file__).parent.parent


def connect(broker: services.RabbitMQ) -> pika.BlockingConnection:
    return pika.BlockingConnection(
        pika.ConnectionParameters(
            broker.host, broker.port, broker.vhost, pika.PlainCredentials(broker.user, broker.password)
        )
    )


def alive(folder: str) -> bool:
    """Whether any process still has its working folder there, or the folder itself is left."""
    for process in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if str(process.readlink()).startswith(folder):
                return True
        except OSError:
            continue  # It ended meanwhile, or is somebody else's.
    return Path(folder).exists()


class RabbitMQTests(unittest.TestCase):
    def test_a_crash_and_a_restart_keep_port_and_data(self) -> None:
        with services.RabbitMQ() as broker:
            connection = connect(broker)
            connection.channel().queue_declare("kept", durable=True)
            connection.close()
            port = broker.port
            broker.erlang("mnesia:sync_log().")  # The broker writes names of queues to the disk a moment later.
            broker.kill()
            self.assertRaises(pika.exceptions.AMQPConnectionError, connect, broker)
            broker.start()
            self.assertEqual(broker.port, port)
            connection = connect(broker)
            self.assertEqual(connection.channel().queue_declare("kept", passive=True).method.queue, "kept")
            connection.close()
            self.assertRaises(services.ServiceError, broker.start)
        self.assertFalse(alive(str(broker.folder)))


class MemcachedTests(unittest.TestCase):
    def test_a_frozen_server_takes_connections_and_answers_none(self) -> None:
        with services.Memcached() as server:
            client = Client((server.host, server.port), timeout=0.2, connect_timeout=0.2)
            client.set("a", b"1", noreply=False)
            server.pause()
            self.assertRaises(TimeoutError, client.get, "a")
            server.resume()
            self.assertEqual(client.get("a"), b"1")
            server.restart()
            client.close()
            self.assertIsNone(client.get("a"))
            client.close()
        self.assertFalse(alive(str(server.folder)))


class EndingTests(unittest.TestCase):
    """However a test process ends, nothing of it is left."""

    CODE = "from tests.services import Memcached; m = Memcached(); m.start(); print(m.folder, flush=True); input()"

    def end(self, number: signal.Signals) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", self.CODE],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            assert process.stdout is not None
            folder = process.stdout.readline().strip()
            self.assertTrue(alive(folder))
            process.send_signal(number)
        deadline = time.monotonic() + 10
        while alive(folder) and time.monotonic() < deadline:
            os.sched_yield()
        self.assertFalse(alive(folder), number)

    def test_ctrl_c(self) -> None:
        self.end(signal.SIGINT)

    def test_killed(self) -> None:
        self.end(signal.SIGKILL)


class FreePortTests(unittest.TestCase):
    def test_ports_differ_and_are_out_of_the_kernels_own_range(self) -> None:
        ports = [services.free_port() for _ in range(200)]
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        self.assertEqual(len(set(ports)), 200)
        self.assertLess(max(ports), lowest)
