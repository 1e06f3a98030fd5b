"""Records as CSV (RFC 4180), for spreadsheets and scripts.

The columns are ``time`` (UTC, ISO 8601), ``timestamp`` (Unix, s), ``topic``, ``body``, ``headers`` (JSON, a list of
pairs) and ``serial``. Bodies are written octet by octet as they were: a reader that wants them all back opens the file
as UTF-8 with ``errors="surrogateescape"`` and ``newline=""``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime

from fanout.record import Record

COLUMNS = ("time", "timestamp", "topic", "body", "headers", "serial")
HEADER = (",".join(COLUMNS) + "\r\n").encode()


def csv_rows(records: Iterable[Record]) -> bytes:
    """The rows, without the header."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(_row(record) for record in records)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _row(record: Record) -> tuple[str, int, str, str, str, str]:
    time = datetime.fromtimestamp(record.timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = record.body.decode("utf-8", "surrogateescape")
    return time, record.timestamp, record.topic, body, json.dumps(record.headers), record.serial
