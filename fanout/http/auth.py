"""Authentication over HTTP: of operators by a token, of publishers by login and password, and of browsers by their
origin.

:class:`OperatorAuth`: with a token, an operator is a client that sends it, as ``Authorization: Bearer …``, or as the
password of HTTP Basic, which browsers ask their user for. Without a token the listener is on a loopback address, and
only programs of the same machine reach it. A web page in a browser there could reach it, too, under a name of its own
that points to 127.0.0.1 (DNS rebinding); so the request has to name the listener by its address, or ``localhost``.

:func:`log_in` takes a login by HTTP Basic (RFC 7617) to the application that knows it. :func:`check_same_site` refuses
requests that a browser sends for a page of another site.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from hmac import compare_digest
from ipaddress import ip_address
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred

from fanout.application.interface import Application, Principal, Refused
from fanout.application.login_throttle import TooManyFailures
from fanout.http.http_server import HttpRequest
from fanout.http.response import HttpError, Response
from fanout.http.routing import Request, Route, Routes

_LOCALHOST = "localhost"


def is_loopback(host: str) -> bool:
    """Whether this address, or name, is reached from the same machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == _LOCALHOST


class OperatorAuth:
    """Decides whether a request comes from an operator."""

    def __init__(self, token: str, realm: str) -> None:
        """
        :param token: empty for none.
        :param realm: what a browser names when it asks for the password.
        """
        self._token = token
        self._realm = realm

    def allows(self, request: HttpRequest) -> bool:
        """Whether this request may see everything."""
        if not self._token:
            return _names_an_address(request)
        return any(compare_digest(word.encode(), self._token.encode()) for word in _passwords(request))

    def refusal(self) -> HttpError:
        """The answer to all others."""
        if not self._token:
            return HttpError(403, "Ask for this by its address, such as 127.0.0.1, or set a token.")
        challenge = f'Basic realm="{self._realm}", charset="UTF-8"'
        detail = "This needs the token: Authorization: Bearer …, or as the password of HTTP Basic."
        return HttpError(401, detail, WWW_Authenticate=challenge)

    def refuse(self, request: Request) -> Response:
        """A handler that always refuses."""
        raise self.refusal()

    def open_routes(self, routes: Routes) -> Routes:
        """What others may ask: the routes that need no token. Everything else is refused, whether or not it exists."""
        return Routes([*(row for row in routes.rows if row.without_auth), Route("/{path:path}", GET=self.refuse)])


def _names_an_address(request: HttpRequest) -> bool:
    host: str = request.getRequestHostname().decode(errors="replace").strip("[]")  # type: ignore[no-untyped-call]
    try:
        ip_address(host)
    except ValueError:
        return host.lower() == _LOCALHOST
    return True


def _passwords(request: HttpRequest) -> list[str]:
    scheme, _, credentials = (request.getHeader("authorization") or "").partition(" ")
    credentials = credentials.strip()
    if scheme.lower() == "bearer":
        return [credentials]
    if scheme.lower() == "basic":
        try:
            return [base64.b64decode(credentials, validate=True).decode().partition(":")[2]]
        except (ValueError, binascii.Error):
            return []
    return []


def basic_login(request: HttpRequest, realm: str) -> tuple[str, str]:
    """Login and password. :raises HttpError: there are none."""
    scheme, _, credentials = (request.getHeader("authorization") or "").partition(" ")
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except (ValueError, binascii.Error):
        decoded = ""
    login, colon, password = decoded.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise unauthorized("This needs a login, by HTTP Basic.", realm)
    return login, password


def unauthorized(detail: str, realm: str) -> HttpError:
    """The error that makes clients ask for a password."""
    return HttpError(401, detail, WWW_Authenticate=f'Basic realm="{realm}", charset="UTF-8"')


async def log_in(application: Application, warn: Callable[..., None], request: HttpRequest, realm: str) -> Principal:
    """The principal whose login and password a request has.

    :param warn: logs a client's fault: event name, address, fields.
    :param realm: what a browser names when it asks for the password.
    :raises HttpError: there are none, or wrong ones; it cannot be found out now; this address has failed too often.
    """
    login, password = basic_login(request, realm)
    known: Deferred[Principal | None] = Deferred()  # finding out goes on if the client goes: a failure counts
    Deferred.fromCoroutine(application.login(login, password, request.address)).chainDeferred(known)
    try:
        principal = await known
    except Refused as refused:
        status = 429 if isinstance(refused, TooManyFailures) else 503
        raise HttpError(status, refused.detail, Retry_After="60") from None
    if principal is None:
        warn("login.refused", request.address, login=login)
        raise unauthorized("Wrong credentials.", realm)
    return principal


def check_same_site(request: Request) -> None:
    """Refuse a browser that changes something here because a page of another site told it to.

    A form of any page may POST anywhere, a server on the reader's own machine included; programs send no Origin.

    :raises HttpError: 403.
    """
    origin = request.header("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != (request.header("host") or "").lower():
        raise HttpError(403, f"A page of {origin} may not change anything here.")
