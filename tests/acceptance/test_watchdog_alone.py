"""The watchdog inside a node by itself, and its journal."""

from __future__ import annotations

import csv
import io
import time
import unittest

from fanout.journal.records import COLUMNS, Ledger, Selection, csv_rows
from radiovis.directory.password import hash_password
from tests.processes import Server
from tests.radio import Frame, Radio

CHANNEL = "/topic/fm/4e1/4000/09580/"
STATIONS = f"""
[[station]]
login = "1.rock"
name = "Rock"
password = "{hash_password("rock")}"
[[station.channel]]
topic = "{CHANNEL}"
text = "This is Rock"
image = "http://rock.example/logo.png"
link = "http://rock.example/"
"""


class TestAlone(unittest.TestCase):
    def setUp(self) -> None:
        settings = {"FB_FALLBACK_TIME": 2, "FB_FALLBACK_CHECK": 0.2, "FB_CHANNEL_CACHE": 1}
        self.server = Server("--standalone", STATIONS_FILE="stations.toml", ADMIN_PORT=0, **settings)
        self.addCleanup(self.server.close)
        (self.server.folder / "stations.toml").write_text(STATIONS)
        self.server.start()

    def test_a_station_that_falls_silent_gets_its_default_and_the_journal_has_all(self) -> None:
        with Radio.connect(self.server.address) as radio, self.station() as station:
            for kind in ("text", "image"):
                radio.subscribe(CHANNEL + kind, fast_reply=False)
            spoke = int(time.time())
            while int(time.time()) < spoke + 4:  # Twice FB_FALLBACK_TIME.
                station.publish(CHANNEL + "text", b"TEXT still here")
                station.publish(CHANNEL + "image", b"SHOW http://rock.example/1.png")
                time.sleep(0.1)
            last = int(time.time())
            live = radio.so_far()[2:]
            self.assertEqual([each for each in live if each.get("expires") == "0"], [])
            default = radio.expect("MESSAGE")
            self.assertEqual(default.get("expires"), "0")
            self.assertTrue(1 <= int(default.get("when") or "") - last <= 4)
            heard = [*live, default, radio.expect("MESSAGE")]
        self.server.terminate()
        self.assertEqual(self.server.faults, [])
        self.assert_journal(heard, spoke)

    def station(self) -> Radio:
        return Radio.connect(self.server.address, "1.rock", "rock", version="1.2")

    def assert_journal(self, heard: list[Frame], since: int) -> None:
        """What was on these topics between these times: as the radio heard it, also as CSV."""
        ledger = Ledger(str(self.server.folder / "radiovis-journal.sqlite"), time.time)
        self.addCleanup(ledger.close)
        for kind in ("text", "image"):
            bodies = [each.body for each in heard if each.get("destination") == CHANNEL + kind]
            records = ledger.between(Selection(CHANNEL + kind, since, 2**40), 1000)
            self.assertIn(bodies, [[each.body for each in records][start:][: len(bodies)] for start in range(4)])
            self.assertEqual(ledger.between(Selection(CHANNEL + kind, 0, since - 60)), [])
            rows = list(csv.reader(io.StringIO(csv_rows(records).decode(), newline="")))
            self.assertEqual([row[COLUMNS.index("body")].encode() for row in rows], [each.body for each in records])
