"""The journal's records: real SQLite, real damage."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs
from twisted.trial import unittest

from fanout.hub.message import Origin
from fanout.journal import records as ledger
from fanout.journal import sqlite
from fanout.journal.records import JournalError, Ledger, Record, Selection
from fanout.journal.sqlite import DAMAGED_KEPT, PRIVATE

ROOT = Path(__file__).parents[3]
TEXT, IMAGE = "/topic/fm/4e1/4000/09580/text", "/topic/fm/4e1/4000/09580/image"
OTHER = "/topic/fm/4e1/4000/*/text"
EVERYTHING = Selection("", 0, 2**40, prefix=True)
HEADERS = (("message-id", "3aa7"), ("when", "1000"), ("link", "http://l/?a=1&b=é"))


def record(topic: str = TEXT, timestamp: int = 1000, body: bytes = b"TEXT x", serial: str = "") -> Record:
    return Record(topic, body, HEADERS, timestamp, serial)


def bodies(records: list[Record]) -> list[bytes]:
    return [each.body for each in records]


class _LedgerCase(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 1_795_294_643.7
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "journal.sqlite"
        self.ledger = self.open()

    def open(self, **limits: int) -> Ledger:
        ledger = Ledger(str(self.path), lambda: self.now, **limits)
        self.addCleanup(ledger.close)
        return ledger

    def files(self, pattern: str) -> list[str]:
        return sorted(path.name for path in self.folder.glob(pattern))


class TestRecords(_LedgerCase):
    def test_a_record_comes_back_as_it_went_in(self) -> None:
        every_octet = bytes(range(256))
        self.ledger.add([record(body=every_octet, serial="s1"), Record("/t", b"", (), 2000)])
        first, second = self.ledger.between(EVERYTHING)
        self.assertEqual(first, Record(TEXT, every_octet, HEADERS, 1000, "s1", 1))
        self.assertEqual(second, Record("/t", b"", (), 2000, "", 2))

    def test_they_are_there_in_another_process(self) -> None:
        self.ledger.add([record()])
        with closing(sqlite3.connect(self.path)) as db:
            self.assertEqual(db.execute("SELECT topic, body FROM records").fetchall(), [(TEXT, b"TEXT x")])

    def test_half_characters_fail_no_batch(self) -> None:
        odd = Record("/t\udcff", b"odd", (("n\udcff", "v\ud800"),), 1000, "\udcff")
        self.ledger.add([odd, record(body=b"good")])
        kept = self.ledger.between(EVERYTHING)
        self.assertEqual(bodies(kept), [b"odd", b"good"])
        self.assertEqual((kept[0].topic, kept[0].headers), ("/t\\udcff", odd.headers))
        self.assertEqual(bodies(self.ledger.between(Selection(odd.topic, 0, 9999))), [b"odd"])
        self.assertEqual(self.ledger.last_alive([odd.topic]), {odd.topic: 1000})

    def test_a_second_copy_is_left_out_and_its_neighbours_are_not(self) -> None:
        self.ledger.add([record(serial="a", body=b"1"), record(serial="a", body=b"copy")])
        self.ledger.add([record(serial="a", body=b"copy"), record(serial="b", body=b"2")])
        self.assertEqual(bodies(self.ledger.between(EVERYTHING)), [b"1", b"2"])

    def test_without_a_serial_nothing_is_a_copy(self) -> None:
        self.ledger.add([record(), record()])
        self.ledger.add([record()])
        self.assertEqual(len(self.ledger.between(EVERYTHING)), 3)

    def test_a_batch_is_kept_as_a_whole_or_not_at_all(self) -> None:
        with self.assertRaises(OverflowError):
            self.ledger.add([record(), record(timestamp=2**63)])
        self.assertEqual(self.ledger.between(EVERYTHING), [])
        self.ledger.add([record()])
        self.assertEqual(len(self.ledger.between(EVERYTHING)), 1)

    def modes(self) -> set[str]:
        return {f"{stat.S_IMODE(file.stat().st_mode):o}" for file in self.folder.iterdir()}

    def test_only_its_owner_reads_its_files(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.ledger.add([record()])
        self.assertEqual(self.files("*"), ["journal.sqlite", "journal.sqlite-shm", "journal.sqlite-wal"])
        self.assertEqual(self.modes(), {"600"})

    def test_files_that_others_could_read_are_made_private_and_it_is_logged(self) -> None:
        self.ledger.add([record()])
        for file in self.folder.iterdir():
            file.chmod(0o644)
        with capture_logs() as logged:
            self.assertEqual(len(self.open().between(EVERYTHING)), 1)
        self.assertEqual(self.modes(), {"600"})
        made = [(each["file"], each["mode"]) for each in logged if each["event"] == "journal.made_private"]
        self.assertEqual(made, [(f"{self.path}{suffix}", "0644") for suffix in ("", "-wal", "-shm")])

    def test_a_journal_in_memory_leaves_no_file(self) -> None:
        ledger = Ledger("", lambda: self.now)
        ledger.add([record()])
        self.assertEqual(len(ledger.between(EVERYTHING)), 1)
        ledger.close()
        self.assertEqual(self.files("*"), [])


class TestQuestions(_LedgerCase):
    def setUp(self) -> None:
        super().setUp()
        topics = (TEXT, IMAGE, OTHER, TEXT + "/deeper", "/topic/fm/4e1/4000/095801/text")
        self.ledger.add([record(topic, 1000 + i, b"%d%d" % (i, t)) for i in range(4) for t, topic in enumerate(topics)])

    def ask(self, topic: str, start: int = 0, end: int = 2**40, *, prefix: bool = False) -> list[bytes]:
        return bodies(self.ledger.between(Selection(topic, start, end, prefix)))

    def test_one_topic(self) -> None:
        self.assertEqual(self.ask(TEXT), [b"00", b"10", b"20", b"30"])
        self.assertEqual(self.ask("/topic/fm/4e1/4000/09580/"), [])

    def test_a_channel_is_not_the_one_whose_name_begins_alike(self) -> None:
        channel = "/topic/fm/4e1/4000/09580/"
        self.assertEqual(self.ask(channel, 1001, 1002, prefix=True), [b"10", b"11", b"13"])

    def test_a_star_is_a_letter(self) -> None:
        self.assertEqual(self.ask("/topic/fm/4e1/4000/*/", prefix=True), [b"02", b"12", b"22", b"32"])
        self.assertEqual(self.ask("/topic/fm/4e1/4000/%", prefix=True), [])

    def test_the_start_is_in_and_the_end_is_out(self) -> None:
        self.assertEqual(self.ask(TEXT, 1001, 1003), [b"10", b"20"])
        self.assertEqual(self.ask(TEXT, 1002, 1002), [])

    def test_pages_are_the_whole_and_nothing_twice(self) -> None:
        for selection in (EVERYTHING, Selection(TEXT, 1001, 1004), Selection(TEXT, 0, 2**40, prefix=True)):
            whole = self.ledger.between(selection)
            paged: list[Record] = []
            while page := self.ledger.between(selection, 3, paged[-1].place if paged else None):
                paged += page
            self.assertEqual(paged, whole)

    def test_order_is_time_and_within_a_second_arrival(self) -> None:
        self.ledger.add([record("/o", 5, b"late"), record("/o", 4, b"a"), record("/o", 4, b"b")])
        self.assertEqual(self.ask("/o"), [b"a", b"b", b"late"])

    def test_a_page_of_large_records_is_short(self) -> None:
        self.ledger.add([record("/large", body=b"x" * 2**20) for _ in range(10)])
        page = self.ledger.between(Selection("/large", 0, 2**40))
        self.assertEqual(len(page), 4)
        self.assertEqual(len(self.ledger.between(Selection("/large", 0, 2**40), after=page[-1].place)), 4)

    def test_last_alive(self) -> None:
        self.ledger.add([record(TEXT, 500, b"late comer")])
        self.assertEqual(self.ledger.last_alive([TEXT, IMAGE, "/none"]), {TEXT: 1003, IMAGE: 1003})
        self.assertEqual(self.ledger.last_alive([]), {})

    def test_questions_use_the_indexes(self) -> None:
        # Costs that grow with the whole journal would stop the watchdog's writes for a page.
        with closing(sqlite3.connect(self.path)) as db:
            exact, prefix = Selection(TEXT, 0, 9), Selection(TEXT, 0, 9, prefix=True)
            owned = Selection("", 0, 9, prefix=True, owner="1", login="1.a")
            by_owner, oldest = "SEARCH records USING INDEX records_by_owner (owner=? AND", ledger._DROP_OLDEST
            for statement, arguments, index in (
                (
                    exact.query("*"),
                    exact.arguments(None, 9),
                    "SEARCH records USING INDEX records_by_topic (topic=? AND",
                ),
                (prefix.query("*"), prefix.arguments(None, 9), "SEARCH records USING INDEX records_by_time ("),
                (owned.query("*"), owned.arguments(None, 9), by_owner),
                (oldest, ("1", 9), "SEARCH records USING COVERING INDEX records_by_owner (owner=?)"),
                (ledger._LAST, (TEXT,), "SEARCH records USING COVERING INDEX records_by_topic (topic=?)"),
                (ledger._DROP_BEFORE, (5, 9), "SEARCH records USING COVERING INDEX records_by_time (timestamp<?)"),
            ):
                plan = [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + statement, arguments)]
                self.assertTrue(any(index in step for step in plan), plan)
                self.assertFalse(any("TEMP B-TREE" in step for step in plan), plan)


class TestRetention(_LedgerCase):
    def test_drop_takes_the_older_ones_in_steps(self) -> None:
        self.ledger.add([record(timestamp=1000 + i) for i in range(10)])
        self.assertEqual([self.ledger.drop(1005, 3) for _ in range(3)], [3, 2, 0])
        self.assertEqual([each.timestamp for each in self.ledger.between(EVERYTHING)], [1005, 1006, 1007, 1008, 1009])

    def test_beyond_its_size_the_oldest_go(self) -> None:
        limit = 2**20
        ledger = self.open(max_bytes=limit)
        for i in range(100):
            ledger.add([record(timestamp=i * 10 + k, body=b"%d" % i * 500) for k in range(10)])
        self.assertLess(self.path.stat().st_size, limit + 200_000)
        kept = [each.timestamp for each in ledger.between(EVERYTHING)]
        self.assertEqual(kept, list(range(1000 - len(kept), 1000)), "the newest, without a gap")
        self.assertGreater(len(kept), 200)

    def test_a_lowered_limit_gives_the_disk_back(self) -> None:
        self.ledger.add([record(body=b"x" * 1000) for _ in range(3000)])
        self.ledger.close()
        before = self.path.stat().st_size
        ledger = self.open(max_bytes=2**20)
        ledger.add([record(timestamp=5000)])
        ledger.drop(0, 1)
        ledger.close()
        self.assertGreater(before, 3_000_000)
        self.assertLess(self.path.stat().st_size, 2**20 + 100_000)

    def test_a_record_larger_than_the_limit_is_kept_alone(self) -> None:
        ledger = self.open(max_bytes=2**20)
        ledger.add([record()])
        ledger.add([record(timestamp=2000, body=b"x" * 2**21)])
        self.assertEqual([each.timestamp for each in ledger.between(EVERYTHING)], [2000])


class TestDamage(_LedgerCase):
    def aside(self) -> str:
        return f"{self.path.name}.damaged-1795294643"

    def test_a_file_that_is_none_of_ours_is_moved_aside_as_it_is(self) -> None:
        self.path.write_bytes(b"this is no database, whatever its name says\n" * 100)
        with capture_logs() as logs:
            self.ledger.add([record()])
        self.assertEqual(len(self.ledger.between(EVERYTHING)), 1)
        self.assertEqual((self.folder / self.aside()).read_bytes()[:10], b"this is no")
        (line,) = logs
        self.assertEqual((line["event"], line["moved_to"]), ("journal.damaged", str(self.folder / self.aside())))

    def test_damage_found_when_opening_costs_only_what_was_in_the_damaged_pages(self) -> None:
        sent = [b"%03d" % i + b"x" * 3000 for i in range(100)]
        self.ledger.add([record(body=body) for body in sent])
        self.ledger.close()
        with self.path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xaa" * 4096 * 20)
        with capture_logs() as logs:
            kept = bodies(self.ledger.between(EVERYTHING))
        self.assertGreaterEqual(len(kept), 80)
        self.assertEqual(kept, [body for body in sent if body in kept])
        (line,) = logs
        self.assertEqual((line["event"], line["file"], line["kept"]), ("journal.damaged", str(self.path), len(kept)))
        self.assertIn(self.aside(), self.files("*"))
        self.ledger.add([record(timestamp=2000, body=b"new")])
        self.assertEqual(bodies(self.ledger.between(EVERYTHING)), [*kept, b"new"])

    def test_damage_found_while_writing_loses_no_new_record(self) -> None:
        self.ledger.add([record(body=b"x" * 3000) for _ in range(2000)])
        self.ledger.close()
        self.ledger.last_alive([])
        with self.path.open("r+b") as file:  # Under the open connection; its cache holds a quarter of it.
            file.seek(4096)
            file.write(b"\xaa" * (self.path.stat().st_size - 4096))
        with closing(sqlite3.connect(self.path)) as other, self.assertRaises(sqlite3.DatabaseError):
            other.execute("INSERT INTO records VALUES (9999, 't', 1, '', '', '')")
        with capture_logs() as logs:
            self.ledger.add([record(body=b"new")])
        self.assertEqual([line["event"] for line in logs], ["journal.damaged"])
        self.assertEqual(bodies(self.ledger.between(EVERYTHING))[-1], b"new")

    def test_only_some_damaged_files_are_kept(self) -> None:
        for i in range(DAMAGED_KEPT + 3):
            self.now = 1_000_000_000 + i
            self.ledger.close()
            self.path.write_bytes(b"%d no database" % i * 100)
            with capture_logs():
                self.ledger.add([record()])
        kept = {name.partition("-wal")[0].partition("-shm")[0] for name in self.files("*.damaged-*")}
        self.assertEqual(kept, {f"journal.sqlite.damaged-100000000{i}" for i in (3, 4, 5)})

    def test_a_deleted_file_is_made_again(self) -> None:
        self.ledger.add([record()])
        self.ledger.close()
        for name in self.files("*"):
            (self.folder / name).unlink()
        self.ledger.add([record(body=b"after")])
        self.assertEqual(bodies(self.ledger.between(EVERYTHING)), [b"after"])

    def test_cut_off_at_any_length_it_opens_and_takes_records(self) -> None:
        self.ledger.add([record(body=b"x" * 500) for _ in range(50)])
        self.ledger.close()
        whole = self.path.read_bytes()
        for length in (*range(0, 200, 7), *range(200, len(whole), 3001)):
            for name in self.files("*"):
                (self.folder / name).unlink()
            self.path.write_bytes(whole[:length])
            ledger = Ledger(str(self.path), lambda: self.now)
            with capture_logs():
                ledger.add([record(timestamp=9999)])
            self.assertEqual(ledger.last_alive([TEXT]), {TEXT: 9999}, length)
            ledger.close()


PAGE = 4096


class TestSalvage(_LedgerCase):
    """A file of many pages is damaged in many ways. Each record names itself all over its body."""

    def setUp(self) -> None:
        super().setUp()
        for first in range(0, 60, 20):
            self.ledger.add([self.made(number) for number in range(first, first + 20)])
        self.records = self.ledger.between(EVERYTHING)
        self.ledger.close()
        self.whole = self.path.read_bytes()

    def made(self, number: int) -> Record:
        size = 9000 if number % 10 == 3 else 400  # Some records go on in pages of their own.
        return record(f"/topic/{number % 7}", 1000 + number, self.mark(number) * (size // 7), f"serial-{number}")

    def mark(self, number: int) -> bytes:
        return b"<%05d>" % number

    def opened(self, octets: bytes) -> list[Record]:
        """What a journal in this state has, after it has taken a new record."""
        for name in self.files("*"):
            (self.folder / name).unlink()
        self.path.write_bytes(octets)
        self.path.chmod(PRIVATE)
        ledger = Ledger(str(self.path), lambda: self.now)
        try:
            with capture_logs() as self.logs:
                found = ledger.between(EVERYTHING)
                ledger.add([record(timestamp=9999, body=b"new")])
                self.assertEqual(ledger.between(EVERYTHING)[:-1], found)
        finally:
            ledger.close()
        return found

    def assert_kept(self, octets: bytes, touched: Iterable[int]) -> None:
        """All records are there but those that had a part in a touched page, and none is another than it was."""
        pages = [self.whole[(number - 1) * PAGE :][:PAGE] for number in touched]
        may_be_lost = {int(found) for page in pages for found in re.findall(rb"<(\d{5})>", page)}
        found = self.opened(octets)
        kept = {each.timestamp - 1000 for each in found}
        self.assertEqual(found, [each for each in self.records if each.timestamp - 1000 in kept])
        self.assertLessEqual(set(range(60)) - kept, may_be_lost)
        for line in self.logs:
            self.assertEqual((line["event"], line["file"]), ("journal.damaged", str(self.path)))
            self.assertEqual((line["kept"], bool(line["error"])), (len(found), True))

    def test_flipped_bits(self) -> None:
        chance = random.Random(16)
        offsets = [*range(16, 100, 3), *(chance.randrange(len(self.whole)) for _ in range(60))]
        damaged = 0
        for offset in offsets:
            octets = bytearray(self.whole)
            octets[offset] ^= 1 << chance.randrange(8)
            with self.subTest(offset=offset):
                if 60 <= offset < 64:  # The version: it may be that of a later program, and the file is left alone.
                    self.assertIn("later version", str(self.assertRaises(JournalError, self.opened, bytes(octets))))
                    continue
                self.assert_kept(bytes(octets), [offset // PAGE + 1])
                damaged += len(self.logs)
        self.assertGreater(damaged, 30)

    def test_a_flipped_bit_in_any_body_is_found(self) -> None:
        for number in (0, 3, 31, 59):
            offset = self.whole.index(self.mark(number)) + 3
            octets = self.whole[:offset] + bytes([self.whole[offset] ^ 1]) + self.whole[offset + 1 :]
            with self.subTest(number):
                self.assert_kept(octets, [offset // PAGE + 1])
                self.assertEqual((self.logs[0]["kept"], self.logs[0]["unreadable_rows"]), (59, 1))

    def test_pages_of_zeros(self) -> None:
        for number in range(1, len(self.whole) // PAGE + 1):
            octets = bytearray(self.whole)
            octets[(number - 1) * PAGE : number * PAGE] = bytes(PAGE)
            with self.subTest(page=number):
                self.assert_kept(bytes(octets), [number])

    def test_cut_off_at_many_lengths(self) -> None:
        last = len(self.whole) // PAGE
        for length in (0, 50, 99, 100, 4000, *range(PAGE, len(self.whole), 7919)):
            with self.subTest(length=length):
                self.assert_kept(self.whole[:length], range(length // PAGE + 1, last + 1))

    def test_after_a_power_cut_with_some_pages_written_and_some_not(self) -> None:
        before = self.whole
        for first in range(60, 120, 20):
            self.ledger.add([self.made(number) for number in range(first, first + 20)])
        self.records = self.ledger.between(EVERYTHING)
        self.ledger.close()
        after, chance = self.path.read_bytes(), random.Random(16)
        before += bytes(len(after) - len(before))
        for _ in range(12):
            numbers = range(len(after) // PAGE)
            pages = [(chance.choice((before, after))[number * PAGE :][:PAGE]) for number in numbers]
            found = self.opened(b"".join(pages))
            self.assertEqual(found, [each for each in self.records if each in found])
            small = {int(each) for page in pages for each in re.findall(rb"<(\d{5})>", page) if int(each) % 10 != 3}
            self.assertLessEqual(small, {each.timestamp - 1000 for each in found})

    def test_what_only_the_write_ahead_log_has_comes_back_when_the_header_is_lost(self) -> None:
        self.ledger.add([record(timestamp=5000, body=b"in the log only")])
        main, log = self.path.read_bytes(), Path(f"{self.path}-wal").read_bytes()
        self.assertNotIn(b"in the log only", main)
        self.ledger.close()
        for name in self.files("*"):
            (self.folder / name).unlink()
        self.path.write_bytes(bytes(50) + main[50:])
        Path(f"{self.path}-wal").write_bytes(log)
        with capture_logs():
            self.assertEqual(bodies(self.ledger.between(EVERYTHING)), [*bodies(self.records), b"in the log only"])

    def test_a_write_ahead_log_with_a_flipped_bit_is_read_up_to_it(self) -> None:
        for number in range(60, 70):
            self.ledger.add([self.made(number)])
        self.records = self.ledger.between(EVERYTHING)
        main, log = self.path.read_bytes(), Path(f"{self.path}-wal").read_bytes()
        self.ledger.close()
        for offset in range(40, len(log), len(log) // 12):
            for name in self.files("*"):
                (self.folder / name).unlink()
            self.path.write_bytes(main)
            Path(f"{self.path}-wal").write_bytes(log[:offset] + bytes([log[offset] ^ 4]) + log[offset + 1 :])
            found = self.ledger.between(EVERYTHING)
            self.ledger.close()
            self.assertEqual(found, self.records[: len(found)])
            self.assertGreaterEqual(len(found), 60)

    def test_dropped_records_do_not_come_back(self) -> None:
        self.ledger.drop(1050, 1000)
        self.ledger.close()
        octets = bytes(16) + self.path.read_bytes()[16:]
        self.assertEqual(self.opened(octets), self.records[50:])

    def test_a_process_killed_while_it_salvages_begins_again(self) -> None:
        octets = bytes(50) + self.whole[50:]
        self.path.write_bytes(octets)
        Path(f"{self.path}.salvaged").write_bytes(b"half a file")
        with capture_logs():
            self.assertEqual(self.ledger.between(EVERYTHING), self.records)
        self.ledger.close()
        new = self.path.read_bytes()
        for name in self.files("*"):
            (self.folder / name).unlink()
        Path(f"{self.path}.salvaged").write_bytes(new)  # Killed between the two renames.
        self.assertEqual(self.ledger.between(EVERYTHING), self.records)

    def test_the_last_of_each_topic_is_never_a_wrong_one(self) -> None:
        offset = self.whole.index(self.mark(59)) + 3
        self.path.write_bytes(self.whole[:offset] + b"#" + self.whole[offset + 1 :])
        with capture_logs() as logs:
            found = self.ledger.latest(100, 2**20)
        self.assertEqual([line["event"] for line in logs], ["journal.damaged"])
        self.assertEqual([each.timestamp - 1000 for each in found], [52, *range(53, 59)])

    def test_a_check_that_takes_too_long_is_ended_and_logged(self) -> None:
        interrupts: list[Callable[[], None]] = []

        class Due:
            """A timer that is due while rows are read."""

            start = cancel = join = lambda _: None

            def __init__(self, seconds: float, interrupt: Callable[[], None]) -> None:
                interrupts.append(interrupt)

        def is_whole(*_: object) -> bool:
            interrupts[0]()
            return False

        self.patch(sqlite, "Timer", Due)
        self.patch(sqlite.Layout, "is_whole", is_whole)
        with capture_logs() as logs:
            self.assertEqual(self.ledger.between(EVERYTHING), self.records)
        self.assertEqual([line["event"] for line in logs], ["journal.check_unfinished"])


class TestOwners(_LedgerCase):
    """Whom records are accounted to, and who published them."""

    ROCK, JAZZ = Origin("1", "1.rock", "192.0.2.1", "stomp"), Origin("2", "2.jazz", "2001:db8::1", "http")

    def owned(self, origin: Origin | None, **given: Any) -> Record:
        return replace(record(**given), origin=origin)

    def shares(self) -> list[tuple[Any, ...]]:
        """As the triggers have them, which must be what the records themselves say."""
        by_owner = "SELECT owner, sum(250 + length(headers) + length(body)), count(*) FROM records GROUP BY owner"
        with closing(sqlite3.connect(self.path)) as db:
            found = db.execute("SELECT * FROM shares ORDER BY owner").fetchall()
            self.assertEqual(found, db.execute(by_owner).fetchall())
        return found

    def of(self, **selected: str) -> list[Record]:
        return self.ledger.between(replace(EVERYTHING, **selected))

    def test_who_published_is_kept(self) -> None:
        self.ledger.add([self.owned(origin, timestamp=i) for i, origin in enumerate((self.ROCK, self.JAZZ, None))])
        self.assertEqual([each.origin for each in self.ledger.between(EVERYTHING)], [self.ROCK, self.JAZZ, None])
        self.assertEqual([each.origin for each in self.ledger.latest(9, 2**20)], [None])
        self.assertEqual([each.origin for each in self.of(owner="2")], [self.JAZZ])
        self.assertEqual([each.origin for each in self.of(login="1.rock")], [self.ROCK])
        self.assertEqual(self.of(owner="1", login="2.jazz"), [])

    def test_beyond_its_size_the_owner_with_most_loses_its_oldest(self) -> None:
        self.ledger = self.open(max_bytes=2**21)
        self.ledger.add([self.owned(self.ROCK, timestamp=i, body=b"rock") for i in range(100)])
        for number in range(60):
            self.ledger.add([self.owned(self.JAZZ, timestamp=1000 + number, body=b"x" * 200_000)])
        self.assertEqual(len(self.of(owner="1")), 100)
        jazz = [each.timestamp for each in self.of(owner="2")]
        self.assertEqual(jazz, list(range(1060 - len(jazz), 1060)))
        self.assertEqual(self.ledger.displaced, 60 - len(jazz))
        self.assertLess(self.path.stat().st_size, 2**21 + 2**20)
        self.assertEqual([owner for owner, *_ in self.shares()], ["1", "2"])

    def test_the_shares_are_right_after_every_change(self) -> None:
        self.ledger.add([self.owned(self.ROCK, serial="a"), self.owned(self.JAZZ, serial="b", body=b"jazz")])
        self.ledger.add([self.owned(self.ROCK, serial="a"), self.owned(None, timestamp=5)])  # a second copy
        self.assertEqual([(owner, count) for owner, _, count in self.shares()], [(TEXT, 1), ("1", 1), ("2", 1)])
        self.ledger.drop(6, 9)
        self.assertEqual([owner for owner, *_ in self.shares()], ["1", "2"])
        self.ledger.close()
        self.path.write_bytes(bytes(20) + self.path.read_bytes()[20:])
        with capture_logs():
            self.assertEqual([each.origin for each in self.ledger.between(EVERYTHING)], [self.ROCK, self.JAZZ])
        self.assertEqual([owner for owner, *_ in self.shares()], ["1", "2"])

    def test_addresses_are_dropped_in_steps_and_nothing_else(self) -> None:
        self.ledger.add([self.owned(self.ROCK, timestamp=i) for i in range(5)])
        after: tuple[int, int] | None = (0, 0)
        steps = 0
        while after is not None:
            after, steps = self.ledger.drop_addresses(3, after, 2), steps + 1
        self.assertEqual(steps, 3)
        addresses = [each.origin.address for each in self.ledger.between(EVERYTHING) if each.origin]
        self.assertEqual(addresses, ["", "", "", "192.0.2.1", "192.0.2.1"])
        self.ledger.close()
        with capture_logs() as logs:  # The checksums are right.
            self.assertEqual(len(self.of(login="1.rock")), 5)
        self.assertEqual(logs, [])

    def test_a_station_is_deleted_for_good(self) -> None:
        self.ledger.add([self.owned(self.ROCK, body=b"a secret"), self.owned(self.JAZZ)])
        self.assertEqual(self.ledger.drop_selected(replace(EVERYTHING, owner="1"), 9), 1)
        self.ledger.clear_log()
        for file in self.files("journal.sqlite*"):
            self.assertNotIn(b"a secret", (self.folder / file).read_bytes())
        self.assertEqual([each.origin for each in self.ledger.between(EVERYTHING)], [self.JAZZ])

    def test_a_process_beside_leaves_a_damaged_file_alone(self) -> None:
        self.ledger.add([self.owned(self.ROCK)])
        self.ledger.close()
        self.path.write_bytes(bytes(20) + self.path.read_bytes()[20:])
        beside = Ledger(str(self.path), None)
        self.addCleanup(beside.close)
        self.assertRaises(JournalError, beside.drop_selected, EVERYTHING, 9)
        self.assertEqual(self.files("*.damaged-*"), [])


class TestVersions(_LedgerCase):
    OLD = (
        "CREATE TABLE records (number INTEGER PRIMARY KEY, topic TEXT NOT NULL, timestamp INTEGER NOT NULL, serial "
        "TEXT NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL); CREATE INDEX records_by_topic ON records (topic, "
        "timestamp, number); CREATE INDEX records_by_time ON records (timestamp, number, topic); CREATE UNIQUE INDEX "
        "records_by_serial ON records (serial) WHERE serial <> ''; PRAGMA application_id = 0x46414E4A; "
        "PRAGMA user_version = 1"
    )

    def old(self) -> None:
        """A file as version 1 made it."""
        with closing(sqlite3.connect(self.path)) as db, db:
            db.executescript(self.OLD)
            self.path.chmod(PRIVATE)
            rows = [(f"/t/{i}", 1000 + i, "", "[]", b"old %d" % i) for i in range(20)]
            db.executemany("INSERT INTO records (topic, timestamp, serial, headers, body) VALUES (?, ?, ?, ?, ?)", rows)

    def version(self) -> int:
        with closing(sqlite3.connect(self.path)) as db:
            return int(db.execute("PRAGMA user_version").fetchone()[0])

    def test_an_older_file_is_migrated_with_all_its_records(self) -> None:
        self.old()
        with capture_logs() as logs:
            self.ledger.add([record(timestamp=2000, body=b"new")])
        (line,) = logs
        self.assertEqual((line["event"], line["found"], line["now"]), ("journal.migrated", 1, 3))
        expected = [*(b"old %d" % i for i in range(20)), b"new"]
        self.assertEqual(bodies(self.ledger.between(EVERYTHING)), expected)
        self.assertEqual(bodies(self.ledger.latest(100, 2**20)), expected)
        self.ledger.close()
        self.assertEqual(self.version(), 3)

    def test_an_older_file_can_be_read_as_it_is(self) -> None:
        self.old()
        reader = Ledger(str(self.path), lambda: self.now, read_only=True)
        self.addCleanup(reader.close)
        self.assertEqual(len(reader.between(EVERYTHING)), 20)
        self.assertEqual(self.version(), 1)

    def test_a_damaged_older_file_is_salvaged_into_one_of_the_present_version(self) -> None:
        self.old()
        self.path.write_bytes(bytes(20) + self.path.read_bytes()[20:])
        with capture_logs():
            self.assertEqual(bodies(self.ledger.between(EVERYTHING)), [b"old %d" % i for i in range(20)])
        self.ledger.close()
        self.assertEqual(self.version(), 3)

    def test_a_migration_is_done_as_a_whole_or_not_at_all(self) -> None:
        self.old()
        self.patch(ledger, "_CHECKSUMS", "ALTER TABLE records ADD COLUMN checksum INTEGER; DROP TABLE none")
        self.ledger = self.open()
        self.assertIn("no such table: none", str(self.assertRaises(JournalError, self.ledger.add, [record()])))
        self.ledger.close()
        with closing(sqlite3.connect(self.path)) as db:
            self.assertEqual(db.execute("SELECT count(*) FROM pragma_table_info('records')").fetchone(), (6,))
        self.assertEqual((self.version(), self.files("*.damaged-*")), (1, []))

    def test_each_version_is_brought_to_the_present_one(self) -> None:
        """With two invented versions behind the present one."""
        invented = ["CREATE TABLE a (x); CREATE TABLE b (x)", "DROP TABLE a"]
        scripts = [ledger.SCHEMA, ledger._CHECKSUMS, ledger._ORIGINS, *invented]
        for version in range(2, len(scripts) + 1):
            with self.subTest(version):
                path = str(self.folder / f"{version}.sqlite")
                for known in (version, len(scripts)):
                    columns = ledger._COLUMNS if known > 2 else ledger._COLUMNS[:7]
                    layout = sqlite.Layout(
                        7, tuple(scripts[:known]), *ledger._EVENTS, "records", columns, lambda _: True
                    )
                    file = sqlite.SqliteFile(path, layout, lambda _, reason: JournalError(reason))
                    found = file.run(lambda db: sqlite.pragma(db, "user_version"))
                    tables = file.run(
                        lambda db: db.execute("SELECT name FROM sqlite_schema WHERE name < 'c'").fetchall()
                    )
                    file.close()
                    self.assertEqual(found, known)
                self.assertEqual(tables, [("b",)])

    def test_a_later_file_is_refused_with_what_to_do_and_not_changed(self) -> None:
        self.ledger.add([record()])
        self.ledger.close()
        with closing(sqlite3.connect(self.path)) as db:
            db.execute("PRAGMA user_version = 99")
        before = self.path.read_bytes()
        with capture_logs() as logs:
            error = str(self.assertRaises(JournalError, self.ledger.add, [record()]))
        for words in (
            str(self.path),
            "its version is 99",
            "knows up to 3",
            "move the file away",
            "docs/production.md",
        ):
            self.assertIn(words, error)
        self.assertEqual((self.path.read_bytes(), logs, self.files("*.damaged-*")), (before, [], []))


class TestErrors(_LedgerCase):
    def fails(self) -> str:
        return str(self.assertRaises(JournalError, self.ledger.add, [record()]))

    def test_a_folder_that_is_not_there(self) -> None:
        self.path = self.folder / "none" / "journal.sqlite"
        self.ledger = self.open()
        error = self.fails()
        self.assertIn(str(self.path), error)
        self.assertIn("its folder must exist and be writable", error)
        self.path.parent.mkdir()
        self.ledger.add([record()])

    def test_one_that_was_killed_while_it_made_the_file_finds_its_own(self) -> None:
        whole = ledger.SCHEMA
        self.patch(ledger, "SCHEMA", f"{whole.partition(';')[0]}; THE END;")
        self.ledger = self.open()
        self.fails()
        self.ledger.close()
        self.patch(ledger, "SCHEMA", whole)
        self.ledger = self.open()
        self.ledger.add([record()])
        self.assertEqual(bodies(self.ledger.between(EVERYTHING)), [b"TEXT x"])

    def test_another_programs_database_is_left_alone(self) -> None:
        with closing(sqlite3.connect(self.path)) as db:
            db.execute("CREATE TABLE addresses (name TEXT)")
        before = self.path.read_bytes()[100:]
        self.assertIn("another program's database", self.fails())
        self.assertEqual(self.path.read_bytes()[100:], before)
        self.assertEqual(self.files("*.damaged-*"), [])

    def test_a_later_versions_file_is_left_alone(self) -> None:
        self.ledger.add([record()])
        self.ledger.close()
        with closing(sqlite3.connect(self.path)) as db:
            db.execute("PRAGMA user_version = 99")
        self.assertIn("a later version", self.fails())

    def test_a_file_held_by_another_process_is_said_and_works_afterwards(self) -> None:
        self.patch(sqlite, "BUSY", 0.05)
        self.ledger.add([record()])
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            self.ledger.close()
            self.assertIn("another process has locked it", self.fails())
            other.execute("ROLLBACK")
        self.ledger.add([record()])
        self.assertEqual(len(self.ledger.between(EVERYTHING)), 2)

    def test_a_full_disk_is_said_and_spoils_nothing(self) -> None:
        # A limit on file sizes is the full disk every user may have; it holds for a whole process.
        script = textwrap.dedent(
            """
            import resource, signal, sys, time
            from fanout.journal.records import JournalError, Ledger, Record

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            ledger, kept = Ledger(sys.argv[1], time.time), 0
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            try:
                while kept < 100_000:
                    ledger.add([Record("/t", b"x" * 1000, (), kept)])
                    kept += 1
            except JournalError as error:
                print(kept, error)
            """
        )
        command = [sys.executable, "-c", script, str(self.path)]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stderr, "")
        count, _, error = done.stdout.partition(" ")
        self.assertRegex(error, "^cannot write .*journal.sqlite: (database or disk is full|disk I/O error)")
        self.assertGreater(int(count), 5)
        self.assertEqual([each.timestamp for each in self.ledger.between(EVERYTHING)], list(range(int(count))))
        self.ledger.add([record(timestamp=10**6)])
        self.assertEqual(self.files("*.damaged-*"), [])

    def test_killed_while_it_writes_everything_it_promised_is_there(self) -> None:
        script = textwrap.dedent(
            """
            import itertools, sys, time
            from fanout.journal.records import Ledger, Record

            ledger = Ledger(sys.argv[1], time.time)
            for number in itertools.count():
                ledger.add([Record("/t", b"x" * 2000, (), number)])
                print(number, flush=True)
            """
        )
        process = subprocess.Popen([sys.executable, "-c", script, str(self.path)], cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout
        with process.stdout:
            for _ in range(200):
                process.stdout.readline()
            process.kill()
            process.wait()
            promised = 199 + process.stdout.read().count(b"\n")
        kept: list[Record] = []
        while page := self.ledger.between(EVERYTHING, after=kept[-1].place if kept else None):
            kept += page
        self.assertEqual([each.timestamp for each in kept], list(range(len(kept))))
        self.assertGreater(len(kept), promised)

    def test_an_unwritable_folder(self) -> None:
        if os.geteuid() == 0:
            raise unittest.SkipTest("root may write everywhere")
        self.folder.chmod(0o500)
        self.addCleanup(self.folder.chmod, 0o700)
        self.assertIn("writable", self.fails())
