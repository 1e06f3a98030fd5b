"""Authentication over HTTP: of operators by a token, of publishers by login and password, and of browsers by their
origin.

:class:`OperatorAuth`: with a token, an operator is a client that sends it, as ``Authorization: Bearer …``, or as the
password of HTTP Basic, which browsers ask their user for. Without a token the listener is on a loopback address, and
only programs of the same machine reach it. A web page in a browser there could reach it, too, under a name of its own
that points to 127.0.0.1 (DNS rebinding); so the request has to name the listener by its address, or ``localhost``.
Guesses at the token are slowed, for each address and for all of them together, and logged. Access is logged, too.

:class:`HostNames` is the same protection for sites that anybody may use: the names under which they answer.

:func:`log_in` takes a login by HTTP Basic (RFC 7617) to the application that knows it. :func:`check_same_site` refuses
requests that a browser sends for a page of another site.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections import Counter
from collections.abc import Callable, Iterable
from hmac import compare_digest
from ipaddress import ip_address
from urllib.parse import urlsplit

import structlog
from twisted.internet.defer import Deferred

from fanout.application.interface import Application, Principal, Refused
from fanout.application.login_throttle import TooManyFailures
from fanout.cache.bounded_dict import BoundedDict
from fanout.http.http_server import HttpRequest
from fanout.http.response import HttpError, Response
from fanout.http.routing import Request, Route, Routes
from fanout.listeners.address import neighbourhood
from fanout.listeners.client_limits import TokenBucket
from fanout.process.logs import Throttle

GUESSES, GUESSES_PER_SECOND = 5, 1.0
"""Tries of one address, and tries a second from then on: as many as of a login. An address whose latest try was right
has no limit, so that dashboards and Prometheus do not notice any of this."""
ALL_GUESSES, ALL_GUESSES_PER_SECOND = 20, 5.0
"""The same for all addresses together. A thousand addresses have no more guesses than five patient people."""
ACCESS_LOG_SECONDS = 3_600
"""Between two lines about the access of one address: Prometheus asks every 15 s."""
_OPERATORS = 1_000  # addresses whose latest try was right; a site has a few
_EVERYBODY = "everybody"
_SHOWN = 200  # characters of a login in the log; a client may send many more
_LOCALHOST = "localhost"

log = structlog.get_logger(__name__)


def is_loopback(host: str) -> bool:
    """Whether this address, or name, is reached from the same machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == _LOCALHOST


class _Guesses:
    """Limits how often strangers may try a token, and logs what comes of it."""

    def __init__(self, clock: Callable[[], float], realm: str) -> None:
        self.outcomes = Counter(accepted=0, refused=0, put_off=0)
        self._realm = realm
        self._each = TokenBucket(clock, GUESSES, GUESSES_PER_SECOND)
        self._all = TokenBucket(clock, ALL_GUESSES, ALL_GUESSES_PER_SECOND)
        self._operators: BoundedDict[str, None] = BoundedDict(_OPERATORS)
        self._put_off: BoundedDict[str, None] = BoundedDict(_OPERATORS)
        self._accesses, self._faults = Throttle(clock, ACCESS_LOG_SECONDS), Throttle(clock)

    def may_try(self, address: str) -> bool:
        """Whether this address may try a token now."""
        here = neighbourhood(address)
        if here in self._operators or (self._each.allow(here) and self._all.allow(_EVERYBODY)):
            self._put_off.pop(here, None)
            return True
        self._put_off[here] = None
        self._count(self._faults, log.warning, "put_off", address)
        return False

    def was_put_off(self, address: str) -> bool:
        """Whether its latest try was not looked at."""
        return neighbourhood(address) in self._put_off

    def tried(self, address: str, *, right: bool) -> bool:
        """What came of a try. A wrong one makes an operator a stranger."""
        here = neighbourhood(address)
        if right:
            self._operators[here] = None
            self._count(self._accesses, log.info, "accepted", address)
        else:
            self._operators.pop(here, None)
            self._count(self._faults, log.warning, "refused", address)
        return right

    def _count(self, throttle: Throttle, write: Callable[..., object], outcome: str, address: str) -> None:
        """One line for each address and interval. Refusals of all addresses together have one a second."""
        self.outcomes[outcome] += 1
        key = (address if outcome == "accepted" else _EVERYBODY, outcome)
        if throttle.allow(key):
            held_back = throttle.held_back(key)
            write(f"operator.{outcome}", address=address, realm=self._realm, held_back=held_back)


