"""Signals at moments nobody can hit from outside, so the process sends them to itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from uuid import uuid4

from structlog.testing import capture_logs
from twisted.trial import unittest

from fanout.process.service import Notify


class SystemdCase(unittest.TestCase):
    def listen(self, address: str) -> socket.socket:
        """A systemd that keeps what it is told."""
        end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(end.close)
        end.settimeout(5)
        end.bind(address)
        return end


class Telling(SystemdCase):
    def test_a_path(self) -> None:
        folder = tempfile.TemporaryDirectory(dir="/tmp")  # a socket's address has 108 octets
        self.addCleanup(folder.cleanup)
        path = str(Path(folder.name) / "notify")
        systemd = self.listen(path)
        Notify({"NOTIFY_SOCKET": path}).tell(READY=1, STATUS="3 clients; bus: connected")
        self.assertEqual(systemd.recv(1000), b"READY=1\nSTATUS=3 clients; bus: connected")

    def test_an_abstract_socket(self) -> None:
        name = f"radiovis-{uuid4().hex}"
        systemd = self.listen(f"\0{name}")
        Notify({"NOTIFY_SOCKET": f"@{name}"}).tell(STOPPING=1)
        self.assertEqual(systemd.recv(1000), b"STOPPING=1")

    def test_nobody_there_is_logged_and_nothing_more(self) -> None:
        with capture_logs() as logs:
            Notify({"NOTIFY_SOCKET": f"@nobody-{uuid4().hex}"}).tell(READY=1)
        self.assertEqual([each["event"] for each in logs], ["notify.failed"])

    def test_a_systemd_that_does_not_read_does_not_stop_us(self) -> None:
        name = f"radiovis-{uuid4().hex}"
        self.listen(f"\0{name}")
        notify = Notify({"NOTIFY_SOCKET": f"@{name}"})
        with capture_logs() as logs:
            for _ in range(10_000):
                notify.tell(STATUS="x" * 1000)
                if logs:
                    break
        self.assertEqual(logs[0]["event"], "notify.failed")

    def test_without_systemd_nobody_is_told(self) -> None:
        with capture_logs() as logs:
            Notify({}).tell(READY=1)
        self.assertEqual(logs, [])


class Watchdog(unittest.TestCase):
    def test_how_often_it_wants_to_hear(self) -> None:
        for environ, seconds in (
            ({}, 0),
            ({"WATCHDOG_USEC": "30000000"}, 30),
            ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
            ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, 0),  # it means our parent
            ({"WATCHDOG_USEC": "soon"}, 0),
        ):
            self.assertEqual(Notify(environ).watchdog, seconds, environ)


ROOT = Path(__file__).parents[3]
SECONDS = 30.0

PROGRAM = """
    import os, signal
    from twisted.internet import reactor
    from twisted.internet.defer import succeed
    from fanout.process.service import Notify
    from fanout.process.service import Service

    def get(number):
        os.kill(os.getpid(), number)

    def stop():
        print("stopped in order")
        return succeed(None)

    service = Service(reactor, Notify({{}}), stop=stop, reload=lambda: None, status=lambda: "well")
    {moment}
    service.run()
"""
MOMENTS = {
    "ready, and the reactor does not run yet": "get(signal.{name})",
    "the reactor starts": 'reactor.addSystemEventTrigger("before", "startup", get, signal.{name})',
    "a callback runs": "succeed(None).addBoth(lambda _: get(signal.{name}))",
    "it runs": "reactor.callLater(0, get, signal.{name})",
}


def run(moment: str) -> tuple[int, str]:
    """Exit code, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM).format(moment=moment)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout + done.stderr


class TestSignals(unittest.TestCase):
    def test_none_is_lost_whenever_it_comes(self) -> None:
        for when, moment in MOMENTS.items():
            for name in ("SIGINT", "SIGTERM"):
                with self.subTest(when, signal=name):
                    self.assertEqual(run(moment.format(name=name)), (0, "stopped in order\n"))

    def test_a_second_one_ends_it_at_once_even_before_the_reactor_runs(self) -> None:
        self.assertEqual(run("get(signal.SIGTERM); get(signal.SIGINT)"), (-signal.SIGINT, ""))


# What is searched for garbage: in a process of its own, as it holds for all of one.

GARBAGE = """
import gc
from fanout.process.service import search_seldom

class Cycle:
    made = freed = 0
    def __init__(self):
        Cycle.made += 1
        self.itself = self
    def __del__(self):
        Cycle.freed += 1

Cycle()
search_seldom()
print(Cycle.freed, gc.get_freeze_count() > 1_000, len(gc.get_objects()) < 100)
searched = gc.get_stats()[0]["collections"]
waiting = [[] for _ in range(20_000)]
print(gc.get_stats()[0]["collections"] - searched)
most = 0
for _ in range(500_000):
    Cycle()
    most = max(most, Cycle.made - Cycle.freed)
print(most < 100_000)
"""


class TestGarbage(unittest.TestCase):
    def run_program(self) -> list[str]:
        done = subprocess.run([sys.executable, "-c", GARBAGE], check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.split()

    def test_what_stays_is_spared_and_what_waits_is_not_searched_but_garbage_is_found(self) -> None:
        self.assertEqual(self.run_program(), ["1", "True", "True", "0", "True"])
