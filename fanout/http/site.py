"""A listener for a face: what a factory of connections needs to be, to serve a table of routes."""

from __future__ import annotations

from collections.abc import Callable
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

from twisted.web.http_headers import Headers

from fanout.http.access_log import seen
from fanout.http.dispatch import Face
from fanout.http.response import HttpError
from fanout.http.server import HttpLimits, HttpRequest, HttpSite
from fanout.listeners.limits import ConnectionLimit

_IN_MEMORY = 65_536  # octets of a body; a larger one goes to a temporary file
_STEP = 65_536  # octets of a body for which a client gets as much time again as for the whole request


class FaceRequest(HttpRequest):
    """A request whose body may be large. What its pages may do is for whoever makes them to say."""

    every_answer = ((b"x-content-type-options", b"nosniff"),)

    def gotLength(self, length: int | None) -> None:
        """Before the body comes."""
        self.content = cast("IO[bytes]", SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115 (closed by Twisted)

    def handleContentChunk(self, data: bytes) -> None:
        """A large body takes its time, as long as it comes; one that drips in has no more than another request."""
        before = self.content.tell()
        super().handleContentChunk(data)
        if self.content.tell() // _STEP > before // _STEP:
            self.channel.resetTimeout()  # type: ignore[no-untyped-call]


class FaceSite(HttpSite):
    """A face behind the gate. Hand it to :func:`fanout.listeners.port.listen`."""

    name = "fanout"

    def __init__(
        self,
        reactor: Any,
        face: Face,
        connection_limit: ConnectionLimit,
        limits: HttpLimits,
        warn: Callable[..., None],
        access: Callable[[HttpRequest], None] | None = None,
    ) -> None:
        """
        :param warn: logs a client's fault: event name, address, fields.
        :param access: told of each request when it is answered; for an access log.
        """
        super().__init__(reactor, face, connection_limit, limits, warn)
        self.requestFactory: type[HttpRequest] = FaceRequest
        self._face = face
        self._access = access

    def error(self, status: int, detail: str) -> tuple[str, bytes]:
        """The page of an error no handler sees."""
        page = self._face.pages.page(HttpError(status, detail))
        assert isinstance(page.body, bytes), "ErrorPages makes them so"
        return page.content_type, page.body

    def kept(self, headers: Headers) -> Headers:
        """What an access log shows of them."""
        return super().kept(headers) if self._access is None else seen(headers)

    def log(self, request: Any) -> None:
        """Every answer comes by here."""
        if self._access is not None:
            self._access(request)
