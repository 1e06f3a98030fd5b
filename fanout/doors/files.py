"""Pictures over HTTP, for who has no web server of his own."""

from __future__ import annotations

from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.static import File

from fanout.doors.http import HttpRequest
from fanout.doors.http_endpoint import answer_options


class Pictures(File):
    """The files of one folder, and nothing else: no listing, no hidden files, nothing guessed by a browser.

    :ivar links: whether symbolic links below the folder are followed, wherever they lead.
    """

    links = False

    def __init__(self, path: str, *arguments: object, **options: object) -> None:
        super().__init__(path, *arguments, **options)  # type: ignore[arg-type]

    def directoryListing(self) -> IResource:
        """A folder shows nothing of what is in it."""
        return self.childNotFound

    def getChild(self, path: bytes, request: Request) -> Resource:
        """The file of that name. Hidden files are none, and what cannot be a name is no error of ours."""
        if path.startswith(b".") or not _is_name(path):
            return self.childNotFound
        child: Resource = super().getChild(path, request)  # type: ignore[no-untyped-call]
        if not self.links and isinstance(child, Pictures) and child.islink():
            return self.childNotFound
        return child

    def createSimilarFile(self, path: str) -> Pictures:
        """What Twisted makes of each part of a path."""
        similar: Pictures = super().createSimilarFile(path)  # type: ignore[no-untyped-call]
        similar.links = self.links
        return similar

    def render_GET(self, request: Request) -> bytes | int:
        """The file, with the type and length that receivers need (HRadio, contract §4)."""
        request.setHeader(b"x-content-type-options", b"nosniff")
        request.setHeader(b"access-control-allow-origin", b"*")
        result: bytes | int = super().render_GET(request)  # type: ignore[no-untyped-call]
        return result

    def render_HEAD(self, request: Request) -> bytes | int:
        """The same headers; Twisted's own would be without ours."""
        return self.render_GET(request)

    def render_OPTIONS(self, request: HttpRequest) -> int:
        """What a script of another site may do: read them."""
        request.put_header("access-control-allow-origin", "*")
        answer_options(request, "GET, HEAD", public=True)
        return NOT_DONE_YET


def _is_name(path: bytes) -> bool:
    """Whether a file may have this name. Twisted would log a traceback for each request with another."""
    return b"\0" not in path and path.decode(errors="ignore").encode() == path
