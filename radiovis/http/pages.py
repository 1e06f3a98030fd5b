"""The HTML pages, and their styles and scripts. The pages work without scripts; scripts update them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fanout.http.files import Files, content_type
from fanout.http.pages import SHEET
from fanout.http.response import HttpError, Response
from fanout.http.routing import Request, Route
from radiovis.http.shown import Station
from radiovis.http.wall import Wall

_HERE = Path(__file__).parent
_FRESH_SECONDS = 0.5
"""Seconds for which a rendering of the wall is reused for all clients: rendering 200 stations takes 8 ms."""


def _templates() -> Environment:
    templates = Environment(
        autoescape=True,  # in all templates, because stations choose their names and texts
        loader=FileSystemLoader(_HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters["clock"] = _clock
    return templates


def _clock(when: datetime) -> str:
    """A time for browsers without scripts; the script writes "5 s ago" instead."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


_TEMPLATES = _templates()


def _page(template: str, status: int = 200, **content: Any) -> Response:
    """Render a page. :param content: the variables of the template."""
    return Response.html(_TEMPLATES.get_template(template).render(content), status)


class WallPages:
    """The handlers of the public pages. Scripts of other sites may not read these pages."""

    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self._made_at = float("-inf")
        self._made = Response()

    async def wall(self, request: Request) -> Response:
        """``GET /``: the slides and texts of all stations."""
        now = self._wall.pending.clock()
        if now - self._made_at >= _FRESH_SECONDS:
            self._made, self._made_at = self._make(), now
        return self._made

    def _make(self) -> Response:
        wall = self._wall
        cards = [(each, wall.slide(each.topic), wall.text(each.topic)) for each in wall.hung]
        cards.sort(key=lambda card: card[1] is None and card[2] is None)  # stations without a message last
        hidden = len(wall.stations) - len(cards)
        return _page("wall.html", cards=cards, hidden=hidden, version=wall.version)

    async def service(self, request: Request) -> Response:
        """``GET /service/<service identifier>``: one station, as a radio shows it. If there is no such station, a 404
        with a page.
        """
        wall = self._wall
        try:
            topic = await wall.find(request.parameters.get("rest", ""))
        except HttpError as error:
            if error.status != 400:
                raise
            return _page("missing.html", 404)
        slide, text = wall.slide(topic), wall.text(topic)
        station = wall.station(topic)
        if station is None and slide is None and text is None:
            return _page("missing.html", 404)
        return _page("service.html", station=station or Station(topic), slide=slide, text=text)


async def dashboard(_request: Request) -> Response:
    """``GET /`` of the admin listener: an empty page. Its script fills it from the JSON interface."""
    return _page("dashboard.html")


def assets(at: str) -> list[Route]:
    """The routes of styles and scripts. Browsers check each time whether their copy is still valid, so that an update
    takes effect at once.

    :param at: the URL path; a folder next to this file has the same name. ``/static`` also has the sheet of the engine.
    """
    ours = Files(_HERE / at.removeprefix("/"), at, public=True, cache_control="no-cache").routes()
    return [Route(f"{at}/{SHEET.name}", public=True, GET=_sheet), *ours] if at == "/static" else ours


def _sheet(_request: Request) -> Response:
    return Response(SHEET, content_type=content_type(SHEET), headers=(("cache-control", "no-cache"),))


def admin_pages() -> list[Route]:
    """The routes of the operators' pages."""
    return [Route("/", GET=dashboard), *assets("/static"), *assets("/vendor")]
