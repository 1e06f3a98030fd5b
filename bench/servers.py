"""The servers that are measured. Each runs during a ``with`` block, on free ports of 127.0.0.1."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import programs
from tests.acceptance.cluster import Cluster
from tests.processes import Server
from tests.services import HOST, Memcached, RabbitMQ, free_port

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/bench"
MANY = 30_000
"""Connections that a measured node accepts. The limits for each address are off, as the load uses few addresses."""
LIMITS = {"MAX_CONNECTIONS": MANY, "MAX_CONNECTIONS_PER_ADDRESS": 0, "MAX_SUBSCRIPTIONS_PER_ADDRESS": 0}


@dataclass(frozen=True)
class Target:
    """A server under load.

    :ivar pids: the processes whose CPU time and memory are measured.
    :ivar flags: the flags of ``fanload`` for the login and the topic.
    """

    name: str
    port: int
    pids: tuple[int, ...]
    flags: tuple[str, ...]


OURS = ("-l", "1.test", "-k", "test", "-d", TOPIC)


@contextmanager
def floor() -> Iterator[Target]:
    """The floor: the fastest fan-out with one ``send()`` for each subscriber. See ``floor.c``."""
    port = free_port()
    process = subprocess.Popen([programs.path("floor"), str(port)])
    try:
        programs.wait_for(port)
        yield Target("floor", port, (process.pid,), ("-d", "/topic/bench"))
    finally:
        process.kill()
        process.wait()


@contextmanager
def node(**settings: object) -> Iterator[Target]:
    """A front-end as in a cluster, with authorization, last slides in memcached, metrics and heart-beats.

    Only its bus is the loopback bus, so that the broker is not measured.
    """
    with Memcached() as memcached:
        shared = {"RABBITMQ_LOOPBACK": True, "MEMCACHED_HOST": memcached.host, "MEMCACHED_PORT": memcached.port}
        with _server("ours", (), {**shared, **settings}) as target:
            yield target


@contextmanager
def stand_alone(**settings: object) -> Iterator[Target]:
    """A stand-alone node, with the watchdog and the journal in the same process."""
    with _server("ours, alone", ("--standalone", "--journal-file="), settings) as target:
        yield target


@contextmanager
def _server(name: str, flags: tuple[str, ...], settings: dict[str, object]) -> Iterator[Target]:
    with Server("--test", *flags, **{**LIMITS, "ADMIN_PORT": free_port(), **settings}) as server:
        yield Target(name, server.address[1], (server.pid,), OURS)


class StompBroker(RabbitMQ):
    """RabbitMQ with its own STOMP plugin."""

    def __init__(self) -> None:
        super().__init__()
        self.stomp_port = free_port()
        (self.folder / "plugins").write_text("[rabbitmq_stomp].\n")
        with (self.folder / "rabbitmq.conf").open("a") as conf:
            conf.write(f"stomp.listeners.tcp.1 = {HOST}:{self.stomp_port}\n")

    @property
    def pids(self) -> tuple[int, ...]:
        """The process of the Erlang machine."""
        return (int((self.folder / f"{self.name}.pid").read_text()),)


@contextmanager
def stomp_broker() -> Iterator[Target]:
    """RabbitMQ's STOMP plugin. All clients log in, because it does not accept anonymous clients."""
    with StompBroker() as broker:
        programs.wait_for(broker.stomp_port)
        flags = ("-l", "guest", "-k", "guest", "-A", "-d", "/topic/bench")
        yield Target("RabbitMQ STOMP", broker.stomp_port, broker.pids, flags)


@contextmanager
def two_nodes() -> Iterator[tuple[Target, Target]]:
    """Two nodes with a private RabbitMQ."""
    with RabbitMQ() as broker, Cluster(broker.address, 2, MONITORING_ENABLED=False, **LIMITS) as cluster:
        first, second = (
            Target(f"node {number}", each.address[1], (each.pid,), OURS) for number, each in enumerate(cluster.nodes, 1)
        )
        yield first, second


def memory(target: Target) -> float:
    """The physical memory of a server, in KiB."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in target.pids)
    return pages * 4.0


def cpu(target: Target) -> float:
    """The CPU time of all threads of a server, in seconds, with a resolution of a nanosecond."""
    tasks = (task for pid in target.pids for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
