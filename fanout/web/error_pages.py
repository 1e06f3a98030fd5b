"""What a client sees of an error. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import TypeAlias

from fanout.doors.http_answer import REASONS, error_body
from fanout.doors.http_endpoint import HttpError
from fanout.web.response import JSON, Response

ErrorPage: TypeAlias = Callable[[HttpError], Response]

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{detail}</p></body></html>
"""


def html_page(error: HttpError) -> Response:
    """A small page: the status in words, and why."""
    title = f"{error.status} {REASONS[error.status].decode()}"
    return Response.html(_PAGE.format(title=escape(title), detail=escape(error.detail)), error.status)


def json_page(error: HttpError) -> Response:
    """As the engine's other doors answer: ``{"error": …, "detail": …}``."""
    return Response(error_body(error.status, error.detail), error.status, JSON)


class ErrorPages:
    """The page of each status. A page gets the headers of its error besides its own."""

    def __init__(self, pages: Mapping[int, ErrorPage] | None = None, default: ErrorPage = html_page) -> None:
        """
        :param pages: by status. They answer what no handler ever saw, too, so they are given no request.
        :param default: for all others.
        """
        self._pages = dict(pages or {})
        self._default = default

    def page(self, error: HttpError) -> Response:
        """The answer; its status is the error's whatever the page says, and its body has a length."""
        made = self._pages.get(error.status, self._default)(error)
        body = made.body if isinstance(made.body, bytes) else html_page(error).body
        return Response(body, error.status, made.content_type, (*made.headers, *error.headers.items()))
