"""SIGHUP: settings that can change do, a mistake changes nothing, and what needs a restart is named."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path

from tests.authority import Authority
from tests.processes import ROOT, Server, node
from tests.radio import Radio
from tests.services import free_port, rabbitmq
from tests.web import ask, poll_path

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/reload/image"


class ReloadCase(unittest.TestCase):
    def server(self, config: str, **settings: object) -> Server:
        server = node(**settings)
        self.addCleanup(server.close)
        (server.folder / "config.py").write_text(config)
        return server.start()

    def edit(self, server: Server, config: str, *, event: str = "settings.reloaded") -> dict[str, object]:
        """A new config.py, a SIGHUP, and what it says to that."""
        before = len(server.events(event))
        (server.folder / "config.py").write_text(config)
        server.hang_up()
        return server.wait_for(event, count=before + 1)

    def radio(self, server: Server) -> Radio:
        radio = Radio.connect(server.address, version="1.2")
        self.addCleanup(radio.close)
        return radio


class Settings(ReloadCase):
    def test_limits_are_for_who_comes_from_now_on(self) -> None:
        server = self.server("MAX_SUBSCRIPTIONS = 1\n")
        old = self.radio(server)
        old.subscribe(TOPIC, id="1")
        self.assertEqual(self.edit(server, "MAX_SUBSCRIPTIONS = 3\n")["changed"], ["MAX_SUBSCRIPTIONS"])
        new = self.radio(server)
        for number in range(3):
            new.subscribe(TOPIC, id=f"{number}")
        new.say("SUBSCRIBE", {"destination": TOPIC, "id": "4"})
        new.expect("ERROR")
        old.say("SUBSCRIBE", {"destination": TOPIC, "id": "2"})
        old.expect("ERROR")
        self.assertEqual(server.faults, [])

    def test_the_log_level_there_and_back(self) -> None:
        server = self.server('LOG_LEVEL = "INFO"\n')
        self.edit(server, 'LOG_LEVEL = "DEBUG"\n')
        self.radio(server)
        server.wait_for("client.connected")
        self.edit(server, 'LOG_LEVEL = "INFO"\n')
        said = len(server.events("client.connected"))
        self.radio(server)
        self.edit(server, "")  # behind it in the log
        self.assertEqual(len(server.events("client.connected")), said)

    def test_a_mistake_changes_nothing_and_each_is_told(self) -> None:
        server = self.server("MAX_SUBSCRIPTIONS = 1\n")
        self.edit(server, 'MAX_SUBSCRIPTIONS = 3\nMAX_CONNECTIONS = "many"\nNO_SUCH = 1\n', event="settings.kept")
        refused = " ".join(str(each["problem"]) for each in server.events("settings.refused"))
        self.assertRegex(refused, "NO_SUCH.*no such setting")
        self.assertRegex(refused, "MAX_CONNECTIONS = 'many'")
        radio = self.radio(server)
        radio.subscribe(TOPIC, id="1")
        radio.say("SUBSCRIBE", {"destination": TOPIC, "id": "2"})
        radio.expect("ERROR")
        self.edit(server, "MAX_SUBSCRIPTIONS = \n", event="settings.kept")
        self.assertEqual(self.edit(server, "MAX_SUBSCRIPTIONS = 2\n")["changed"], ["MAX_SUBSCRIPTIONS"])

    def test_what_needs_a_restart_is_named_each_time_until_it_comes(self) -> None:
        server = self.server("")
        for _ in range(2):
            said = self.edit(
                server,
                'MONITORING_PASSWORD = "brokers-secret"\nMAX_LAST_MESSAGES_BYTES = 300000\n',
                event="settings.need_restart",
            )
            self.assertEqual(sorted(said["settings"]), ["MAX_LAST_MESSAGES_BYTES", "MONITORING_PASSWORD"])
        self.assertNotIn("brokers-secret", server.text)

    def test_the_operators_token(self) -> None:
        old, new = "0123456789abcdef", "fedcba9876543210"
        server = self.server(f'ADMIN_TOKEN = "{old}"\n', ADMIN_PORT=free_port())

        def status(token: str) -> int:
            return ask(server.admin, "/metrics", authorization=f"Bearer {token}").status

        self.assertEqual((status(old), status(new)), (200, 401))
        self.assertEqual(self.edit(server, f'ADMIN_TOKEN = "{new}"\n')["changed"], ["ADMIN_TOKEN"])
        self.assertEqual((status(new), status(old)), (200, 401))
        self.assertNotIn(new, server.text)

    def test_a_token_that_is_taken_away_stays_where_others_get_there(self) -> None:
        token = "0123456789abcdef"
        server = self.server(f'ADMIN_TOKEN = "{token}"\n', ADMIN_PORT=free_port(), ADMIN_IP="0.0.0.0")
        self.edit(server, "", event="settings.refused")
        port = server.admin[1]
        self.assertEqual(ask(("127.0.0.1", port), "/metrics").status, 401)

    def test_the_brokers_password_is_used_at_the_next_connection(self) -> None:
        broker = rabbitmq()
        server = Server(
            "--test",
            RABBITMQ_HOST=broker.host,
            RABBITMQ_PORT=broker.port,
            RABBITMQ_USER=broker.user,
            RABBITMQ_VHOST=broker.vhost,
            MONITORING_ENABLED=False,
        )
        self.addCleanup(server.close)
        (server.folder / "config.py").write_text('RABBITMQ_PASSWORD = "before"\n')
        server.start()
        server.wait_for("bus.lost")
        self.assertEqual(server.events("bus.connected"), [])
        self.edit(server, f'RABBITMQ_PASSWORD = "{broker.password}"\n')
        server.wait_for("bus.connected")

    def test_caps_of_connections_and_subscriptions_and_of_http(self) -> None:
        """Counted are also those that came before, and polls as well as radios."""
        server = self.server("", HTTP_PORT=free_port())
        old = self.radio(server)
        old.subscribe(TOPIC, id="1")
        caps = {
            "MAX_SUBSCRIPTIONS_PER_ADDRESS": 1,
            "LOGIN_FAILURES": 1,
            "HISTORY_SECONDS": 10,
        }
        said = self.edit(server, "".join(f"{name} = {value}\n" for name, value in caps.items()))
        self.assertEqual(set(said["changed"]), set(caps))
        self.assertEqual(server.events("settings.need_restart"), [])
        new = self.radio(server)
        new.say("SUBSCRIBE", {"destination": TOPIC, "id": "1"})
        new.expect("ERROR", message="Too many subscriptions")
        self.assertEqual(ask(server.http, poll_path(TOPIC)).status, 503)
        self.edit(server, "MAX_CONNECTIONS_PER_ADDRESS = 1\n")
        late = Radio(server.address)
        self.addCleanup(late.close)
        self.assertTrue(late.ends())
        old.say("UNSUBSCRIBE", {"id": "1"})
        self.assertEqual(old.so_far(), [])

    def test_nobody_is_disconnected(self) -> None:
        server = self.server("")
        radio = self.radio(server)
        radio.subscribe(TOPIC)
        self.edit(server, "OUTBOX_BYTES = 8192\nSLOW_CLIENTS = 'queue'\nHEARTBEAT_MS = '0,0'\nDRAIN_SECONDS = 1\n")
        station = Radio.connect(server.address, "1.test", "test", version="1.2")
        self.addCleanup(station.close)
        self.assertEqual(station.connected.get("heart-beat"), "0,0")
        station.publish(TOPIC, b"SHOW http://s/1.png")
        self.assertEqual(radio.frame().body, b"SHOW http://s/1.png")
        server.terminate()


class Files(ReloadCase):
    def test_certificates_and_stations_are_read_again_changed_or_not(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="radiovis-reload-"))
        self.addCleanup(shutil.rmtree, folder)
        stations = folder / "stations.toml"
        shutil.copy(ROOT / "demo" / "stations.toml", stations)
        settings = {"TLS_CERTIFICATE": Authority(folder).issue("node.pem", "localhost"), "STOMP_TLS_PORT": free_port()}
        server = Server(RABBITMQ_LOOPBACK=True, STATIONS_FILE=stations, **settings)
        self.addCleanup(server.close)
        server.start()
        server.hang_up()
        server.wait_for("certificate.loaded")
        server.wait_for("stations.loaded")
