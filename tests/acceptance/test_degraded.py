"""What makes a process degraded, in real ones: operators see it everywhere, clients are served, and it ends by itself.

A node and a watchdog share a broker. Each has a stations file, a monitoring broker and a certificate, which break and
are repaired.
"""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from tests import services
from tests.acceptance.admin_case import until
from tests.acceptance.cluster import node as cluster_node
from tests.acceptance.test_stations_file import WILD, stations
from tests.authority import Authority
from tests.browser import Browser, missing
from tests.processes import Server
from tests.prometheus import parse
from tests.radio import Radio
from tests.radiovis.watchdog.daemon import Daemon
from tests.web import Address, ask

GOOD = stations(WILD)
BROKEN = GOOD.replace('login = "2.far"', "login = 2.far")
TOKEN = "correct-horse-battery"


def write(process: Server, text: str) -> None:
    """Put another stations file in the old one's place, as careful editors do."""
    new = Path(process.folder, "new.toml")
    new.write_text(text)
    new.replace(process.folder / "stations.toml")


def degraded(address: Address) -> list[str]:
    """What /readyz says. It stays 200: a load balancer goes on sending clients."""
    answer = ask(address, "/readyz", authorization=f"Bearer {TOKEN}")
    if answer.status != 200 or not answer.json["ready"]:
        raise AssertionError(answer.body)
    found: list[str] = answer.json["degraded"]
    return found


def well(address: Address, condition: str) -> float:
    """The metric of one condition."""
    metrics = parse(ask(address, "/metrics", authorization=f"Bearer {TOKEN}").body)
    return metrics["fanout_condition_well"][(("condition", condition),)]


class DegradedCase(unittest.TestCase):
    """A node and a watchdog that are well.

    :cvar own: the settings of both that a class of tests is about.
    """

    own: ClassVar[dict[str, object]] = {}

    def setUp(self) -> None:
        broker, exchange = services.rabbitmq(), f"radiovis.{uuid4()}"
        shared = {"STATIONS_FILE": "stations.toml", "FB_QUEUE": exchange, **self.own}
        self.server = cluster_node(broker, exchange, ADMIN_PORT=services.free_port(), **shared)
        self.server.command.remove("--test")
        self.daemon = Daemon(broker, exchange, FB_ADMIN_PORT=services.free_port(), **shared)
        for process in (self.server, self.daemon):
            self.addCleanup(process.close)
            write(process, GOOD)
            process.start()
        host, _, port = self.daemon.wait_for("fallback.ready")["admin"].rpartition(":")
        self.addresses = (self.server.admin, (host, int(port)))
        for address in self.addresses:
            until(lambda address=address: ask(address, "/readyz").json["ready"])  # type: ignore[misc]

    def wait_until_degraded(self, condition: str, pattern: str) -> None:
        """Both say it, wherever operators look."""
        for address in self.addresses:
            until(lambda address=address: bool(degraded(address)))  # type: ignore[misc]
            (reason,) = degraded(address)
            self.assertRegex(reason, f"^{condition}: {pattern}")
            self.assertEqual(well(address, condition), 0)
        code, told = self.daemon.status()
        self.assertEqual(code, 1)
        self.assertRegex(told, f"(?m)^DEGRADED  {condition}: {pattern}")
        self.assertEqual(len(self.daemon.report()["degraded"]), 1)

    def wait_until_well(self, condition: str) -> None:
        """Neither says it any more."""
        for address in self.addresses:
            until(lambda address=address: not degraded(address))  # type: ignore[misc]
            self.assertEqual(well(address, condition), 1)
        code, told = self.daemon.status()
        self.assertEqual((code, "DEGRADED" in told), (0, False))

    def assert_served(self) -> None:
        """A station publishes, and a radio gets it."""
        with Radio.connect(self.server.address) as radio:
            radio.subscribe(WILD + "text", fast_reply=False)
            with Radio.connect(self.server.address, "1.rock", "rock n roll") as station:
                station.publish(WILD + "text", b"TEXT served")
            self.assertEqual(radio.expect("MESSAGE").body, b"TEXT served")