class OperatorAuth:
    """Decides whether a request comes from an operator.

    :ivar token: may be replaced at any time.
    """

    def __init__(self, token: str, realm: str, clock: Callable[[], float] = time.monotonic) -> None:
        """
        :param token: empty for none.
        :param realm: what a browser names when it asks for the password.
        :param clock: seconds, monotonic.
        """
        self.token = token
        self._realm = realm
        self._guesses = _Guesses(clock, realm)

    @property
    def outcomes(self) -> Counter[str]:
        """How many requests were ``accepted``, ``refused`` for a wrong token, and ``put_off`` without a look at it."""
        return self._guesses.outcomes

    def allows(self, request: HttpRequest) -> bool:
        """Whether this request may see everything."""
        if not self.token:
            return _names_an_address(request) and self._guesses.tried(request.address, right=True)
        given = _passwords(request)
        if not given or not self._guesses.may_try(request.address):
            return False
        right = any(compare_digest(word.encode(), self.token.encode()) for word in given)
        return self._guesses.tried(request.address, right=right)

    def refusal(self, request: HttpRequest) -> HttpError:
        """The answer to one that :meth:`allows` does not allow."""
        if not self.token:
            return HttpError(403, "Ask for this by its address, such as 127.0.0.1, or set a token.")
        if _passwords(request) and self._guesses.was_put_off(request.address):
            return HttpError(429, "Too many wrong tokens; wait some seconds.", Retry_After="5")
        challenge = f'Basic realm="{self._realm}", charset="UTF-8"'
        detail = "This needs the token: Authorization: Bearer …, or as the password of HTTP Basic."
        return HttpError(401, detail, WWW_Authenticate=challenge)

    def refuse(self, request: Request) -> Response:
        """A handler that always refuses."""
        raise self.refusal(request.http)

    def open_routes(self, routes: Routes) -> Routes:
        """What others may ask: the routes that need no token. Everything else is refused, whether or not it exists."""
        return Routes([*(row for row in routes.rows if row.without_auth), Route("/{path:path}", GET=self.refuse)])


class HostNames:
    """The names under which a site answers: addresses, ``localhost``, and those that are given.

    A browser sends the name of the page that it shows. So a foreign page whose name points to this machine (DNS
    rebinding) does not get what a client of this machine or network would.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """:param names: without a port; ``*`` for every name."""
        self._names = {name.lower() for name in names}

    def check(self, request: HttpRequest) -> None:
        """:raises HttpError: 421, the request names another site."""
        if "*" in self._names or _names_an_address(request) or _host(request) in self._names:
            return
        request.channel.persistent = 0
        raise HttpError(421, "This server does not serve this host name; its operator can add it.", Connection="close")


def _host(request: HttpRequest) -> str:
    """What the request names, without a port, in lower case."""
    host: bytes = request.getRequestHostname()  # type: ignore[no-untyped-call]
    return host.decode(errors="replace").strip("[]").lower()


def _names_an_address(request: HttpRequest) -> bool:
    host = _host(request)
    try:
        ip_address(host)
    except ValueError:
        return host == _LOCALHOST
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
    peer = request.peer
    known: Deferred[Principal | None] = Deferred()  # finding out goes on if the client goes: a failure counts
    Deferred.fromCoroutine(application.login(login, password, peer)).chainDeferred(known)
    try:
        principal = await known
    except Refused as refused:
        status = 429 if isinstance(refused, TooManyFailures) else 503
        raise HttpError(status, refused.detail, Retry_After="60") from None
    if principal is None:
        warn("login.refused", peer.address, login=login[:_SHOWN], interface=peer.interface)
        raise unauthorized("Wrong credentials.", realm)
    return principal.connected(peer)


def check_same_site(request: Request) -> None:
    """Refuse a browser that changes something here because a page of another site told it to.

    A form of any page may POST anywhere, a server on the reader's own machine included, and the browser adds a login
    that it remembers. Browsers say where a request comes from (Fetch Metadata, ``Sec-Fetch-Site``); old ones, and all
    of them over HTTP without TLS, only name its ``Origin``. Programs say neither.

    :raises HttpError: 403.
    """
    site, origin = request.header("sec-fetch-site"), request.header("origin")
    if site is not None:
        foreign = site.strip().lower() not in _OWN_SITE
    else:
        foreign = origin is not None and _netloc(origin) != (request.header("host") or "").lower()
    if foreign:
        raise HttpError(403, f"A page of {origin or 'another site'} may not change anything here.")


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


_OWN_SITE = ("same-origin", "none")
"""Values of ``Sec-Fetch-Site``: a page of our own, and what a person asks for. A page of a neighbouring host of the
same domain (``same-site``) is another site's."""
