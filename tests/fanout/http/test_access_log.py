from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial import unittest
from twisted.web.http_headers import Headers

from fanout.http.access_log import AccessLog, log_file
from fanout.http.http_server import logged_headers

WHEN = 1_795_294_143.9  # 21/Nov/2026:20:49:03 UTC


def request(uri: bytes = b"/artcasts?a=b", user: bytes = b"", code: int = 200, octets: int = 0, **headers: str) -> Any:
    return SimpleNamespace(
        address="192.0.2.7",
        method=b"GET",
        uri=uri,
        clientproto=b"HTTP/1.1",
        code=code,
        sentLength=octets,
        requestHeaders=Headers({name.replace("_", "-"): [value] for name, value in headers.items()}),
        getUser=lambda: user,
    )


class Lines(unittest.TestCase):
    def line(self, asked: Any, **options: bool) -> str:
        records: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
        AccessLog(handler, lambda: WHEN, **options)(asked)
        (line,) = records
        return line

    def test_the_combined_form_in_utc_without_query(self) -> None:
        asked = request(user=b"ann", octets=1234, referer="http://a/", user_agent="Radio 1")
        line = '192.0.2.7 - ann [21/Nov/2026:20:49:03 +0000] "GET /artcasts HTTP/1.1" 200 {} "http://a/" "Radio 1"'
        self.assertEqual(self.line(asked), line.format(1234))
        self.assertEqual(self.line(asked, sizes=False), line.format("-"))

    def test_what_is_absent_is_a_dash(self) -> None:
        self.assertTrue(self.line(request(code=404)).startswith("192.0.2.7 - - ["))
        self.assertTrue(self.line(request(code=404)).endswith(' 404 - "-" "-"'))

    def test_nobody_forges_a_line_or_a_field(self) -> None:
        line = self.line(request(b'/\xff"\n', user_agent='x" 200 "\\', user=b"a b\n"))
        self.assertIn(r'"GET /\x5cxff\x22\x0a HTTP/1.1"', line)
        self.assertIn(r'"x\x22 200 \x22\x5c"', line)
        self.assertIn(r" - a%20b\x0a [", line)

    def test_long_values_are_cut(self) -> None:
        self.assertLess(len(self.line(request(b"/" + b"a" * 9000))), 1200)

    def test_of_a_request_that_waits_only_what_is_shown_is_kept(self) -> None:
        kept = logged_headers(request(referer="http://a/", accept="text/plain").requestHeaders)
        self.assertEqual(list(kept.getAllRawHeaders()), [(b"Referer", [b"http://a/"])])


class Files(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "access.log")

    def test_files_are_turned_over_at_a_size_and_the_oldest_goes(self) -> None:
        handler = log_file(str(self.path), 150, 2)
        self.addCleanup(handler.close)
        log = AccessLog(handler, lambda: WHEN)
        for number in range(5):
            log(request(f"/{number}".encode()))
        names = sorted(each.name for each in self.path.parent.iterdir())
        self.assertEqual(names, ["access.log", "access.log.1", "access.log.2"])
        self.assertIn("GET /4 ", self.path.read_text())
        self.assertIn("GET /2 ", self.path.with_name("access.log.2").read_text())

    def test_it_is_opened_when_it_is_needed_and_again_after_it_was_moved_away(self) -> None:
        handler = log_file(str(self.path), 0, 0)
        self.addCleanup(handler.close)
        self.assertFalse(self.path.exists())
        log = AccessLog(handler, lambda: WHEN)
        log(request())
        self.path.rename(self.path.with_name("moved"))
        log.reopen()
        log(request())
        self.assertEqual(len(self.path.read_text().splitlines()), 1)

    def test_without_a_file_lines_go_to_stderr(self) -> None:
        handler = log_file("", 0, 0)
        self.assertIsInstance(handler, logging.StreamHandler)
