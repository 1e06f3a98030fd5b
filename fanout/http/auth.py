"""Authentication over HTTP: of operators by a token, of publishers by login and password, and of browsers by the origin
of the page.

:class:`OperatorAuth`: if a token is set, an operator sends it as ``Authorization: Bearer …``, or as the password of
HTTP Basic, for which browsers show a dialog. If no token is set, the listener has a loopback address, and only programs
on the same machine can connect. A web page in a browser on this machine could also connect, with a host name that
points to 127.0.0.1 (DNS rebinding). Therefore the Host header must be an IP address or ``localhost``. Attempts to guess
the token are slowed down, for each address and for all addresses together. Attempts and accesses are logged.

:class:`HostNames` protects sites without a token in the same way: it limits the host names that they accept.

:func:`log_in` lets the application check a login from HTTP Basic (RFC 7617). :func:`check_same_site` refuses requests
that a browser sends for a page of another site.
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
"""Attempts of one address, and further attempts per second: the same limits as for a login. An address whose last
attempt was right has no limit, so that dashboards and Prometheus are not affected."""
ALL_GUESSES, ALL_GUESSES_PER_SECOND = 20, 5.0
"""The same for all addresses together. A thousand addresses get no more attempts than five addresses."""
ACCESS_LOG_SECONDS = 3_600
"""Seconds between two log lines about accesses of one address: Prometheus sends a request every 15 s."""
_OPERATORS = 1_000  # addresses whose last attempt was right; a site has a few
_EVERYBODY = "everybody"
_SHOWN = 200  # characters of a login in the log; a client may send many more
_LOCALHOST = "localhost"

log = structlog.get_logger(__name__)


def is_loopback(host: str) -> bool:
    """Whether only programs on the same machine can reach this address or host name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == _LOCALHOST


class _Guesses:
    """Limits the attempts to guess a token, and logs their outcomes."""

    def __init__(self, clock: Callable[[], float], realm: str) -> None:
        self.outcomes = Counter(accepted=0, refused=0, put_off=0)
        self._realm = realm
        self._each = TokenBucket(clock, GUESSES, GUESSES_PER_SECOND)
        self._all = TokenBucket(clock, ALL_GUESSES, ALL_GUESSES_PER_SECOND)
        self._operators: BoundedDict[str, None] = BoundedDict(_OPERATORS)
        self._put_off: BoundedDict[str, None] = BoundedDict(_OPERATORS)
        self._accesses, self._faults = Throttle(clock, ACCESS_LOG_SECONDS), Throttle(clock)

    def may_try(self, address: str) -> bool:
        """Whether an attempt of this address is checked now."""
        here = neighbourhood(address)
        if here in self._operators or (self._each.allow(here) and self._all.allow(_EVERYBODY)):
            self._put_off.pop(here, None)
            return True
        self._put_off[here] = None
        self._count(self._faults, log.warning, "put_off", address)
        return False

    def was_put_off(self, address: str) -> bool:
        """Whether the last attempt of this address was not checked."""
        return neighbourhood(address) in self._put_off

    def tried(self, address: str, *, right: bool) -> bool:
        """Count the outcome of an attempt, and return it. After a wrong one, the address has a limit again."""
        here = neighbourhood(address)
        if right:
            self._operators[here] = None
            self._count(self._accesses, log.info, "accepted", address)
        else:
            self._operators.pop(here, None)
            self._count(self._faults, log.warning, "refused", address)
        return right

    def _count(self, throttle: Throttle, write: Callable[..., object], outcome: str, address: str) -> None:
        """Count an outcome, and log it: one line per address and interval for accepted attempts, and one line per
        second for the refused ones of all addresses together.
        """
        self.outcomes[outcome] += 1
        key = (address if outcome == "accepted" else _EVERYBODY, outcome)
        if throttle.allow(key):
            held_back = throttle.held_back(key)
            write(f"operator.{outcome}", address=address, realm=self._realm, held_back=held_back)


