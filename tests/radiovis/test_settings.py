from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from twisted.trial import unittest

from fanout.settings import SettingsError, read_settings
from fanout.settings.reference import Words, config_dist, reference
from radiovis.settings import FIRST, Settings

ROOT = Path(__file__).parent.parent.parent

# Contract §1.13: every name and default of the original that means something.
ORIGINAL = {
    "RABBITMQ_HOST": "127.0.0.1",
    "RABBITMQ_PORT": 5672,
    "RABBITMQ_USER": "guest",
    "RABBITMQ_PASSWORD": "guest",
    "RABBITMQ_VHOST": "/",
    "RABBITMQ_EXCHANGE": "amq.fanout",
    # A difference: True in the original; contract §2, change 16.
    "MONITORING_ENABLED": False,
    "MONITORING_HOST": "127.0.0.1",
    "MONITORING_PORT": 5672,
    "MONITORING_USER": "guest",
    "MONITORING_PASSWORD": "guest",
    "MONITORING_VHOST": "/",
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
    "TEST_TOPICS": ["/topic/id/tests._ebu.nowhere/topic1/", "/topic/id/tests._ebu.nowhere/topic2/"],
    "TEST_ECC": {"ch": "4e1"},
    "TEST_ECC_TOPIC_GCC": "/topic/fm/4e1/ffff/99999/",
    "TEST_ECC_TOPIC_CC": "/topic/fm/ch/ffff/99999/",
    "TEST_WATCHDOG_TOPIC": [
        ("/topic/id/tests._ebu.nowhere/topicwatchdogeg/", 1),
        ("/topic/id/tests._ebu.nowhere/topicwatchdogegnoinfo/", 2),
    ],
    "TEST_CHANNEL_DEFAULT": {
        "id": "1",
        "orga": "",
        "name": "test",
        "filename": "testfilename",
        "radiotext": "testdefaultext",
        "radiolink": "testdefaultlink",
        "clean_filename": "testfilename",
    },
    "TEST_FB_FALLBACK_CHECK": 2,
    "TEST_FB_FALLBACK_TIME": 10,
    "TEST_FB_QUEUE": "fallbacklogs_testMode",
    "TEST_FB_LOGS_CLEANUP": 5,
    # A difference: DEBUG in the original.
    "LOG_LEVEL": "INFO",
}


CONSTANTS = (
    *("LAST_SLIDE_SECONDS", "ADMIN_RATES_SECONDS", "DIRECTORY_ATTEMPTS", "DIRECTORY_SHARED_SECONDS", "FB_HEARTBEAT"),
    *("RABBITMQ_PREFETCH", "RABBITMQ_OUTBOX", "RABBITMQ_OUTBOX_BYTES", "RABBITMQ_OUTBOX_SECONDS"),
    *("RABBITMQ_RESEND_SECONDS", "RABBITMQ_CONNECT_TIMEOUT", "RABBITMQ_RETRY_SECONDS", "RABBITMQ_RETRY_MAX_SECONDS"),
    *("MEMCACHED_TIMEOUT", "PREFLIGHT_SECONDS", "PREFLIGHT_AT_ONCE", "PREFLIGHT_CACHE_SECONDS"),
    *("SCHEDULE_MAX", "SCHEDULE_HORIZON", "WALL_STATIONS"),
    *("MONITORING_BUFFER", "MONITORING_BUFFER_BYTES", "MONITORING_RETRY_MAX_SECONDS"),
)
WITHOUT_EFFECT = ("RABBITMQ_DEBUG", "MONITORING_DEBUG")


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

    def test_at_most_95_settings_each_with_a_reason_to_change_it(self) -> None:
        self.assertLessEqual(len(Settings.advertised()), 95)
        words = Words(Settings)
        for name in Settings.advertised():
            self.assertRegex(words.why(name), r"^[A-Z].{8,}\.$", name)

    def test_the_settings_of_test_mode_are_accepted_and_not_shown(self) -> None:
        self.assertEqual(set(Settings.hidden()), {name for name in Settings.model_fields if name.startswith("TEST_")})
        self.assertNotIn("TEST_", config_dist(Settings) + reference(Settings, first=FIRST))
        self.assertEqual(read_settings(Settings, {}, {"TEST_FB_FALLBACK_TIME": "3"}).TEST_FB_FALLBACK_TIME, 3)

    def test_settings_that_became_constants_are_accepted_with_a_warning(self) -> None:
        read = read_settings(Settings, {}, dict.fromkeys((*CONSTANTS, *WITHOUT_EFFECT), "1"))
        warnings = "\n".join(read.warnings())
        for name in (*CONSTANTS, *WITHOUT_EFFECT):
            self.assertRegex(warnings, rf"\b{name}\b.*: no effect; ")
            self.assertNotIn(name, Settings.model_fields)
        self.assertIn("RABBITMQ_DEBUG, MONITORING_DEBUG: no effect; only the original's AMQP library", warnings)

    def test_the_queue_of_the_test_mode_follows_the_real_one(self) -> None:
        self.assertEqual(read_settings(Settings, {}, {"FB_QUEUE": "other"}).TEST_FB_QUEUE, "other_testMode")
        self.assertEqual(
            read_settings(Settings, {}, {"FB_QUEUE": "other", "TEST_FB_QUEUE": "mine"}).TEST_FB_QUEUE, "mine"
        )


