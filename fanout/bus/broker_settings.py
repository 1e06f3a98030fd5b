"""The settings of the broker, and two values made of them: how to log in to it, and how long and how much to wait.

The values are classes of their own because two groups of settings fill them under different names: the bus uses
``RABBITMQ_*``, and a :class:`~fanout.bus.publisher.Publisher` may have another broker. No reload changes them; they
are fixed when a connection is opened. Commands import the settings, so nothing here opens a connection or needs TLS.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pika import ConnectionParameters, PlainCredentials
from pydantic import SecretStr

from fanout.settings.field import MAX_PORT, SettingsGroup, setting


class BrokerSettings(SettingsGroup):
    """RabbitMQ."""

    RABBITMQ_HOST: str = setting("127.0.0.1", "Host of the broker that all nodes share.")
    RABBITMQ_PORT: int = setting(5672, "AMQP port of the broker.", ge=1, le=MAX_PORT)
    RABBITMQ_TLS: bool = setting(
        False, "Connect with TLS, and check that the certificate is for RABBITMQ_HOST; often at port 5671."
    )
    RABBITMQ_CA: str = setting(
        "", "CA certificates for the broker's certificate (PEM file); empty = those of the system."
    )
    RABBITMQ_USER: str = setting(
        "guest", "User name at the broker; RabbitMQ lets guest log in from its own machine only."
    )
    RABBITMQ_PASSWORD: SecretStr = setting(SecretStr("guest"), "Password of RABBITMQ_USER.")
    RABBITMQ_VHOST: str = setting("/", "Virtual host at the broker.")
    RABBITMQ_EXCHANGE: str = setting("amq.fanout", "Fan-out exchange that nodes and devices publish to; it must exist.")
    RABBITMQ_PREFETCH: int = setting(
        1_000,
        "Messages the broker sends ahead of acknowledgements; more is faster and takes memory of this node.",
        "messages",
        ge=1,
        le=65_535,
    )
    RABBITMQ_OUTBOX: int = setting(
        10_000, "Most published messages that wait for a confirm; beyond it publishes are refused.", "messages", ge=1
    )
    RABBITMQ_OUTBOX_BYTES: int = setting(
        67_108_864,
        "Most octets of published messages that wait for a confirm; beyond it publishes are refused.",
        "octets",
        ge=65_536,
    )
    RABBITMQ_OUTBOX_SECONDS: float = setting(
        60, "How long a message waits for the broker before its publisher is told that it failed.", "s", ge=1
    )
    RABBITMQ_RESEND_SECONDS: float = setting(
        30,
        "Messages confirmed within this time before the broker was lost are sent again, as it may lose them.",
        "s",
        ge=0,
    )
    RABBITMQ_HEARTBEAT: int = setting(
        10, "AMQP heart-beat; a dead broker is noticed after twice this time.", "s", ge=1, le=600
    )
    RABBITMQ_CONNECT_TIMEOUT: float = setting(10, "Time for a connection to the broker, login included.", "s", ge=0.1)
    RABBITMQ_RETRY_SECONDS: float = setting(
        0.2, "First pause before connecting again; each further pause is longer.", "s", ge=0.01
    )
    RABBITMQ_RETRY_MAX_SECONDS: float = setting(
        3,
        "Longest pause before connecting again; after that, sending waits as long for the other nodes.",
        "s",
        ge=0.1,
    )


class RabbitMQSettings(BrokerSettings):
    """RabbitMQ or not."""

    RABBITMQ_LOOPBACK: bool = setting(False, "Use no broker, so that this node gets messages of its own clients only.")
    RABBITMQ_DEBUG: bool = setting(True, "No effect; the original's AMQP library logged more with it.")


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
    """

    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    exchange: str = "amq.fanout"
    durable: bool = True
    name: str = "fanout"
    heartbeat: int = 10
    prefetch: int = 1000
    check: float = 10.0
    queue_length: int = 100_000

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

    connect: float = 10.0
    first_retry: float = 0.2
    factor: float = 1.7
    last_retry: float = 10.0
    max_age: float = 60.0
    outlast: bool = True
    resend: float = 30.0
    stop: float = 5.0
    messages: int = 10_000
    octets: int = 64 * 1024 * 1024


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
        prefetch=settings.RABBITMQ_PREFETCH,
    )


def retry_policy(settings: BrokerSettings) -> RetryPolicy:
    """How long a node waits for it."""
    return RetryPolicy(
        connect=settings.RABBITMQ_CONNECT_TIMEOUT,
        first_retry=settings.RABBITMQ_RETRY_SECONDS,
        last_retry=settings.RABBITMQ_RETRY_MAX_SECONDS,
        max_age=settings.RABBITMQ_OUTBOX_SECONDS,
        resend=settings.RABBITMQ_RESEND_SECONDS,
        messages=settings.RABBITMQ_OUTBOX,
        octets=settings.RABBITMQ_OUTBOX_BYTES,
    )
