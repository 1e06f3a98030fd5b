"""All stations at once: a list of them, and one event stream with all their messages.

The wall is one subscriber of each station's topics, however many viewers there are: a publish costs one encoding and
one call per viewer, and a viewer costs no more than an outbox. Without viewers it subscribes to nothing.

:class:`Wall` is that subscriber, :class:`WallViewer` one browser, and :class:`WallEvents` the handler of their streams.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fanout.http.http_server import HttpRequest
from fanout.http.pending_requests import PendingRequests
from fanout.http.response import CustomBody, Response
from fanout.http.routing import Request
from fanout.http.sse import EVENT_STREAM, Stream, event
from fanout.hub.message import Message
from fanout.hub.subscriber import Cohort, Subscriber
from radiovis import topics
from radiovis.directory.interface import Directory
from radiovis.http import shown
from radiovis.http.shown import Station
from radiovis.http.visjson import check_topic
from radiovis.settings import Settings
from radiovis.topic_resolution import TopicResolver

TYPES = ("image", "text")
MOST_STATIONS = 200
"""Stations on the wall; the page says how many more there are. Each viewer's browser loads a picture for each of them,
and the wall subscribes to two topics for each."""


@dataclass(frozen=True, slots=True)
class WallForm:
    """A message as an event ``image`` or ``text``: JSON with the service and what may be shown."""

    destination: str
    service: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The event."""
        name = self.destination.rpartition("/")[2]
        data: dict[str, Any] = {"service": self.service}
        if name == "image":
            slide = shown.slide(message)
            data |= {"src": slide.src, "link": slide.link, "when": slide.when.timestamp()}
            data |= {key: value for key, value in message.headers if key == "trigger-time"}
        else:
            text = shown.text(message)
            data |= {"body": text.body, "when": text.when.timestamp()}
        return event(name, json.dumps(data), quote(message.message_id))


class Wall(Subscriber):
    """The stations, and the browsers that watch them. A member of the hub.

    :ivar pending: what the requests that wait, and streams, share.
    :ivar stations: all that are registered, in the directory's order.
    :ivar version: changes with the stations on the wall: a page that shows others has to be loaded anew.
    """

    protocol = "wall"
    address = ""

    def __init__(
        self,
        pending: PendingRequests,
        directory: Directory,
        resolver: TopicResolver,
        settings: Settings,
    ) -> None:
        self.pending = pending
        self.settings = settings
        self.stations: tuple[Station, ...] = ()
        self.version = ""
        self._by_topic: dict[str, Station] = {}
        self._directory = directory
        self._resolver = resolver
        self._viewers: set[WallViewer] = set()
        self._said: dict[Cohort, bytes] = {}  # the topics subscribed to, and the last event of each

    # Which stations there are

    @property
    def hung(self) -> tuple[Station, ...]:
        """The stations that stand on the wall."""
        return self.stations[:MOST_STATIONS]

    def station(self, topic: str) -> Station | None:
        """The registered station with this topic prefix."""
        return self._by_topic.get(topic)

    async def find(self, service: str) -> str:
        """The topic prefix of a service identifier, as the hub spells it.

        :param service: such as ``fm/4e1/4000/09580``, with or without a slash at its end.
        :raises HttpError: it has none.
        """
        service = service.rstrip("/")
        channel = f"/topic/{service}/"
        if channel in self._by_topic:  # one for any frequency, too, which no radio may ask for
            return channel
        check_topic(f"{channel}image")
        keys = await self.pending.resolve([f"{channel}{each}" for each in TYPES])
        return topics.channel_of(keys[0])

    async def refresh(self) -> None:
        """Read the stations anew. :raises DirectoryError: then they stay as they were."""
        channels = await self._directory.topics()
        found = [Station(await self._resolver.canonical(each.topic), each.name) for each in channels]
        by_topic = {each.topic: each for each in found}
        if tuple(by_topic.values()) != self.stations:
            self._by_topic, self.stations = by_topic, tuple(by_topic.values())
            self.version = hashlib.sha256(repr(self.hung).encode()).hexdigest()[:16]
            await self._recall()
            self._hang()

    def _hang(self) -> None:
        """Give the viewers the new wall."""
        if self._viewers:
            self._unlisten()
            self._listen()
            self._tell(self._greeting())

    async def _recall(self) -> None:
        """Ask the shared memory for the topics without a last message; one after the other, as there is no hurry."""
        for key in [f"{station.topic}{each}" for station in self.hung for each in TYPES]:
            await self.pending.hub.recall(key, self.pending.application.recall)

    # What is on air

    def slide(self, topic: str) -> shown.ShownSlide | None:
        """The last slide of a topic prefix."""
        message = self.pending.hub.last(f"{topic}image")
        return shown.slide(message) if message else None

    def text(self, topic: str) -> shown.ShownText | None:
        """The last text of a topic prefix."""
        message = self.pending.hub.last(f"{topic}text")
        return shown.text(message) if message else None

    # Viewers

    def enter(self, viewer: WallViewer) -> None:
        """Show a viewer what is on air, and everything from now on."""
        if not self._viewers:
            self._listen()
        self._viewers.add(viewer)
        viewer.take(None, self._greeting())
        for cohort, data in self._said.items():
            if data:
                viewer.take(cohort, data)

    def leave(self, viewer: WallViewer) -> None:
        """A viewer has gone."""
        self._viewers.discard(viewer)
        if not self._viewers:
            self._unlisten()

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """The hub has a message on one of the topics."""
        self._said[cohort] = data
        self._tell(data, cohort)

    def _tell(self, data: bytes, slot: object = None) -> None:
        for viewer in list(self._viewers):
            try:
                viewer.take(slot, data)
            except Exception as error:  # noqa: BLE001  (one broken viewer is reported and stops no other)
                self.pending.failed(viewer, error)

    def _greeting(self) -> bytes:
        return event("stations", json.dumps({"version": self.version}), "")

    def _listen(self) -> None:
        for station in self.hung:
            for each in TYPES:
                key = f"{station.topic}{each}"
                cohort, last = self.pending.hub.join(key, WallForm(key, station.service), self)
                self._said[cohort] = cohort.encode(last) if last else b""

    def _unlisten(self) -> None:
        said, self._said = self._said, {}
        for cohort in said:
            self.pending.hub.leave(cohort, self)


class WallViewer(Stream):
    """One browser that watches all stations."""

    __slots__ = ("_wall",)

    def __init__(self, wall: Wall, request: HttpRequest) -> None:
        super().__init__(wall.pending, request, (), ())
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
            await self._wall.pending.resolve(())  # is there room?
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
        Stream(self._wall.pending, http, keys, forms).begin(None)
