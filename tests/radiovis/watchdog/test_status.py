"""The status socket, and what the command makes of it."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from radiovis.commands.fallback import _table
from radiovis.watchdog.status import Report, StatusSocket, ask, is_well

TASK = {
    "name": "stale_topics",
    "failing": False,
    "last_success": 1_795_294_643.2,
    "last_error": "",
    "last_error_at": None,
    "restarts": 0,
}


def report(**changes: Any) -> Report:
    return {
        "leading": True,
        "leaderless": {"seconds": 0.4, "alarm": False},
        "topics": 8,
        "bus": {"connected": True, "reason": "connected", "waiting": 0},
        "log": {"waiting": 0, "error": "", "since": None},
        "tasks": [TASK],
        "schedule": None,
        **changes,
    }


class Asking(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "fallback.socket")

    def status(self) -> StatusSocket:
        status = StatusSocket(reactor, self.path, report)
        self.addCleanup(lambda: maybeDeferred(status.stop))
        status.start()
        return status

    async def test_whoever_connects_is_told(self) -> None:
        self.status()
        self.assertEqual(await deferToThread(ask, self.path), report())

    async def test_when_it_has_stopped_nobody_answers_and_nothing_is_left(self) -> None:
        status = self.status()
        await maybeDeferred(status.stop)
        self.assertIsNone(await deferToThread(ask, self.path))
        self.assertFalse(await deferToThread(Path(self.path).exists))

    async def test_a_socket_left_behind_by_a_kill_is_taken_over(self) -> None:
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(self.path)
        self.assertIsNone(ask(self.path))
        self.status()
        self.assertEqual(await deferToThread(ask, self.path), report())

    def test_a_path_that_cannot_be_used_is_said_and_hurts_nobody(self) -> None:
        self.path = "/nowhere/fallback.socket"
        with capture_logs() as logs:
            self.status()
        self.assertEqual([event["event"] for event in logs], ["status.unavailable"])

    def test_somebody_elses_file_is_not_deleted(self) -> None:
        Path(self.path).write_text("precious")
        with capture_logs() as logs:
            self.status()
        self.assertEqual([event["event"] for event in logs], ["status.unavailable"])
        self.assertEqual(Path(self.path).read_text(), "precious")

    def test_only_user_and_group_may_ask(self) -> None:
        self.status()
        self.assertEqual(Path(self.path).stat().st_mode & 0o007, 0)

    def test_no_path_no_socket(self) -> None:
        self.path = ""
        self.status()


class Words(unittest.TestCase):
    def test_all_is_well(self) -> None:
        self.assertTrue(is_well(report()))

    def test_a_task_that_fails(self) -> None:
        self.assertFalse(is_well(report(tasks=[TASK, {**TASK, "failing": True}])))

    def test_no_watchdog_leads(self) -> None:
        standby = report(leading=False, leaderless={"seconds": 43.2, "alarm": True})
        self.assertFalse(is_well(standby))
        self.assertEqual(_table(standby).splitlines()[0], "standing by, 8 topics, NO WATCHDOG LEADS for 43 s")

    def test_a_daemon_of_an_earlier_version_can_be_asked(self) -> None:
        earlier = report()
        del earlier["leaderless"]
        self.assertTrue(is_well(earlier))
        self.assertEqual(_table(earlier).splitlines()[0], "leading, 8 topics")

    def test_a_log_that_fails(self) -> None:
        self.assertFalse(is_well(report(log={"waiting": 5, "error": "no answer", "since": 1_795_294_643})))

    def test_something_that_is_degraded(self) -> None:
        degraded = ["stations_file: stations.toml:8: a mistake", "monitoring: no answer"]
        self.assertFalse(is_well(report(degraded=degraded)))
        self.assertTrue(is_well(report(degraded=[])))
        lines = _table(report(degraded=degraded)).splitlines()
        self.assertEqual(lines[3:6], [*(f"DEGRADED  {each}" for each in degraded), ""])

    def test_table(self) -> None:
        failing = {**TASK, "failing": True, "last_error": "no broker", "last_error_at": 1_795_294_700, "restarts": 3}
        table = _table(report(tasks=[TASK, failing], log={"waiting": 5, "error": "down", "since": 1_795_294_643}))
        self.assertEqual(
            table.splitlines(),
            [
                "leading, 8 topics",
                "broker  connected",
                "log     5 waiting, FAILING since 2026-11-21T20:57:23Z: down",
                "",
                "task             state    last success         restarts",
                "stale_topics     well     2026-11-21T20:57:23Z        0",
                "stale_topics     FAILING  2026-11-21T20:57:23Z        3",
                "  last error 2026-11-21T20:58:20Z: no broker",
            ],
        )
