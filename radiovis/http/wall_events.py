"""What the stations say, as the server-sent events the pages listen to."""

from __future__ import annotations

from fanout.http.response import CustomBody, Response
from fanout.http.routing import Request
from fanout.http.server import HttpRequest
from fanout.http.sse import EVENT_STREAM, Stream
from radiovis.http.shown import Station
from radiovis.http.wall import TYPES, Wall, WallForm


class WallViewer(Stream):
    """One browser that watches all stations."""

    __slots__ = ("_wall",)

    def __init__(self, wall: Wall, request: HttpRequest) -> None:
        super().__init__(wall.door, request, (), ())
        self._wall = wall

    def begin(self, last_id: str | None = None) -> None:
        """Show everything that is on air: a wall has no past, so what the browser saw before does not matter."""
        super().begin(None)
        self._wall.enter(self)

    def take(self, slot: object, data: bytes) -> None:
        """Queue an event."""
        self._outbox.offer(slot, data)

    def leave(self) -> None:
        """The browser is gone."""
        self._wall.leave(self)
        super().leave()


class WallEvents:
    """The handler of streams for pages. Besides what ``/radiodns/push`` has, their events say when, hold no address
    that a page must not use, and know stations of any frequency (``*``).
    """

    def __init__(self, wall: Wall) -> None:
        self._wall = wall

    async def events(self, request: Request) -> Response:
        """``GET /events``: all stations of the wall; ``GET /events/<service identifier>``: one station.

        :raises HttpError: there is no such station.
        """
        service = request.parameters.get("rest")
        topic = "" if service is None else await self._wall.find(service)

        async def begin() -> None:
            await self._wall.door.resolve(())  # is there room?
            if not request.http.gone:
                self._begin(request.http, topic)

        return Response(CustomBody(begin), content_type=EVENT_STREAM)

    def _begin(self, http: HttpRequest, topic: str) -> None:
        """:param topic: the station's topic prefix; empty for all of them."""
        if not topic:
            WallViewer(self._wall, http).begin()
            return
        keys = [f"{topic}{each}" for each in TYPES]
        forms = [WallForm(key, Station(topic).service) for key in keys]
        Stream(self._wall.door, http, keys, forms).begin(None)
