from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from unittest import mock, skipUnless

from pydantic import SecretStr
from twisted.trial import unittest

from fanout.bus.broker_settings import RabbitMQSettings
from fanout.settings import (
    SettingsError,
    SettingsGroup,
    add_flags,
    given_flags,
    load_settings,
    parse_flags,
    program_name,
    read_settings,
    setting,
)
from fanout.settings.field import JsonDict
from fanout.settings.loading import writable_by_others
from fanout.settings.reference import MASK, config_dist, reference
from fanout.stomp.limits import StompSettings


class Settings(RabbitMQSettings, StompSettings):
    """Two of the engine's groups and one setting of each further kind."""

    retired: ClassVar[Mapping[str, str]] = {
        "SPOOL": "the broker has it",
        "CRATE": "the broker has it",
        "BOX": "sold",
        "DEAD_*": "nothing reads it",
    }
    old_names: ClassVar[Mapping[str, str]] = {
        "API_URL": "URL",
        "old.host": "RABBITMQ_HOST",
        "old.port": "RABBITMQ_PORT",
        "old.box": "BOX",
    }

    CACHE: JsonDict = setting({}, "A dict.")
    RATIO: float = setting(1, "A number.", ge=0, le=60)
    URL: SecretStr = setting(SecretStr("http://h/secret/"), "A secret.")


class LoadingTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)

    def config(self, text: str, name: str = "config.py") -> Path:
        (self.folder / name).write_text(text)
        return self.folder / name

    def load(self, *argv: str, path: Path | None = None, **environ: str) -> Settings:
        return load_settings(Settings, argv, environ, path)

    def problems(self, *argv: str, path: Path | None = None, **environ: str) -> list[str]:
        """The lines of complaint."""
        return str(self.assertRaises(SettingsError, self.load, *argv, path=path, **environ)).splitlines()


class GroupTests(unittest.TestCase):
    def test_a_combination_of_groups_may_be_a_part_of_another_one(self) -> None:
        class Outer(SettingsGroup):
            """Outer."""

            NAME: str = setting("", "A reason.")

        class Both(Outer, Settings):
            """Both."""

            STOMP_PORT: int = setting(7, "Another default.")

        headings = [heading for heading, _ in Both.groups()]
        self.assertEqual(headings[-1], "Outer")
        self.assertIn("STOMP", headings)
        fields = [name for _, fields in Both.groups() for name in fields]
        self.assertEqual(len(fields), len(set(fields)))
        self.assertEqual(set(fields), set(Both.model_fields))
        stomp = dict(Both.groups())["STOMP"]
        self.assertEqual(stomp["STOMP_PORT"].default, 7)


class ReloadTests(unittest.TestCase):
    class Two(SettingsGroup):
        """Two."""

        MODE: str = setting("a", "The mode.", why="Change it for fun.", reload=True)
        PORT: int = setting(1, "The port.", ge=0)

    def test_a_group_tells_which_settings_a_reload_applies(self) -> None:
        self.assertEqual(self.Two.reloadable(), ("MODE",))

    def test_the_manual_tells_it(self) -> None:
        lines = reference(self.Two).splitlines()
        head = "| setting | default | unit, range | reload | what it is for, and when to change it |"
        self.assertIn(head, lines)
        self.assertIn("| <a id=\"mode\"></a>`MODE` | `'a'` |  | yes | The mode. Change it for fun. |", lines)
        self.assertIn('| <a id="port"></a>`PORT` | `1` | from 0 |  | The port. |', lines)

    def test_the_manual_of_an_application_that_does_not_reload_is_silent_about_it(self) -> None:
        text = reference(self.Two, "# Options\n", reloads=False)
        self.assertNotIn("reload", text)
        self.assertIn("`MODE` | `'a'` |  | The mode. Change it for fun. |", text)

    def test_the_file_to_start_from_tells_it(self) -> None:
        lines = config_dist(self.Two).splitlines()
        self.assertIn("# The mode. Change it for fun. (reload)", lines)
        self.assertIn("# The port. (from 0)", lines)


