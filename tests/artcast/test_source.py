"""The library for sources, as a program uses it: datagrams are caught on ports of this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.processes import ROOT

HOST = "127.0.0.1"
SECONDS = 30


class Receivers:
    """A server's two ports."""

    def __init__(self) -> None:
        self.data, self.registration = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for each in (self.data, self.registration):
            each.bind((HOST, 0))
            each.settimeout(SECONDS)

    @property
    def options(self) -> list[str]:
        """For a source: to send to these."""
        ports = ("--data-port", self.data, "--registration-port", self.registration)
        return ["--group", HOST, *(str(each if isinstance(each, str) else each.getsockname()[1]) for each in ports)]

    def close(self) -> None:
        self.data.close()
        self.registration.close()


class Case(unittest.TestCase):
    """A case with receivers. Has no tests of its own."""

    def setUp(self) -> None:
        self.receivers = Receivers()
        self.addCleanup(self.receivers.close)

    def heard(self, receiver: socket.socket | None = None) -> Any:
        return json.loads((receiver or self.receivers.data).recv(65_536))

    def start(self, *command: str, options: Sequence[str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *command, *(self.receivers.options if options is None else options)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self._end, process)
        return process

    def _end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate(timeout=SECONDS)

    def program(self, text: str, *options: str) -> subprocess.Popen[str]:
        """A program of somebody who uses the library."""
        return self.start("-c", "from artcast import source\n" + textwrap.dedent(text), *options)


class Library(Case):
    def test_a_source_registers_and_then_sends(self) -> None:
        process = self.program("""
            def door(context):
                context.send({"open": True})
            source.add(door, "door", "a door", "a switch", {"uri": "u", "title": "t"})
            source.run()
        """)
        facts = {"description": "a door", "provenance": "a switch", "license": {"uri": "u", "title": "t"}}
        self.assertEqual(self.heard(self.receivers.registration), ["door", facts])
        self.assertEqual(self.heard(), ["door", {"open": True}])
        self.assertEqual(process.wait(SECONDS), 0)  # all sources have ended

    def test_several_sources_run_side_by_side_and_a_fault_ends_one_of_them(self) -> None:
        process = self.program("""
            def good(context):
                while context.wait(0.01):
                    context.send(1)
            def bad(context):
                raise ValueError("something is broken")
            def long(context):
                context.send("x" * 5000)
            def odd(context):
                context.send(float("nan"))
            for each in (bad, long, odd, good):
                source.add(each, each.__name__, "", "")
            source.run()
        """)
        self.assertEqual(self.heard(), ["good", 1])
        self.assertEqual({self.heard(self.receivers.registration)[0] for _ in range(4)}, {"good", "bad", "long", "odd"})
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 0)
        self.assertIn("ValueError: something is broken", errors)
        self.assertIn("long: 5012 octets are too many for a datagram", errors)
        self.assertIn("odd: JSON cannot represent the value", errors)

    def test_registrations_are_repeated(self) -> None:
        self.program("""
            source.REGISTER_SECONDS = 0.05
            source.add(lambda context: context.wait(60), "key", "d", "p")
            source.run()
        """)
        for _ in range(3):
            self.assertEqual(
                self.heard(self.receivers.registration),
                ["key", {"description": "d", "provenance": "p", "license": None}],
            )

    def test_lower_level(self) -> None:
        process = self.program("""
            source.parse()
            source.register("key", "d", "p")
            source.send("key", [1, None])
        """)
        self.assertEqual(self.heard(self.receivers.registration)[0], "key")
        self.assertEqual(self.heard(), ["key", [1, None]])
        self.assertEqual(process.wait(SECONDS), 0)

    def test_a_network_that_is_away_is_reported_once_and_the_source_goes_on(self) -> None:
        process = self.program(
            """
            import itertools, sys
            def count(context):
                for number in itertools.count():
                    context.send(number)
                    if number == 20:
                        print("still here", file=sys.stderr)
                        return
            source.add(count, "key", "", "")
            sys.argv[sys.argv.index("--group") + 1] = "255.255.255.255"     # needs a permission nobody asked for
            source.run()
            """
        )
        _, errors = process.communicate(timeout=SECONDS)
        self.assertEqual(errors.count("cannot send to 255.255.255.255:"), 1)
        self.assertIn("still here", errors)

    def test_verbose_and_wrong_options(self) -> None:
        process = self.program("source.run()", "--verbose")
        _, errors = process.communicate(timeout=SECONDS)
        names = [line.partition(" : ")[0] for line in errors.splitlines()]
        expected = ["daemonize", "data-port", "group", "pidfile", "registration-port", "ttl", "uid", "verbose"]
        self.assertEqual(names, expected)
        process = self.program("source.run()", "--ttl", "256")
        _, errors = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 2)
        self.assertIn("should be a number from 0 to 255", errors)

    def test_in_the_background_with_a_pidfile(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        pidfile = Path(folder.name, "pid")
        process = self.start("-m", "artcast.sources.tick", "--daemonize", "--pidfile", str(pidfile))
        self.assertEqual(process.wait(SECONDS), 0)
        self.assertEqual(self.heard(), ["test/tick", 0])
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + SECONDS
        while pidfile.exists():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_the_ttl_is_one_unless_told_otherwise(self) -> None:
        program = """
            import socket
            source.parse()
            print(source._program.ready()._socket.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL))
        """
        for options, ttl in (((), "1"), (("--ttl", "7"), "7")):
            out, _ = self.program(program, *options).communicate(timeout=SECONDS)
            self.assertEqual(out.strip(), ttl)
