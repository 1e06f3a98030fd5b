from __future__ import annotations

from twisted.trial import unittest

from fanout.stomp_server.stomp_server import StompServerSettings


class SettingsThatDoNotFitTogether(unittest.TestCase):
    def test_the_defaults_do(self) -> None:
        self.assertEqual(StompServerSettings().warnings(), ())

    def test_an_outbox_smaller_than_a_frame(self) -> None:
        [told] = StompServerSettings(OUTBOX_BYTES=65_536).warnings()
        self.assertIn("OUTBOX_BYTES = 65536 is less than MAX_FRAME_BYTES = 262144", told)

    def test_all_outboxes_smaller_than_one(self) -> None:
        [told] = StompServerSettings(OUTBOX_TOTAL_BYTES=524_288).warnings()
        self.assertIn("OUTBOX_TOTAL_BYTES = 524288 is less than OUTBOX_BYTES = 1048576", told)

    def test_both(self) -> None:
        told = StompServerSettings(OUTBOX_BYTES=131_072, OUTBOX_TOTAL_BYTES=65_536).warnings()
        self.assertEqual([each.split()[0] for each in told], ["OUTBOX_BYTES", "OUTBOX_TOTAL_BYTES"])
