"""The demo's stations as docker compose runs them: beside a server, and started again when it is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest

from demo.programme import STATIONS
from tests.processes import ROOT, Server
from tests.radio import Radio
from tests.services import free_port

SECONDS = 30.0


class OnAir(unittest.TestCase):
    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo.on_air", *words],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process

    def test_they_publish_until_the_server_is_gone(self) -> None:
        with Server(STANDALONE=True, STATIONS_FILE=ROOT / "demo" / "stations.toml", JOURNAL_FILE="") as server:
            radio = Radio.connect(server.address)
            self.addCleanup(radio.close)
            for station in STATIONS:
                radio.subscribe(station.channel + "image")
            host, port = server.address
            process = self.start(f"{host}:{port}", "--slides", "http://slides.example/")
            missing = {f"SHOW http://slides.example/{station.items[0][0]}".encode() for station in STATIONS}
            while missing:  # The watchdog's defaults come, too.
                missing.discard(radio.frame().body)
        _, error = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 1)
        self.assertTrue(error.startswith(f"demo.on_air: {host}:{port}: "), error)
        self.assertEqual(len(error.splitlines()), 1)

    def test_nobody_there(self) -> None:
        port = free_port()
        process = self.start(f"127.0.0.1:{port}")
        _, error = process.communicate(timeout=SECONDS)
        self.assertEqual((process.returncode, len(error.splitlines())), (1, 1), error)

    def test_a_port_that_is_none(self) -> None:
        process = self.start("127.0.0.1:stomp")
        _, error = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 2)
        self.assertIn("the port must be a number", error)
