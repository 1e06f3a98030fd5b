"""What the stations say, as the server-sent events the pages listen to."""

from __future__ import annotations

from fanout.http.dispatch import Endpoint
from fanout.http.server import HttpRequest
from fanout.http.sse import EVENT_STREAM, Stream
from radiovis.http.station import Station
from radiovis.http.wall import TYPES, Wall, WallForm


class WallViewer(Stream):
    """One browser that watches all stations."""

    __slots__ = ("_wall",)

    def __init__(self, wall: Wall, request: HttpRequest) -> None:
        super().__init__(wall.requests, request, (), ())
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


class WallEvents(Endpoint):
    """``GET /events``: what all stations of the wall say; ``GET /events/<service identifier>``: one station.

    Besides what /radiodns/push has, they say when, hold no address a page must not use, and know stations of any
    frequency (``*``).
    """

    def __init__(self, wall: Wall) -> None:
        super().__init__()
        self._wall = wall

    async def respond(self, request: HttpRequest) -> None:
        """Stream until the client goes. :raises HttpError: there is no room for another one, or no such station."""
        topic = await self._topic(request)
        await self._wall.requests.resolve(())  # is there room?
        if request.gone:
            return
        if not topic:
            WallViewer(self._wall, request).begin()
            return
        keys = [f"{topic}{each}" for each in TYPES]
        forms = [WallForm(key, Station(topic).service) for key in keys]
        Stream(self._wall.requests, request, keys, forms).begin(None)

    async def announce(self, request: HttpRequest) -> None:
        """That there would be a stream. :raises HttpError: there is no such station."""
        await self._topic(request)
        request.announce(EVENT_STREAM)

    async def _topic(self, request: HttpRequest) -> str:
        """The station's topic prefix; empty for all of them."""
        return await self._wall.find(request) if request.postpath else ""
