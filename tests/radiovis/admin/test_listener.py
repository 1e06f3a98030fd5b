from __future__ import annotations

import socket

from pydantic import SecretStr
from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.trial import unittest

from fanout.settings import SettingsError, read_settings
from radiovis.admin.listener import Admin, AdminPorts
from radiovis.settings import Settings


def admin(settings: Settings) -> Admin:
    return Admin(reactor, settings, AdminPorts.of(settings), "server.py", [])


class TestTakenPort(unittest.TestCase):
    def setUp(self) -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        self.port = taken.getsockname()[1]

    def test_a_default_one_is_done_without(self) -> None:
        first = admin(Settings(ADMIN_PORT=self.port))  # As if this were the default: nobody has chosen it.
        self.assertEqual(first.start(), {})
        return first.stop()

    def test_a_chosen_one_is_not(self) -> None:
        settings = read_settings(Settings, {"ADMIN_PORT": str(self.port)}, {})
        with self.assertRaises(CannotListenError):
            admin(settings).start()


TOKEN = SecretStr("0123456789abcdef")


def auth(settings: Settings) -> None:
    AdminPorts.of(settings).auth(settings)


class TestWhoMayAsk(unittest.TestCase):
    def test_others_need_a_token(self) -> None:
        for ip in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
            with self.subTest(ip=ip), self.assertRaisesRegex(SettingsError, "ADMIN_TOKEN"):
                auth(Settings(ADMIN_IP=ip))
            auth(Settings(ADMIN_IP=ip, ADMIN_TOKEN=TOKEN))

    def test_this_machine_needs_none(self) -> None:
        for ip in ("127.0.0.1", "::1", "localhost"):
            auth(Settings(ADMIN_IP=ip))

    def test_with_tls_a_token_and_a_certificate(self) -> None:
        for given in ({}, {"ADMIN_TOKEN": TOKEN}, {"TLS_CERTIFICATE": "node.pem"}):
            with (
                self.subTest(given=given),
                self.assertRaisesRegex(SettingsError, "^ADMIN_TLS_PORT: .*TLS_CERT"),
            ):
                auth(Settings(ADMIN_TLS_PORT=1, **given))
        auth(Settings(ADMIN_TLS_PORT=1, ADMIN_TOKEN=TOKEN, TLS_CERTIFICATE="node.pem"))

    def test_each_program_by_its_own_settings(self) -> None:
        settings = Settings(ADMIN_TLS_PORT=1)
        AdminPorts.of(settings, "FB_").auth(settings)
        settings = Settings(FB_ADMIN_TLS_PORT=1)
        auth(settings)
        with self.assertRaisesRegex(SettingsError, "^FB_ADMIN_TLS_PORT: "):
            AdminPorts.of(settings, "FB_").auth(settings)


class TestWanted(unittest.TestCase):
    def test_in_test_mode_only_where_it_is_asked_for(self) -> None:
        default = read_settings(Settings, {}, {})
        self.assertTrue(AdminPorts.of(default).wanted)
        self.assertFalse(AdminPorts.of(default, fake=True).wanted)
        self.assertTrue(AdminPorts.of(read_settings(Settings, {"ADMIN_PORT": "1"}, {}), fake=True).wanted)

    def test_off(self) -> None:
        self.assertFalse(AdminPorts.of(read_settings(Settings, {"ADMIN_PORT": "0"}, {})).wanted)

    def test_tls_alone(self) -> None:
        settings = read_settings(Settings, {"ADMIN_PORT": "0", "ADMIN_TLS_PORT": "2"}, {})
        ports = AdminPorts.of(settings)
        self.assertEqual((ports.wanted, ports.plain, ports.secure), (True, 0, 2))

    def test_each_worker_at_ports_of_its_own(self) -> None:
        settings = read_settings(Settings, {"ADMIN_PORT": "10", "ADMIN_TLS_PORT": "20"}, {})
        ports = [AdminPorts.of(settings, worker=worker) for worker in (None, 0, 1)]
        self.assertEqual([(each.plain, each.secure) for each in ports], [(10, 20), (10, 20), (11, 21)])
        off = read_settings(Settings, {"ADMIN_PORT": "0", "ADMIN_TLS_PORT": "0"}, {})
        self.assertFalse(AdminPorts.of(off, worker=1).wanted)
