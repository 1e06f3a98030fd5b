"""What is served over HTTP: every route."""

from __future__ import annotations

from artcast.catalogue import Catalogue
from artcast.forms import HTML, JSON, TEXT, JsonForm, license_link, text_of
from artcast.pages.pages import Pages
from fanout.http.accept import choose
from fanout.http.response import Answer, Headers, NextValue, Response
from fanout.http.routing import Request, Route, Routes

_BY_ACCEPT = ("vary", "Accept")
_NEVER_KEPT = ("cache-control", "no-store")
_ENDS = Response.text("The server ends; ask again.", 503, (("retry-after", "1"),))


class Site:
    """The handlers."""

    def __init__(self, catalogue: Catalogue, pages: Pages, *, prefix: str, origin: str) -> None:
        """
        :param prefix: of topics; the key follows.
        :param origin: whose scripts may read values, as browsers want it; empty for our own only.
        """
        self._catalogue = catalogue
        self._pages = pages
        self._prefix = prefix
        self._headers: Headers = (_BY_ACCEPT, _NEVER_KEPT)
        if origin:
            self._headers = (*self._headers, ("access-control-allow-origin", origin))

    def routes(self) -> Routes:
        """The table."""
        return Routes(
            [
                Route("/", GET=lambda _: Response.redirect("/artcasts")),
                Route("/artcasts", GET=self.keys),
                Route("/artcasts/{key:path}", GET=self.key),
                Route("/content/{path:path}", public=True, GET=self._pages.content.get),
            ]
        )

    def keys(self, request: Request) -> Answer:
        """The keys there are."""
        if choose(request.header("accept"), (JSON, HTML)) == HTML:
            return self._pages.list_of_keys(self._catalogue.entries())
        return Response(self._catalogue.as_json(), content_type=JSON, headers=self._headers)

    def key(self, request: Request) -> Answer:
        """The next value of a key, or a page that asks for one after the other."""
        key = request.parameters["key"]
        kind = choose(request.header("accept"), (TEXT, JSON, HTML))
        if kind == HTML:
            return self._pages.of_key(key, self._catalogue.facts(key))

        def answer(value: bytes) -> Response:
            body, content_type = text_of(value) if kind == TEXT else (value, JSON)
            return Response(body, content_type=content_type, headers=self._value_headers(key))

        return NextValue(self._prefix + key, JsonForm, answer, None, _ENDS, content_type=kind)

    def _value_headers(self, key: str) -> Headers:
        license_ = license_link(self._catalogue.facts(key))
        return (*self._headers, ("link", license_)) if license_ else self._headers
