"""All stations at once: a list of them, and one event stream with all their messages.

The wall is one subscriber of each station's topics, however many viewers there are: a publish costs one encoding and
one call per viewer, and a viewer costs no more than an outbox. Without viewers it subscribes to nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from fanout.http.pending import PendingRequests
from fanout.http.response import HttpError
from fanout.http.server import HttpRequest
from fanout.http.sse import event
from fanout.hub.message import Message
from fanout.hub.subscriber import Cohort, Subscriber
from radiovis import topics
from radiovis.directory.interface import Directory
from radiovis.http import shown
from radiovis.http.station import Station
from radiovis.http.visjson import check_topic
from radiovis.topic_resolution import TopicResolver

TYPES = ("image", "text")


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


class Viewer(Protocol):
    """A client that shows the wall."""

    def take(self, slot: object, data: bytes) -> None:
        """Take an event; those with equal slots, but None, may replace each other."""
        ...


class Wall(Subscriber):
    """The stations, and the viewers of their slides: one subscriber of all topics, whatever the number of viewers.

    :ivar requests: what the streams of a node share.
    :ivar stations: all that are registered, in the directory's order.
    :ivar version: changes with the stations on the wall: a page that shows others has to be loaded anew.
    :ivar places: how many of them the wall has room for.
    """

    protocol = "wall"
    address = ""

    def __init__(
        self,
        requests: PendingRequests,
        directory: Directory,
        resolver: TopicResolver,
        *,
        places: int = 200,
        topic_octets: int = 1_024,
    ) -> None:
        """:param topic_octets: how long a topic may be."""
        self.requests = requests
        self._topic_octets = topic_octets
        self.stations: tuple[Station, ...] = ()
        self.version = ""
        self.places = places
        self._by_topic: dict[str, Station] = {}
        self._directory = directory
        self._resolver = resolver
        self._viewers: set[Viewer] = set()
        self._said: dict[Cohort, bytes] = {}  # the topics listened to, and what was said last

    # Which stations there are

    @property
    def hung(self) -> tuple[Station, ...]:
        """The stations that stand on the wall."""
        return self.stations[: self.places]

    def station(self, topic: str) -> Station | None:
        """The registered station with this topic prefix."""
        return self._by_topic.get(topic)

    async def find(self, request: HttpRequest) -> str:
        """The topic prefix that the rest of a request's path means, as the hub spells it.

        :raises HttpError: it means none.
        """
        try:
            service = b"/".join(request.postpath or []).decode().rstrip("/")
        except UnicodeDecodeError:
            raise HttpError(400, "A service identifier is written like fm/4e1/4000/09580.") from None
        channel = f"/topic/{service}/"
        if channel in self._by_topic:  # one for any frequency, too, which no radio may ask for
            return channel
        check_topic(f"{channel}image", self._topic_octets)
        keys = await self.requests.resolve([f"{channel}{each}" for each in TYPES])
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
            await self.requests.hub.recall(key, self.requests.application.recall)

    # What is on air

    def slide(self, topic: str) -> shown.ShownSlide | None:
        """The last slide of a topic prefix."""
        message = self.requests.hub.last(f"{topic}image")
        return shown.slide(message) if message else None

    def text(self, topic: str) -> shown.ShownText | None:
        """The last text of a topic prefix."""
        message = self.requests.hub.last(f"{topic}text")
        return shown.text(message) if message else None

    # Who watches

    def enter(self, viewer: Viewer) -> None:
        """Show a viewer what is on air, and what will be."""
        if not self._viewers:
            self._listen()
        self._viewers.add(viewer)
        viewer.take(None, self._greeting())
        for cohort, data in self._said.items():
            if data:
                viewer.take(cohort, data)

    def leave(self, viewer: Viewer) -> None:
        """A viewer has gone."""
        self._viewers.discard(viewer)
        if not self._viewers:
            self._unlisten()

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """The hub's: something was said on one of the topics."""
        self._said[cohort] = data
        self._tell(data, cohort)

    def _tell(self, data: bytes, slot: object = None) -> None:
        for viewer in list(self._viewers):
            try:
                viewer.take(slot, data)
            except Exception as error:  # noqa: BLE001  (one broken viewer is reported and stops nobody else)
                self.requests.failed(viewer, error)

    def _greeting(self) -> bytes:
        return event("stations", json.dumps({"version": self.version}), "")

    def _listen(self) -> None:
        for station in self.hung:
            for each in TYPES:
                key = f"{station.topic}{each}"
                cohort, last = self.requests.hub.join(key, WallForm(key, station.service), self)
                self._said[cohort] = cohort.encode(last) if last else b""

    def _unlisten(self) -> None:
        said, self._said = self._said, {}
        for cohort in said:
            self.requests.hub.leave(cohort, self)
