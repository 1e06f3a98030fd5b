"""The settings of the broker, and three values: its hosts, how to log in to it, and how long and how much to wait.

The values are classes of their own because several programs fill them: the bus from the settings ``RABBITMQ_*``, and a
:class:`~fanout.bus.publisher.Publisher` for another broker. What no operator has a reason to choose is a constant here
and the default of a value; a program that needs another value passes it. No reload changes them; they are fixed when a
connection is opened. Commands import the settings, so nothing here opens a connection or needs TLS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pika import ConnectionParameters, PlainCredentials
from pydantic import AfterValidator, SecretStr

from fanout.settings.field import FILLED, MAX_PORT, SettingsGroup, constant, setting

PREFETCH = 1_000
"""Messages that the broker may send ahead of our acknowledgements: enough that it never waits for them. Most messages
have less than 1,000 octets, so that a node that does not keep up holds about 1 MB of them."""
MOST_MESSAGES = 10_000
"""Messages that wait for the broker's confirm; further publishes are refused. It is 10 seconds of 1,000 publishes per
second, far more than a cluster of stations has, and bounds the work of sending them all after an outage."""
MOST_OCTETS = 67_108_864
"""Octets of the same messages, 64 MiB: the bound of the memory that an outage of the broker may take."""
MAX_AGE_SECONDS = 60
"""Seconds a publish waits for the broker before its publisher is told that it failed. Long enough for a restart of the
broker; after a minute most values are out of date, and a publisher should know."""
RESEND_SECONDS = 30
"""Messages that were confirmed within these seconds before the connection was lost are sent again. A broker that
crashes may lose what it confirmed, and it may take two heart-beats of 10 s until the loss is noticed."""
CONNECT_SECONDS = 10
"""Seconds for one attempt to connect, login and queue included. A login usually takes less than 1 s; TCP sends a
lost packet again after 1, 3 and 7 s, so that several lost packets delay it and do not fail it."""
FIRST_RETRY_SECONDS = 0.2
"""Seconds before the first attempt to connect again: most interruptions are over at once. Later pauses are longer."""
LAST_RETRY_SECONDS = 3
"""Longest pause in seconds before another attempt to connect. Short, because clients hear nothing new meanwhile; after
the reconnect a node waits as long for the other nodes before it sends."""


# Hosts

_WITH_PORT = re.compile(r"\[(?P<v6>[^\[\]]+)\](?::(?P<v6port>\d+))?|(?P<host>[^:\s]+):(?P<port>\d+)")


def hosts_and_ports(hosts: str, port: int) -> list[tuple[str, int]]:
    """The hosts of ``host[:port]``, several with commas; an IPv6 address with a port is in brackets.

    :param port: of the hosts that name none.
    :raises ValueError: it says which entry is wrong.
    """
    return [_host_and_port(entry.strip(), port) for entry in hosts.split(",")]


def _host_and_port(entry: str, port: int) -> tuple[str, int]:
    found = _WITH_PORT.fullmatch(entry)
    host = (found["v6"] or found["host"]) if found else entry
    number = int((found and (found["v6port"] or found["port"])) or port)
    if not host or re.search(r"[\s\[\]]", host) or host.count(":") == 1 or not 0 < number <= MAX_PORT:
        raise ValueError(f"{entry!r} is no host or host:port; write several as mq1,mq2:5673")
    return host, number


def _checked(hosts: str) -> str:
    hosts_and_ports(hosts, MAX_PORT)
    return hosts


HostList = Annotated[str, AfterValidator(_checked)]
"""The type of a setting for :func:`hosts_and_ports`."""


@dataclass(frozen=True, slots=True)
class BrokerHosts:
    """The hosts of one broker, of which a client uses one at a time.

    :ivar endpoints: for each host, its name for logs (``host:port``) and its client endpoint.
    """

    endpoints: tuple[tuple[str, Any], ...]


class BrokerSettings(SettingsGroup):
    """RabbitMQ."""

    retired: ClassVar[Mapping[str, str]] = {
        "RABBITMQ_PREFETCH": constant(PREFETCH, "messages"),
        "RABBITMQ_OUTBOX": constant(MOST_MESSAGES, "messages"),
        "RABBITMQ_OUTBOX_BYTES": constant(MOST_OCTETS, "octets"),
        "RABBITMQ_OUTBOX_SECONDS": constant(MAX_AGE_SECONDS, "s"),
        "RABBITMQ_RESEND_SECONDS": constant(RESEND_SECONDS, "s"),
        "RABBITMQ_CONNECT_TIMEOUT": constant(CONNECT_SECONDS, "s"),
        "RABBITMQ_RETRY_SECONDS": constant(FIRST_RETRY_SECONDS, "s"),
        "RABBITMQ_RETRY_MAX_SECONDS": constant(LAST_RETRY_SECONDS, "s"),
    }

    RABBITMQ_HOST: HostList = setting(
        "127.0.0.1",
        "Host of the broker that all nodes share, host[:port]; several of one RabbitMQ cluster with commas.",
        why="Change it if the broker runs on another machine; name all hosts of a cluster, and they are tried in turn.",
        pattern=FILLED,
    )
    RABBITMQ_PORT: int = setting(
        5672,
        "AMQP port of the broker, where RABBITMQ_HOST names none.",
        ge=1,
        le=MAX_PORT,
        why="Change it if the broker listens on another port, such as 5671 for TLS.",
    )
    RABBITMQ_TLS: bool = setting(
        False,
        "Connect to the broker with TLS, and check that its certificate is for RABBITMQ_HOST.",
        why="Set it if the connection to the broker leaves a network that you trust.",
    )
    RABBITMQ_CA: str = setting(
        "",
        "CA certificates (PEM file) that sign the broker's certificate; empty = those of the system.",
        why="Set it if your own authority signed the broker's certificate.",
    )
    RABBITMQ_CERT: str = setting(
        "",
        "Certificate that we show the broker over TLS, with its key in the same file (PEM); empty = none.",
        why="Set it if the broker asks its clients for a certificate (verify_peer).",
    )
    RABBITMQ_USER: str = setting(
        "guest",
        "User name at the broker.",
        why="Change it if the broker runs on another machine: RabbitMQ lets guest log in from its own machine only.",
        pattern=FILLED,
    )
    RABBITMQ_PASSWORD: SecretStr = setting(
        SecretStr("guest"), "Password of RABBITMQ_USER.", why="Change it together with RABBITMQ_USER.", reload=True
    )
    RABBITMQ_VHOST: str = setting(
        "/",
        "Virtual host at the broker.",
        why="Change it if other programs share the broker.",
        pattern=FILLED,
    )
    RABBITMQ_EXCHANGE: str = setting(
        "amq.fanout",
        "Fan-out exchange that nodes and devices publish to; it must exist.",
        why="Change it if two clusters share a virtual host, or if devices publish to another exchange.",
        pattern=FILLED,
    )
    RABBITMQ_HEARTBEAT: int = setting(
        10,
        "AMQP heart-beat; a dead broker is noticed after twice this time.",
        "s",
        ge=1,
        le=600,
        why="Raise it if connections to a broker that is busy or far away are given up too early.",
    )


class RabbitMQSettings(BrokerSettings):
    """RabbitMQ or not."""

    retired: ClassVar[Mapping[str, str]] = {
        "RABBITMQ_DEBUG": "only the original's AMQP library logged more with it",
    }

    RABBITMQ_LOOPBACK: bool = setting(
        False,
        "Use no broker, so that this node gets messages of its own clients only.",
        why="Set it for a single node without RabbitMQ.",
    )
    RABBITMQ_STREAM: bool = setting(
        True,
        "Keep what is published in a stream of the broker, from which a node reads what it missed.",
        why="Turn it off, on all nodes, if a device loses its connection because of it.",
    )


@dataclass(frozen=True, slots=True)
class Broker:
    """How to log in to RabbitMQ, and what to use there.

    :ivar exchange: the fan-out exchange all nodes share.
    :ivar durable: whether the exchange survives a restart of the broker, if we have to declare it.
    :ivar name: the name of the connections in the broker's own lists; the purpose of each is appended.
    :ivar heartbeat: seconds; a silent broker is given up after this and 5 s more, at the latest after twice that
        (pika checks once per such period).
    :ivar prefetch: how many messages the broker may send ahead of our acknowledgement.
    :ivar check: seconds between two checks whether our queue is still bound to the exchange, and how full it is. The
        broker does not report that it dropped messages, or that the exchange or the binding was deleted.
    :ivar queue_length: how many messages the broker keeps for a node that does not take them; beyond it the oldest
        are dropped, as the newest values matter.
    :ivar stream: whether the broker keeps messages for a bus that remembers (:mod:`fanout.bus.stream`).
    """

    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    exchange: str = "amq.fanout"
    durable: bool = True
    name: str = "fanout"
    heartbeat: int = 10
    prefetch: int = PREFETCH
    check: float = 10.0
    queue_length: int = 100_000
    stream: bool = True

    def parameters(self) -> ConnectionParameters:
        """The same for pika, which leaves host, port and TLS to the endpoint."""
        return ConnectionParameters(
            virtual_host=self.vhost,
            credentials=PlainCredentials(self.user, self.password),
            heartbeat=self.heartbeat,
            client_properties={"connection_name": self.name},
        )


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long the bus waits, in seconds, and how much it keeps meanwhile.

    :ivar connect: time limit of a connection attempt, login and queue included.
    :ivar first_retry: before the first reconnect; each further one waits ``factor`` times longer, up to ``last_retry``.
        The actual wait is random between half of it and all, so that the nodes of a cluster do not reconnect at once.
    :ivar max_age: after which a publish that is not confirmed is given up rather than sent late.
    :ivar outlast: whether a publish may outlast the connection, and be sent again over the next one. False for
        messages that are right at this moment only, or that another process may publish instead.
    :ivar stop: for confirms, at the end.
    :ivar resend: how long a confirmed publish is kept, to be sent again if the connection is lost; a tenth of
        ``messages`` and ``octets`` may be kept that way. Only with ``outlast``.
    :ivar messages: how many unconfirmed publishes are kept.
    :ivar octets: how many octets of unconfirmed publishes are kept.
    """

    connect: float = CONNECT_SECONDS
    first_retry: float = FIRST_RETRY_SECONDS
    factor: float = 1.7
    last_retry: float = LAST_RETRY_SECONDS
    max_age: float = MAX_AGE_SECONDS
    outlast: bool = True
    resend: float = RESEND_SECONDS
    stop: float = 5.0
    messages: int = MOST_MESSAGES
    octets: int = MOST_OCTETS


DEFAULT_RETRY_POLICY = RetryPolicy()


# From the settings


def broker(settings: BrokerSettings, name: str) -> Broker:
    """How to log in to it. :param name: the name of the connections in the broker's own lists."""
    return Broker(
        user=settings.RABBITMQ_USER,
        password=settings.RABBITMQ_PASSWORD.get_secret_value(),
        vhost=settings.RABBITMQ_VHOST,
        exchange=settings.RABBITMQ_EXCHANGE,
        name=name,
        heartbeat=settings.RABBITMQ_HEARTBEAT,
    )