class OperatorAuth:
    """Decides whether a request comes from an operator.

    :ivar token: the token; may be replaced at any time.
    """

    def __init__(self, token: str, realm: str, clock: Callable[[], float] = time.monotonic) -> None:
        """
        :param token: the token; empty for none.
        :param realm: the realm that a browser shows when it asks for the password.
        :param clock: a monotonic clock in seconds.
        """
        self.token = token
        self._realm = realm
        self._guesses = _Guesses(clock, realm)

    @property
    def outcomes(self) -> Counter[str]:
        """How many requests were ``accepted``, ``refused`` for a wrong token, and ``put_off`` without a check."""
        return self._guesses.outcomes

    def allows(self, request: HttpRequest) -> bool:
        """Whether an operator sent this request. Operators may use all routes."""
        if not self.token:
            return _names_an_address(request) and self._guesses.tried(request.address, right=True)
        given = _passwords(request)
        if not given or not self._guesses.may_try(request.address):
            return False
        right = any(compare_digest(word.encode(), self.token.encode()) for word in given)
        return self._guesses.tried(request.address, right=right)

    def refusal(self, request: HttpRequest) -> HttpError:
        """The error for a request that :meth:`allows` has refused."""
        if not self.token:
            return HttpError(403, "Use the IP address in the URL, such as 127.0.0.1, or set a token.")
        if _passwords(request) and self._guesses.was_put_off(request.address):
            return HttpError(429, "Too many wrong tokens; wait some seconds.", Retry_After="5")
        challenge = f'Basic realm="{self._realm}", charset="UTF-8"'
        detail = "This needs the token: Authorization: Bearer …, or as the password of HTTP Basic."
        return HttpError(401, detail, WWW_Authenticate=challenge)

    def refuse(self, request: Request) -> Response:
        """A handler that always refuses."""
        raise self.refusal(request.http)

    def open_routes(self, routes: Routes) -> Routes:
        """The routes for other clients: those that need no token. Every other path is refused, even if it does not
        exist.
        """
        return Routes([*(row for row in routes.rows if row.without_auth), Route("/{path:path}", GET=self.refuse)])


class HostNames:
    """The host names that a site accepts: IP addresses, ``localhost``, and the given names.

    A browser sends the host name of the page that it shows. So a page of another site whose host name points to this
    machine (DNS rebinding) cannot read what a client on this machine or network can read.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """:param names: further host names, without a port; ``*`` for every name."""
        self._names = {name.lower() for name in names}

    def check(self, request: HttpRequest) -> None:
        """:raises HttpError: 421, the Host header has another name."""
        if "*" in self._names or _names_an_address(request) or _host(request) in self._names:
            return
        request.channel.persistent = 0
        raise HttpError(421, "This server does not serve this host name; its operator can add it.", Connection="close")


def _host(request: HttpRequest) -> str:
    """The name in the Host header, without a port, in lower case."""
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
    """The login and password of a request. :raises HttpError: it has none."""
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
    """A 401, after which browsers ask for a password."""
    return HttpError(401, detail, WWW_Authenticate=f'Basic realm="{realm}", charset="UTF-8"')


async def log_in(application: Application, warn: Callable[..., None], request: HttpRequest, realm: str) -> Principal:
    """The principal with the login and password of a request.

    :param application: checks the login.
    :param warn: logs a client's fault; called with event name, address and fields.
    :param request: the request.
    :param realm: the realm that a browser shows when it asks for the password.
    :raises HttpError: login and password are missing or wrong, they cannot be checked now, or this address has failed
        too often.
    """
    login, password = basic_login(request, realm)
    peer = request.peer
    known: Deferred[Principal | None] = Deferred()  # If the client disconnects, the check continues: failures count.
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
    """Refuse a request to change something if a browser sends it for a page of another site.

    The form of any page can POST to any server, including one on the user's own machine, and the browser adds a login
    that it remembers. Browsers send the relation of the page to this site (Fetch Metadata, ``Sec-Fetch-Site``). Old
    browsers, and all browsers over HTTP without TLS, only send its ``Origin``. Other programs send neither.

    :raises HttpError: 403, the page belongs to another site.
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
"""Values of ``Sec-Fetch-Site`` for a page of this site, and for an address that the user entered. A page of another
host of the same domain (``same-site``) belongs to another site."""