class MonitoringTests(unittest.TestCase):
    """MONITORING_ENABLED follows from whether there is a MONITORING_HOST, unless it is given itself."""

    def read(self, config: str = "", **environ: str) -> Settings:
        path = Path(tempfile.mkdtemp()) / "config.py"
        path.write_text(config)
        return read_settings(Settings, {}, environ, path)

    def test_a_host_from_any_source_counts_as_set(self) -> None:
        for settings in (
            self.read(MONITORING_HOST="127.0.0.1"),
            self.read('MONITORING_HOST = "127.0.0.1"\n'),
            self.read('monitoring = {"host": "127.0.0.1"}\n'),
            read_settings(Settings, {"MONITORING_HOST": "127.0.0.1"}, {}),
        ):
            self.assertIs(settings.MONITORING_ENABLED, True)
            self.assertEqual((settings.source_of("MONITORING_ENABLED"), settings.warnings()), ("default", ()))

    def test_the_default_host_and_an_empty_one_do_not(self) -> None:
        self.assertIs(self.read().MONITORING_ENABLED, False)
        self.assertEqual(self.read().warnings(), ())
        self.assertIs(self.read(MONITORING_HOST="").MONITORING_ENABLED, False)

    def test_given_itself_it_wins(self) -> None:
        self.assertIs(self.read(MONITORING_HOST="mon.example", MONITORING_ENABLED="false").MONITORING_ENABLED, False)
        self.assertIs(self.read('monitoring = {"host": "h", "enabled": False}\n').MONITORING_ENABLED, False)
        self.assertIs(self.read(MONITORING_ENABLED="true").MONITORING_ENABLED, True)
        self.assertIs(self.read(MONITORING_HOST="mon.example", MONITORING_ENABLED="").MONITORING_ENABLED, True)

    def test_what_has_no_effect_without_a_host_is_said(self) -> None:
        doubt = "MONITORING_USER, MONITORING_PASSWORD: without effect, because MONITORING_HOST is not set."
        given = {"MONITORING_USER": "m", "MONITORING_PASSWORD": "p"}
        self.assertEqual(self.read(**given).warnings(), (doubt,))
        for more in ({"MONITORING_HOST": "h"}, {"MONITORING_ENABLED": "false"}, {"MONITORING_ENABLED": "true"}):
            self.assertEqual(self.read(**given, **more).warnings(), ())


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
        path.write_text("FB_QUEUE = 5\n")  # TEST_FB_QUEUE's default is made of it.
        error = self.assertRaises(SettingsError, read_settings, Settings, {}, {}, path)
        self.assertRegex(str(error), rf"^FB_QUEUE = 5 \({path}\): should be text: [^\n]*$")


ORIGINAL_FILE = """
import logging, os
LOG_LEVEL = logging.DEBUG
RABBITMQ_HOST = os.environ.get("RABBITMQ_HOST", "127.0.0.1")
RABBITMQ_PORT = os.environ.get("RABBITMQ_PORT", "5672")
RABBITMQ_DEBUG = os.environ.get("RABBITMQ_DEBUG", "True") == "True"
RABBITMQ_LOOPBACK = False
API_URL = os.environ.get("RADIODNS_API_URL", "http://127.0.0.1:5000/action/radiovis/api/dev-secret/")
monitoring = {
    "enabled": os.environ.get("MONITORING_ENABLED", "True") == "True",
    "host": "mon.example", "port": "5672", "user": "guest", "password": "pass word", "vhost": "/", "debug": True,
    "exchange": "monitoring.buffer", "queue": "radiovis", "server_id": ["rabbit@a", "rabbit@b"],
}
STOMP_IP = os.environ.get("STOMP_IP", "127.0.0.1").split(",")
STOMP_PORT = int(os.environ.get("STOMP_PORT") or "61613")
STATS_ENABLED = True
STATS_HOST = "stats.example"
FB_FALLBACK_TIME = 30
TEST_FB_QUEUE = "mine_testMode"
CACHE_OPTS = {"cache.type": "memory"}
"""


