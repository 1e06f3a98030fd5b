"""What the tests of the pages need: a wall without sockets, and requests for it."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.trial import unittest
from twisted.web.http_headers import Headers

from fanout.http.dispatch import Dispatcher
from fanout.http.response import ErrorPages, json_page
from fanout.http.routing import Found, Handler, Routes
from fanout.hub.message import Message
from radiovis.directory.interface import Channel
from radiovis.http import wall
from radiovis.http.wall import Wall
from radiovis.settings import Settings
from radiovis.topic_resolution import TopicResolver
from tests.fanout.stomp_server.listeners import Asked, House
from tests.radiovis.scripted_directory import ScriptedDirectory

ROCK = "/topic/fm/4e1/4000/09580/"
TALK = "/topic/fm/4e1/4001/10410/"


class OneRoute(Routes):
    """A table in which every path leads to one handler.

    :ivar path: the rest of the path; empty for a path without a rest.
    """

    def __init__(self, handler: Handler, path: str = "") -> None:
        super().__init__([])
        self.handler = handler
        self.path = path

    def find(self, method: str, path: bytes) -> Found:
        return Found(self.handler, self.path.split("/"), {"rest": self.path} if self.path else {}, (), False)


class Site:
    pages = ErrorPages(default=json_page)


class PageRequest(Asked):
    """A GET."""

    method = b"GET"
    path = b"/"
    clientproto = b"HTTP/1.0"
    args: Any = None
    startedWriting = False

    def __init__(self) -> None:
        super().__init__()
        self.requestHeaders = Headers()
        self.responseHeaders = Headers()
        self.channel.site = Site()  # type: ignore[attr-defined]

    def setResponseCode(self, status: int, reason: bytes) -> None:
        """It is an argument of :meth:`answer`, too."""

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        super().answer(status, body, content_type)
        self.put_header("content-type", content_type)

    @property
    def html(self) -> str:
        return self.got.decode()

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Those of a stream so far."""
        blocks = [block.splitlines() for block in self.got.decode().split("\n\n")[1:] if block]
        return [(block[1].removeprefix("event: "), json.loads(block[2].removeprefix("data: "))) for block in blocks]


class SiteCase(unittest.TestCase):
    """Tests with a wall of two stations."""

    settings: ClassVar[dict[str, Any]] = {}
    places = 200

    def setUp(self) -> None:
        self.house = House(**self.settings)
        self.directory = ScriptedDirectory()
        self.directory.registered = [Channel(ROCK, 1, name="Rock FM"), Channel(TALK, 2)]
        resolver = TopicResolver(self.directory, lambda: None)
        self.patch(wall, "MOST_STATIONS", self.places)
        self.wall = Wall(self.house.requests, self.directory, resolver, Settings())
        self.refresh()

    def tearDown(self) -> None:
        self.assertEqual(self.house.failures, [])

    def refresh(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.wall.refresh()))

    def say(self, topic: str, body: str, when: int = 0, **headers: str) -> None:
        """Publish, and let the turn of the reactor end."""
        self.house.hub.publish(topic, Message(topic, body.encode(), "m1", when, tuple(headers.items())))
        self.house.turn()

    def ask(self, handler: Handler, path: str = "") -> PageRequest:
        """:param path: what lies below the handler's own path."""
        request = PageRequest()
        Dispatcher(OneRoute(handler, path), self.house.requests)(request)  # type: ignore[arg-type]
        self.house.turn()
        return request
