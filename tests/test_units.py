"""The unit files of systemd: it understands them, and their commands are ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tests.processes import node
from tests.radio import Radio

MOST_EXPOSED = 20  # tenths; systemd calls 50 medium, and a service without any of it has 96
NOT_KNOWN = 77
DENY = f"""
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, which MemoryDenyWriteExecute=yes uses as well
    sys.exit({NOT_KNOWN})
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
CALLBACK = "from OpenSSL import SSL; SSL.Context(SSL.TLS_METHOD).set_alpn_select_callback(print)"
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

    def test_what_one_service_may_take_is_limited(self) -> None:
        for unit in UNITS.glob("*.service"):
            text = unit.read_text()
            for line in ("MemoryMax=", "TasksMax=", "PrivateUsers=yes", "ProcSubset=pid"):
                self.assertIn(f"\n{line}", text, unit.name)

    def test_memory_that_is_writable_and_executable_is_needed_for_tls(self) -> None:
        """When this fails, OpenSSL's callbacks do without: try MemoryDenyWriteExecute=yes, and a node with TLS."""
        command = [sys.executable, "-c", DENY, "-c", CALLBACK]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode == NOT_KNOWN:
            raise unittest.SkipTest("this kernel knows no PR_SET_MDWE (Linux 6.3)")
        self.assertIn("MemoryError", done.stderr)
        for unit in UNITS.glob("*.service"):
            self.assertNotIn("\nMemoryDenyWriteExecute=yes", unit.read_text())

    def test_a_node_without_tls_does_not_need_it(self) -> None:
        server = node()
        server.command = [sys.executable, "-c", DENY, *server.command[1:]]
        if subprocess.run([sys.executable, "-c", DENY, "--version"], check=False).returncode == NOT_KNOWN:
            raise unittest.SkipTest("this kernel knows no PR_SET_MDWE (Linux 6.3)")
        with server:
            Radio.connect(server.address).close()

    def test_their_programs_exist(self) -> None:
        for name, program in (("radiovis-server@.service", "server.py"), ("radiovis-fallback.service", "fallback.py")):
            text = (UNITS / name).read_text()
            self.assertIn(f"ExecStart=/opt/radiovis/.venv/bin/python /opt/radiovis/{program} --config ", text)
            self.assertTrue((UNITS.parent.parent / program).exists())
            self.assertIn("\nType=notify\n", text)
