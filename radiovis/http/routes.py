"""The public site: every route of it stands here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from twisted.web.resource import IResource

from fanout.http.dispatch import mount
from fanout.http.files import Files
from fanout.http.longpoll import LongPolls
from fanout.http.pending import PendingRequests
from fanout.http.response import TEXT
from fanout.http.routing import Route, Routes
from fanout.http.topics import Topics
from fanout.settings import SettingsError
from radiovis.http.pages import ServicePage, WallPage, assets
from radiovis.http.publish_http import REALM, PublishHttp
from radiovis.http.push import Push
from radiovis.http.visjson import Comet, VisJson, check_topic
from radiovis.http.wall import Wall
from radiovis.http.wall_events import WallEvents
from radiovis.settings import Settings


def public_routes(door: PendingRequests, settings: Settings, wall: Wall, websockets: Mapping[str, IResource]) -> Routes:
    """The table behind HTTP_PORT.

    :param websockets: by their path.
    :raises SettingsError: SLIDES_DIR is no folder.
    """
    octets, polls = settings.MAX_DESTINATION_BYTES, LongPolls(door)
    publishing = PublishHttp(door.application, door.warn, octets, cancels=settings.SCHEDULE == "server")
    return Routes(
        [
            *mount("/radiodns/vis/vis.json", VisJson(polls, octets)),
            *mount("/comet", Comet(polls, octets)),
            *mount("/radiodns/push/1.0", Push(door, octets)),
            *mount("/services", publishing),
            *(row for path, resource in websockets.items() for row in mount(path, resource)),
            *_topics(door, octets).routes(),
            *mount("/", WallPage(wall)),
            *mount("/service", ServicePage(wall)),
            *mount("/events", WallEvents(wall)),
            *assets("/static").routes(),
            *_slides(settings),
        ]
    )


def _topics(door: PendingRequests, octets: int) -> Topics:
    """Nothing is forgotten on demand: other nodes, and memcached, would still know it. What is said is text: ``SHOW …``
    and ``TEXT …``.
    """
    check = partial(check_topic, octets=octets)
    return Topics(door, prefix="/", check=check, realm=REALM, longest_wait=None, forgets=False, untyped=TEXT)


def _slides(settings: Settings) -> list[Route]:
    if not settings.SLIDES_DIR:
        return []
    try:
        return Files(settings.SLIDES_DIR, "/slides", symlinks=settings.SLIDES_LINKS, public=True).routes()
    except OSError as error:
        raise SettingsError(f"SLIDES_DIR: {error}") from None
