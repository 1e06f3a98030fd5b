"""The settings of the broker, and three values: its hosts, how to log in to it, and how long and how much to wait.

The values are classes of their own because several programs fill them: the bus from the settings ``RABBITMQ_*``, and a
:class:`~fanout.bus.publisher.Publisher` for another broker. A value that no operator has a reason to choose is a
constant here, and the default of a field; a program that needs another value passes it. A reload does not change these
values: they are fixed when a connection is opened. Commands import the settings, so nothing in this file opens a
connection or needs TLS.
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
"""Messages that the broker may send before we acknowledge earlier ones. The number is so high that the broker never
waits for an acknowledgement. Most messages have less than 1,000 octets, so a node that is too slow holds about 1 MB of
them."""
MOST_MESSAGES = 10_000
"""Messages that may wait for the broker's confirm; further publishes are refused. This is 10 seconds of 1,000 publishes
per second, far more than a cluster of stations has. It also bounds the work of sending all of them after an outage."""
MOST_OCTETS = 67_108_864
"""Octets of the same messages, 64 MiB. This bounds the memory that an outage of the broker may take."""
MAX_AGE_SECONDS = 60
"""Seconds that a publish waits for the broker before its publisher gets an error. This is long enough for a restart of
the broker. After a minute most values are out of date, and the publisher should know that."""
RESEND_SECONDS = 30
"""Messages that were confirmed within this number of seconds before the connection was lost are sent again. A broker
that crashes may lose messages that it confirmed, and the loss may be noticed only after two heart-beats of 10 s."""
CONNECT_SECONDS = 10
"""Seconds for one attempt to connect, including the login and the queue. A login usually takes less than 1 s. TCP sends
a lost packet again after 1, 3 and 7 s, so several lost packets delay the attempt but do not make it fail."""
FIRST_RETRY_SECONDS = 0.2
"""Seconds before the first attempt to reconnect: most interruptions end within a moment. Later pauses are longer."""
LAST_RETRY_SECONDS = 3
"""Longest pause in seconds before another attempt to connect. It is short because clients receive nothing new
meanwhile. After the reconnect a node waits equally long for the other nodes before it sends."""


# Hosts

_WITH_PORT = re.compile(r"\[(?P<v6>[^\[\]]+)\](?::(?P<v6port>\d+))?|(?P<host>[^:\s]+):(?P<port>\d+)")


def hosts_and_ports(hosts: str, port: int) -> list[tuple[str, int]]:
    """Parse ``host[:port]``, or several of these with commas between them. An IPv6 address with a port is in brackets.

    :param port: port of the hosts that are given without one.
    :raises ValueError: an entry is invalid; the text names it.
    """
    return [_host_and_port(entry.strip(), port) for entry in hosts.split(",")]


def _host_and_port(entry: str, port: int) -> tuple[str, int]:
    found = _WITH_PORT.fullmatch(entry)
    host = (found["v6"] or found["host"]) if found else entry
    number = int((found and (found["v6port"] or found["port"])) or port)
    if not host or re.search(r"[\s\[\]]", host) or host.count(":") == 1 or not 0 < number <= MAX_PORT:
        raise ValueError(f"{entry!r} is not a host or host:port; write several as mq1,mq2:5673")
    return host, number


def _checked(hosts: str) -> str:
    hosts_and_ports(hosts, MAX_PORT)
    return hosts


HostList = Annotated[str, AfterValidator(_checked)]
"""The type of a setting that :func:`hosts_and_ports` can parse."""


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
        "Host of the broker that all nodes share, host[:port]; several hosts of one RabbitMQ cluster with commas.",
        why="Change it if the broker runs on another machine. All hosts of a cluster are tried in turn.",
        pattern=FILLED,
    )
    RABBITMQ_PORT: int = setting(
        5672,
        "AMQP port of the broker, for hosts in RABBITMQ_HOST without a port.",
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
        "PEM file with the CA certificates that sign the broker's certificate; empty = the system's CA certificates.",
        why="Set it if your own authority signed the broker's certificate.",
    )
    RABBITMQ_CERT: str = setting(
        "",
        "PEM file with the certificate that we present to the broker over TLS, and its key; empty = no certificate.",
        why="Set it if the broker asks its clients for a certificate (verify_peer).",
    )
    RABBITMQ_USER: str = setting(
        "guest",
        "User name for the login at the broker.",
        why="Change it if the broker runs on another machine: RabbitMQ lets guest log in from its own machine only.",
        pattern=FILLED,
    )
    RABBITMQ_PASSWORD: SecretStr = setting(
        SecretStr("guest"), "Password of RABBITMQ_USER.", why="Change it together with RABBITMQ_USER.", reload=True
    )
    RABBITMQ_VHOST: str = setting(
        "/",
        "Virtual host on the broker.",
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
        "AMQP heart-beat interval; a dead broker is noticed after twice this time.",
        "s",
        ge=1,
        le=600,
        why="Raise it if connections to a busy or distant broker are closed too early.",
    )


class RabbitMQSettings(BrokerSettings):
    """RabbitMQ on or off."""

    retired: ClassVar[Mapping[str, str]] = {
        "RABBITMQ_DEBUG": "only the original's AMQP library logged more with it",
    }

    RABBITMQ_LOOPBACK: bool = setting(
        False,
        "Use no broker; this node then only gets messages from its own clients.",
        why="Set it for a single node without RabbitMQ.",
    )
    RABBITMQ_STREAM: bool = setting(
        True,
        "Keep published messages in a stream of the broker, from which a node reads the messages that it missed.",
        why="Turn it off, on all nodes, if a device loses its connection because of it.",
    )


@dataclass(frozen=True, slots=True)
class Broker:
    """The login at RabbitMQ, and the names and limits of what we use there.

    :ivar exchange: the fan-out exchange that all nodes share.
    :ivar durable: whether the exchange survives a restart of the broker, if we have to declare it.
    :ivar name: the name of the connections in the broker's own lists; the purpose of each connection is appended.
    :ivar heartbeat: seconds between heart-beats. A silent broker is given up after this time and 5 s more, and at the
        latest after twice this time (pika checks once per interval).
    :ivar prefetch: how many messages the broker may send before we acknowledge earlier ones.
    :ivar check: seconds between two checks of our queue: whether it is still bound to the exchange, and how full it is.
        The broker does not report that it dropped messages, or that the exchange or the binding was deleted.
    :ivar queue_length: how many messages the broker keeps for a node that does not take them. Beyond this number it
        drops the oldest ones, because the newest values matter.
    :ivar stream: whether the broker keeps messages for a bus that can read missed messages (:mod:`fanout.bus.stream`).
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
        """These values as pika's parameters, without host, port and TLS, which the endpoint knows."""
        return ConnectionParameters(
            virtual_host=self.vhost,
            credentials=PlainCredentials(self.user, self.password),
            heartbeat=self.heartbeat,
            client_properties={"connection_name": self.name},
        )


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long the bus waits, in seconds, and how much it keeps meanwhile.

    :ivar connect: time limit of a connection attempt, including the login and the queue.
    :ivar first_retry: pause before the first reconnect. Each further pause is ``factor`` times longer, up to
        ``last_retry``. The actual pause is random between half of this time and all of it, so that the nodes of a
        cluster do not reconnect at the same moment.
    :ivar max_age: the age at which an unconfirmed publish is given up and not sent any more.
    :ivar outlast: whether a publish may outlast the connection, and be sent again over the next one. It is False for
        messages that are right at this moment only, or that another process may publish instead.
    :ivar stop: how long the bus waits for confirms when it stops.
    :ivar resend: how long a confirmed publish is kept, to be sent again if the connection is lost. A tenth of
        ``messages`` and ``octets`` may be kept in this way. It has an effect only with ``outlast``.
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
    """The login at the broker, from the settings.

    :param name: the name of the connections in the broker's own lists.
    """
    return Broker(
        user=settings.RABBITMQ_USER,
        password=settings.RABBITMQ_PASSWORD.get_secret_value(),
        vhost=settings.RABBITMQ_VHOST,
        exchange=settings.RABBITMQ_EXCHANGE,
        name=name,
        heartbeat=settings.RABBITMQ_HEARTBEAT,
    )
