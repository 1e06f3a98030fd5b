"""The unit files of systemd: it understands them, and their commands are ours."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

MOST_EXPOSED = 20  # tenths; systemd calls 50 medium, and a service without any of it has 96
UNITS = Path(__file__).parent.parent / "deploy" / "systemd"


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is missing: apt-get install systemd")
class Units(unittest.TestCase):
    def test_systemd_finds_nothing_wrong(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="radiovis-units-"))
        self.addCleanup(shutil.rmtree, folder)
        for source in UNITS.glob("*.service"):
            text = source.read_text().replace("/opt/radiovis/.venv/bin/python", shutil.which("sh") or "/bin/sh")
            unit = folder / source.name.replace("@", "@main")
            unit.write_text(text)
            if "@" in source.name:
                (folder / source.name).write_text(text)
            done = subprocess.run(
                ["systemd-analyze", "verify", "--man=no", str(unit)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            ours = [line for line in done.stderr.splitlines() if "radiovis" in line]
            self.assertEqual((done.returncode, ours), (0, []))

    def test_they_expose_little(self) -> None:
        for unit in UNITS.glob("*.service"):
            done = subprocess.run(
                [
                    "systemd-analyze",
                    "security",
                    "--no-pager",
                    "--offline=true",
                    f"--threshold={MOST_EXPOSED}",
                    str(unit),
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            self.assertEqual(done.returncode, 0, done.stdout[-300:] + done.stderr)

    def test_their_programs_exist(self) -> None:
        for name, program in (("radiovis-server@.service", "server.py"), ("radiovis-fallback.service", "fallback.py")):
            text = (UNITS / name).read_text()
            self.assertIn(f"ExecStart=/opt/radiovis/.venv/bin/python /opt/radiovis/{program} --config ", text)
            self.assertTrue((UNITS.parent.parent / program).exists())
            self.assertIn("\nType=notify\n", text)
