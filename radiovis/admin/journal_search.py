"""The journal for operators: the messages of a topic, and when they were published.

``GET /api/journal?topic=…[&from=…][&to=…][&limit=100][&after=…]``: the oldest first, page by page::

    {"records": [{"timestamp": 1795304655, "topic": "/topic/…", "body": "SHOW …", "headers": [["link", "…"]],
                  "serial": "…",
                  "publisher": {"owner": "1", "login": "1.studio", "address": "…", "interface": "stomp"}}],
     "next": "1795304655.17"}

``next`` is the value of ``after`` for the next page, and null at the end. ``topic`` may end in ``*`` for all topics
with this beginning; without ``topic`` all topics are selected. ``station`` and ``login`` select by publisher;
``publisher`` is null if it is not known. ``from`` and ``to`` are Unix times in seconds, or times like
2026-12-31T23:59:59Z; without them the last day is selected. ``GET /journal.csv``, with the same selection, returns all
records as a file.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from fanout.http.http_server import HttpRequest
from fanout.http.response import CustomBody, HttpError, Response
from fanout.http.routing import Request, Route, subtree
from fanout.journal.journal import Journal, JournalError, Record, Selection
from radiovis.admin.api import number

_DAY = 86_400
_PAGE, _LARGEST_PAGE = 100, 1_000
_BEYOND = 2**53
_CSV = "text/csv; charset=utf-8"
_EXPORTS = 2
"""How many CSV files are written at the same time: each keeps the journal's only thread busy."""

log = structlog.get_logger(__name__)


class JournalApi:
    """The handlers of the journal."""

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        """:param journal: the journal.
        :param clock: Unix time in seconds.
        """
        self._journal = journal
        self._clock = clock
        self._exports = 0

    def routes(self) -> list[Route]:
        """The rows of the routing table."""
        return [*subtree("/api/journal", GET=self.search), *subtree("/journal.csv", GET=self.csv)]

    async def search(self, request: Request) -> Response:
        """``/api/journal``: see the head of this file."""
        selection = _selection(request, self._clock())
        limit = int(number(request, "limit", _PAGE, 1, _LARGEST_PAGE))
        try:
            records = await self._journal.between(selection, limit, _place(request))
        except JournalError as error:
            raise HttpError(503, str(error)) from None
        following = ".".join(map(str, records[-1].place)) if records else None
        return Response.json({"records": [_record(each) for each in records], "next": following})

    async def csv(self, request: Request) -> Response:
        """``/journal.csv``: a file of any length, written as fast as the client reads it. A HEAD request reads
        nothing.
        """
        selection = _selection(request, self._clock())
        return Response(CustomBody(lambda: self._export(request.http, selection)), content_type=_CSV)

    async def _export(self, request: HttpRequest, selection: Selection) -> None:
        if self._exports >= _EXPORTS:
            raise HttpError(503, f"{_EXPORTS} exports are already being written.", Retry_After="60")
        self._exports += 1
        download = Download(request)
        try:
            await self._journal.export_csv(selection, download.write)
            download.end()
        except JournalError as error:
            if not request.startedWriting:
                raise HttpError(503, str(error)) from None
            log.error("export.failed", reason=str(error))
            request.loseConnection()  # type: ignore[no-untyped-call] # An aborted file does not look complete.
        except DownloadGone:
            return
        finally:
            self._exports -= 1


class DownloadGone(Exception):
    """The client has disconnected."""


@implementer(IPushProducer)
class Download:
    """A response that is sent in pieces, no faster than the client reads."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._paused: Deferred[None] | None = None
        request.lost = self.stopProducing

    def write(self, data: bytes) -> Deferred[None] | None:
        """Send a piece; see :meth:`fanout.journal.journal.Journal.export_csv`.

        :raises DownloadGone: the client has disconnected.
        """
        request = self._request
        if request.gone:
            raise DownloadGone
        if not request.startedWriting:
            self._begin()
        request.write(data)  # type: ignore[no-untyped-call]
        return self._paused

    def _begin(self) -> None:
        self._request.put_header("content-type", _CSV)
        self._request.put_header("content-disposition", 'attachment; filename="journal.csv"')
        self._request.put_header("cache-control", "no-store")
        self._request.registerProducer(self, True)  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """End the response."""
        self._request.lost = None
        if not self._request.gone:
            self._request.unregisterProducer()  # type: ignore[no-untyped-call]
            self._request.finish()

    # The connection's producer

    def pauseProducing(self) -> None:
        """Called when the connection is full."""
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        """Called when the connection has room again."""
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.callback(None)

    def stopProducing(self) -> None:
        """Called when the connection is closed; the next :meth:`write` raises."""
        self.resumeProducing()


def _selection(request: Request, now: float) -> Selection:
    topic = request.query("topic") or "*"
    start, end = _time(request, "from", now - _DAY), _time(request, "to", now + 1)
    owner, login = request.query("station"), request.query("login")
    return Selection(topic.removesuffix("*"), start, end, prefix=topic.endswith("*"), owner=owner, login=login)


def _time(request: Request, name: str, default: float) -> int:
    text = request.query(name)
    if text is None:
        return int(default)
    try:
        time = int(text) if text.isascii() and text.isdigit() else int(_parsed(text).timestamp())
        return _within(time)
    except (ValueError, OverflowError):
        raise HttpError(400, f"The parameter {name} is a Unix time, or like 2026-12-31T23:59:59Z.") from None


def _within(value: int) -> int:
    """:raises ValueError: the value is too large for SQLite."""
    if not 0 <= value < _BEYOND:
        raise ValueError(value)
    return value


def _parsed(text: str) -> datetime:
    """Parse a time. A time without a zone is UTC."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _place(request: Request) -> tuple[int, int] | None:
    text = request.query("after")
    if text is None:
        return None
    timestamp, _, number = text.partition(".")
    try:
        return _within(int(timestamp)), _within(int(number))
    except ValueError:
        raise HttpError(400, "The parameter after is the value of next from the previous page.") from None


def _record(record: Record) -> dict[str, Any]:
    return {
        "timestamp": record.timestamp,
        "topic": record.topic,
        "body": record.body.decode(errors="replace"),
        "headers": record.headers,
        "serial": record.serial,
        "publisher": None if record.origin is None else record.origin._asdict(),
    }
