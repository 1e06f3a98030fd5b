"""The spool on a real disk: crashes at every octet, a full disk, two processes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from structlog.testing import capture_logs
from twisted.trial import unittest

from radiovis.watchdog import spool as spool_module
from radiovis.watchdog.spool import Spool, SpoolError
from radiovis.watchdog.spool_cursor import Cursor, ListenAddress
from radiovis.watchdog.spool_line import sealed, unsealed
from radiovis.watchdog.spool_segments import Spooled

ROOT = Path(__file__).parent.parent.parent.parent
SEGMENT = 300  # Octets; a handful of records.


def records(spooled: list[Spooled]) -> list[bytes | None]:
    return [each.record for each in spooled]


class _SpoolCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "spool"

    def open(self, max_bytes: int = 10**6) -> Spool:
        spool = Spool(self.folder, max_bytes=max_bytes, segment_bytes=SEGMENT)
        spool.open()
        self.addCleanup(spool.close)
        return spool

    def filled(self, count: int, begin: int = 0) -> Spool:
        spool = self.open()
        for number in range(begin, begin + count):
            spool.append([b"record %d" % number])
        return spool

    def segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.spool"))

    def send(self, spool: Spool, count: int) -> list[bytes | None]:
        sent = spool.read(count)
        for each in sent:
            spool.advance(each.end)
        return records(sent)


class TestLine(unittest.TestCase):
    def test_there_and_back(self) -> None:
        for record in (b"", b"x", b'["a","\xc3\xa9"]', bytes(range(11, 256))):
            self.assertEqual(unsealed(sealed(record)), record)

    def test_a_line_of_any_other_length_is_none(self) -> None:
        line = sealed(b"some record")
        for length in range(len(line)):
            self.assertIsNone(unsealed(line[:length]), length)
        self.assertIsNone(unsealed(line + b"\n"))

    def test_a_changed_octet_is_found(self) -> None:
        line = sealed(b"some record")
        for index in range(len(line)):
            changed = bytes([*line[:index], line[index] ^ 1, *line[index + 1 :]])
            self.assertIsNone(unsealed(changed), index)

    def test_a_record_is_one_line(self) -> None:
        self.assertRaises(ValueError, sealed, b"a\nb")


class TestQueue(_SpoolCase):
    def test_records_come_out_in_order_over_many_files(self) -> None:
        spool = self.filled(100)
        self.assertGreater(len(self.segments()), 5)
        self.assertEqual(spool.waiting, 100)
        out: list[bytes | None] = []
        while some := self.send(spool, 7):
            out += some
        self.assertEqual(out, [b"record %d" % number for number in range(100)])
        self.assertEqual(spool.waiting, 0)

    def test_what_was_sent_frees_its_files(self) -> None:
        spool = self.filled(100)
        before = spool.octets
        self.send(spool, 90)
        self.assertLess(spool.octets, before / 4)
        self.assertEqual(spool.octets, sum(path.stat().st_size for path in self.segments()))
        self.send(spool, 10)
        self.assertEqual(len(self.segments()), 1)

    def test_what_is_read_is_not_given_again_but_after_a_rewind(self) -> None:
        spool = self.filled(4)
        first = spool.read(2)
        self.assertEqual(records(spool.read(1)), [b"record 2"])
        spool.advance(first[0].end)
        spool.rewind()
        self.assertEqual(records(spool.read(9)), [b"record 1", b"record 2", b"record 3"])

    def test_reading_goes_on_where_writing_does(self) -> None:
        spool = self.open()
        for number in range(50):
            self.assertEqual(spool.read(5), [])
            spool.append([b"%d" % number])
            self.assertEqual(self.send(spool, 5), [b"%d" % number])

    def test_a_read_has_a_size(self) -> None:
        spool = self.open()
        spool.append([b"x" * 100] * 5)
        self.assertEqual(len(spool.read(5, octets=150)), 2)

    def test_a_restart_goes_on_exactly_where_it_was(self) -> None:
        for count in (0, 1, 13, 49, 50):
            spool = self.filled(50)
            self.assertEqual(len(self.send(spool, count)), count)
            spool.close()
            spool = self.open()
            self.assertEqual(spool.waiting, 50 - count)
            self.assertEqual(self.send(spool, 99), [b"record %d" % number for number in range(count, 50)])
            spool.append([b"one more"])
            self.assertEqual(self.send(spool, 99), [b"one more"])
            spool.close()
            for path in self.folder.glob("*"):
                path.unlink()

    def test_recent_are_the_last_ones_also_when_sent(self) -> None:
        spool = self.filled(30)
        self.send(spool, 30)
        spool.close()
        recent = list(self.open().recent())
        self.assertEqual(recent, [b"record %d" % number for number in range(30 - len(recent), 30)])
        self.assertGreater(len(recent), 3)


class TestCrash(_SpoolCase):
    def test_cut_at_every_octet_of_the_last_record(self) -> None:
        self.filled(3).close()
        (segment,) = self.segments()
        whole = segment.read_bytes()
        line = len(sealed(b"record 2"))
        for length in range(len(whole) - line, len(whole)):
            segment.write_bytes(whole[:length])
            with capture_logs() as logs:
                spool = self.open()
            self.assertEqual([each["event"] for each in logs], ["spool.cut"] if length > len(whole) - line else [])
            spool.append([b"after"])
            self.assertEqual(records(spool.read(9)), [b"record 0", b"record 1", b"after"], length)
            self.assertEqual(spool.waiting, 3)
            spool.close()

    def test_octets_that_never_reached_the_disk(self) -> None:
        self.filled(3).close()
        (segment,) = self.segments()
        whole = segment.read_bytes()
        segment.write_bytes(whole[:-10] + b"\0" * 10)
        with capture_logs():
            spool = self.open()
        self.assertEqual(records(spool.read(9)), [b"record 0", b"record 1"])

    def test_damage_in_the_middle_costs_one_record(self) -> None:
        self.filled(30).close()
        segment = self.segments()[1]
        lines = segment.read_bytes().splitlines(keepends=True)
        lines[1] = b"?" + lines[1][1:]
        segment.write_bytes(b"".join(lines))
        out = self.send(self.open(), 99)
        self.assertEqual((len(out), out.count(None)), (30, 1))
        self.assertEqual([each for each in out if each], [b"record %d" % n for n in range(30) if out[n]])

    def test_a_lost_cursor_sends_again_and_says_so(self) -> None:
        for damage in (b"", b"garbage"):
            spool = self.filled(5)
            self.send(spool, 3)
            spool.close()
            (self.folder / "cursor").write_bytes(damage)
            with capture_logs() as logs:
                spool = self.open()
            self.assertEqual([each["event"] for each in logs], ["spool.cursor_lost"])
            self.assertEqual(len(self.send(spool, 99)), 5)
            spool.close()
            for path in self.folder.glob("*"):
                path.unlink()

    def test_a_cursor_beyond_the_end_is_the_end(self) -> None:
        self.filled(3).close()
        cursor = Cursor(self.folder / "cursor")
        cursor.write(ListenAddress(1, 10**9))
        cursor.close()
        spool = self.open()
        spool.append([b"new"])
        self.assertEqual(self.send(spool, 9), [b"new"])

    def test_lost_segments_do_not_stop_it(self) -> None:
        spool = self.filled(30)
        self.send(spool, 20)
        spool.close()
        for path in self.segments():
            path.unlink()
        spool = self.open()
        spool.append([b"new"])
        self.assertEqual(self.send(spool, 9), [b"new"])

    def test_killed_while_it_writes_everything_it_promised_is_there(self) -> None:
        script = textwrap.dedent(
            """
            import itertools, sys
            from pathlib import Path
            from radiovis.watchdog.spool import Spool

            spool = Spool(Path(sys.argv[1]), max_bytes=10**8, segment_bytes=20_000)
            spool.open()
            for number in itertools.count():
                spool.append([b"%d a" % number, b"%d b" % number])
                print(number, flush=True)
            """
        )
        process = subprocess.Popen([sys.executable, "-c", script, str(self.folder)], cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout
        with process.stdout:
            for _ in range(300):
                process.stdout.readline()
            process.kill()
            process.wait()
            promised = 300 + process.stdout.read().count(b"\n")
        spool, kept = self.open(), []
        while some := self.send(spool, 1000):
            kept += some
        self.assertEqual(kept, [b"%d %b" % (i // 2, b"ab"[i % 2 : i % 2 + 1]) for i in range(len(kept))])
        self.assertGreaterEqual(len(kept), 2 * promised)


class TestFull(_SpoolCase):
    def test_full_is_said_and_sending_makes_room(self) -> None:
        spool = self.open(max_bytes=2000)
        taken = 0
        with self.assertRaises(SpoolError) as raised:
            while True:
                spool.append([b"record %04d" % taken])
                taken += 1
        self.assertRegex(str(raised.exception), r"spool /.* is full: \d+ octets of 2000 wait")
        self.assertEqual(spool.waiting, taken)
        self.assertLessEqual(sum(path.stat().st_size for path in self.segments()), 2000)
        self.send(spool, taken // 2)
        spool.append([b"more"])
        rest = self.send(spool, 999)
        self.assertEqual(rest, [*(b"record %04d" % n for n in range(taken // 2, taken)), b"more"])

    def test_a_batch_that_does_not_fit_leaves_nothing(self) -> None:
        spool = self.open(max_bytes=2000)
        self.assertRaises(SpoolError, spool.append, [b"small", b"x" * 3000])
        self.assertEqual((spool.waiting, spool.octets, spool.read(9)), (0, 0, []))

    def test_a_full_disk_at_any_octet_spoils_nothing(self) -> None:
        # A limit on file sizes is the full disk every user may have; it holds for a whole process.
        script = textwrap.dedent(
            """
            import resource, signal, sys
            from pathlib import Path
            from radiovis.watchdog.spool import Spool, SpoolError

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            spool = Spool(Path(sys.argv[1]), max_bytes=10**6, segment_bytes=10**5)
            spool.open()
            spool.append([b"record 0"])
            for room in range(18, 36):
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
                try:
                    spool.append([b"record 1"])
                except SpoolError as error:
                    print(error)
                else:
                    break
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            spool.append([b"record 2"])
            print([each.record for each in spool.read(9)], spool.waiting)
            """
        )
        command = [sys.executable, "-c", script, str(self.folder)]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stderr, "")
        *errors, result = done.stdout.splitlines()
        self.assertEqual(len(errors), 18)
        self.assertEqual({error.partition("cannot be written: ")[2] for error in errors}, {os.strerror(errno.EFBIG)})
        self.assertEqual(result, "[b'record 0', b'record 2'] 2")
        self.assertEqual(records(self.open().read(9)), [b"record 0", b"record 2"])

    def test_an_fsync_that_fails_is_no_promise(self) -> None:
        spool = self.filled(2)

        def broken(file: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        mended = self.patch(spool_module.os, "fsync", broken)
        error = self.assertRaises(SpoolError, spool.append, [b"unsafe"])
        self.assertIn("Input/output error", str(error))
        self.assertEqual(spool.waiting, 2)
        mended.restore()
        spool.append([b"safe"])
        self.assertEqual(records(spool.read(9)), [b"record 0", b"record 1", b"safe"])
        spool.close()
        self.assertEqual(len(list(self.open().recent())), 3)

    def test_a_cursor_that_cannot_be_written_is_said_and_nothing_is_given_twice(self) -> None:
        spool = self.filled(3)
        first, second, _ = spool.read(9)

        def broken(file: int, octets: bytes, offset: int) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        mended = self.patch(os, "pwrite", broken)
        self.assertIn("cannot note", str(self.assertRaises(SpoolError, spool.advance, first.end)))
        mended.restore()
        spool.rewind()
        self.assertEqual(records(spool.read(1)), [b"record 1"])
        spool.advance(second.end)
        spool.close()
        self.assertEqual(self.open().waiting, 1)

    def test_refused_records_are_kept_up_to_a_size(self) -> None:
        spool = self.open()
        self.patch(spool_module, "REFUSED_BYTES", 100)
        self.assertEqual([spool.set_aside(b"x" * 40) for _ in range(4)], [True, True, False, False])
        self.assertEqual((self.folder / "refused").read_bytes(), (b"x" * 40 + b"\n") * 2)


class TestFolder(_SpoolCase):
    def test_one_process_at_a_time(self) -> None:
        spool = self.filled(3)
        other = Spool(self.folder)
        self.assertIn("used by another process", str(self.assertRaises(SpoolError, other.open)))
        spool.close()
        other.open()
        self.addCleanup(other.close)
        self.assertEqual(other.waiting, 3)

    def test_a_killed_process_lets_go(self) -> None:
        script = (
            "import sys; from pathlib import Path; from radiovis.watchdog.spool import Spool;"
            "s = Spool(Path(sys.argv[1])); s.open(); s.append([b'left']); print('open', flush=True); sys.stdin.read()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(self.folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin
        assert process.stdout
        with process.stdin, process.stdout:
            self.assertEqual(process.stdout.readline(), b"open\n")
            self.assertRaises(SpoolError, Spool(self.folder).open)
            process.kill()
            process.wait()
        self.assertEqual(records(self.open().read(9)), [b"left"])

    def test_a_folder_that_cannot_be_made_is_said_and_may_appear(self) -> None:
        self.folder = self.folder / "deeper"
        spool = Spool(self.folder)
        self.assertRegex(str(self.assertRaises(SpoolError, spool.open)), "cannot be opened: No such file or directory")
        self.folder.parent.mkdir()
        spool.open()
        spool.close()

    def test_nobody_else_may_read_it(self) -> None:
        self.open()
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
