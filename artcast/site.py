"""Artcast's HTTP interface: :class:`Site` has the routing table and its handlers, :class:`Pages` makes the pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, TemplateNotFound

from artcast.catalogue import Catalogue
from artcast.forms import HTML, JSON, TEXT, JsonForm, license_link, text_of
from fanout.http.files import Files
from fanout.http.response import Answer, Headers, NextValue, Response
from fanout.http.routing import Request, Route, Routes
from fanout.http.topic_resources import choose

_HERE = Path(__file__).parent
_BY_ACCEPT = ("vary", "Accept")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_OURS: Headers = (_BY_ACCEPT, ("content-security-policy", _POLICY), ("referrer-policy", "no-referrer"))


class Pages:
    """The pages, made from templates: the table of keys, the page with the values of a key, and an operator's own
    pages.

    All texts from sources are escaped in them.

    :ivar content: their style and scripts.
    """

    def __init__(self, folder: str) -> None:
        """:param folder: the operator's own templates, ``<key>.html``; empty for none."""
        self._ours = _templates(_HERE / "templates")
        self._own = _templates(Path(folder)) if folder else None
        self.content = Files(_HERE / "static")

    def list_of_keys(self, entries: Sequence[Mapping[str, Any]]) -> Response:
        """The table of keys. The page checks for new keys regularly."""
        return Response.html(self._ours.get_template("keys.html").render(entries=entries), headers=_OURS)

    def of_key(self, key: str, facts: Mapping[str, Any]) -> Response:
        """The page of a key. An operator's own page is not restricted: it has no policy for its scripts."""
        try:
            if self._own is not None:
                page = self._own.get_template(f"{key}.html").render(key=key, **facts)
                return Response.html(page, headers=(_BY_ACCEPT,))
        except TemplateNotFound:
            pass  # jinja never leaves the folder, whatever the name is
        return Response.html(self._ours.get_template("key.html").render(key=key, facts=facts), headers=_OURS)


def _templates(folder: Path) -> Environment:
    return Environment(
        autoescape=True,  # always: any sender of a datagram can choose these texts
        loader=FileSystemLoader(folder),
        trim_blocks=True,
        lstrip_blocks=True,
    )


_BY_ACCEPT = ("vary", "Accept")
_NEVER_KEPT = ("cache-control", "no-store")
_ENDS = Response.text("The server shuts down; try again.", 503, (("retry-after", "1"),))


class Site:
    """The handlers of the HTTP interface."""

    def __init__(self, catalogue: Catalogue, pages: Pages, *, prefix: str, origin: str) -> None:
        """
        :param catalogue: the known keys.
        :param pages: makes the pages.
        :param prefix: prefix of topics; the key follows.
        :param origin: the origin whose scripts may read values; empty for our own pages only.
        """
        self._catalogue = catalogue
        self._pages = pages
        self._prefix = prefix
        self._headers: Headers = (_BY_ACCEPT, _NEVER_KEPT)
        if origin:
            self._headers = (*self._headers, ("access-control-allow-origin", origin))

    def routes(self) -> Routes:
        """The routing table."""
        return Routes(
            [
                Route("/", GET=lambda _: Response.redirect("/artcasts")),
                Route("/artcasts", GET=self.keys),
                Route("/artcasts/{key:path}", GET=self.key),
                Route("/content/{path:path}", public=True, GET=self._pages.content.get),
            ]
        )

    def keys(self, request: Request) -> Answer:
        """The list of keys."""
        if choose(request.header("accept"), (JSON, HTML)) == HTML:
            return self._pages.list_of_keys(self._catalogue.entries())
        return Response(self._catalogue.as_json(), content_type=JSON, headers=self._headers)

    def key(self, request: Request) -> Answer:
        """The next value of a key, or a page that requests one value after the other."""
        key = request.parameters["key"]
        kind = choose(request.header("accept"), (TEXT, JSON, HTML))
        if kind == HTML:
            return self._pages.of_key(key, self._catalogue.facts(key))

        def answer(values: Sequence[bytes]) -> Response:
            body, content_type = text_of(values[0]) if kind == TEXT else (values[0], JSON)
            return Response(body, content_type=content_type, headers=self._value_headers(key))

        return NextValue((self._prefix + key,), JsonForm, answer, seconds=math.inf, nothing=_ENDS, content_type=kind)

    def _value_headers(self, key: str) -> Headers:
        license_ = license_link(self._catalogue.facts(key))
        return (*self._headers, ("link", license_)) if license_ else self._headers
