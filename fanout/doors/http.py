"""HTTP as every page and interface of ours speaks it: a listener, and what one client may cost it.

Twisted's server parses; what it leaves open is in ``http_channel.py`` and ``http_request.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Site

from fanout.address import plain
from fanout.doors.gate import Gate
from fanout.doors.http_answer import error_body
from fanout.doors.http_channel import HttpChannel
from fanout.doors.http_request import HttpRequest

_NO_HEADERS = Headers()


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one HTTP client may cost.

    :ivar body: octets of a request's body.
    :ivar request_seconds: for a request to be complete, from the opening of the connection or the answer before it.
    :ivar unread_seconds: a client that has not acknowledged octets for so long is gone.
    """

    body: int = 16_384
    request_seconds: float = 30.0
    unread_seconds: float = 60.0


class HttpSite(Site):
    """A listener: a tree of resources behind the gate.

    :cvar name: what it tells clients that it is.
    """

    name = "radiovis"

    def __init__(
        self, reactor: Any, root: IResource, gate: Gate, limits: HttpLimits, complain: Callable[..., None]
    ) -> None:
        """
        :param limits: may be replaced by :meth:`take_limits`.
        :param complain: logs a client's fault: event name, address, fields.
        """
        super().__init__(root, HttpRequest, timeout=limits.request_seconds, reactor=reactor)  # type: ignore[no-untyped-call]
        self._gate = gate
        self.limits = limits
        self._complain = complain

    def take_limits(self, limits: HttpLimits) -> None:
        """Others, for connections from now on."""
        self.limits = limits
        self.timeOut = limits.request_seconds

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A connection, if there is room for one. HTTP/1.1 only: receivers speak no other."""
        address = plain(getattr(addr, "host", ""))
        if not self._gate.admit(address):
            self._complain(
                "client.turned_away", address, connections=self._gate.total, of_address=self._gate.of(address)
            )
            return None
        channel: Any = HttpChannel(self.limits, self._gate, address, getattr(addr, "port", 0))
        channel.factory = channel.site = self
        channel.requestFactory = self.requestFactory
        channel.callLater = self.reactor.callLater
        channel.timeOut = self.timeOut
        return channel

    def error(self, status: int, detail: str) -> tuple[str, bytes]:
        """Type and body of the answer to what is no request at all, or too much of one."""
        return "application/json", error_body(status, detail)

    def kept(self, headers: Headers) -> Headers:
        """What is still needed of a request's headers while it is held, among thousands."""
        return _NO_HEADERS

    def startFactory(self) -> None:
        """No access log: a poll per radio and ten seconds would drown all else."""

    def stopFactory(self) -> None:
        """Nothing was opened."""

    def log(self, request: Any) -> None:
        """No access log."""
