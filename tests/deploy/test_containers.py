"""docker-compose.yml, .env.example and the Dockerfile agree with the settings, HAProxy's file, and among themselves."""

from __future__ import annotations

import os
import re
import subprocess
import unittest
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml

from fanout.settings import read_settings
from fanout.settings.loading import SUFFIX
from radiovis.commands.check_config import problems
from radiovis.settings import Settings
from tests.processes import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OVERRIDES = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "deploy" / "compose").glob("*.yml"))]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENV_EXAMPLE = dict(
    line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("#")
)
SECRETS = {"RABBITMQ_PASSWORD", "ADMIN_TOKEN", "RADIODNS_API_URL", "MONITORING_PASSWORD"}
OURS = ("server", "fallback1", "fallback2")


def interpolated(value: str, env: dict[str, str]) -> str:
    """``${NAME:-default}`` as docker compose takes it."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: env.get(found[1]) or found[2], value)


class Compose(unittest.TestCase):
    def settings_of(self, service: dict[str, Any], env: dict[str, str]) -> Settings:
        """As a container's process reads them; its secrets stand in files of this test."""
        environ = {name: interpolated(value, env) for name, value in service["environment"].items()}
        for name in [name for name in environ if name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in SECRETS]:
            mounted = Path(environ.pop(name))
            self.assertEqual(mounted.parent, Path("/run/secrets"))
            self.assertIn(mounted.name, service["secrets"])
            self.assertIn(mounted.name, COMPOSE["secrets"])
            environ[name.removesuffix(SUFFIX)] = "a-secret-of-this-test"
        self.assertEqual(environ.keys() - Settings.model_fields.keys(), set())
        settings = read_settings(Settings, {}, environ)
        self.assertEqual(settings.warnings(), ())
        return settings

    def test_every_variable_is_a_setting_and_well_with_and_without_the_example(self) -> None:
        for name in OURS:
            for env in ({}, ENV_EXAMPLE):
                with self.subTest(service=name, env=bool(env)):
                    wrong = problems(self.settings_of(COMPOSE["services"][name], env), fake=True)
                    self.assertEqual([each for each in wrong if not each.startswith("SLIDES_DIR")], [])

    def test_the_example_names_what_is_taken(self) -> None:
        taken = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
        self.assertEqual(ENV_EXAMPLE.keys() - taken, {"COMPOSE_PROFILES"})
        self.assertEqual(taken - ENV_EXAMPLE.keys(), set())
        profiles = {each for service in COMPOSE["services"].values() for each in service.get("profiles", [])}
        self.assertEqual({ENV_EXAMPLE["COMPOSE_PROFILES"]}, profiles)

    def test_the_examples_stations_and_slides_are_there(self) -> None:
        folder = ROOT / ENV_EXAMPLE["STATIONS_DIR"]
        for name in ("STATIONS_FILE", "SLIDES_DIR"):
            inside = Path(ENV_EXAMPLE[name]).relative_to("/etc/radiovis")
            self.assertTrue((folder / inside).exists(), inside)

    def test_haproxy_is_believed_and_nobody_else(self) -> None:
        address = COMPOSE["services"]["haproxy"]["networks"]["default"]["ipv4_address"]
        (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
        self.assertEqual(COMPOSE["services"]["server"]["environment"]["PROXY_FROM"], address)
        self.assertIn(ip_address(address), ip_network(network["subnet"]))
        self.assertNotIn(ip_address(address), ip_network(network["ip_range"]))

    def test_haproxy_finds_the_servers_at_their_ports(self) -> None:
        text = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
        settings = self.settings_of(COMPOSE["services"]["server"], {})
        ports = {settings.STOMP_PORT, settings.STOMP_TLS_PORT, settings.HTTP_PORT, settings.HTTPS_PORT}
        self.assertEqual({int(port) for port in re.findall(r"server-template \w+ \d+ server:(\d+)", text)}, ports)
        self.assertEqual(re.findall(r"check port (\d+)", text), [str(settings.ADMIN_PORT)])
        published = {int(interpolated(port, {}).split(":")[1]) for port in COMPOSE["services"]["haproxy"]["ports"]}
        self.assertEqual(published, {int(port) for port in re.findall(r"bind :(\d+)", text)} - {8404})

    def test_each_watchdog_has_its_own_journal_on_a_volume(self) -> None:
        volumes = [COMPOSE["services"][name]["volumes"][0].split(":") for name in OURS[1:]]
        self.assertEqual(len({volume for volume, _ in volumes}), 2)
        for name, (_, folder) in zip(OURS[1:], volumes, strict=True):
            settings = self.settings_of(COMPOSE["services"][name], {})
            self.assertTrue(settings.JOURNAL_FILE.startswith(folder + "/"))

    def test_the_broker_gets_the_policies(self) -> None:
        broker = COMPOSE["services"]["rabbitmq"]
        mounted = dict(volume.split(":")[:2] for volume in broker["volumes"] if volume.startswith("./"))
        (script,) = (source for source in mounted if source.endswith("policies.sh"))
        self.assertTrue(os.access(ROOT / script, os.X_OK))
        self.assertIn(f"{mounted[script]} /;", broker["entrypoint"][-1])  # The default virtual host.
        done = subprocess.run(["bash", "-n", "-c", broker["entrypoint"][-1].replace("$$", "$")], check=False)
        self.assertEqual(done.returncode, 0)

    def test_every_service_is_contained_checked_and_limited(self) -> None:
        for name, service in COMPOSE["services"].items():
            with self.subTest(service=name):
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
                self.assertIn("healthcheck", service)
                self.assertGreaterEqual(service["deploy"]["resources"]["limits"].keys(), {"cpus", "memory", "pids"})
                self.assertTrue(service.get("read_only") or name == "rabbitmq")
                self.assertRegex(service["image"], r"^radiovis$|:\d+\.\d+")
                for each, condition in service.get("depends_on", {}).items():
                    self.assertIn(each, COMPOSE["services"])
                    self.assertEqual(condition, {"condition": "service_healthy"})

    def test_overrides_name_services_and_settings(self) -> None:
        self.assertTrue(OVERRIDES)
        for override in OVERRIDES:
            for name, service in override["services"].items():
                self.assertIn(name, COMPOSE["services"])
                self.assertEqual(service.get("environment", {}).keys() - Settings.model_fields.keys(), set())


TEXTS = {"README.md", "LICENSE", "THIRD-PARTY.md"}


class Image(unittest.TestCase):
    def test_it_exposes_the_ports_of_the_settings(self) -> None:
        defaults = Settings()
        names = ("STOMP_PORT", "STOMP_TLS_PORT", "HTTP_PORT", "HTTPS_PORT", "ADMIN_PORT", "FB_ADMIN_PORT")
        (line,) = re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)
        self.assertEqual([int(port) for port in line.split()], [getattr(defaults, name) for name in names])

    def test_what_is_not_for_the_image_stays_outside(self) -> None:
        """An allow-list, so that no config.py or .env with secrets comes in; it has every package."""
        lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
        self.assertEqual(lines[0], "*")
        allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
        clone_only = {"bench", "demo", "examples", "tests", "tools"}
        packages = {file.parent.name for file in ROOT.glob("*/__init__.py")} - clone_only
        self.assertEqual(allowed, packages | {"pyproject.toml", "requirements.lock", *TEXTS})

    def test_no_shell_is_needed_once_it_is_built(self) -> None:
        for word in ("CMD", "ENTRYPOINT"):
            for rest in re.findall(rf"(?:^|\s){word} (.*)$", DOCKERFILE, re.MULTILINE):
                self.assertTrue(rest.startswith("["), rest)

    def test_both_stages_stand_on_one_base_with_a_version(self) -> None:
        bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
        self.assertEqual(len(bases), 2)
        self.assertRegex(bases[0], r"^python:3\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?$")
        self.assertEqual(bases[0], bases[1])
