"""Several spools in one folder, on a real disk: each process has its own, and none is left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

from structlog.testing import capture_logs
from twisted.trial import unittest

from radiovis.watchdog.spool import SpoolInUse
from radiovis.watchdog.spools import MOST, Spools


class TestSpools(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "spool"

    def opened(self, *records: bytes) -> Spools:
        spools = Spools(self.folder)
        spools.open()
        self.addCleanup(spools.close)
        if records:
            spools.append(records)
        return spools

    def send(self, spools: Spools, limit: int = 100) -> list[bytes | None]:
        sent: list[bytes | None] = []
        while found := spools.read(limit):
            for each in found:
                spools.advance(each.end)
                sent.append(each.record)
        return sent

    def test_each_has_its_own(self) -> None:
        first, second = self.opened(b"a"), self.opened(b"b")
        self.assertEqual((self.send(second), self.send(first)), ([b"b"], [b"a"]))
        self.assertTrue((self.folder / "2" / "lock").exists())

    def test_a_place_is_free_again_when_its_process_ends(self) -> None:
        first, second = self.opened(b"a"), self.opened()
        first.close()
        self.assertEqual(self.send(self.opened()), [b"a"])
        self.assertEqual(second.adopt(), [])

    def test_no_more_than_so_many(self) -> None:
        first, *_ = [self.opened() for _ in range(MOST)]
        self.assertIn("end processes that are frozen", str(self.assertRaises(SpoolInUse, self.opened)))
        first.close()
        self.opened()

    def test_what_is_left_behind_is_sent_first_and_its_place_is_free_then(self) -> None:
        former, spools = self.opened(b"a", b"b", b"c"), self.opened(b"d")
        former.advance(former.read(1)[0].end)
        self.assertEqual((spools.adopt(), spools.waiting), ([], 1))  # It lives.
        former.close()
        self.assertEqual((spools.adopt(), spools.waiting), ([b"a", b"b", b"c"], 3))
        self.assertEqual((spools.adopt(), spools.waiting), ([], 3))
        self.assertEqual([each.record for each in spools.read(1)], [b"b"])
        spools.rewind()
        self.assertEqual(self.send(spools, 1), [b"b", b"c", b"d"])
        self.assertEqual(spools.waiting, 0)
        self.assertEqual(self.send(self.opened(b"e")), [b"e"])
        self.assertEqual(sorted(each.name for each in self.folder.iterdir() if each.is_dir()), ["2"])

    def test_a_process_that_ends_leaves_what_it_adopted(self) -> None:
        former, spools = self.opened(b"a"), self.opened(b"b")
        former.close()
        spools.adopt()
        spools.close()
        third = self.opened()
        self.assertEqual(third.adopt(), [b"b"])
        self.assertEqual(self.send(third), [b"b", b"a"])

    def test_a_refused_record_stays_where_it_was_found(self) -> None:
        own, former = self.opened(), self.opened(b"a")
        former.close()
        own.adopt()
        (found,) = own.read(1)
        self.assertTrue(own.set_aside(b"a"))
        own.advance(found.end)
        self.assertEqual((self.folder / "2" / "refused").read_bytes(), b"a\n")

    def test_what_the_disk_does_not_give_back_holds_up_nobody(self) -> None:
        own, former = self.opened(b"a"), self.opened(b"b")
        former.close()
        own.adopt()
        for file in (self.folder / "2").glob("*.spool"):
            file.unlink()
        with capture_logs() as logs:
            self.assertEqual(self.send(own), [b"a"])
            self.assertEqual(own.adopt(), [])
        self.assertEqual([line["event"] for line in logs], ["spool.left_alone"])

    def test_what_cannot_be_opened_holds_up_nobody(self) -> None:
        own, former = self.opened(b"a"), self.opened(b"b")
        former.close()
        (self.folder / "2" / "cursor").unlink()
        (self.folder / "2" / "cursor").mkdir()
        with capture_logs() as logs:
            self.assertEqual(own.adopt() + own.adopt(), [])
        self.assertEqual([line["event"] for line in logs], ["spool.left_alone"])
        self.assertEqual(self.send(own), [b"a"])
