"""The pages themselves, and the files that belong to them. They work without scripts; with them, they live."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from twisted.web.resource import IResource

from fanout.http.dispatch import Endpoint, Face
from fanout.http.files import Files
from fanout.http.response import ErrorPages, HttpError, json_page
from fanout.http.routing import Routes
from fanout.http.server import HttpRequest
from radiovis.http.station import Station
from radiovis.http.wall import Wall

_HERE = Path(__file__).parent
_HTML = "text/html; charset=utf-8"


def _templates() -> Environment:
    templates = Environment(
        autoescape=True,  # everything, always: names and texts are a stranger's
        loader=FileSystemLoader(_HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters["clock"] = _clock
    return templates


def _clock(when: datetime) -> str:
    """For who has no script that writes "5 s ago"."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


class Page(Endpoint):
    """Something made of a template. Other sites' scripts have no business with it."""

    public = False
    _templates = _templates()

    def html(self, template: str, **content: Any) -> bytes:
        """A page.

        :param content: what the template wants.
        """
        return self._templates.get_template(template).render(content).encode()

    def show(self, request: HttpRequest, template: str, status: int = 200, **content: Any) -> None:
        """Answer with a page."""
        request.answer(status, self.html(template, **content), _HTML)


class WallPage(Page):
    """``GET /``: the slides and texts of all stations."""

    def __init__(self, wall: Wall, fresh: float = 0.5) -> None:
        """:param fresh: seconds a page serves everybody: one of 200 stations takes 8 ms to make."""
        super().__init__()
        self._wall = wall
        self._fresh = fresh
        self._made_at = float("-inf")
        self._made = b""

    async def respond(self, request: HttpRequest) -> None:
        """The wall as it is now."""
        now = self._wall.requests.clock()
        if now - self._made_at >= self._fresh:
            self._made, self._made_at = self._make(), now
        request.answer(200, self._made, _HTML)

    def _make(self) -> bytes:
        wall = self._wall
        cards = [(each, wall.slide(each.topic), wall.text(each.topic)) for each in wall.hung]
        cards.sort(key=lambda card: card[1] is None and card[2] is None)  # the silent ones last
        hidden = len(wall.stations) - len(cards)
        return self.html("wall.html", cards=cards, hidden=hidden, version=wall.version)


class ServicePage(Page):
    """``GET /service/<service identifier>``: one station, as a radio shows it."""

    def __init__(self, wall: Wall) -> None:
        super().__init__()
        self._wall = wall

    async def respond(self, request: HttpRequest) -> None:
        """The station as it is now; a page that says so when there is none."""
        wall = self._wall
        try:
            topic = await wall.find(request)
        except HttpError as error:
            if error.status != 400:
                raise
            self.show(request, "missing.html", 404)
            return
        slide, text = wall.slide(topic), wall.text(topic)
        station = wall.station(topic)
        if station is None and slide is None and text is None:
            self.show(request, "missing.html", 404)
        else:
            self.show(request, "service.html", station=station or Station(topic), slide=slide, text=text)


class Dashboard(Page):
    """``GET /`` of the admin listener. All it shows comes from the JSON beside it."""

    async def respond(self, request: HttpRequest) -> None:
        """The empty page; the script fills it."""
        self.show(request, "dashboard.html")


def assets(at: str) -> Files:
    """Styles and scripts. A browser asks each time whether its copy is still right: an update is seen at once.

    :param at: where they are; the folder here has the same name.
    """
    return Files(_HERE / at.removeprefix("/"), at, public=True, cache_control="no-cache")


def admin_pages() -> dict[str, IResource]:
    """The routes for the operator."""
    pages = ErrorPages(default=json_page)
    faces = {name: Face(Routes(assets(f"/{name}").routes()), pages) for name in ("static", "vendor")}
    return {"": Dashboard(), **faces}
