"""What a SIGHUP does is seen from outside, in tests/acceptance/test_reload.py; here is what the manual says of it."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import Mock, patch

from twisted.trial import unittest

from radiovis.node import reload
from radiovis.node.reload import log_takes, node_takes, secret_takes, watchdog_takes
from radiovis.settings import Settings

DOCS = Path(__file__).parents[3] / "docs"


class TestTheManual(unittest.TestCase):
    def test_it_says_what_changes_in_a_running_node(self) -> None:
        rows = re.findall(r"^\| <a[^|]*`(\w+)` \| .* \| yes \| ", (DOCS / "settings.md").read_text(), re.MULTILINE)
        self.assertIn("column *reload* of [settings.md](settings.md)", (DOCS / "production.md").read_text())
        self.assertEqual(set(rows), {*node_takes(Mock(), Mock(), Mock(), Mock()), *log_takes(Mock())})

    def test_it_says_what_changes_in_a_running_watchdog(self) -> None:
        (said,) = re.findall(r"A running `fallback\.py` changes (.*?) only\.", (DOCS / "production.md").read_text())
        self.assertEqual(
            set(re.findall(r"`(\w+)`", said)),
            {*log_takes(Mock()), *watchdog_takes(Mock()), *secret_takes(Mock(), None, Mock())},
        )


class TestAReload(unittest.TestCase):
    def test_every_setting_reaches_every_part_of_the_node(self) -> None:
        for name in node_takes(Mock(), Mock(), Mock(), Mock()):
            servers, throttle, history, limits, settings = Mock(), Mock(), Mock(), Mock(), Settings()
            (take,) = node_takes(servers, throttle, history, limits)[name]
            with patch.object(reload, "raise_limit"):
                take(settings)
            for part in (
                servers.stomp,
                servers.pending_requests,
                servers.drain,
                servers.site,
                throttle,
                history,
                limits,
            ):
                self.assertIs(part.settings, settings)
