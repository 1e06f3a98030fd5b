from __future__ import annotations

import sys
from types import ModuleType
from typing import Any
from unittest import mock

from twisted.trial import unittest

from fanout.application.guests import Host, invite
from fanout.bus.loopback import Loopback
from fanout.hub.hub import Hub
from fanout.settings import SettingsError

HOST = Host(None, Hub(lambda *_: None), Loopback(), {})


class Invitations(unittest.TestCase):
    def package(self, name: str, **functions: Any) -> None:
        """An application that can be imported."""
        modules = {name: ModuleType(name), f"{name}.guest": ModuleType(f"{name}.guest")}
        for function, value in functions.items():
            setattr(modules[f"{name}.guest"], function, value)
        patched = mock.patch.dict(sys.modules, modules)
        patched.start()
        self.addCleanup(patched.stop)

    def test_each_is_made_with_the_host_in_the_order_of_their_names(self) -> None:
        self.package("one", guest=lambda host: ("one", host))
        self.package("two", guest=lambda host: ("two", host))
        self.assertEqual(invite(" two, one,", HOST), [("two", HOST), ("one", HOST)])

    def test_no_names_are_no_guests(self) -> None:
        self.assertEqual(invite("", HOST), [])

    def test_an_application_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(SettingsError, "no application 'nowhere'"):
            invite("nowhere", HOST)

    def test_a_package_that_is_no_application(self) -> None:
        with self.assertRaisesRegex(SettingsError, "no application 'json'"):
            invite("json", HOST)
