"""The public site: all its routes, and the objects that hold what their handlers need."""

from __future__ import annotations

from collections.abc import Mapping

from fanout.http.files import Files
from fanout.http.pending_requests import PendingRequests
from fanout.http.response import TEXT
from fanout.http.routing import Handler, Route, Routes, subtree
from fanout.http.topic_resources import Topics
from fanout.settings import SettingsError
from radiovis.http.pages import WallPages, assets
from radiovis.http.publish import REALM, Publishing, needs_login
from radiovis.http.visjson import Polls, Push, check_topic
from radiovis.http.wall import Wall, WallEvents
from radiovis.settings import Settings


class PublicSite:
    """The site at HTTP_PORT."""

    def __init__(
        self, pending: PendingRequests, settings: Settings, wall: Wall, websockets: Mapping[str, Handler]
    ) -> None:
        """
        :param pending: the requests that wait for messages.
        :param settings: the settings of the handlers.
        :param wall: the stations, and the browsers that watch them.
        :param websockets: the handlers of WebSockets, by their path.
        :raises SettingsError: SLIDES_DIR is not a folder.
        """
        self._settings = settings
        self._wall = wall
        self._polls = Polls(settings)
        self._push = Push()
        self._publishing = Publishing(pending.application, pending.warn, settings)
        pages, topics = WallPages(wall), self._topics(pending)
        self.routes = Routes(
            [
                *subtree("/radiodns/vis/vis.json", public=True, GET=self._polls.visjson),
                *subtree("/comet", public=True, GET=self._polls.comet),
                *subtree("/radiodns/push/1.0", public=True, GET=self._push.push),
                *subtree("/services", before=needs_login, POST=self._publishing.publish),
                *(row for path, handler in websockets.items() for row in subtree(path, GET=handler)),
                *topics.routes(),
                Route("/", GET=pages.wall),
                *subtree("/service", GET=pages.service),
                *subtree("/events", public=True, GET=WallEvents(wall).events),
                *assets("/static"),
                *_slides(settings),
            ]
        )

    @property
    def settings(self) -> Settings:
        """The settings of all handlers; may be replaced at any time. A change of SLIDES_DIR or SLIDES_LINKS has no
        effect.
        """
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        for part in (self._polls, self._publishing, self._wall):
            part.settings = settings
        self._settings = settings

    def _topics(self, pending: PendingRequests) -> Topics:
        """Topics as resources. Values cannot be deleted, because other nodes and memcached would keep them. Values are
        text: ``SHOW …`` and ``TEXT …``.
        """
        return Topics(
            pending,
            prefix="/",
            check=check_topic,
            realm=REALM,
            longest_wait=None,
            forgets=False,
            untyped=TEXT,
            may_publish=needs_login,
        )


def _slides(settings: Settings) -> list[Route]:
    if not settings.SLIDES_DIR:
        return []
    try:
        return Files(settings.SLIDES_DIR, "/slides", symlinks=settings.SLIDES_LINKS, public=True).routes()
    except OSError as error:
        raise SettingsError(f"SLIDES_DIR: {error}") from None
