"""``python -m demo``, as ``make demo`` runs it. Its ports are fixed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import unittest
from collections.abc import Iterator

from tests.processes import ROOT

PORTS = {"stomp": 61613, "http": 8080, "admin": 8081}
SECONDS = 240.0
ANOTHER = "127.0.0.2"
"""An address of this machine that a listener at 127.0.0.1 does not have."""
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def clock(line: str) -> int:
    """The time of day in seconds that begins a line of the radio."""
    hours, minutes, seconds = line[:8].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)


class Demo(unittest.TestCase):
    def setUp(self) -> None:
        for port in PORTS.values():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    self.skipTest(f"another program uses port {port}")

    def start(self, *words: str, **constants: float) -> subprocess.Popen[str]:
        """:param constants: other values for constants of ``demo/publisher.py``."""
        named = json.dumps({f"demo.publisher.{name}": value for name, value in constants.items()})
        command = [sys.executable, "tests/constants.py", named, "demo/__main__.py", *words]
        process = subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = threading.Timer(SECONDS, process.kill)
        deadline.start()
        self.addCleanup(deadline.cancel)
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()

    def lines(self, process: subprocess.Popen[str]) -> Iterator[str]:
        assert process.stdout is not None
        return iter(process.stdout.readline, "")

    def head(self, lines: Iterator[str]) -> list[str]:
        """What it prints before the first message."""
        found = []
        for line in lines:
            found.append(line.rstrip())
            if line.startswith("The radio of the demo"):
                return found
        raise AssertionError(f"it ended after {found}")

    def accepts(self, address: str, port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((address, port)) == 0

    def test_the_station_that_falls_silent_gets_its_default_slide(self) -> None:
        before = set(ROOT.iterdir())
        process = self.start(SILENCE=8, FALLBACK_SECONDS=10.0)
        lines = self.lines(process)
        self.assertTrue(any("talk-2.png" in line for line in lines))  # Then it falls silent.
        self.assertTrue(any("talk-default.png" in line and "320x240" in line for line in lines))
        process.send_signal(signal.SIGINT)
        self.assertIn("The demo has ended.", "".join(lines))
        self.assertEqual(process.wait(SECONDS), 0)
        self.assertEqual({path.name for path in set(ROOT.iterdir()) - before if "journal" in path.name}, set())

    def test_a_newcomer_follows_the_first_lines_and_their_text_stays(self) -> None:
        quiet = 15.0
        process = self.start(QUIET_SECONDS=quiet, FALLBACK_SECONDS=quiet + 10)
        lines = self.lines(process)
        head = self.head(lines)
        self.assertTrue(all(len(line) <= 100 for line in head), head)
        text = "\n".join(head)
        for named in ("http://127.0.0.1:8080/", "http://127.0.0.1:8081/", "make demo LISTEN=0.0.0.0"):
            self.assertIn(named, text)
        self.assertTrue(all(self.accepts("127.0.0.1", port) for port in PORTS.values()))
        self.assertFalse(any(self.accepts(ANOTHER, port) for port in PORTS.values()))
        found = re.search(r"^  (\S+ server\.py pub .*?[^\\])$", text, re.MULTILINE | re.DOTALL)
        assert found is not None, text
        command = [sys.executable, *shlex.split(found[1].replace("\\\n", " "))[1:]]
        for line in lines:
            if "rock-2.png" in line:  # The station publishes; the newcomer comes in between.
                break
        done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("published to /topic/fm/4e1/4000/09580/text in", done.stdout)
        heard = clock(next(line for line in lines if "Hello from me" in line))
        again = clock(next(line for line in lines if "Rock FM" in line))  # It goes on: not silent for good.
        self.assertGreaterEqual((again - heard) % 86_400, quiet - 1)

    def test_it_opens_for_a_phone_when_asked_to(self) -> None:
        process = self.start("--listen", "0.0.0.0")
        lines = self.lines(process)
        head = self.head(lines)
        self.assertTrue(self.accepts(ANOTHER, PORTS["stomp"]) and self.accepts(ANOTHER, PORTS["http"]))
        self.assertFalse(self.accepts(ANOTHER, PORTS["admin"]))  # The operators' port stays closed.
        wall = next(line.split()[-1] for line in head if line.startswith("Wall"))
        self.assertNotIn("0.0.0.0", wall)
        # The slides are where the phone finds the wall, those of defaults, too.
        for name in ("talk-default.png", "talk-1.png"):
            slide = next(line for line in lines if name in line)
            self.assertIn(f"{wall}slides/{name}", slide)
            self.assertIn("320x240", slide)

    def test_an_address_that_is_none(self) -> None:
        for words in (("--listen", "everywhere"), ("--listen", "192.168.1"), ("--listen", "::")):
            with self.subTest(words):
                process = self.start(*words)
                _, error = process.communicate(timeout=SECONDS)
                self.assertEqual(process.returncode, 2)
                self.assertIn(f"{words[1]!r} is not an IPv4 address, such as 0.0.0.0", error)

    def test_a_port_that_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", PORTS["stomp"])):
            process = self.start()
            out, error = process.communicate(timeout=SECONDS)
        self.assertEqual((process.returncode, out), (2, ""))
        self.assertEqual(len(error.splitlines()), 1, error)
        self.assertIn("make demo: cannot listen on 127.0.0.1:61613: Address already in use", error)
