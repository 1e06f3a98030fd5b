"""A ``fallback.py`` of the version before the election (commit cca6d32) beside one of today: exactly one leads."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import tempfile
import time
import unittest
from itertools import pairwise
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from radiovis.watchdog.status import ask
from tests import services
from tests.acceptance.watched import until
from tests.processes import ROOT
from tests.radiovis.watchdog.daemon import Daemon
from tests.radiovis.watchdog.test_watchdog import Exchange

EARLIER = "cca6d32"
"""The last commit whose leader is the holder of an exclusive queue and nothing else."""
SILENCE = 2
TAKEOVER_SECONDS = 15.0
ROUND = 2
"""Defaults of one round: a text and a slide."""
LOOKS = 200
"""How often both are asked, one after the other, who leads."""


def sources_of(commit: str) -> Path | None:
    """The programs of a commit in a temporary folder; None where the history is not there."""
    command = ["git", "archive", commit, "fallback.py", "fanout", "radiovis"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        return None
    folder = Path(tempfile.mkdtemp(prefix="radiovis-earlier-"))
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


class Upgrade(unittest.TestCase):
    earlier: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        folder = sources_of(EARLIER) if shutil.which("git") else None
        if folder is None:
            raise unittest.SkipTest(f"commit {EARLIER} is not in this copy of the repository")
        cls.earlier = folder
        cls.addClassCleanup(shutil.rmtree, folder)

    def setUp(self) -> None:
        self.broker = services.rabbitmq()
        self.exchange, self.queue = f"radiovis.{uuid4()}", f"log.{uuid4()}"
        self.radio = Exchange(self.broker, self.exchange)
        self.addCleanup(self.radio.connection.close)
        self.daemons: dict[str, Daemon] = {}

    def daemon(self, name: str) -> Daemon:
        """Started. :param name: one that begins with "old" or "new"."""
        settings = {"TEST_FB_FALLBACK_TIME": SILENCE, "TEST_FB_FALLBACK_CHECK": 0.2, "TEST_FB_QUEUE": self.queue}
        daemon = Daemon(self.broker, self.exchange, "--test", **settings, FB_ADMIN_PORT=0)
        if name.startswith("old"):
            daemon.command[1] = str(self.earlier / "fallback.py")
        self.addCleanup(daemon.close)
        self.daemons[name] = daemon
        return daemon.start()

    def leading(self) -> list[str]:
        """All that lead, by their own word."""
        self.radio.connection.process_data_events(0)  # The broker wants its heart-beats.
        reports = {name: ask(str(daemon.folder / "fallback.socket")) for name, daemon in self.daemons.items()}
        return [name for name, report in reports.items() if report and report["leading"]]

    def say(self, text: str) -> None:
        print(f"\n  {text}: {' and '.join(self.leading()) or 'nobody'} leads", end="")

    def kill(self, victim: str, heir: str) -> None:
        """Between two defaults: of one that is on its way when its sender dies the heir cannot know."""
        self.radio.wait(len(self.radio.got) + 1)
        self.radio.wait(len(self.radio.got) + len(self.radio.got) % ROUND)
        self.daemons.pop(victim).kill()
        began = time.monotonic()
        until(lambda: self.leading() == [heir], f"led by {heir}", TAKEOVER_SECONDS)
        self.say(f"{victim} was killed, after {time.monotonic() - began:.1f} s")

    def assert_no_default_twice(self) -> None:
        """However often it changed who leads, no topic got two defaults within its time."""
        self.radio.wait(len(self.radio.got) + 2 * ROUND)
        times: dict[str, list[float]] = {}
        for headers, _ in self.radio.got:
            times.setdefault(headers["topic"], []).append(int(headers["timestamp"]) / 1000)
        pauses = [two - one for sent in times.values() for one, two in pairwise(sent)]
        self.assertTrue(pauses, "each topic got one default only")
        self.assertGreater(min(pauses), SILENCE - 0.1)
        print(f"\n  {len(self.radio.got)} defaults, none twice ... ", end="")

    def beside_each_other(self, first: str, second: str, victim: str) -> None:
        self.daemon(first).wait_for("leader.leading")
        self.say(f"{first} was started")
        self.daemon(second).wait_for("leader.standing_by")
        for _ in range(LOOKS):
            self.assertEqual(self.leading(), [first])
        self.say(f"{second} was started")
        self.kill(victim, heir=second if victim == first else first)
        self.daemon(victim).wait_for("leader.standing_by")
        for _ in range(LOOKS):
            self.assertEqual(len(self.leading()), 1)
        self.say(f"{victim} was started again")
        self.assert_no_default_twice()

    def test_the_old_one_was_first_and_is_killed(self) -> None:
        self.beside_each_other("old", "new", victim="old")

    def test_the_old_one_was_first_and_the_new_one_is_killed(self) -> None:
        self.beside_each_other("old", "new", victim="new")

    def test_the_new_one_was_first_and_is_killed(self) -> None:
        self.beside_each_other("new", "old", victim="new")

    def test_the_new_one_was_first_and_the_old_one_is_killed(self) -> None:
        self.beside_each_other("new", "old", victim="old")

    def test_two_of_each_one_after_the_other(self) -> None:
        """A rolling upgrade: the standby is replaced first, then the leader."""
        self.daemon("old 1").wait_for("leader.leading")
        self.daemon("old 2").wait_for("leader.standing_by")
        self.daemons.pop("old 2").terminate()
        self.daemon("new 2").wait_for("leader.standing_by")
        self.assertEqual(self.leading(), ["old 1"])
        self.say("the standby was replaced")
        self.daemons.pop("old 1").terminate()
        until(lambda: self.leading() == ["new 2"], "led by new 2", TAKEOVER_SECONDS)
        self.daemon("new 1").wait_for("leader.standing_by")
        self.assertEqual(self.leading(), ["new 2"])
        self.say("the leader was replaced")
        self.assert_no_default_twice()
