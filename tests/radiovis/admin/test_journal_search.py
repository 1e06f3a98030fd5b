"""What cannot be arranged with a real process: clients that read slowly or leave, a journal that fails half-way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from structlog.testing import capture_logs
from twisted.internet.defer import succeed
from twisted.trial import unittest
from twisted.web.http_headers import Headers

from fanout.http.dispatch import Dispatcher
from fanout.journal.journal import JournalError
from fanout.journal.records import HEADER
from radiovis.admin.journal_search import JournalApi
from tests.radiovis.http.site import OneRoute, Site


class Journal:
    """A journal whose export goes on when the test says so.

    :ivar pages: how many pieces the client was given.
    """

    def __init__(self) -> None:
        self.pages = 0
        self.failing = False

    async def export_csv(self, selection: object, write: Any) -> int:
        await (write(HEADER) or succeed(None))
        for _ in range(3):
            if self.failing:
                raise JournalError("journal.sqlite: disk I/O error")
            self.pages += 1
            await (write(b"row\r\n") or succeed(None))
        return 3


class Request:
    """A request as far as a download uses it."""

    method = b"GET"
    path = b"/"
    clientproto = b"HTTP/1.0"
    args: Any = None
    channel: Any = SimpleNamespace(site=Site())

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.gone = self.startedWriting = self.finished = self.closed = False
        self.lost: Any = None
        self.producer: Any = None
        self.got = b""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.requestHeaders = Headers()
        self.responseHeaders = Headers()

    def put_header(self, name: str, value: str) -> None:
        self.headers[name] = value

    def write(self, data: bytes) -> None:
        self.startedWriting = True
        self.got += data
        if self.full:
            self.producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def finish(self) -> None:
        self.finished = True

    def loseConnection(self) -> None:
        self.closed = True

    def setResponseCode(self, status: int, reason: bytes) -> None:
        self.status = status

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        self.status = status

    def leave(self) -> None:
        self.gone = True
        self.lost()


class TestCsv(unittest.TestCase):
    def setUp(self) -> None:
        self.journal = Journal()
        self.dispatch = Dispatcher(OneRoute(JournalApi(self.journal, lambda: 1_000_000.0).csv))

    def begin(self, request: Request) -> Request:
        self.dispatch(request)
        return request

    def test_one_that_reads(self) -> None:
        request = self.begin(Request())
        self.assertEqual(request.got, HEADER + b"row\r\n" * 3)
        self.assertTrue(request.finished)
        self.assertIsNone(request.producer)

    def test_one_that_reads_slowly_is_given_no_more_than_it_takes(self) -> None:
        request = self.begin(Request(full=True))
        self.assertEqual((request.got, self.journal.pages), (HEADER, 0))
        request.producer.resumeProducing()
        self.assertEqual((request.got, self.journal.pages), (HEADER + b"row\r\n", 1))
        request.full = False
        request.producer.resumeProducing()
        self.assertTrue(request.finished)

    def test_one_that_leaves_gets_nothing_more_read_for_it(self) -> None:
        request = self.begin(Request(full=True))
        request.leave()
        self.assertEqual(self.journal.pages, 1)  # Read before it was known that nobody wants it.
        self.assertFalse(request.finished)

    def test_a_journal_that_fails_at_once(self) -> None:
        self.journal.export_csv = self.fail_at_once
        request = self.begin(Request())
        self.assertEqual((request.status, request.got), (503, b""))

    async def fail_at_once(self, selection: object, write: Any) -> int:
        raise JournalError("journal.sqlite: disk I/O error")

    def test_a_journal_that_fails_half_way_leaves_a_broken_download(self) -> None:
        request = self.begin(Request(full=True))
        self.journal.failing = True
        with capture_logs() as logs:
            request.producer.resumeProducing()
        self.assertEqual([each["event"] for each in logs], ["export.failed"])
        self.assertNotIn("exc_info", logs[0])  # A full disk is no error of ours.
        self.assertTrue(request.closed)
        self.assertFalse(request.finished)  # An answer that ends in order would be taken for the whole.

    def test_no_more_than_two_at_a_time(self) -> None:
        slow = [self.begin(Request(full=True)) for _ in range(2)]
        self.assertEqual(self.begin(Request()).status, 503)
        slow[0].leave()
        self.assertTrue(self.begin(Request()).finished)
