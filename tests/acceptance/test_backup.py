"""Backups by the commands of docs/production.md: taken while a process writes, restored elsewhere, read back."""

from __future__ import annotations

import shutil
import subprocess
import unittest
from pathlib import Path

from radiovis.directory.password import hash_password
from tests import services
from tests.acceptance.command_case import objects
from tests.acceptance.test_docs_commands import commands
from tests.acceptance.watched import Service, channel, until
from tests.processes import Server
from tests.prometheus import parse
from tests.radio import Radio
from tests.radiovis.commands.calling import call
from tests.radiovis.watchdog.daemon import Daemon
from tests.web import ask

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


class Spool(Service):
    """Entries PlugIt has not taken, which a watchdog on another machine sends."""

    def watchdog(self, **settings: object) -> Daemon:
        fallback = self.make_fallback(**settings)
        self.addCleanup(fallback.close)
        return fallback

    def test_copied_while_the_watchdog_writes_and_sent_by_another(self) -> None:
        port = services.free_port()
        first = self.watchdog(FB_ADMIN_PORT=port).start()
        first.wait_for("queue.consuming")
        self.plugit.behave("good", add_log="503", cleanup_logs="503")
        with self.make_broadcaster(self.make_node(), channel(1) + "text", pause=0.002) as station:
            station.wait_for(100)
            first.wait_for("log.failing")
            before = list(station.confirmed)
            until(lambda: first.report()["log"]["waiting"] >= len(before), "in the spool")
            metrics = parse(ask(("127.0.0.1", port), "/metrics").body)
            subprocess.run(documented("cp -a "), shell=True, cwd=first.folder, check=True)
        self.assertGreaterEqual(metrics["radiovis_log_waiting"][()], len(before))
        self.assertEqual(first.status()[0], 1)
        first.kill()
        second = self.watchdog(FB_QUEUE=f"{self.queue}.elsewhere")
        shutil.copytree(first.folder / "copy-of-spool", second.folder / "radiovis-spool")
        self.plugit.behave("good")
        second.start()
        entries = self.logged(before)
        self.assertEqual([body for body in self.bodies(entries, 1) if body in set(before)], before)
        second.terminate()
        self.assertEqual(second.faults, [])
