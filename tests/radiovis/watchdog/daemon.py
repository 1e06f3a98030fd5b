"""Real ``fallback.py`` processes, seen from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tests import services
from tests.processes import ROOT, Server


def status_in(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """``fallback.py status``, called in a folder."""
    return subprocess.run(
        [sys.executable, str(ROOT / "fallback.py"), "status", *flags],
        check=False,
        cwd=folder,
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )


class Daemon(Server):
    """One process of ``fallback.py --test`` on a broker: started, asked, ended."""

    def __init__(self, broker: services.AmqpAddress, exchange: str, *flags: str, **settings: object) -> None:
        super().__init__(
            *flags,
            **{
                "RABBITMQ_HOST": broker.host,
                "RABBITMQ_PORT": broker.port,
                "RABBITMQ_EXCHANGE": exchange,
                "MONITORING_ENABLED": False,
                **settings,
            },
        )
        self.command[1] = str(ROOT / "fallback.py")

    def start(self) -> Self:
        """Start it, and return when its tasks run."""
        self.launch()
        self.wait_for("fallback.ready")
        return self

    def status(self, *flags: str) -> tuple[int, str]:
        """What ``fallback.py status`` says of this process: exit code and output."""
        # Named, so that no watchdog of another test is asked when this one does not run.
        done = status_in(self.folder, "--fb-status-socket", "fallback.socket", *flags)
        return done.returncode, done.stdout + done.stderr

    def report(self) -> dict[str, Any]:
        """The same, for programs."""
        report: dict[str, Any] = json.loads(self.status("--json")[1])
        return report
