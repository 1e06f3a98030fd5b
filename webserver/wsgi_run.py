"""One run of a WSGI application in a thread, and its answer in the reactor's. The rules of PEP 3333 are wsgiref's.

:class:`Run` takes the answer to the reactor, :class:`Gateway` calls the application, and :func:`environ` makes its
environment from a request (PEP 3333, "environ Variables").
"""

from __future__ import annotations

import os
import wsgiref.headers
from collections.abc import AsyncIterator, Callable, Mapping
from typing import IO, Any
from urllib.parse import urlsplit
from wsgiref.handlers import BaseHandler

import structlog
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure

from fanout.http.response import Headers
from fanout.http.routing import Request

Start = tuple[int, Headers]

log = structlog.get_logger(__name__)


class Abandoned(Exception):
    """The answer of the application is not wanted any more."""


class Run:
    """What the thread hands over to the reactor. The body of its answer is the run itself, piece by piece.

    :ivar started: fires with status and headers, or fails with what the application raised before it had any.
    :ivar abandoned: whether the answer is not wanted any more.
    """

    def __init__(self, reactor: Any, seconds: float) -> None:
        """:param seconds: the application may take for its first and for each further piece."""
        self._reactor = reactor
        self._seconds = seconds
        self._pieces: DeferredQueue[bytes | Failure | None] = DeferredQueue()
        self._room: Deferred[None] | None = None
        self.abandoned = False
        self.started: Deferred[Start] = Deferred()

    # In the reactor's thread

    def abandon(self) -> None:
        """Let the application notice at its next piece that the answer is not wanted any more."""
        self.abandoned = True
        self._go_on()

    async def aclose(self) -> None:
        """No more of the body is wanted, if any of it was: for HEAD nobody asks for the first piece."""
        self.abandon()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body, as the application makes it; it makes no more before the client took what there is.

        :raises TimeoutError: it takes too long; or what the application raised.
        """
        try:
            while (piece := await self._pieces.get().addTimeout(self._seconds, self._reactor)) is not None:
                if isinstance(piece, Failure):
                    piece.raiseException()
                yield piece
                self._go_on()
        finally:
            self.abandon()

    def begin(self, start: Start) -> None:
        """Status and headers are there."""
        if not self.started.called:
            self.started.callback(start)

    def put(self, piece: bytes) -> Deferred[None]:
        """A piece of the body; fires when there may be another."""
        if self.abandoned:
            raise Abandoned("the client has gone, or did not want to wait any longer")
        self._room = Deferred()
        self._pieces.put(piece)
        return self._room

    def end(self, failure: Failure | None) -> None:
        """All was made, or the application raised."""
        if not self.started.called:
            self.started.errback(failure or Failure(RuntimeError("the application ended without an answer")))
        elif failure is not None and failure.check(Abandoned) is None:
            self._pieces.put(failure)
        else:
            self._pieces.put(None)

    def _go_on(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)


class Gateway(BaseHandler):
    """Calls the application, in a thread of its own."""

    os_environ: dict[str, str] = {}  # noqa: RUF012 (wsgiref's; ours holds secrets that no application needs to see)
    wsgi_multithread = True
    wsgi_multiprocess = False
    wsgi_run_once = False

    environ: dict[str, Any]
    headers: wsgiref.headers.Headers
    status: str
    bytes_sent: int

    def __init__(self, reactor: Any, run: Run, environ: Mapping[str, Any], body: IO[bytes], scheme: str) -> None:
        self._reactor = reactor
        self._run = run
        self._environ = environ
        self._body = body
        self._scheme = scheme

    def call(self, application: Callable[..., Any]) -> None:
        """Run it to the end, if anybody still wants that."""
        if not self._run.abandoned:
            self.run(application)
        self._reactor.callFromThread(self._run.end, None)

    # wsgiref's

    def add_cgi_vars(self) -> None:
        self.environ.update(self._environ)

    def get_scheme(self) -> str:
        return self._scheme

    def get_stdin(self) -> IO[bytes]:
        return self._body

    def get_stderr(self) -> Any:
        return _ErrorLog()

    def set_content_length(self) -> None:
        """Of an answer in one piece. An application that makes no body for HEAD has not said that GET has none."""
        if not self._is_head or self.bytes_sent:
            super().set_content_length()

    def finish_content(self) -> None:
        if not self.headers_sent:
            if not self._is_head:
                self.headers.setdefault("Content-Length", "0")
            self.send_headers()

    @property
    def _is_head(self) -> bool:
        return bool(self._environ["REQUEST_METHOD"] == "HEAD")

    def send_headers(self) -> None:
        self.cleanup_headers()
        self.headers_sent = True
        headers = tuple((name, _text(value)) for name, value in self.headers.items())
        self._reactor.callFromThread(self._run.begin, (int(self.status[:3]), headers))

    def _write(self, data: bytes) -> None:
        if data:
            put: Callable[..., Any] = self._run.put
            blockingCallFromThread(self._reactor, put, data)

    def _flush(self) -> None:
        """Every piece goes out at once."""

    def handle_error(self) -> None:
        self._reactor.callFromThread(self._run.end, Failure())


def _text(native: str) -> str:
    """A value of which each character is an octet, as PEP 3333 has them."""
    return native.encode("latin-1").decode(errors="replace")


class _ErrorLog:
    """``wsgi.errors``."""

    def write(self, text: str) -> None:
        if text.strip():
            log.warning("wsgi.said", text=text.rstrip())

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        """Nothing is held back."""


SOFTWARE = "fanout"


def environ(request: Request, script: str, path: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """All but ``wsgi.*``, which the gateway adds.

    :param script: the part of the path that led to the application, without a slash at its end.
    :param path: the rest, which begins with a slash, or is empty.
    :param settings: of the application; each appears as ``kp.NAME``.
    """
    http = request.http
    host = _host(request.header("host") or "")
    here: Any = http.getHost()  # type: ignore[no-untyped-call]
    uri = http.uri.decode("latin-1")
    headers = _headers(request)
    found = {
        "REQUEST_METHOD": request.method,
        "REQUEST_URI": uri,
        "NON_QUERY_URI": uri.partition("?")[0],
        "SCRIPT_NAME": _native(script),
        "PATH_INFO": _native(path),
        "QUERY_STRING": uri.partition("?")[2],
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(_length(request)),
        "SERVER_NAME": host or here.host,
        "SERVER_PORT": str(here.port),
        "SERVER_PROTOCOL": request.version,
        "SERVER_SOFTWARE": SOFTWARE,
        "REMOTE_ADDR": request.address,
        "REMOTE_PORT": str(request.port),
    }
    named = {_http(name): value for name, value in headers.items() if "_" not in name and name not in _NOT_HTTP}
    return {**found, **named, **{f"kp.{name}": value for name, value in settings.items()}}


def _native(text: str) -> str:
    """Octets as text of one octet a character, as PEP 3333 wants them."""
    return text.encode(errors="surrogateescape").decode("latin-1")


def _length(request: Request) -> int:
    """Octets of the body; its client may have sent them in chunks, without saying how many."""
    length = request.body.seek(0, os.SEEK_END)
    request.body.seek(0)
    return length


def _headers(request: Request) -> dict[str, str]:
    """All headers by name in lower case, each octet a character."""
    raw = request.http.requestHeaders.getAllRawHeaders()
    return {name.decode("ascii").lower(): b", ".join(values).decode("latin-1") for name, values in raw}


_NOT_HTTP = ("content-type", "content-length", "proxy")
"""Headers that are no ``HTTP_*``: two have names of their own, and the last would pass for a setting. A header with an
underscore in its name is none either: it would pass for another one with a hyphen."""


def _http(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


def _host(header: str) -> str | None:
    """The name in a Host header; None if it has none."""
    try:
        return urlsplit("//" + header).hostname
    except ValueError:
        return None
