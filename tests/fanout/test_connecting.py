"""Why a connection could not be made, in words."""

from __future__ import annotations

import unittest

from twisted.internet import error as failures

from fanout.connecting import connect_failure


class TestWords(unittest.TestCase):
    def test_each(self) -> None:
        for error, words in (
            (failures.DNSLookupError("x.invalid"), "no such host"),
            (failures.ConnectionRefusedError(), "nothing listens there (connection refused)"),
            (failures.TimeoutError(), "no answer within 2.5 s"),
            (failures.ConnectError(osError=OSError(113, "No route to host")), "No route to host"),
            (ValueError("odd"), "odd"),
            (KeyError(), "KeyError"),
        ):
            self.assertEqual(connect_failure(error, 2.5), words)
