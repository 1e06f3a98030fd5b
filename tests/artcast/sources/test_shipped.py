"""Each shipped source as a program, and what it computes."""

from __future__ import annotations

import tempfile
import threading
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from artcast.sources import manual, maunaloa, poverty
from tests.artcast import test_source

TABLE = """# --------------------------------------------------------------------
# Data from NOAA. Columns: year, month, day, decimal date, ppm
year,month,day,decimal,ppm
1974,5,19,1974.3781,333.46
2026,11,18,2026.8807,427.11

2026,11,19,2026.8835,-999.99
2026,11,20,2026.8863,427.52
"""
DAYS = [["2026-11-18", 427.11], ["2026-11-20", 427.52]]


class _Table(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(TABLE.encode())

    def log_message(self, *_: object) -> None:
        pass


class Programs(test_source.Case):
    def test_tick_counts_from_0(self) -> None:
        self.start("-m", "artcast.sources.tick")
        self.assertEqual([self.heard(), self.heard()], [["test/tick", 0], ["test/tick", 1]])

    def test_now_is_utc(self) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        self.start("-m", "artcast.sources.now")
        key, value = self.heard()
        told = datetime.fromisoformat(value)
        self.assertEqual((key, told.utcoffset()), ("test/now", timedelta()))
        self.assertLessEqual(before, told)
        self.assertLessEqual(told, datetime.now(UTC))

    def test_poverty(self) -> None:
        self.start("-m", "artcast.sources.poverty")
        key, value = self.heard()
        self.assertEqual(key, "poverty/death/UTC-0700")
        self.assertLess(abs(value - poverty.deaths(datetime.now(UTC))), 100)

    def test_manual_sends_a_key_and_a_value(self) -> None:
        for text, value in (("42", 42), ('"42"', "42"), ("rain again", "rain again"), ("[1, null]", [1, None])):
            process = self.start("-m", "artcast.sources.manual", "weather/here", text)
            self.assertEqual(self.heard(), ["weather/here", value])
            self.assertEqual(process.wait(test_source.SECONDS), 0)
        self.start("-m", "artcast.sources.manual", "k", "1", "--description", "what it is")
        facts = {"description": "what it is", "provenance": "by hand", "license": None}
        self.assertEqual(self.heard(self.receivers.registration), ["k", facts])

    def test_co2_reads_a_file_or_a_url(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file = Path(folder.name, "co2.csv")
        file.write_text(TABLE)
        server = HTTPServer(("127.0.0.1", 0), _Table)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        for feed in (str(file), f"http://127.0.0.1:{server.server_port}/co2_daily_mlo.csv"):
            process = self.start("-m", "artcast.sources.maunaloa", "--feed", feed, "--days", "2")
            self.assertEqual(self.heard(), ["co2/maunaloa", DAYS])
            process.terminate()
            self.assertEqual(process.wait(test_source.SECONDS), 0)

    def test_co2_says_what_is_wrong_and_waits_for_better_times(self) -> None:
        process = self.start("-m", "artcast.sources.maunaloa", "--feed", "/nowhere/at/all.csv")
        assert process.stderr is not None
        self.assertIn("cannot read /nowhere/at/all.csv: ", process.stderr.readline())
        self.assertIsNone(process.poll())


class Computed(test_source.unittest.TestCase):
    def test_deaths_begin_anew_at_midnight_in_their_zone(self) -> None:
        here = timezone(timedelta(hours=-7))
        self.assertEqual(poverty.deaths(datetime(2026, 11, 21, 0, 0, tzinfo=here)), 0)
        self.assertEqual(poverty.deaths(datetime(2026, 11, 21, 7, 0, tzinfo=UTC)), 0)
        day = poverty.deaths(datetime(2026, 11, 21, 6, 59, 59, tzinfo=UTC))
        self.assertAlmostEqual(day, 18_000_000 / 365, delta=2)

    def test_a_table_without_lines_or_with_wrong_ones_is_an_error_in_words(self) -> None:
        for text in ("", "<html>gone</html>", "2026,13,41,x,400", "2026,1,1,x,many"):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "table")
                path.write_text(text)
                with self.assertRaisesRegex(maunaloa.FeedError, "cannot read"):
                    maunaloa.read(str(path), 3)

    def test_as_much_as_is_ever_sent_fits_a_datagram(self) -> None:
        rows = [["2026-12-31", 1234.56]] * 100
        self.assertLess(len(str(["co2/maunaloa", rows])), 4096)

    def test_what_was_meant(self) -> None:
        self.assertEqual([manual.value_of(text) for text in ("1.5", "true", "a b", "")], [1.5, True, "a b", ""])
