"""The wall: the list of all stations, and one event stream with all their messages.

The wall is one subscriber of each station's topics, independently of the number of viewers. A publish needs one
encoding and one call per viewer, and a viewer needs one outbox. Without viewers the wall has no subscriptions.

:class:`Wall` is this subscriber, :class:`WallViewer` one browser, and :class:`WallEvents` the handler of the streams.
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
"""Limit of the stations on the wall; the page shows how many further stations exist. Each viewer's browser loads a
picture for each station, and the wall subscribes to two topics for each."""


@dataclass(frozen=True, slots=True)
class WallForm:
    """A message as an event ``image`` or ``text``: JSON with the service identifier and the parts that a page may show.

    :ivar destination: the topic.
    :ivar service: the service identifier.
    """

    destination: str
    service: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets of the event."""
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
    """The stations, and the browsers that watch them. It is a subscriber of the hub.

    :ivar pending: the objects that all polls and streams share.
    :ivar settings: the settings of the node; may be replaced at any time.
    :ivar stations: all registered stations, in the order of the directory.
    :ivar version: identifies the stations on the wall: a page with another version must be loaded again.
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
        self._said: dict[Cohort, bytes] = {}  # the cohorts of the subscriptions, and the last event of each

    # The list of stations

    @property
    def hung(self) -> tuple[Station, ...]:
        """The stations on the wall: the first of all stations."""
        return self.stations[:MOST_STATIONS]

    def station(self, topic: str) -> Station | None:
        """The registered station with a topic prefix; None if there is none."""
        return self._by_topic.get(topic)

    async def find(self, service: str) -> str:
        """The topic prefix of a service identifier, in the hub's spelling.

        :param service: the identifier, such as ``fm/4e1/4000/09580``, with or without a slash at its end.
        :raises HttpError: the identifier is invalid, or too many requests wait.
        """
        service = service.rstrip("/")
        channel = f"/topic/{service}/"
        if channel in self._by_topic:  # It may be a prefix for any frequency (*), which radios may not request.
            return channel
        check_topic(f"{channel}image")
        keys = await self.pending.resolve([f"{channel}{each}" for each in TYPES])
        return topics.channel_of(keys[0])

    async def refresh(self) -> None:
        """Load the stations again. :raises DirectoryError: the directory failed; the stations are unchanged."""
        channels = await self._directory.topics()
        found = [Station(await self._resolver.canonical(each.topic), each.name) for each in channels]
        by_topic = {each.topic: each for each in found}
        if tuple(by_topic.values()) != self.stations:
            self._by_topic, self.stations = by_topic, tuple(by_topic.values())
            self.version = hashlib.sha256(repr(self.hung).encode()).hexdigest()[:16]
            await self._recall()
            self._hang()

    def _hang(self) -> None:
        """Subscribe to the new stations, and send the viewers the new version."""
        if self._viewers:
            self._unlisten()
            self._listen()
            self._tell(self._greeting())

    async def _recall(self) -> None:
        """Recall last messages from memcached for topics without one. It is not urgent, so one after the other."""
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
        """Add a viewer, which gets the last message of each topic and all later messages."""
        if not self._viewers:
            self._listen()
        self._viewers.add(viewer)
        viewer.take(None, self._greeting())
        for cohort, data in self._said.items():
            if data:
                viewer.take(cohort, data)

    def leave(self, viewer: WallViewer) -> None:
        """Remove a viewer."""
        self._viewers.discard(viewer)
        if not self._viewers:
            self._unlisten()

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """Send a message on one of the topics to all viewers. Called by the hub."""
        self._said[cohort] = data
        self._tell(data, cohort)

    def _tell(self, data: bytes, slot: object = None) -> None:
        for viewer in list(self._viewers):
            try:
                viewer.take(slot, data)
            except Exception as error:  # noqa: BLE001  (A failed viewer is reported; the others get the message.)
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
        """Send the last message of each topic. The wall has no history, so the id of the last event is ignored."""
        super().begin(None)
        self._wall.enter(self)

    def take(self, slot: object, data: bytes) -> None:
        """Queue an event."""
        self._outbox.offer(slot, data)

    def leave(self) -> None:
        """End the stream, because the browser has disconnected or the node shuts down."""
        self._wall.leave(self)
        super().leave()


class WallEvents:
    """The handler of event streams for pages. In contrast to ``/radiodns/push``, the events contain the time and only
    addresses that a page may use, and there are streams of stations for any frequency (``*``).
    """

    def __init__(self, wall: Wall) -> None:
        self._wall = wall

    async def events(self, request: Request) -> Response:
        """``GET /events``: all stations of the wall; ``GET /events/<service identifier>``: one station.

        :raises HttpError: the service identifier is invalid, or too many requests wait.
        """
        service = request.parameters.get("rest")
        topic = "" if service is None else await self._wall.find(service)

        async def begin() -> None:
            await self._wall.pending.resolve(())  # refuses the stream if too many requests wait
            if not request.http.gone:
                self._begin(request.http, topic)

        return Response(CustomBody(begin), content_type=EVENT_STREAM)

    def _begin(self, http: HttpRequest, topic: str) -> None:
        """Begin the stream. :param topic: the station's topic prefix; empty for all stations."""
        if not topic:
            WallViewer(self._wall, http).begin()
            return
        keys = [f"{topic}{each}" for each in TYPES]
        forms = [WallForm(key, Station(topic).service) for key in keys]
        Stream(self._wall.pending, http, keys, forms).begin(None)
