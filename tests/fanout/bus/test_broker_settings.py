from __future__ import annotations

from pydantic import SecretStr
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.trial import unittest

from fanout.bus import broker_settings as configured
from fanout.bus.amqp_connection import broker_endpoint
from fanout.bus.broker_settings import BrokerHosts, BrokerSettings, hosts_and_ports
from fanout.bus.rabbitmq import RabbitMQ, rabbitmq
from fanout.listeners.tls import CertificateError
from fanout.settings import SettingsError, read_settings


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
        ((name, endpoint),) = broker_endpoint(reactor, BrokerSettings()).endpoints
        self.assertIsInstance(endpoint, HostnameEndpoint)
        self.assertEqual(name, "127.0.0.1:5672")
        self.assertIsInstance(rabbitmq(reactor, BrokerSettings(), "name"), RabbitMQ)

    def test_several_hosts_are_several_endpoints(self) -> None:
        endpoint = broker_endpoint(reactor, BrokerSettings(RABBITMQ_HOST="mq1, mq2:5673", RABBITMQ_TLS=True))
        self.assertIsInstance(endpoint, BrokerHosts)
        self.assertEqual([name for name, _ in endpoint.endpoints], ["mq1:5672", "mq2:5673"])

    def test_how_hosts_are_written(self) -> None:
        for text, expected in {
            "mq": [("mq", 5672)],
            "mq:5673": [("mq", 5673)],
            "a,b:5673 , c": [("a", 5672), ("b", 5673), ("c", 5672)],
            "::1": [("::1", 5672)],
            "[::1],[2001:db8::1]:5673": [("::1", 5672), ("2001:db8::1", 5673)],
        }.items():
            self.assertEqual(hosts_and_ports(text, 5672), expected)

    def test_hosts_that_are_none_are_refused_at_the_start(self) -> None:
        for text in ("a,,b", "a,", "a:", "a:x", "a:70000", "a:0", "[::1", "a b"):
            with self.assertRaisesRegex(SettingsError, "RABBITMQ_HOST.*is not a host or host:port"):
                read_settings(BrokerSettings, {}, {"RABBITMQ_HOST": text})

    def test_an_authority_that_cannot_be_read_is_an_error(self) -> None:
        with self.assertRaises(CertificateError):
            broker_endpoint(reactor, BrokerSettings(RABBITMQ_TLS=True, RABBITMQ_CA="/nowhere.pem"))
