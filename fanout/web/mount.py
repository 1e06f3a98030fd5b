"""A resource of Twisted as a part of a site: a WebSocket, a long poll, a tree of resources."""

from __future__ import annotations

from twisted.web.resource import IResource

from fanout.web.request import Request
from fanout.web.response import Elsewhere
from fanout.web.routes import Route, every_method


def mount(at: str, resource: IResource) -> list[Route]:
    """The rows of the table: the resource sees to every method there and below.

    :param at: where it is, such as ``/comet``; ``/`` is that page alone, and nothing below.
    """

    def answer(request: Request) -> Elsewhere:
        path = (*(request.http.prepath or ()), *(request.http.postpath or ()))
        return Elsewhere(resource, len(path) - at.count("/"))

    here = every_method(at, answer)
    return [here] if at == "/" else [here, every_method(f"{at}/{{rest:path}}", answer)]
