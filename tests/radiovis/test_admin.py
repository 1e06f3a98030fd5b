from __future__ import annotations

import socket

from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.trial import unittest

from fanout.settings import read_settings
from radiovis.admin import Admin
from radiovis.admin_ports import AdminPorts
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
