"""A line for each answer, in the form web servers have had since NCSA's: the combined log.

    127.0.0.1 - - [21/Nov/2026:20:49:03 +0000] "GET /artcasts HTTP/1.1" 200 1234 "-" "curl/8.4"

Times are UTC, the path is without its query, the size is that of the body as far as it was sent, and ``-`` stands for
what is absent: for a body without octets, and for the whole request where none could be made out. A request that was
held is logged when it is answered, and one whose client goes in the middle of its answer at that moment.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler

from fanout.http.http_server import LOGGED_HEADERS, HttpRequest

_LONGEST = 1_024  # octets of a value a client may have made up
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f"\\]')


def log_file(path: str, octets: int, files: int) -> logging.Handler:
    """Where lines go: a file that is turned over to ``.1``, ``.2``, … at a size, or stderr.

    It is opened when the first line is written, and after :meth:`logging.Handler.close` again.

    :param path: empty for stderr.
    :param octets: the size; 0 for no end.
    :param files: how many old ones are kept; with 0 the file has no end either.
    """
    if not path:
        return logging.StreamHandler()
    return RotatingFileHandler(path, maxBytes=octets, backupCount=files, encoding="utf-8", delay=True)


class AccessLog:
    """Writes the lines: the ``access`` of a :class:`fanout.http.http_server.HttpSite`."""

    def __init__(self, handler: logging.Handler, now: Callable[[], float], *, sizes: bool = True) -> None:
        """
        :param handler: from :func:`log_file`.
        :param now: Unix time.
        :param sizes: whether the size is given; otherwise it is always ``-``.
        """
        self._handler = handler
        self._now = now
        self._sizes = sizes

    def reopen(self) -> None:
        """The file may have been moved away; the next line opens a new one."""
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
    """For a line, which it cannot end, and a field, which it cannot leave."""
    text = value[:_LONGEST].decode("utf-8", "backslashreplace")
    return _UNSAFE.sub(lambda found: f"\\x{ord(found.group()):02x}", text) or "-"
