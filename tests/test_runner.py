"""``python -m tests --jobs 2`` on test files of its own: good ones, bad ones, and ones that end their process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tests.__main__ import ROOT, SERVERS, SLOW, files_within

SECONDS = 120
HEAD = "import os, signal, socket, subprocess, time, unittest\nfrom pathlib import Path\nclass It(unittest.TestCase):\n"
NOWHERE = dict.fromkeys(SERVERS, "127.0.0.1:1")


def start(folder: Path, files: dict[str, str], **environ: str | None) -> subprocess.Popen[str]:
    """Run these files with two jobs; without servers, unless their variable is None."""
    for name, code in files.items():
        (folder / f"test_{name}.py").write_text(HEAD + code)
    return subprocess.Popen(
        [sys.executable, "-m", "tests", "--jobs", "2", str(folder)],
        env={name: value for name, value in {**os.environ, **NOWHERE, **environ}.items() if value is not None},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class _Case(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def outcome(self, files: dict[str, str], **environ: str | None) -> tuple[int, str, str]:
        """Exit code, what was printed, and the last line."""
        with start(self.folder, files, **environ) as process:
            out, errors = process.communicate(timeout=SECONDS)
        return process.returncode, errors, out.splitlines()[-1]


class TestOutcomes(_Case):
    def test_every_kind_of_failure_and_what_follows_it(self) -> None:
        code, printed, last = self.outcome(
            {
                "bad": "    def test_it(self): print('seen'); self.fail('the reason')\n",
                "exit": "    def test_it(self): print('its last word', flush=True); os._exit(3)\n",
                "good": "    def test_it(self): print('not shown')\n    def test_more(self): pass\n",
                "killed": "    def test_it(self): os.kill(os.getpid(), signal.SIGKILL)\n",
                "lacks": "    import no_such_module\n",
                "skip": "    @unittest.skip('no')\n    def test_it(self): pass\n    def test_more(self): pass\n",
            }
        )
        self.assertEqual((code, last), (1, "3 passed, 4 failed, 1 skipped"))
        for shown in ("AssertionError: the reason", "its last word", "No module named 'no_such_module'"):
            self.assertIn(shown, printed)
        self.assertIn("test_exit.py: the process that ran it ended with status 3\n", printed)
        self.assertIn("test_killed.py: the process that ran it died of SIGKILL\n", printed)
        self.assertNotIn("not shown", printed)
        failures = [Path(line.partition(":")[0]).stem for line in printed.splitlines()[-4:]]
        self.assertEqual(sorted(failures), ["test_bad", "test_exit", "test_killed", "test_lacks"])

    def test_none_at_all_is_a_failure(self) -> None:
        code, _, last = self.outcome({"nothing": "    pass\n", "empty": "    pass\n"})
        self.assertEqual((code, last), (1, "0 passed, 0 failed"))

    def test_they_run_at_the_same_time_on_servers_of_their_own(self) -> None:
        """Each file waits for the other's word, which is the port of its memcached and a free one."""
        code = """
    def test_it(self):
        from tests import services
        mine, folder = Path(__file__), Path(__file__).parent
        word = f"{services.memcached().port} {services.free_port() % 2}"
        socket.create_connection(("127.0.0.1", services.memcached().port)).close()
        mine.with_suffix(".new").write_text(word)
        mine.with_suffix(".new").rename(mine.with_suffix(".word"))
        deadline = time.monotonic() + 60
        while len(words := [file.read_text().split() for file in folder.glob("*.word")]) < 2:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        for mine, other in zip(*words):
            self.assertNotEqual(mine, other)
"""
        self.assertEqual(
            self.outcome({"one": code, "other": code}, RADIOVIS_TESTS_MEMCACHED=None)[::2], (0, "2 passed, 0 failed")
        )


class TestEnds(_Case):
    def interrupted_by(self, number: signal.Signals) -> None:
        listener = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(SECONDS)
        code = f"""
    def test_it(self):
        link = socket.create_connection(("127.0.0.1", {listener.getsockname()[1]}))
        subprocess.Popen(["sleep", "1000"], stdin=link)
        link.sendall(os.environ["RADIOVIS_TESTS_MEMCACHED"].rpartition(":")[2].encode())
        time.sleep(1000)
"""
        with start(self.folder, {"long": code}, RADIOVIS_TESTS_MEMCACHED=None) as process:
            link = self.enterContext(listener.accept()[0])
            link.settimeout(SECONDS)
            server = self.enterContext(socket.create_connection(("127.0.0.1", int(link.recv(9))), SECONDS))
            process.send_signal(number)
            out, _ = process.communicate(timeout=SECONDS)
        self.assertEqual((process.returncode, out), (1, "0 passed, 1 failed\n"))
        self.assertEqual(link.recv(1), b"", "the test's process, and what it had started, are gone")
        self.assertEqual(server.recv(1), b"", "so is its server")

    def test_ctrl_c_ends_everything(self) -> None:
        self.interrupted_by(signal.SIGINT)

    def test_so_does_sigterm(self) -> None:
        self.interrupted_by(signal.SIGTERM)


class TestFiles(unittest.TestCase):
    def test_all_are_found_and_slow_ones_come_first(self) -> None:
        files = files_within(["test.py", "tests"])
        self.assertEqual(len(files), len(set(files)))
        self.assertTrue(files[0].startswith(SLOW))
        self.assertTrue({"test.py", "tests/test_runner.py", "tests/artcast/sources/test_shipped.py"} <= set(files))

    def test_slow_ones_are_there(self) -> None:
        self.assertEqual([name for name in SLOW if not (ROOT / name).exists()], [])

    def test_what_is_no_file_is_refused(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tests", "--jobs", "2", "--with-doctest", "tests.test_runner"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.assertEqual(done.returncode, 2)
        self.assertIn("these are neither: --with-doctest tests.test_runner", done.stderr)
