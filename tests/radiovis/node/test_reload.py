"""What a SIGHUP does is seen from outside, in tests/acceptance/test_reload.py; here is what the manual says of it."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import Mock

from twisted.trial import unittest

from radiovis.node.reload import node_takes
from radiovis.settings import Settings

MANUAL = Path(__file__).parents[3] / "docs" / "production.md"


class TestTheManual(unittest.TestCase):
    def test_it_says_what_changes_in_a_running_node(self) -> None:
        (said,) = re.findall(r"In a running node these parts .*? change: (.*?)\. ", MANUAL.read_text(), re.DOTALL)
        parts, _, rest = said.partition(", all but ")
        fields = dict(Settings.groups())
        named = {name for part in re.findall(r"\w+", parts.replace(" and ", ", ")) for name in fields[part]}
        changing = {*node_takes(Mock(), Mock(), Mock()), "LOG_LEVEL", "LOG_FORMAT"}
        self.assertEqual(named - set(re.findall(r"`(\w+)`", rest)), changing)