class StationsFile(DegradedCase):
    def test_a_mistake_in_the_stations_file(self) -> None:
        for process in (self.server, self.daemon):
            write(process, BROKEN)
        self.wait_until_degraded("stations_file", r"stations\.toml:8: .*; the previous stations stay in use$")
        self.assert_served()
        for process in (self.server, self.daemon):
            write(process, GOOD)
        self.wait_until_well("stations_file")

    def test_a_stations_file_that_vanishes(self) -> None:
        for process in (self.server, self.daemon):
            (process.folder / "stations.toml").unlink()
        self.wait_until_degraded("stations_file", r"stations\.toml: cannot be read: No such file")
        for process in (self.server, self.daemon):
            write(process, GOOD)
        self.wait_until_well("stations_file")

    def test_a_reload_that_finds_a_mistake(self) -> None:
        for process in (self.server, self.daemon):
            write(process, BROKEN)
            process.wait_for("stations.refused")
            process.hang_up()
            process.wait_for("stations.refused", count=2)
        self.wait_until_degraded("stations_file", r"stations\.toml:8: ")


class MonitoringBroker(DegradedCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.monitoring = services.RabbitMQ()
        cls.addClassCleanup(cls.monitoring.close)
        cls.monitoring.start()
        address = cls.monitoring.address
        cls.own = {
            "MONITORING_ENABLED": None,  # A host turns it on.
            "MONITORING_HOST": address.host,
            "MONITORING_PORT": address.port,
            "radiovis.node.build.MONITORING_LAST_RETRY_SECONDS": 1.0,
        }

    def test_a_monitoring_broker_that_dies_and_comes_back(self) -> None:
        self.wait_until_well("monitoring")
        port = self.monitoring.address.port
        self.monitoring.kill()
        self.wait_until_degraded("monitoring", rf"the broker at 127\.0\.0\.1, port {port}: \S")
        self.assert_served()
        self.monitoring.start()
        self.wait_until_well("monitoring")


class Certificate(DegradedCase):
    """The watchdog has one as well, as its operators ask over TLS."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="radiovis-degraded-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.authority = Authority(cls.folder)
        cls.own = {
            "TLS_CERTIFICATE": cls.folder / "certificate.pem",
            "STOMP_TLS_PORT": 0,
            "HTTPS_PORT": 0,
            "ADMIN_TOKEN": TOKEN,
        }

    def setUp(self) -> None:
        self.own = {**self.own, "FB_ADMIN_TLS_PORT": services.free_port()}
        self.issue(30)
        super().setUp()

    def issue(self, days: float) -> None:
        """Put another certificate into the file, valid for so long from now."""
        self.authority.days = days
        self.authority.issue("new.pem", "127.0.0.1").replace(self.folder / "certificate.pem")

    def test_one_that_expires_soon_or_has_expired(self) -> None:
        for days, words in ((13.9, "expires at 20"), (-0.5, "expired at 20")):
            self.issue(days)
            self.wait_until_degraded("certificate", words)
            self.assert_served()
            self.issue(14.1)
            self.wait_until_well("certificate")

    def test_a_new_one_that_cannot_be_used(self) -> None:
        (self.folder / "certificate.pem").write_bytes(b"nonsense")
        self.wait_until_degraded("certificate", r"the changed file is not in use: \S+ does not contain a certificate")
        self.issue(30)
        self.wait_until_well("certificate")


class Dashboard(unittest.TestCase):
    def test_the_dashboard_has_a_line_while_it_lasts(self) -> None:
        if reason := missing():
            raise AssertionError(reason)
        server = Server(STANDALONE=True, STATIONS_FILE="stations.toml", ADMIN_PORT=services.free_port())
        self.addCleanup(server.close)
        write(server, GOOD)
        host, port = server.start().admin
        with Browser() as browser:
            browser.open(f"http://{host}:{port}/")
            browser.wait_until(lambda: browser.text("#state") == "Live", "live")
            self.assertEqual(browser.text("#alarms"), "")
            write(server, BROKEN)
            words = "Degraded: stations_file: stations.toml:8: "
            browser.wait_until(lambda: browser.text("#alarms").startswith(words), words)
            browser.screenshot("dashboard-degraded")
            write(server, GOOD)
            browser.wait_until(lambda: not browser.text("#alarms"), "no alarm")
