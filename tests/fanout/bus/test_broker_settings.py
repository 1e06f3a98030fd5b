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
from fanout.settings import read_settings


class FromSettings(unittest.TestCase):
    def test_how_to_log_in(self) -> None:
        settings = BrokerSettings(RABBITMQ_USER="u", RABBITMQ_PASSWORD=SecretStr("p"), RABBITMQ_EXCHANGE="e")
        broker = configured.broker(settings, "artcast here")
        self.assertEqual((broker.user, broker.password, broker.exchange, broker.name), ("u", "p", "e", "artcast here"))

    def test_settings_that_became_constants_say_their_value(self) -> None:
        settings = read_settings(BrokerSettings, {}, {"RABBITMQ_OUTBOX_SECONDS": "7", "RABBITMQ_PREFETCH": "1"})
        self.assertEqual(
            sorted(settings.warnings()),
            [
                "RABBITMQ_OUTBOX_SECONDS: no effect; it is always 60 s",
                "RABBITMQ_PREFETCH: no effect; it is always 1000 messages",
            ],
        )

    def test_without_tls_it_is_a_plain_endpoint(self) -> None:
        self.assertIsInstance(broker_endpoint(reactor, BrokerSettings()), HostnameEndpoint)
        self.assertIsInstance(rabbitmq(reactor, BrokerSettings(), "name"), RabbitMQ)

    def test_an_authority_that_cannot_be_read_is_an_error(self) -> None:
        with self.assertRaises(CertificateError):
            broker_endpoint(reactor, BrokerSettings(RABBITMQ_TLS=True, RABBITMQ_CA="/nowhere.pem"))
