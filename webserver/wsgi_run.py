"""One call of a WSGI application in a thread, and its answer in the reactor's thread. wsgiref implements the rules of
PEP 3333.

:class:`Run` passes the answer to the reactor, :class:`Gateway` calls the application, and :func:`environ` makes its
environ from a request (PEP 3333, "environ Variables").
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
    """The answer of the application is no longer needed."""


class Run:
    """Passes an answer from the application's thread to the reactor's thread. It is an iterator over the body.

    :ivar started: fires with status and headers, or fails with the exception that the application raised before.
    :ivar abandoned: whether the answer is no longer needed.
    """

    def __init__(self, reactor: Any, seconds: float) -> None:
        """
        :param reactor: Twisted's reactor.
        :param seconds: the time limit in seconds for each piece of the body.
        """
        self._reactor = reactor
        self._seconds = seconds
        self._pieces: DeferredQueue[bytes | Failure | None] = DeferredQueue()
        self._room: Deferred[None] | None = None
        self.abandoned = False
        self.started: Deferred[Start] = Deferred()

    # In the reactor's thread

    def abandon(self) -> None:
        """Stop the application at its next piece, because the answer is no longer needed."""
        self.abandoned = True
        self._go_on()

    async def aclose(self) -> None:
        """Stop the application. Also called if the body is not sent at all, as for HEAD."""
        self.abandon()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body, in pieces. The application waits after each piece until the next one is requested.

        :raises TimeoutError: the next piece takes too long. An exception of the application is raised here as well.
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
        """Pass on status and headers."""
        if not self.started.called:
            self.started.callback(start)

    def put(self, piece: bytes) -> Deferred[None]:
        """Pass on a piece of the body. Fires when the application may make the next one."""
        if self.abandoned:
            raise Abandoned("the client has disconnected, or the time limit was reached")
        self._room = Deferred()
        self._pieces.put(piece)
        return self._room

    def end(self, failure: Failure | None) -> None:
        """End the answer. :param failure: the exception that the application raised; None if it has ended normally."""
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
    """Calls the application, in a thread of the pool."""

    os_environ: dict[str, str] = {}  # noqa: RUF012 (as in wsgiref; empty, because the real one contains secrets)
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
        """Run the application to its end, unless the answer is no longer needed."""
        if not self._run.abandoned:
            self.run(application)
        self._reactor.callFromThread(self._run.end, None)

    # Methods that wsgiref calls

    def add_cgi_vars(self) -> None:
        self.environ.update(self._environ)

    def get_scheme(self) -> str:
        return self._scheme

    def get_stdin(self) -> IO[bytes]:
        return self._body

    def get_stderr(self) -> Any:
        return _ErrorLog()

    def set_content_length(self) -> None:
        """Set the Content-Length of a body of one piece. A missing body for HEAD does not mean that GET has none."""
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
        """Do nothing, because every piece is sent at once."""

    def handle_error(self) -> None:
        self._reactor.callFromThread(self._run.end, Failure())


def _text(native: str) -> str:
    """Decode a header of the application. Each character of a native string of PEP 3333 is an octet."""
    return native.encode("latin-1").decode(errors="replace")


class _ErrorLog:
    """The stream ``wsgi.errors``, which writes to the log."""

    def write(self, text: str) -> None:
        if text.strip():
            log.warning("wsgi.said", text=text.rstrip())

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        """Do nothing, because nothing is buffered."""


SOFTWARE = "fanout"


def environ(request: Request, script: str, path: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """The environ of an application, without ``wsgi.*``, which the gateway adds.

    :param request: the request.
    :param script: the part of the path that selects the application, without a slash at its end.
    :param path: the rest of the path, which begins with a slash or is empty.
    :param settings: the settings of the application; each appears as ``kp.NAME``.
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
    """Encode text as a native string of PEP 3333, in which each character is an octet."""
    return text.encode(errors="surrogateescape").decode("latin-1")


def _length(request: Request) -> int:
    """The length of the body in octets. A body in chunks has no Content-Length."""
    length = request.body.seek(0, os.SEEK_END)
    request.body.seek(0)
    return length


def _headers(request: Request) -> dict[str, str]:
    """All headers by name in lower case, as native strings of PEP 3333."""
    raw = request.http.requestHeaders.getAllRawHeaders()
    return {name.decode("ascii").lower(): b", ".join(values).decode("latin-1") for name, values in raw}


_NOT_HTTP = ("content-type", "content-length", "proxy")
"""Headers without a variable ``HTTP_*``. The first two have their own variables. ``HTTP_PROXY`` would be taken for a
setting of a proxy. Headers with an underscore in their name have no variable either: it would be the same as that of a
header with a hyphen."""


def _http(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


def _host(header: str) -> str | None:
    """The host name in a Host header; None if there is none."""
    try:
        return urlsplit("//" + header).hostname
    except ValueError:
        return None
