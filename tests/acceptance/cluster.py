"""Nodes that share an exchange, with the stations of ``--test``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self
from uuid import uuid4

from tests.processes import Event, Server
from tests.services import AmqpAddress


def node(broker: AmqpAddress, exchange: str, **settings: object) -> Server:
    """A node on this broker, not yet started. After an outage it is patient for long and asks often."""
    return Server(
        "--test",
        RABBITMQ_PORT=broker.port,
        RABBITMQ_EXCHANGE=exchange,
        **{
            "RABBITMQ_HOST": broker.host,
            "RABBITMQ_USER": broker.user,
            "RABBITMQ_PASSWORD": broker.password,
            "fanout.bus.broker_settings.MAX_AGE_SECONDS": 300.0,
            "fanout.bus.broker_settings.LAST_RETRY_SECONDS": 1.0,
            **settings,
        },
    )


class Cluster:
    """Several nodes on an exchange of their own: ``with Cluster(broker) as cluster: cluster.nodes[0].address …``."""

    def __init__(self, broker: AmqpAddress, nodes: int = 2, **settings: object) -> None:
        self.exchange = f"radiovis.{uuid4()}"
        self.nodes = [node(broker, self.exchange, **settings) for _ in range(nodes)]

    def __enter__(self) -> Self:
        """Start the first node, then the others: RabbitMQ 3.10.8 may close the connection of one that reads a stream
        while another one makes it (506, "Stream not found"). The node connects again, but a test would count that.
        """
        with ExitStack() as started:
            for number, each in enumerate(self.nodes):
                each.launch()
                started.callback(each.close)
                if number == 0:
                    each.wait_for("bus.caught_up")
            self.wait_until_connected()
            started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all nodes."""
        for each in self.nodes:
            each.close()

    def wait_until_connected(self, times: int = 1) -> None:
        """Until every node listens, and has what was published, for this many times since its start."""
        for each in self.nodes:
            each.wait_for("server.ready")
            each.wait_for("bus.caught_up", count=times)

    @property
    def faults(self) -> list[Event]:
        """Errors of the nodes' own."""
        return [fault for each in self.nodes for fault in each.faults]
