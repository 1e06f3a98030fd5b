"""Signals at moments nobody can hit from outside, so the process sends them to itself."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import unittest
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SECONDS = 30.0

PROGRAM = """
    import os, signal
    from twisted.internet import reactor
    from twisted.internet.defer import succeed
    from fanout.notify import Notify
    from fanout.service import Service

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