class PrecedenceTests(LoadingTestCase):
    def test_a_program_may_have_a_file_of_another_name(self) -> None:
        other = self.config("STOMP_PORT = 1", "other_config.py")
        self.config("STOMP_PORT = 2")
        settings = read_settings(Settings, {}, {}, None, Path(other))
        self.assertEqual(settings.STOMP_PORT, 1)
        self.assertEqual(read_settings(Settings, {}, {}, None, Path("nowhere.py")).STOMP_PORT, 61613)

    def test_flag_before_environment_before_file_before_default(self) -> None:
        self.config("RABBITMQ_HOST = 'file'\nRABBITMQ_USER = 'file'\nSTOMP_PORT = 1\n")
        settings = self.load("--rabbitmq-host", "flag", "--stomp-port=3", RABBITMQ_HOST="env", RABBITMQ_USER="env")
        names = ["RABBITMQ_HOST", "RABBITMQ_USER", "STOMP_PORT", "RABBITMQ_VHOST"]
        self.assertEqual([getattr(settings, name) for name in names], ["flag", "env", 3, "/"])
        self.assertEqual([settings.source_of(name) for name in names], ["flag", "environment", "flag", "default"])

    def test_config_py_of_the_working_folder_is_read_without_being_asked_for(self) -> None:
        self.config("import os\n_hidden = 1\nlower = 2\nSTOMP_PORT = 60000 + 1\n")
        settings = self.load()
        self.assertEqual((settings.STOMP_PORT, settings.source_of("STOMP_PORT")), (60001, "config.py"))

    def test_another_file_by_flag_wins_over_the_one_the_program_names(self) -> None:
        other, third = self.config("STOMP_PORT = 1", "other.py"), self.config("STOMP_PORT = 2", "third.py")
        self.config("STOMP_PORT = 3")
        self.assertEqual(self.load(path=other).STOMP_PORT, 1)
        settings = self.load("--config", str(third), path=other)
        self.assertEqual((settings.STOMP_PORT, settings.source_of("STOMP_PORT")), (2, str(third)))

    def test_empty_text_is_a_value(self) -> None:
        self.config("STOMP_HOSTS = 'a.example'")
        self.assertEqual(self.load(STOMP_HOSTS="").STOMP_HOSTS, "")

    def test_subcommands_can_carry_the_flags(self) -> None:
        parser = argparse.ArgumentParser(allow_abbrev=False)
        add_flags(parser.add_subparsers(dest="command").add_parser("serve"), Settings)
        given = given_flags(parser.parse_args(["serve", "--rabbitmq-loopback", "--stomp-port", "7"]))
        self.assertEqual(given, {"RABBITMQ_LOOPBACK": "true", "STOMP_PORT": "7"})
        settings = read_settings(Settings, given, {"STOMP_PORT": "8"})
        self.assertEqual((settings.RABBITMQ_LOOPBACK, settings.STOMP_PORT), (True, 7))


class KindsOfValueTests(LoadingTestCase):
    def test_booleans_of_every_spelling_from_every_source(self) -> None:
        for spellings, meant in [("true True TRUE 1 yes Yes", True), ("false False 0 no NO", False)]:
            for text in spellings.split():
                self.assertIs(self.load(RABBITMQ_LOOPBACK=text).RABBITMQ_LOOPBACK, meant, text)
                self.assertIs(self.load("--rabbitmq-loopback", text).RABBITMQ_LOOPBACK, meant, text)
                self.config(f"RABBITMQ_LOOPBACK = {text!r}")
                self.assertIs(self.load().RABBITMQ_LOOPBACK, meant, text)
        self.assertIs(self.load("--rabbitmq-loopback").RABBITMQ_LOOPBACK, True)

    def test_dicts_are_python_in_the_file_and_json_elsewhere(self) -> None:
        self.config("CACHE = {'cache.type': 'memory'}")
        self.assertEqual(self.load().CACHE, {"cache.type": "memory"})
        self.assertEqual(self.load(CACHE='{"a": 1}').CACHE, {"a": 1})
        self.assertEqual(self.load("--cache", "{}").CACHE, {})

    def test_settings_do_not_change_afterwards(self) -> None:
        self.assertRaises(ValueError, setattr, self.load(), "STOMP_PORT", 1)


