"""Backups by the commands of docs/production.md: taken while a process writes, restored elsewhere, read back."""

from __future__ import annotations

import shutil
import subprocess
import unittest
from pathlib import Path

from radiovis.directory.password import hash_password
from tests.acceptance.command_case import objects
from tests.acceptance.test_docs_commands import commands
from tests.acceptance.watched import until
from tests.processes import Server
from tests.radio import Radio
from tests.radiovis.commands.calling import call

TOPIC = "/topic/rock/text"
STATIONS = f"""
[[station]]
name = "Rock"
login = "1.rock"
password = "{hash_password("rock")}"
[[station.channel]]
topic = "/topic/rock/"
"""


def documented(program: str) -> str:
    """The one command of the page that begins so."""
    (command,) = (each for each in commands("docs/production.md") if each.startswith(program))
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
        with subprocess.Popen(documented("sqlite3 "), shell=True, cwd=server.folder) as backup:
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
