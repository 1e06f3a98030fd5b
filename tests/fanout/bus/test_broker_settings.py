from __future__ import annotations

from pydantic import SecretStr
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.trial import unittest

from fanout.bus import broker_settings as configured
from fanout.bus.amqp_connection import broker_endpoint
from fanout.bus.broker_settings import BrokerSettings
from fanout.bus.rabbitmq import RabbitMQ, rabbitmq
from fanout.listeners.tls import CertificateError


class FromSettings(unittest.TestCase):
    def test_broker_and_patience(self) -> None:
        settings = BrokerSettings(
            RABBITMQ_USER="u", RABBITMQ_PASSWORD=SecretStr("p"), RABBITMQ_EXCHANGE="e", RABBITMQ_OUTBOX_SECONDS=7
        )
        broker, retry_policy = configured.broker(settings, "artcast here"), configured.retry_policy(settings)
        self.assertEqual((broker.user, broker.password, broker.exchange, broker.name), ("u", "p", "e", "artcast here"))
        self.assertEqual((retry_policy.max_age, retry_policy.resend), (7, 30))

    def test_without_tls_it_is_a_plain_endpoint(self) -> None:
        self.assertIsInstance(broker_endpoint(reactor, BrokerSettings()), HostnameEndpoint)
        self.assertIsInstance(rabbitmq(reactor, BrokerSettings(), "name"), RabbitMQ)

    def test_an_authority_that_cannot_be_read_is_an_error(self) -> None:
        with self.assertRaises(CertificateError):
            broker_endpoint(reactor, BrokerSettings(RABBITMQ_TLS=True, RABBITMQ_CA="/nowhere.pem"))