class OldFileTests(LoadingTestCase):
    """A ``config.py`` of an earlier program."""

    def test_old_names_and_keys_of_a_dictionary(self) -> None:
        self.config("API_URL = 'http://old/'\nold = {'host': 'a', 'port': '5673'}\n")
        settings = self.load()
        self.assertEqual((settings.RABBITMQ_HOST, settings.RABBITMQ_PORT), ("a", 5673))
        self.assertEqual(settings.URL.get_secret_value(), "http://old/")
        self.assertEqual(settings.source_of("RABBITMQ_HOST"), "config.py")
        self.assertEqual(settings.warnings(), ())

    def test_keys_without_effect_are_named_once(self) -> None:
        self.config("old = {'host': 'a', 'box': 1, 'lid': 2, 3: 4}\n")
        self.assertEqual(
            self.load().warnings(),
            (
                "old['lid'], old[3] in config.py: ignored, there is no such setting",
                "BOX: no effect; sold",
            ),
        )

    def test_the_new_name_wins_over_the_old_one(self) -> None:
        self.config("API_URL = 'http://old/'\nURL = 'http://new/'\n")
        settings = self.load()
        self.assertEqual(settings.URL.get_secret_value(), "http://new/")
        self.assertEqual(settings.warnings(), ("API_URL in config.py: ignored, because URL is set as well",))

    def test_something_else_instead_of_the_dictionary(self) -> None:
        self.config("old = ['a']\n")
        self.assertEqual(self.problems(), ["old in config.py: should be a dict"])

    def test_a_list_of_one_address(self) -> None:
        self.config("STOMP_IP = '127.0.0.1'.split(',')\n")
        self.assertEqual(self.load().STOMP_IP, "127.0.0.1")
        self.config("STOMP_IP = '127.0.0.1,::1'.split(',')\n")
        self.assertEqual(
            self.problems(),
            ["STOMP_IP = '127.0.0.1,::1' (config.py): should be one address to listen on, such as 0.0.0.0 or ::"],
        )

    def test_a_list_instead_of_a_number(self) -> None:
        self.config("STOMP_PORT = [61613]\n")
        self.assertEqual(
            self.problems(), ["STOMP_PORT = [61613] (config.py): should be a whole number from 0 to 65535"]
        )

    def test_an_empty_value_that_is_not_valid_counts_as_not_given(self) -> None:
        self.config("STOMP_PORT = 7\nTRAILING_LF = ''\n")
        settings = self.load(STOMP_PORT="", RABBITMQ_LOOPBACK="", STOMP_HOSTS="")
        self.assertEqual((settings.STOMP_PORT, settings.TRAILING_LF, settings.STOMP_HOSTS), (7, "auto", ""))
        self.assertEqual(settings.source_of("STOMP_PORT"), "config.py")
        self.assertEqual(settings.source_of("STOMP_HOSTS"), "environment")
        self.assertEqual(
            settings.warnings(),
            (
                "RABBITMQ_LOOPBACK is empty (environment) and counts as missing",
                "STOMP_PORT is empty (environment) and counts as missing",
                "TRAILING_LF is empty (config.py) and counts as missing",
            ),
        )

    def test_a_setting_from_two_sources(self) -> None:
        self.config("STOMP_PORT = 7\n")
        settings = self.load("--stomp-port", "9", STOMP_PORT="8")
        self.assertEqual(settings.STOMP_PORT, 9)
        self.assertEqual(
            (settings.source_of("STOMP_PORT"), settings.overruled("STOMP_PORT")), ("flag", ("environment", "config.py"))
        )
        self.assertEqual((settings.source_of("STOMP_IP"), settings.overruled("STOMP_IP")), ("default", ()))


