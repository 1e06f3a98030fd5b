from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from twisted.trial import unittest

from fanout.settings import SettingsError, read_settings
from fanout.settings.reference import config_dist, reference
from radiovis.settings import Settings

ROOT = Path(__file__).parent.parent.parent

# Contract §1.13: every name and default of the original that means something.
ORIGINAL = {
    "RABBITMQ_HOST": "127.0.0.1",
    "RABBITMQ_PORT": 5672,
    "RABBITMQ_USER": "guest",
    "RABBITMQ_PASSWORD": "guest",
    "RABBITMQ_VHOST": "/",
    "RABBITMQ_DEBUG": True,
    "RABBITMQ_EXCHANGE": "amq.fanout",
    "MONITORING_ENABLED": True,
    "MONITORING_HOST": "127.0.0.1",
    "MONITORING_PORT": 5672,
    "MONITORING_USER": "guest",
    "MONITORING_PASSWORD": "guest",
    "MONITORING_VHOST": "/",
    "MONITORING_DEBUG": True,
    "MONITORING_EXCHANGE": "monitoring.buffer",
    "MONITORING_QUEUE": "radiovis",
    "MONITORING_SERVER_ID": "rabbit@radiodnsrabbitmq",
    "STOMP_IP": "0.0.0.0",
    "STOMP_PORT": 61613,
    "RADIODNS_API_URL": "http://127.0.0.1:5000/action/radiovis/api/dev-secret/",
    "MEMCACHED_HOST": "127.0.0.1",
    "FB_CHANNEL_CACHE": 60,
    "FB_QUEUE": "fallbacklogs",
    "FB_FALLBACK_CHECK": 15,
    "FB_FALLBACK_TIME": 60,
    "FB_IMAGE_LOCATIONS": "",
    "FB_LOGS_MAX_AGE": 86400,
    "FB_LOGS_CLEANUP": 3600,
    "RABBITMQ_LOOPBACK": False,
    "CACHE_OPTS": {"cache.type": "memory"},
    # §1.12
    "TEST_ECC": {"ch": "4e1"},
    "TEST_FB_FALLBACK_CHECK": 2,
    "TEST_FB_FALLBACK_TIME": 10,
    "TEST_FB_QUEUE": "fallbacklogs_testMode",
    "TEST_FB_LOGS_CLEANUP": 5,
    # A difference: DEBUG in the original.
    "LOG_LEVEL": "INFO",
}


def plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def problems(**environ: str) -> list[str]:
    try:
        read_settings(Settings, {}, environ)
    except SettingsError as error:
        return str(error).splitlines()
    return []


class DefaultsTests(unittest.TestCase):
    def test_every_name_and_default_of_the_original(self) -> None:
        settings = Settings()
        self.assertEqual({name: plain(getattr(settings, name)) for name in ORIGINAL}, ORIGINAL)

    def test_every_setting_has_a_reason_of_one_line(self) -> None:
        for name, field in Settings.model_fields.items():
            self.assertRegex(field.description or "", r"^\S.{8,109}\.$", name)

    def test_the_queue_of_the_test_mode_follows_the_real_one(self) -> None:
        self.assertEqual(read_settings(Settings, {}, {"FB_QUEUE": "other"}).TEST_FB_QUEUE, "other_testMode")
        self.assertEqual(
            read_settings(Settings, {}, {"FB_QUEUE": "other", "TEST_FB_QUEUE": "mine"}).TEST_FB_QUEUE, "mine"
        )


class ValuesTests(unittest.TestCase):
    def test_api_url(self) -> None:
        settings = read_settings(Settings, {}, {"RADIODNS_API_URL": "https://plugit.example/api/s3cret"})
        self.assertEqual(plain(settings.RADIODNS_API_URL), "https://plugit.example/api/s3cret/")
        (line,) = problems(RADIODNS_API_URL="plugit.example/s3cret")
        self.assertRegex(line, r"^RADIODNS_API_URL = \*+ \(environment\): should be a URL that begins with http")

    def test_memcached_servers(self) -> None:
        for good in ("", "10.0.0.1", "a:11211", "a:11211, b:11212,c", "[::1]:11211"):
            self.assertEqual(problems(MEMCACHED_HOST=good), [], good)
        for bad in ("a b", "a,,b", ",", " "):
            self.assertEqual(len(problems(MEMCACHED_HOST=bad)), 1, bad)

    def test_log_level_by_name_or_as_the_original_files_have_it(self) -> None:
        self.assertEqual(read_settings(Settings, {}, {"LOG_LEVEL": "debug"}).LOG_LEVEL, "DEBUG")
        self.assertEqual(Settings(LOG_LEVEL=logging.DEBUG).LOG_LEVEL, "DEBUG")
        self.assertEqual(
            problems(LOG_LEVEL="LOUD"),
            ["LOG_LEVEL = 'LOUD' (environment): should be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"],
        )

    def test_one_wrong_queue_name_is_one_complaint(self) -> None:
        path = Path(tempfile.mkdtemp()) / "config.py"
        path.write_text("FB_QUEUE = 5\n")
        error = self.assertRaises(SettingsError, read_settings, Settings, {}, {}, path)
        self.assertEqual(str(error), f"FB_QUEUE = 5 ({path}): should be text")


class GeneratedFilesTests(unittest.TestCase):
    def test_the_files_are_as_the_settings_are(self) -> None:
        for name, text in [("config.py.dist", config_dist(Settings)), ("docs/settings.md", reference(Settings))]:
            self.assertEqual((ROOT / name).read_text(), text, f"{name} is old: make settings")

    def test_the_dist_file_uncommented_is_the_defaults(self) -> None:
        path = Path(tempfile.mkdtemp()) / "config.py"
        path.write_text(re.sub(r"^#(?! )|^#(?= {2,})", "", config_dist(Settings), flags=re.MULTILINE))
        settings = read_settings(Settings, {}, {}, path)
        self.assertEqual(settings.model_dump(), Settings().model_dump())
        self.assertEqual(
            [name for name in Settings.model_fields if settings.source_of(name) != str(path)], [], "all of them"
        )

    def test_the_reference_has_a_row_for_each_setting(self) -> None:
        rows = re.findall(r"^\| `([A-Z_]+)` \|.*\|.*\|.*\|$", reference(Settings), re.MULTILINE)
        self.assertEqual(sorted(rows), sorted(Settings.model_fields))
