"""The processes of a whole cluster, and what may be done to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from random import Random
from typing import Self

from tests import services
from tests.acceptance.cluster import node
from tests.processes import Event, Server
from tests.radiovis.watchdog.daemon import Daemon

EXCHANGE = "amq.fanout"  # The broker's own: there again after any crash.
WATCHDOG_TOPIC = "/topic/id/tests._ebu.nowhere/topicwatchdogeg/image"

Freezable = Server | services.BrokerCluster | services.RabbitMQ | services.Memcached


class Parts:
    """A broker of one or more nodes, a memcached, two nodes, a leading watchdog and one that stands by.

    :ivar errors: what a process that was killed meanwhile had logged as an error of its own.
    """

    def __init__(self, broker_nodes: int) -> None:
        self.broker = services.BrokerCluster(broker_nodes)
        self.memcached = services.Memcached()
        self.errors: list[Event] = []
        self.nodes: list[Server] = []
        self.watchdogs: list[Server] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as started:
            started.enter_context(self.broker)
            started.enter_context(self.memcached)
            self.nodes = [self._node(number) for number in range(2)]
            self.watchdogs = [self._watchdog(number) for number in range(2)]
            for each in (*self.nodes, *self.watchdogs):
                started.callback(each.close)
                each.launch()
            for each in self.nodes:
                each.wait_for("server.ready")
                each.wait_for("bus.caught_up")
            for each in self.watchdogs:
                each.wait_for("fallback.ready")
            self._stack = started.pop_all()
        return self

    def _node(self, number: int) -> Server:
        """:param number: of the broker's node that it tries first."""
        ports = {"STOMP_PORT": services.free_port(), "HTTP_PORT": services.free_port()}
        settings = {"MEMCACHED_HOST": self.memcached.address, "MONITORING_ENABLED": False, **ports}
        settings["RABBITMQ_HOST"] = self.broker.hosts(number)
        return node(self.broker.address, EXCHANGE, **settings)

    def _watchdog(self, number: int) -> Daemon:
        quick = {
            "RABBITMQ_HOST": self.broker.hosts(number),
            "TEST_FB_FALLBACK_TIME": 2,
            "TEST_FB_FALLBACK_CHECK": 0.5,
            "radiovis.node.fallback_daemon.HEARTBEAT_SECONDS": 1,
            "radiovis.node.fallback_daemon.LAST_RETRY_SECONDS": 1.0,
        }
        return Daemon(self.broker.address, EXCHANGE, "--test", **quick)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def is_ready(self, number: int) -> bool:
        """Whether a node has caught up: a load balancer sends clients to no other (``/readyz``).

        Who subscribes before that gets the newest message of each topic at the node's first reading of the stream, and
        not each one that came since.
        """
        states = ("bus.lost", "bus.caught_up")
        names = [event["event"] for event in list(self.nodes[number].log) if event["event"] in states]
        return names[-1:] == ["bus.caught_up"]

    def all_errors(self) -> list[Event]:
        """What the processes have logged as errors of their own; pika calls every lost connection one."""
        found = [*self.errors, *(fault for each in (*self.nodes, *self.watchdogs) for fault in each.faults)]
        return [each for each in found if "pika" not in str(each.get("logger", ""))]

    # What is done to them. Each returns when the part is up again.

    def kill_broker(self, chance: Random) -> None:
        self.broker.kill()
        time.sleep(chance.uniform(0, 3))
        self.broker.start()

    def restart_broker(self, chance: Random) -> None:
        self.broker.restart()

    def freeze_broker(self, chance: Random) -> None:
        self._freeze(self.broker, chance)

    def kill_broker_node(self, chance: Random) -> None:
        """One of several: who is connected to it goes to the next."""
        node = chance.choice(self.broker.nodes)
        node.kill()
        time.sleep(chance.uniform(0, 5))
        node.start()
        self.broker.wait_until_whole()

    def freeze_broker_node(self, chance: Random) -> None:
        """For less than the patience of the others: one that they have given up has to be started again."""
        self._freeze(chance.choice(self.broker.nodes), chance)

    def cut_off_broker_node(self, chance: Random) -> None:
        node = chance.choice(self.broker.nodes)
        self.broker.partition(node)
        time.sleep(chance.uniform(0, 5))
        self.broker.heal(node)
        self.broker.wait_until_whole()

    def kill_node(self, chance: Random) -> None:
        """Either: its radios and publishers come back to it, or to the other one."""
        self._kill(chance.choice(self.nodes), chance)

    def freeze_node(self, chance: Random) -> None:
        """For less than the broker's patience: a node it has given up misses what is published until it is back."""
        self._freeze(chance.choice(self.nodes), chance)

    def kill_memcached(self, chance: Random) -> None:
        self.memcached.kill()
        time.sleep(chance.uniform(0, 2))
        self.memcached.start()

    def freeze_memcached(self, chance: Random) -> None:
        self._freeze(self.memcached, chance)

    def kill_watchdog(self, chance: Random) -> None:
        self._kill(chance.choice(self.watchdogs), chance)

    def freeze_watchdog(self, chance: Random) -> None:
        self._freeze(chance.choice(self.watchdogs), chance)

    def two_at_once(self, chance: Random) -> None:
        """Parts that fail while others do. Not a node with the broker: what it alone remembered is gone with it."""
        pairs = (
            (Parts.kill_broker, Parts.freeze_memcached),
            (Parts.restart_broker, Parts.kill_watchdog),
            (Parts.kill_node, Parts.freeze_watchdog),
            (Parts.freeze_node, Parts.kill_memcached),
        )
        pair = chance.choice(pairs)
        seeds = [chance.random() for _ in pair]
        with ThreadPoolExecutor(len(pair)) as threads:
            begun = [threads.submit(fault, self, Random(seed)) for fault, seed in zip(pair, seeds, strict=True)]
        for each in begun:
            each.result()

    def _kill(self, process: Server, chance: Random) -> None:
        process.kill()
        self.errors += process.faults
        time.sleep(chance.uniform(0, 2))
        process.start()

    def _freeze(self, part: Freezable, chance: Random) -> None:
        part.pause()
        try:
            time.sleep(chance.uniform(1, 4))
        finally:
            part.resume()


FAULTS: dict[str, Callable[[Parts, Random], None]] = {
    "broker killed": Parts.kill_broker,
    "node killed": Parts.kill_node,
    "node frozen": Parts.freeze_node,
    "memcached killed": Parts.kill_memcached,
    "broker frozen": Parts.freeze_broker,
    "watchdog killed": Parts.kill_watchdog,
    "memcached frozen": Parts.freeze_memcached,
    "watchdog frozen": Parts.freeze_watchdog,
    "broker restarted": Parts.restart_broker,
    "broker node killed": Parts.kill_broker_node,
    "broker node frozen": Parts.freeze_broker_node,
    "broker node cut off": Parts.cut_off_broker_node,
    "two at once": Parts.two_at_once,
}