class OwnerTests(LoadingTestCase):
    def test_a_file_that_other_users_may_write_is_named(self) -> None:
        path = self.config("STOMP_PORT = 7\n")
        path.chmod(0o644)
        self.assertEqual(self.load().warnings(), ())
        path.chmod(0o664)
        self.assertEqual(
            self.load().warnings(),
            ("config.py: other users may write it (mode 664), and with it everything that this program may do",),
        )

    def test_owners(self) -> None:
        path = self.config("STOMP_PORT = 7\n")
        self.assertEqual(writable_by_others(path), "")
        self.assertEqual(writable_by_others(self.folder / "none.py"), "")
        with mock.patch("os.geteuid", return_value=path.stat().st_uid + 1):
            expected = "" if path.stat().st_uid == 0 else f"it belongs to user {path.stat().st_uid}"
            self.assertEqual(writable_by_others(path), expected)

    @skipUnless(os.geteuid() == 0, "only root can give a file away")
    def test_a_file_or_a_link_of_another_user(self) -> None:
        path, link = self.config("STOMP_PORT = 7\n"), self.folder / "link.py"
        link.symlink_to(path)
        self.assertEqual(writable_by_others(link), "")
        os.chown(link, 12, 12, follow_symlinks=False)
        self.assertEqual(writable_by_others(link), "it belongs to user 12")
        os.chown(path, 12, 12)
        self.assertEqual(writable_by_others(path), "it belongs to user 12")


class HelpTests(LoadingTestCase):
    def printed(self, *argv: str, common: tuple[str, ...] = ()) -> str:
        parser = argparse.ArgumentParser(prog="program")
        add_flags(parser, Settings, common=common)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertRaises(SystemExit, parse_flags, parser, Settings, argv)
        return out.getvalue()

    def test_help_shows_the_common_settings_only(self) -> None:
        text = self.printed("--help", common=("STOMP_PORT",))
        for part in ("--stomp-port", "--config", "--help-settings"):
            self.assertIn(part, text)
        self.assertNotIn("--stomp-ip", text)

    def test_help_settings_shows_every_setting_in_its_group(self) -> None:
        text = self.printed("--help-settings")
        for name in Settings.advertised():
            self.assertIn("--" + name.lower().replace("_", "-"), text)
        for heading, _ in Settings.groups():
            self.assertIn(f"{heading}:\n", text)

    def test_the_name_of_the_program(self) -> None:
        for started, name in (("/usr/bin/installed", "installed"), ("server.py", "otherwise")):
            with mock.patch("sys.argv", [started]):
                self.assertEqual(program_name("installed", "otherwise"), name)


