"""What a handler is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import IO

from fanout.doors.http_endpoint import parameter, parameters
from fanout.doors.http_request import HttpRequest

CHUNK = 65_536
"""Octets of a body handed on at a time: what Twisted's transports hold before they ask to pause."""


class Request:
    """One request, complete: a client that stops halfway never reaches a handler.

    :ivar http: Twisted's request, for what is not here.
    :ivar path: decoded, with its first slash.
    :ivar parameters: of the route's pattern, decoded.
    """

    def __init__(self, http: HttpRequest, path: str, parameters: Mapping[str, str]) -> None:
        self.http = http
        self.path = path
        self.parameters = parameters

    @property
    def method(self) -> str:
        """In capitals; a derived HEAD shows as HEAD."""
        return self.http.method.decode("ascii")

    @property
    def version(self) -> str:
        """``HTTP/1.1`` or ``HTTP/1.0``."""
        return self.http.clientproto.decode("ascii")

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self.http.address

    def header(self, name: str) -> str | None:
        """A header's value; when it stands more than once, all joined with commas. None when it is not there."""
        values = self.http.requestHeaders.getRawHeaders(name.encode())
        return ", ".join(map(_text, values)) if values else None

    @cached_property
    def headers(self) -> dict[str, str]:
        """All headers, by name in lower case."""
        raw = self.http.requestHeaders.getAllRawHeaders()
        return {name.decode("ascii").lower(): ", ".join(map(_text, values)) for name, values in raw}

    def query(self, name: str) -> str | None:
        """A parameter of the query that may stand once; None when it is missing or empty.

        :raises HttpError: it stands more than once, or is not UTF-8.
        """
        return parameter(self.http, name)

    def queries(self, name: str) -> list[str]:
        """All values of a parameter of the query. :raises HttpError: one is not UTF-8."""
        return parameters(self.http, name)

    @property
    def body(self) -> IO[bytes]:
        """What the client sent, as a file; small ones in memory, large ones on disk."""
        return self.http.content

    async def chunks(self, octets: int = CHUNK) -> AsyncIterator[bytes]:
        """What the client sent, piece by piece from where :attr:`body` stands.

        :param octets: at most so many at a time.
        """
        while chunk := self.body.read(octets):
            yield chunk


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
