"""Which broker, how to log in to it, and how long and how much to wait for it: values, and these from the settings.

The values are classes of their own because two groups of settings fill them under different names: the bus uses
``RABBITMQ_*``, and a :class:`~fanout.bus.publisher.Publisher` may have another broker. No reload changes them; they
are fixed when a connection is opened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pika import ConnectionParameters, PlainCredentials
from twisted.internet.endpoints import HostnameEndpoint

from fanout.listeners.tls import secure_endpoint
from fanout.settings import BrokerSettings


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


def broker_endpoint(reactor: Any, settings: BrokerSettings) -> Any:
    """The client endpoint of the broker, TCP or TLS. :raises CertificateError: RABBITMQ_CA cannot be used."""
    if settings.RABBITMQ_TLS:
        return secure_endpoint(reactor, settings.RABBITMQ_HOST, settings.RABBITMQ_PORT, settings.RABBITMQ_CA)
    return HostnameEndpoint(reactor, settings.RABBITMQ_HOST, settings.RABBITMQ_PORT)


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
