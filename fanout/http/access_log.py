"""The access log: a line for each answer, in the combined log format of web servers.

    127.0.0.1 - - [21/Nov/2026:20:49:03 +0000] "GET /artcasts HTTP/1.1" 200 1234 "-" "curl/8.4"

Times are UTC. The path has no query. The size is the number of octets of the body that were sent. ``-`` means that a
field is absent: for example an empty body, or the request line of a malformed request. A held request is logged when it
is answered; if the client disconnects during the answer, it is logged at that moment.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler

from fanout.http.http_server import LOGGED_HEADERS, LOGGED_OCTETS, HttpRequest

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f"\\]')


def log_file(path: str, octets: int, files: int) -> logging.Handler:
    """The handler that writes the lines: to a file that is rotated to ``.1``, ``.2``, … at a size, or to stderr.

    The file is opened with the first line, and again with the next line after :meth:`logging.Handler.close`.

    :param path: the path of the file; empty for stderr.
    :param octets: the size at which the file is rotated; 0 for no rotation.
    :param files: how many old files are kept; 0 for no rotation.
    """
    if not path:
        return logging.StreamHandler()
    return RotatingFileHandler(path, maxBytes=octets, backupCount=files, encoding="utf-8", delay=True)


class AccessLog:
    """Writes the access log: the ``access`` of a :class:`fanout.http.http_server.HttpSite`."""

    def __init__(self, handler: logging.Handler, now: Callable[[], float], *, sizes: bool = True) -> None:
        """
        :param handler: from :func:`log_file`.
        :param now: gives the Unix time.
        :param sizes: whether the size is logged; otherwise it is always ``-``.
        """
        self._handler = handler
        self._now = now
        self._sizes = sizes

    def reopen(self) -> None:
        """Close the file, which may have been renamed; the next line opens a new one."""
        self._handler.close()

    def __call__(self, request: HttpRequest) -> None:
        """Log an answer."""
        self._handler.handle(logging.LogRecord("access", logging.INFO, "", 0, self._line(request), None, None))

    def _line(self, request: HttpRequest) -> str:
        when = datetime.fromtimestamp(self._now(), UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
        path = request.uri.partition(b"?")[0]
        asked = f"{_text(request.method)} {_text(path)} {_text(request.clientproto)}" if request.method else "-"
        user = _text(request.getUser()).replace(" ", "%20")  # type: ignore[no-untyped-call]
        referer, agent = (_text(request.requestHeaders.getRawHeaders(name, [b""])[0]) for name in LOGGED_HEADERS)
        size = (request.sentLength if self._sizes else 0) or "-"
        return f'{request.address} - {user} [{when}] "{asked}" {request.code} {size} "{referer}" "{agent}"'


def _text(value: bytes) -> str:
    """A value as text, escaped so that it cannot end the line or the field."""
    text = value[:LOGGED_OCTETS].decode("utf-8", "backslashreplace")
    return _UNSAFE.sub(lambda found: f"\\x{ord(found.group()):02x}", text) or "-"
