"""Settings whose values stand in files."""

from __future__ import annotations

import os
from pathlib import Path

from tests.fanout.settings.test_loading import LoadingTestCase


class SecretFileTests(LoadingTestCase):
    def load_file(self, octets: bytes, *argv: str, **environ: str) -> str:
        path = self.folder / "password"
        path.write_bytes(octets)
        settings = self.load(*argv, RABBITMQ_PASSWORD_FILE=str(path), **environ)
        return settings.RABBITMQ_PASSWORD.get_secret_value()

    def complaint(self, octets: bytes, **environ: str) -> str:
        (self.folder / "password").write_bytes(octets)
        found = self.problems(RABBITMQ_PASSWORD_FILE=str(self.folder / "password"), **environ)
        self.assertEqual(len(found), 1)
        return found[0].replace(str(self.folder), "")

    def test_the_line_end_is_no_part_of_it(self) -> None:
        for octets in (b"geheim", b"geheim\n", b"geheim\r\n"):
            self.assertEqual(self.load_file(octets), "geheim")
        self.assertEqual(self.load_file(b" \xc3\xa4 b\n"), " ä b")

    def test_it_counts_as_the_environment(self) -> None:
        self.config("RABBITMQ_PASSWORD = 'config'")
        self.assertEqual(self.load_file(b"file"), "file")
        self.assertEqual(self.load_file(b"file", "--rabbitmq-password", "flag"), "flag")

    def test_where_it_came_from(self) -> None:
        path = self.config("geheim", "password")
        settings = self.load(RABBITMQ_PASSWORD_FILE=str(path))
        self.assertEqual(settings.source_of("RABBITMQ_PASSWORD"), str(path))
        self.assertEqual(settings.warnings(), ())
        self.assertEqual(self.load(RABBITMQ_PASSWORD_FILE="").source_of("RABBITMQ_PASSWORD"), "default")

    def test_not_both_ways(self) -> None:
        self.assertEqual(
            self.complaint(b"geheim", RABBITMQ_PASSWORD="other"),
            "RABBITMQ_PASSWORD and RABBITMQ_PASSWORD_FILE are both in the environment: remove one of them",
        )

    def test_files_that_cannot_serve(self) -> None:
        self.assertEqual(self.complaint(b"\n"), "RABBITMQ_PASSWORD_FILE: /password is empty")
        self.assertEqual(self.complaint(b"\xff\xfe"), "RABBITMQ_PASSWORD_FILE: /password is not UTF-8 text")
        self.assertEqual(self.complaint(b"x" * 65_537), "RABBITMQ_PASSWORD_FILE: /password is too large")
        self.assertEqual(
            self.problems(RABBITMQ_PASSWORD_FILE="/nowhere"),
            ["RABBITMQ_PASSWORD_FILE: cannot read /nowhere: No such file or directory"],
        )
        self.assertEqual(
            self.problems(RABBITMQ_PASSWORD_FILE=os.devnull), ["RABBITMQ_PASSWORD_FILE: /dev/null is empty"]
        )

    def test_the_value_is_checked_as_any_other_and_never_shown(self) -> None:
        path = Path(self.config("geheim", "url"))
        self.assertEqual(self.load(URL_FILE=str(path)).URL.get_secret_value(), "geheim")
        self.assertNotIn("geheim", repr(self.load(URL_FILE=str(path))))

    def test_no_other_setting_is_read_from_a_file(self) -> None:
        path = self.config("7", "port")
        self.assertEqual(self.load(STOMP_PORT_FILE=str(path)).STOMP_PORT, 61613)
