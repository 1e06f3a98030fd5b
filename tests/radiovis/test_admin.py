from __future__ import annotations

import socket

from pydantic import SecretStr
from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.trial import unittest

from fanout.settings import SettingsError, read_settings
from radiovis.admin import Admin, is_wanted
from radiovis.settings import Settings


def admin(settings: Settings) -> Admin:
    return Admin(reactor, settings, "ADMIN_PORT", "server.py", [])


class TestTakenPort(unittest.TestCase):
    def setUp(self) -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        self.port = taken.getsockname()[1]

    def test_a_default_one_is_done_without(self) -> None:
        first = admin(Settings(ADMIN_PORT=self.port))  # As if this were the default: nobody has chosen it.
        self.assertIsNone(first.start())
        return first.stop()

    def test_a_chosen_one_is_not(self) -> None:
        settings = read_settings(Settings, {"ADMIN_PORT": str(self.port)}, {})
        with self.assertRaises(CannotListenError):
            admin(settings).start()


class TestWhoMayAsk(unittest.TestCase):
    def test_others_need_a_token(self) -> None:
        for ip in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
            with self.subTest(ip=ip), self.assertRaisesRegex(SettingsError, "ADMIN_TOKEN"):
                admin(Settings(ADMIN_IP=ip))
            admin(Settings(ADMIN_IP=ip, ADMIN_TOKEN=SecretStr("0123456789abcdef")))

    def test_this_machine_needs_none(self) -> None:
        for ip in ("127.0.0.1", "::1", "localhost"):
            admin(Settings(ADMIN_IP=ip))


class TestIsWanted(unittest.TestCase):
    def test_in_test_mode_only_where_it_is_asked_for(self) -> None:
        default = read_settings(Settings, {}, {})
        self.assertTrue(is_wanted(default, "ADMIN_PORT", fake=False))
        self.assertFalse(is_wanted(default, "ADMIN_PORT", fake=True))
        self.assertTrue(is_wanted(read_settings(Settings, {"ADMIN_PORT": "1"}, {}), "ADMIN_PORT", fake=True))

    def test_off(self) -> None:
        self.assertFalse(is_wanted(read_settings(Settings, {"ADMIN_PORT": "0"}, {}), "ADMIN_PORT", fake=False))
