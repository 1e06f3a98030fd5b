"""check-config: what a node would run with, and all that would keep it from starting."""

from __future__ import annotations

import json
import tempfile
import unittest
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from radiovis.commands.check_config import certificate_problem
from radiovis.directory.password import hash_password
from radiovis.settings import Settings
from tests.radiovis.commands.calling import call

NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Shown(unittest.TestCase):
    def test_every_setting_with_its_value_and_source(self) -> None:
        done = call("check-config", "--json", "--stomp-port", "4000", RABBITMQ_HOST="mq")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        report = json.loads(done.stdout)
        self.assertEqual(list(report["settings"]), list(Settings.advertised()))
        shown = {name: (each["value"], each["source"]) for name, each in report["settings"].items()}
        self.assertEqual(shown["STOMP_PORT"], (4000, "flag"))
        self.assertEqual(shown["RABBITMQ_HOST"], ("mq", "environment"))
        self.assertEqual(shown["WORKERS"], (1, "default"))

    def test_a_password_within_options_is_masked(self) -> None:
        options = (
            '{"cache.type": "ext:database", "cache.url": "mysql://cache:hunter2@db/x", "cache.password": "hunter2"}'
        )
        done = call("check-config", "--json", CACHE_OPTS=options)
        self.assertNotIn("hunter2", done.stdout + done.stderr)
        self.assertIn("mysql://cache:********@db/x", done.stdout)
        self.assertNotIn("hunter2", call("check-config", CACHE_OPTS=options).stdout)
        wrong = call("check-config", CACHE_OPTS=options[:-1])
        self.assertEqual(wrong.returncode, 2)
        self.assertNotIn("hunter2", wrong.stdout + wrong.stderr)

    def test_two_sources_that_disagree(self) -> None:
        words = ("check-config", "--stomp-port", "4000")
        (line,) = [each for each in call(*words, STOMP_PORT="5000").stdout.splitlines() if " STOMP_PORT " in each]
        self.assertEqual(line.split(maxsplit=2)[1:], ["4000", "(flag, wins over environment)"])
        report = json.loads(call(*words, "--json", STOMP_PORT="5000").stdout)
        self.assertEqual(report["settings"]["STOMP_PORT"]["overruled"], ["environment"])

    def test_which_settings_a_reload_applies(self) -> None:
        report = json.loads(call("check-config", "--json").stdout)
        applied = [name for name, each in report["settings"].items() if each["reload"]]
        self.assertEqual(applied, [name for name in Settings.advertised() if name in Settings.reloadable()])
        lines = call("check-config").stdout.splitlines()
        self.assertEqual(sum(" reload " in line for line in lines), len(applied))

    def test_settings_that_are_not_advertised_are_shown_if_they_are_given(self) -> None:
        report = json.loads(call("check-config", "--json", TEST_FB_QUEUE="mine").stdout)
        self.assertEqual(report["settings"]["TEST_FB_QUEUE"]["value"], "mine")

    def test_the_table_has_a_line_for_each_and_no_colour(self) -> None:
        lines = call("check-config", STOMP_PORT="4000").stdout.splitlines()
        self.assertEqual(
            [line.split() for line in lines if " STOMP_PORT " in line], [["STOMP_PORT", "4000", "(environment)"]]
        )
        self.assertEqual(len([line for line in lines if line.startswith("  ")]), len(Settings.advertised()))
        self.assertNotIn("\x1b", "".join(lines))

    def test_changed_shows_no_defaults(self) -> None:
        done = call("check-config", "--changed", "--json", STOMP_PORT="4000")
        self.assertEqual(list(json.loads(done.stdout)["settings"]), ["STOMP_PORT"])

    def test_secrets_are_masked(self) -> None:
        secrets = {"RABBITMQ_PASSWORD": "hush-1", "RADIODNS_API_URL": "http://plugit/hush-2/"}
        for flags in ((), ("--json",)):
            done = call("check-config", *flags, **secrets)
            self.assertNotIn("hush", done.stdout)
            self.assertIn("********", done.stdout)


class Problems(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def problems(self, *flags: str, **settings: str) -> list[str]:
        """What it says, which is the same in lines and in JSON."""
        done = call("check-config", *flags, **settings)
        self.assertEqual(done.returncode, 2)
        report = json.loads(call("check-config", "--json", *flags, **settings).stdout)
        self.assertFalse(report["ok"])
        lines = [line.removeprefix("server.py: ") for line in done.stderr.splitlines()]
        self.assertEqual(report["problems"], lines)
        return lines

    def test_all_bad_values_at_once(self) -> None:
        lines = self.problems(STOMP_PORT="70000", WORKERS="many")
        self.assertEqual(sorted(line.split(" ")[0] for line in lines), ["STOMP_PORT", "WORKERS"])

    def test_an_unknown_flag(self) -> None:
        done = call("check-config", "--stomp-prt", "1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("did you mean --stomp-port?", done.stderr)

    def test_standing_alone_without_stations(self) -> None:
        self.assertIn("STANDALONE needs STATIONS_FILE", self.problems("--standalone")[0])
        self.assertEqual(call("check-config", "--standalone", "--test").returncode, 0)

    def test_a_half_written_stations_file(self) -> None:
        path = self.folder / "stations.toml"
        path.write_text('[[station]]\nlogin = "1.rock"\npassword = "scr')
        (line,) = self.problems(STATIONS_FILE=str(path))
        self.assertTrue(line.startswith(f"STATIONS_FILE: {path}:3: "), line)
        path.write_text(f'[[station]]\nlogin = "1.rock"\npassword = "{hash_password("x")}"\n')
        self.assertEqual(call("check-config", STATIONS_FILE=str(path)).returncode, 0)

    def test_a_folder_that_is_not_there(self) -> None:
        self.assertEqual(self.problems(SLIDES_DIR="/nowhere"), ["SLIDES_DIR: /nowhere: is not a folder"])

    def test_several_workers_without_a_broker(self) -> None:
        self.assertIn("WORKERS = 2", self.problems(WORKERS="2", RABBITMQ_LOOPBACK="true")[0])

    def test_an_operators_port_for_everybody(self) -> None:
        self.assertIn("ADMIN_TOKEN", self.problems(ADMIN_IP="0.0.0.0")[0])


class Certificates(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "file.pem")

    def write(self, begin: datetime, end: datetime) -> None:
        """A certificate for this time, with its key in front of it."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vis.example")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, end)
        self.path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )

    def test_one_that_is_valid(self) -> None:
        self.write(NOW - timedelta(1), NOW + timedelta(1))
        self.assertIsNone(certificate_problem(self.path, now=NOW))
        self.assertIsNone(certificate_problem(self.path, key=True))

    def test_one_that_has_expired(self) -> None:
        self.write(NOW - timedelta(2), NOW - timedelta(1))
        self.assertEqual(certificate_problem(self.path, now=NOW), f"{self.path}: expired at 2026-11-21 00:00 UTC")

    def test_one_of_tomorrow(self) -> None:
        self.write(NOW + timedelta(1), NOW + timedelta(2))
        self.assertIn("is not valid before 2026-11-23", str(certificate_problem(self.path, now=NOW)))

    def test_something_else(self) -> None:
        self.path.write_text("hello")
        self.assertIn("is not a certificate in PEM format", str(certificate_problem(self.path)))
        self.assertIn("is not a private key", str(certificate_problem(self.path, key=True)))

    def test_nothing(self) -> None:
        self.assertIn("cannot be read: No such file", str(certificate_problem(self.path)))
