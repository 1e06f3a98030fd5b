from __future__ import annotations

import resource
import subprocess
import sys

from structlog.testing import capture_logs
from twisted.trial import unittest

from fanout.open_files import raise_limit

PROGRAM = """
import resource
from fanout.open_files import raise_limit
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
