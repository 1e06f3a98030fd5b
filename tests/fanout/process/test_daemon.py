from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from unittest import skipUnless

from structlog.testing import capture_logs
from twisted.trial import unittest

from fanout.process.daemon import DaemonError, drop_to, pid_file, raise_limit
from tests.processes import ROOT

SECONDS = 30
NOBODY = 65534


def run(program: str) -> subprocess.CompletedProcess[str]:
    """A program of its own: what it does to itself cannot be undone."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Daemonize(unittest.TestCase):
    def test_the_command_ends_when_the_daemon_is_ready_and_the_daemon_goes_on(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        fifo = Path(folder.name, "fifo")
        os.mkfifo(fifo)
        done = run(f"""
            import os, signal, sys
            from fanout.process.daemon import daemonize
            ready = daemonize()
            print("before", file=sys.stderr)
            ready()
            print("after", file=sys.stderr)
            open({str(fifo)!r}, "w").write(f"{{os.getpid()}} {{os.getsid(0)}}")
            signal.pause()
        """)
        self.assertEqual((done.returncode, done.stderr), (0, "before\n"))
        pid, session = map(int, fifo.read_text().split())
        self.assertEqual(pid, session)
        os.kill(pid, signal.SIGTERM)

    def test_the_command_ends_with_the_code_of_a_daemon_that_failed_at_the_start(self) -> None:
        done = run("""
            import sys
            from fanout.process.daemon import daemonize
            daemonize()
            sys.exit("the port is taken")
        """)
        self.assertEqual((done.returncode, done.stderr), (1, "the port is taken\n"))


class DropTo(unittest.TestCase):
    @skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_user_and_groups_are_given_up(self) -> None:
        done = run(f"""
            import os
            from fanout.process.daemon import drop_to
            os.setgroups([0, 4])
            drop_to({NOBODY})
            print(os.getresuid(), os.getresgid(), 0 in os.getgroups() or 4 in os.getgroups())
        """)
        self.assertEqual(done.stdout, f"({NOBODY}, {NOBODY}, {NOBODY}) ({NOBODY}, {NOBODY}, {NOBODY}) False\n")

    @skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_a_number_without_an_account_will_do(self) -> None:
        done = run("""
            import os
            from fanout.process.daemon import drop_to
            drop_to(54321)
            print(os.getuid(), os.getgid(), os.getgroups())
        """)
        self.assertEqual(done.stdout, "54321 54321 []\n")

    @skipUnless(os.geteuid() == 0, "only root can become somebody else first")
    def test_who_is_not_root_is_told(self) -> None:
        done = run(f"""
            from fanout.process.daemon import DaemonError, drop_to
            drop_to({NOBODY})
            try:
                drop_to(0)
            except DaemonError as error:
                print(error)
        """)
        self.assertIn("cannot become user 0", done.stdout)
        self.assertIn("only root may", done.stdout)

    def test_none_changes_nothing(self) -> None:
        before = os.getuid(), os.getgroups()
        drop_to(None)
        self.assertEqual((os.getuid(), os.getgroups()), before)


class PidFile(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "pid")

    def test_it_has_the_number_alone_and_goes_with_us(self) -> None:
        with pid_file(str(self.path)):
            self.assertEqual(self.path.read_bytes(), str(os.getpid()).encode())
        self.assertFalse(self.path.exists())

    def test_it_goes_after_a_fault_as_well(self) -> None:
        with self.assertRaises(ZeroDivisionError), pid_file(str(self.path)):
            raise ZeroDivisionError
        self.assertFalse(self.path.exists())

    def test_the_file_of_a_successor_stays(self) -> None:
        with pid_file(str(self.path)):
            self.path.write_text("1")
        self.assertEqual(self.path.read_text(), "1")

    def test_no_file_is_wanted(self) -> None:
        with pid_file(""):
            pass

    def test_a_folder_that_is_not_there_is_an_error_in_words(self) -> None:
        with self.assertRaisesRegex(DaemonError, "cannot write the pidfile .*No such file"), pid_file("/nowhere/x/pid"):
            self.fail()


PROGRAM = """
import resource
from fanout.process.daemon import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 1000))
raise_limit(500)
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


class Limit(unittest.TestCase):
    def test_it_is_raised_as_far_as_the_system_lets_us(self) -> None:
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=30)
        self.assertEqual(done.stdout, "(1000, 1000)\n")

    def test_too_few_for_all_clients_is_logged_with_what_to_do(self) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard == resource.RLIM_INFINITY:
            raise unittest.SkipTest("this system has no limit")
        with capture_logs() as entries:
            raise_limit(hard)
            raise_limit(1)
        self.assertEqual([(each["event"], each["limit"]) for each in entries], [("files.few", hard)])
