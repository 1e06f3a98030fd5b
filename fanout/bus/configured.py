"""The bus as the settings say."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint

from fanout.bus.parameters import Broker, Patience
from fanout.bus.rabbitmq import RabbitMQ
from fanout.certificates import secure_endpoint
from fanout.settings import BrokerSettings


def rabbitmq(reactor: Any, settings: BrokerSettings, name: str) -> RabbitMQ:
    """The broker all nodes share.

    :param name: how the connections are called in the broker's own lists.
    :raises CertificateError: RABBITMQ_CA cannot be used.
    """
    return RabbitMQ(reactor, broker_endpoint(reactor, settings), broker(settings, name), patience(settings))


def broker_endpoint(reactor: Any, settings: BrokerSettings) -> Any:
    """Where it is. :raises CertificateError: RABBITMQ_CA cannot be used."""
    if settings.RABBITMQ_TLS:
        return secure_endpoint(reactor, settings.RABBITMQ_HOST, settings.RABBITMQ_PORT, settings.RABBITMQ_CA)
    return HostnameEndpoint(reactor, settings.RABBITMQ_HOST, settings.RABBITMQ_PORT)


def broker(settings: BrokerSettings, name: str) -> Broker:
    """How to log in to it. :param name: as for :func:`rabbitmq`."""
    return Broker(
        user=settings.RABBITMQ_USER,
        password=settings.RABBITMQ_PASSWORD.get_secret_value(),
        vhost=settings.RABBITMQ_VHOST,
        exchange=settings.RABBITMQ_EXCHANGE,
        name=name,
        heartbeat=settings.RABBITMQ_HEARTBEAT,
        prefetch=settings.RABBITMQ_PREFETCH,
    )


def patience(settings: BrokerSettings) -> Patience:
    """How long a node waits for it."""
    return Patience(
        connect=settings.RABBITMQ_CONNECT_TIMEOUT,
        first_retry=settings.RABBITMQ_RETRY_SECONDS,
        last_retry=settings.RABBITMQ_RETRY_MAX_SECONDS,
        max_age=settings.RABBITMQ_OUTBOX_SECONDS,
        resend=settings.RABBITMQ_RESEND_SECONDS,
        messages=settings.RABBITMQ_OUTBOX,
        octets=settings.RABBITMQ_OUTBOX_BYTES,
    )
