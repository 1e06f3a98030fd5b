"""Prometheus' own checks of what we ship for it and of what a node tells it; and Grafana's queries."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

import yaml

from tests.processes import ROOT, node
from tests.services import free_port
from tests.web import ask

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "radiovis.json"
OURS = re.compile(r"\b(?:fanout|radiovis|process)_\w+")
DOCUMENTED = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))


def promtool(*words: str, stdin: bytes = b"") -> str:
    """What it says; it must find nothing wrong."""
    done = subprocess.run(["promtool", *words], input=stdin, capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode()
    if done.returncode:
        raise AssertionError(f"promtool {words}: {said}")
    return said


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[str]:
    """Every query of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


@unittest.skipUnless(shutil.which("promtool"), "promtool is missing: apt-get install prometheus")
class Promtool(unittest.TestCase):
    def test_what_a_node_tells(self) -> None:
        with node(ADMIN_PORT=free_port()) as server:
            text = ask(server.admin, "/metrics").body
        self.assertEqual(promtool("check", "metrics", stdin=text), "")

    def test_it_would_find_something_wrong(self) -> None:
        with self.assertRaisesRegex(AssertionError, "_total"):
            promtool("check", "metrics", stdin=b"# HELP x X.\n# TYPE x counter\nx 1\n")

    def test_the_alerts_fire_when_they_should_and_not_otherwise(self) -> None:
        self.assertIn(f"SUCCESS: {len(rules())} rules", promtool("check", "rules", str(PROMETHEUS / "alerts.yml")))
        promtool("test", "rules", str(PROMETHEUS / "alerts.test.yml"))

    def test_what_it_is_to_ask(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="radiovis-prometheus-"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "token").write_text("token")
        text = (PROMETHEUS / "prometheus.yml").read_text().replace("/etc/prometheus/radiovis_admin_token", "token")
        (folder / "prometheus.yml").write_text(text)
        shutil.copy(PROMETHEUS / "alerts.yml", folder)
        promtool("check", "config", str(folder / "prometheus.yml"))


class Queries(unittest.TestCase):
    def test_every_alert_is_seen_firing(self) -> None:
        tested = (PROMETHEUS / "alerts.test.yml").read_text()
        for rule in rules():
            self.assertIn(f'alertname="{rule["alert"]}"', tested)
            self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
            self.assertTrue(rule["annotations"]["description"])

    def test_every_metric_they_name_is_there(self) -> None:
        self.assertIn("fanout_ready", DOCUMENTED)
        for query in [*(rule["expr"] for rule in rules()), *queries()]:
            named = set(OURS.findall(query))
            self.assertEqual(named - DOCUMENTED, set(), query)
            self.assertTrue(named or "up{" in query, query)

    def test_the_dashboards_panels_do_not_overlap(self) -> None:
        dashboard = json.loads(DASHBOARD.read_text())
        cells = [
            (column, line)
            for panel in dashboard["panels"]
            for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for line in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        self.assertEqual(len(cells), len(set(cells)))
        self.assertLess(max(column for column, _ in cells), 24)
        self.assertEqual(len({panel["id"] for panel in dashboard["panels"]}), len(dashboard["panels"]))

    @unittest.skipUnless(shutil.which("promtool"), "promtool is missing: apt-get install prometheus")
    def test_prometheus_understands_the_dashboards_queries(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="radiovis-queries-"))
        self.addCleanup(shutil.rmtree, folder)
        asked = [query.replace("$__rate_interval", "5m").replace("$instance", ".*") for query in queries()]
        recorded = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(asked)]
        (folder / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}))
        self.assertIn(f"{len(recorded)} rules found", promtool("check", "rules", str(folder / "queries.yml")))