class OriginalFileTests(unittest.TestCase):
    """Contract §1.13: the ``config.py`` of the original server."""

    def setUp(self) -> None:
        self.path = Path(tempfile.mkdtemp()) / "config.py"
        self.path.write_text(ORIGINAL_FILE)

    def test_all_of_it_is_used_or_named_once(self) -> None:
        settings = read_settings(Settings, {}, {}, self.path)
        expected = {
            "LOG_LEVEL": "DEBUG",
            "RADIODNS_API_URL": "http://127.0.0.1:5000/action/radiovis/api/dev-secret/",
            "RABBITMQ_PORT": 5672,
            "MONITORING_ENABLED": True,
            "MONITORING_HOST": "mon.example",
            "MONITORING_PASSWORD": "pass word",
            "MONITORING_SERVER_ID": "rabbit@a,rabbit@b",
            "STOMP_IP": "127.0.0.1",
            "FB_FALLBACK_TIME": 30,
            "TEST_FB_QUEUE": "mine_testMode",
        }
        self.assertEqual({name: plain(getattr(settings, name)) for name in expected}, expected)
        warnings = "\n".join(settings.warnings())
        for name in ("STATS_ENABLED", "STATS_HOST", "RABBITMQ_DEBUG", "MONITORING_DEBUG"):
            self.assertEqual(warnings.count(name), 1, warnings)
        self.assertEqual(len(settings.warnings()), 2, warnings)

    def test_empty_variables(self) -> None:
        names = [name for name in ORIGINAL if not name.startswith("TEST_")]
        settings = read_settings(Settings, {}, dict.fromkeys(names, ""), self.path)
        self.assertEqual((settings.RABBITMQ_PORT, settings.FB_CHANNEL_CACHE), (5672, 60))
        self.assertEqual((settings.RABBITMQ_HOST, settings.FB_QUEUE), ("127.0.0.1", "fallbacklogs"))
        self.assertEqual((settings.MEMCACHED_HOST, settings.FB_IMAGE_LOCATIONS), ("", ""))
        for name in ("RABBITMQ_PORT", "FB_CHANNEL_CACHE", "RABBITMQ_HOST", "LOG_LEVEL"):
            self.assertEqual(sum(name in warning for warning in settings.warnings()), 1, settings.warnings())


class GeneratedFilesTests(unittest.TestCase):
    def test_the_files_are_as_the_settings_are(self) -> None:
        files = {"config.py.dist": config_dist(Settings), "docs/settings.md": reference(Settings, first=FIRST)}
        for name, text in files.items():
            self.assertEqual((ROOT / name).read_text(), text, f"{name} is old: make settings")

    def test_the_dist_file_uncommented_is_the_defaults(self) -> None:
        path = Path(tempfile.mkdtemp()) / "config.py"
        path.write_text(re.sub(r"^#(?! )|^#(?= {2,})", "", config_dist(Settings), flags=re.MULTILINE))
        settings = read_settings(Settings, {}, {}, path)
        self.assertEqual(settings.model_dump(), Settings().model_dump())
        self.assertEqual(
            [name for name in Settings.advertised() if settings.source_of(name) != str(path)], [], "all of them"
        )

    def test_the_reference_has_a_row_and_an_anchor_for_each_setting(self) -> None:
        rows = re.findall(r'^\| <a id="([a-z_]+)"></a>`([A-Z_]+)` \|.*\|.*\|.*\|$', reference(Settings), re.MULTILINE)
        self.assertEqual(sorted(name for _, name in rows), sorted(Settings.advertised()))
        self.assertTrue(all(anchor == name.lower() for anchor, name in rows))

    def test_the_reference_begins_with_ten_settings_and_names_those_without_effect(self) -> None:
        text = reference(Settings, first=FIRST)
        self.assertEqual(len(FIRST), 10)
        headings = re.findall("^## (.*)$", text, re.MULTILINE)
        self.assertEqual((headings[0], headings[-1]), ("The ten that most operators need", "Without effect"))
        for name in (*FIRST, *Settings.all_retired()):
            self.assertIn(f"`{name}`", text)

    def test_the_reload_column(self) -> None:
        for name in Settings.advertised():
            (row,) = re.findall(rf"^\| .*`{name}` \| .*$", reference(Settings), re.MULTILINE)
            self.assertEqual("| yes |" in row, name in Settings.reloadable(), row)
