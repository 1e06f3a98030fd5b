"""Backups and the way back to an older version, by the commands of docs/production.md."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tempfile
import time
import unittest
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from fanout.hub.message import Message, Origin
from fanout.journal.records import SCHEMA, Ledger, Record, Selection
from radiovis.directory.password import hash_password
from radiovis.schedule.disk_store import Adding, Rows
from tests.acceptance.command_case import objects
from tests.acceptance.test_docs_commands import commands
from tests.acceptance.watched import until
from tests.processes import Server
from tests.radio import Radio
from tests.radiovis.commands.calling import call

TOPIC = "/topic/rock/text"
EVERYTHING = Selection("", 0, 2**40, prefix=True)
STATIONS = f"""
[[station]]
name = "Rock"
login = "1.rock"
password = "{hash_password("rock")}"
[[station.channel]]
topic = "/topic/rock/"
"""


def documented(words: str) -> str:
    """The one command of the page with these words."""
    (command,) = (each for each in commands("docs/production.md") if words in each)
    return command


class Journal(unittest.TestCase):
    def node(self) -> Server:
        """A node by itself, not yet started; its journal lies in its folder."""
        server = Server(STANDALONE=True, STATIONS_FILE="stations.toml")
        self.addCleanup(server.close)
        (server.folder / "stations.toml").write_text(STATIONS)
        return server

    def station(self, server: Server) -> Radio:
        station = Radio.connect(server.address, "1.rock", "rock", version="1.2")
        self.addCleanup(station.close)
        return station

    def bodies(self, file: Path) -> list[str]:
        return [each["body"] for each in objects(call("logs", TOPIC, "--json", "--file", str(file)))]

    def test_taken_while_the_node_writes_and_put_into_another(self) -> None:
        server = self.node().start()
        station, journal = self.station(server), server.folder / "radiovis-journal.sqlite"
        sent = [f"TEXT {number}" for number in range(200)]
        for text in sent:
            station.publish(TOPIC, text.encode())
        until(lambda: self.bodies(journal) == sent, "in the journal")
        with subprocess.Popen(documented(".backup copy.sqlite"), shell=True, cwd=server.folder) as backup:
            while backup.poll() is None:
                station.publish(TOPIC, b"TEXT meanwhile")
        self.assertEqual(backup.returncode, 0)
        server.kill()
        restored = self.node()
        copy = restored.folder / "radiovis-journal.sqlite"
        shutil.copy(server.folder / "copy.sqlite", copy)
        restored.start()
        self.station(restored).publish(TOPIC, b"TEXT afterwards")
        until(lambda: self.bodies(copy)[-1:] == ["TEXT afterwards"], "in the restored journal")
        self.assertEqual(self.bodies(copy)[: len(sent)], sent)
        restored.terminate()
        self.assertEqual(restored.faults, [])


INDEXES = ("records_by_topic", "records_by_time", "records_by_serial")


class Downgrade(unittest.TestCase):
    """After the commands of the page the files are version 1, with all they had. The present program can take them."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_documented(self, words: str) -> None:
        subprocess.run(documented(words), shell=True, cwd=self.folder, check=True)

    def version(self, file: str) -> int:
        with closing(sqlite3.connect(self.folder / file)) as db:
            return int(db.execute("PRAGMA user_version").fetchone()[0])

    def test_the_journal(self) -> None:
        file = "radiovis-journal.sqlite"
        ledger = Ledger(str(self.folder / file), time.time)
        self.addCleanup(ledger.close)
        origin = Origin("1", "1.test", "192.0.2.1", "stomp")
        origins = (None, origin)
        ledger.add([Record(TOPIC, b"TEXT %d" % i, (), 1000 + i, origin=origins[i % 2]) for i in range(50)])
        before = [replace(each, origin=None) for each in ledger.between(EVERYTHING)]
        ledger.close()
        self.run_documented("DROP TABLE shares")
        self.assertEqual((self.version(file), self.definitions(file)), (2, {"records", *INDEXES}))
        self.run_documented('"ALTER TABLE records DROP COLUMN checksum')
        with closing(sqlite3.connect(self.folder / file)) as db:
            with closing(sqlite3.connect(":memory:")) as old:
                old.executescript(SCHEMA)  # that of version 1
                columns = "SELECT name, type, pk FROM pragma_table_info('records')"
                self.assertEqual(db.execute(columns).fetchall(), old.execute(columns).fetchall())
            bodies = [body for (body,) in db.execute("SELECT body FROM records ORDER BY number")]
        self.assertEqual((self.version(file), bodies), (1, [each.body for each in before]))
        self.assertEqual(ledger.between(EVERYTHING), before)
        ledger.close()
        self.assertEqual(self.version(file), 3)

    def definitions(self, file: str) -> set[str]:
        with closing(sqlite3.connect(self.folder / file)) as db:
            return {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}

    def test_the_schedule(self) -> None:
        file = "radiovis-schedule.sqlite"
        rows = Rows(str(self.folder / file))
        self.addCleanup(rows.close)
        rows.add([Adding(Message(TOPIC, b"TEXT %d" % number, f"{number}", 7)) for number in range(50)])
        before = [(number, tuple(message)) for number, message in rows.all()]
        rows.close()
        self.run_documented('"ALTER TABLE held ')
        self.assertEqual(self.version(file), 1)
        self.assertEqual([(number, tuple(message)) for number, message in rows.all()], before)
        rows.close()
        self.assertEqual(self.version(file), 2)