class ComplaintTests(LoadingTestCase):
    def test_one_line_each_with_name_value_source_and_what_is_allowed(self) -> None:
        self.config("RABBITMQ_HEARTBEAT = 0\nSTOMP_PORT = 'x'\nNONSENSE_NAME = 3\nSTOMP_PROT = 4\n")
        lines = self.problems("--trailing-lf", "maybe", "--ratio=nan", RABBITMQ_LOOPBACK="perhaps", CACHE="{a")
        self.assertEqual(
            sorted(line.replace("'", "") for line in lines),
            [
                (
                    "CACHE = ******** (environment): should be JSON "
                    "(Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"
                ),
                "NONSENSE_NAME in config.py: no such setting",
                "RABBITMQ_HEARTBEAT = 0 (config.py): should be a whole number from 1 to 600",
                "RABBITMQ_LOOPBACK = perhaps (environment): should be true or false",
                "RATIO = nan (flag): should be a number from 0 to 60",
                "STOMP_PORT = x (config.py): should be a whole number from 0 to 65535",
                "STOMP_PROT in config.py: no such setting; did you mean STOMP_PORT?",
                "TRAILING_LF = maybe (flag): should be one of auto, on, off",
            ],
        )

    def test_a_list_of_addresses_to_listen_on_is_refused(self) -> None:
        self.assertEqual(
            self.problems(STOMP_IP="a,b"),
            ["STOMP_IP = 'a,b' (environment): should be one address to listen on, such as 0.0.0.0 or ::"],
        )

    def test_flags(self) -> None:
        self.assertEqual(self.problems("--stomp-prot=1"), ["--stomp-prot: no such setting; did you mean --stomp-port?"])
        self.assertEqual(self.problems("--stomp", "1"), ["--stomp: no such setting; did you mean --stomp-ip?"])
        self.assertEqual(self.problems("stray"), ["stray: unexpected argument"])
        self.assertEqual(self.problems("--stomp-port"), ["argument --stomp-port: expected one argument"])

    def test_a_docker_link_or_kubernetes_service_is_named_as_the_cause(self) -> None:
        (line,) = self.problems(RABBITMQ_PORT="tcp://10.0.0.1:5672")
        self.assertTrue(line.startswith("RABBITMQ_PORT = 'tcp://10.0.0.1:5672' (environment): should be a whole"), line)
        self.assertIn("enableServiceLinks: false", line)

    def test_a_broken_file_is_told_with_its_line(self) -> None:
        for text, complaint in [
            ("A = 1\nB = = 2\n", "line 2: invalid syntax"),
            ("\n\nA = 1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
            ("import sys\nsys.exit('no')\n", "line 2: SystemExit: no"),
            (
                "open('no_such_file')\n",
                "line 1: FileNotFoundError: [Errno 2] No such file or directory: 'no_such_file'",
            ),
            ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ]:
            self.config(text)
            self.assertEqual(self.problems(), [f"config.py, {complaint}"])

    def test_a_file_that_was_asked_for_must_be_there(self) -> None:
        self.assertEqual(self.problems("--config", "no.py"), ["cannot read no.py: No such file or directory"])
        self.assertEqual(self.problems(path=self.folder), [f"cannot read {self.folder}: it is a folder"])

    def test_secrets_are_not_in_complaints_nor_in_print(self) -> None:
        self.config("URL = 4711\nRABBITMQ_PASSWORD = ['hunter2']\nSTOMP_PORT = 'x'\n")
        lines = self.problems("--rabbitmq-pasword=hunter3", path=None)
        self.assertEqual(lines, ["--rabbitmq-pasword: no such setting; did you mean --rabbitmq-password?"])
        lines = self.problems()
        self.assertIn(f"RABBITMQ_PASSWORD = {MASK} (config.py): should be text", lines)
        self.assertNotIn("4711", str(lines))
        self.assertNotIn("hunter", str(lines))
        settings = read_settings(
            Settings, {"RABBITMQ_PASSWORD": "hunter2"}, {}, self.config("URL = 'http://h/s3cret/'")
        )
        self.assertEqual(settings.RABBITMQ_PASSWORD.get_secret_value(), "hunter2")
        for shown in (str(settings), repr(settings)):
            self.assertNotIn("hunter2", shown)
            self.assertNotIn("s3cret", shown)


class WarningTests(LoadingTestCase):
    def test_a_near_miss_in_the_environment_only_warns(self) -> None:
        settings = self.load(
            STOMP_PROT="1", HTTP_PROXY="x", RABBITMQ_NODE_PORT="5", RABBITMQ_PORT_5672_TCP="t", PATH="x"
        )
        self.assertEqual(
            settings.warnings(), ("STOMP_PROT in the environment is not a setting; did you mean STOMP_PORT?",)
        )

    def test_retired_settings_with_a_common_beginning(self) -> None:
        self.config("DEAD_ENABLED = True\nDEAD_HOST = 'h'\n")
        self.assertEqual(self.load().warnings(), ("DEAD_ENABLED, DEAD_HOST: no effect; nothing reads it",))
        self.config("DEADLINE = 1\n")
        self.assertEqual(self.problems(), ["DEADLINE in config.py: no such setting"])

    def test_retired_settings_of_all_sources_only_warn_once(self) -> None:
        self.config("SPOOL = 'folder'\n")
        settings = self.load("--crate", "--spool", "5", BOX="1", SPOOL="2", SPOOL_KEEPER="x")
        self.assertEqual(
            settings.warnings(),
            ("SPOOL, CRATE: no effect; the broker has it", "BOX: no effect; sold"),
        )
        self.assertFalse(hasattr(settings, "SPOOL"))

    def test_help_names_no_retired_setting(self) -> None:
        parser = argparse.ArgumentParser()
        add_flags(parser, Settings)
        self.assertNotIn("crate", parser.format_help())

    def test_nothing_to_warn_of(self) -> None:
        self.assertEqual(self.load(STOMP_PORT="1").warnings(), ())
