"""The public site: every route of it stands here."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.resource import IResource

from fanout.doors.files import Pictures
from fanout.doors.http_endpoint import Branch
from fanout.doors.listening import ListeningDoor
from fanout.doors.longpoll import LongPolls
from radiovis.pages.pages import public_pages
from radiovis.pages.wall import Wall
from radiovis.publish_http import PublishHttp
from radiovis.push import Push
from radiovis.settings import Settings
from radiovis.visjson import Comet, VisJson


def public_site(
    door: ListeningDoor, settings: Settings, wall: Wall, more: Mapping[str, IResource] | None = None
) -> Branch:
    """The resources behind HTTP_PORT.

    :param more: what is made elsewhere, by its path: WebSockets at ``stomp`` and ``topic``.
    """
    octets = settings.MAX_DESTINATION_BYTES
    polls = LongPolls(door)
    routes: dict[str, IResource] = {
        "radiodns/vis/vis.json": VisJson(polls, octets),
        "comet": Comet(polls, octets),
        "radiodns/push/1.0": Push(door, octets),
        "services": PublishHttp(door.application, door.complain, octets, cancels=settings.SCHEDULE == "server"),
        **public_pages(wall),
        **(more or {}),
    }
    if settings.SLIDES_DIR:
        pictures = routes["slides"] = Pictures(settings.SLIDES_DIR)
        pictures.links = settings.SLIDES_LINKS
    root = Branch()
    for path, resource in routes.items():
        root.at(path, resource)
    return root
