"""Runs unchanged WSGI applications (PEP 3333) as parts of a site, in a pool of threads.

If an application raises an exception, the client gets a 500. If it does not answer in time, the client gets a 504; the
thread cannot be ended, and stays occupied. A client that waits too long for a thread also gets a 504. If too many
clients wait, further ones get a 503.

:class:`Wsgi` has the handlers. :class:`WsgiTable` chooses the application of a request from a table (``urls.ini``).
"""

from __future__ import annotations

import configparser
import importlib
import re
import sysconfig
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.python.threadpool import ThreadPool

from fanout.http.response import HttpError, Response
from fanout.http.routing import Request, Route, every_method
from webserver.wsgi_run import Gateway, Run, environ

_QUEUE = 100
"""Limit of running and waiting requests, per thread."""

_NOT_ITS_OWN = frozenset({"content-type", "server", "date"})  # headers that this server sets


class _Threads(ThreadPool):
    """Threads that do not prevent the process from ending."""

    threadFactory: Any = staticmethod(partial(threading.Thread, daemon=True))


@dataclass(frozen=True, slots=True)
class Mounted:
    """An application, with its settings and its place in the path.

    :ivar application: the callable of PEP 3333.
    :ivar settings: values that it gets as ``kp.NAME`` in its environ.
    :ivar segments: how many segments after the mount's path select the application; they are part of SCRIPT_NAME.
    """

    application: Callable[..., Any]
    settings: Mapping[str, str]
    segments: int = 0


class Wsgi:
    """Handlers that call applications."""

    def __init__(
        self,
        reactor: Any,
        choose: Callable[[str], Mounted],
        at: str = "",
        *,
        threads: int = 10,
        seconds: float = 30.0,
    ) -> None:
        """
        :param reactor: Twisted's reactor.
        :param choose: returns the application for the rest of a path; see :func:`one`, and
            :class:`~webserver.wsgi.WsgiTable`.
        :param at: the URL path, such as ``/app``; empty for the whole site.
        :param threads: the maximum number of requests that are processed at a time.
        :param seconds: the time limit in seconds for the first and for each further piece of an answer.
        """
        self._reactor = reactor
        self._choose = choose
        self._at = at
        self._seconds = seconds
        self._most = threads * _QUEUE
        self._running = 0
        self._threads = _Threads(0, threads, "wsgi")
        self._threads.start()

    def routes(self) -> list[Route]:
        """The rows of the table."""
        rows = [every_method(f"{self._at}/{{path:path}}", self.call)]
        return [every_method(self._at, self.call), *rows] if self._at else rows

    def stop(self) -> None:
        """End the threads, unless an application is still running."""
        if not self._running:
            self._threads.stop()

    async def call(self, request: Request) -> Response:
        """Call the application. :raises HttpError: it takes too long, or too many requests wait for it."""
        if self._running >= self._most:
            raise HttpError(503, "Too many requests wait for this application; try again later.", Retry_After="10")
        run = Run(self._reactor, self._seconds)
        self._begin(run, request)
        try:
            status, headers = await run.started.addTimeout(self._seconds, self._reactor)
        except TookTooLong:
            run.abandon()
            raise HttpError(504, f"The application did not answer within {self._seconds:g} s.") from None
        except BaseException:
            run.abandon()
            raise
        given = {name.lower(): value for name, value in headers}
        kind = given.get("content-type", "application/octet-stream")
        others = tuple((name, value) for name, value in headers if name.lower() not in _NOT_ITS_OWN)
        return Response(run, status, kind, others)

    def _begin(self, run: Run, request: Request) -> None:
        path = request.path.removeprefix(self._at)
        mounted = self._choose(path.removeprefix("/"))
        script = "/".join(path.split("/")[: mounted.segments + 1]) if mounted.segments else ""
        told = environ(request, self._at + script, path.removeprefix(script), mounted.settings)
        scheme = "https" if request.http.isSecure() else "http"  # type: ignore[no-untyped-call]
        gateway = Gateway(self._reactor, run, told, request.body, scheme)
        self._running += 1
        self._threads.callInThreadWithCallback(self._ended, gateway.call, mounted.application)

    def _ended(self, success: bool, result: object) -> None:
        """Called in the application's thread when the application has ended."""
        self._reactor.callFromThread(self._count_down)

    def _count_down(self) -> None:
        self._running -= 1


def one(application: Callable[..., Any], settings: Mapping[str, str] | None = None) -> Callable[[str], Mounted]:
    """A chooser for :class:`Wsgi` that returns the same application for every path."""
    mounted = Mounted(application, settings or {})
    return lambda _: mounted


URLS_INI_FORMAT = """A table of WSGI applications in the form of ``urls.ini``: the first segment of a path selects one.

[guestbook]
regex = guests?
import_path = guestbook.web
app_object = application        ; this is the default
colour = green                  ; a setting of the application: kp.colour in its environ

[root]                          ; the empty path; optional
import_path = start

[error_404]                     ; required: answers all paths that no other section answers
import_path = nothing_here

The first section whose expression matches the whole segment answers. The position of ``[error_404]`` does not matter.
"""

_ROOT, _LAST = "root", "error_404"
_OURS = frozenset({"regex", "import_path", "app_object"})


class TableError(ValueError):
    """A table is invalid. The text contains the section or line, and what to do."""


class WsgiTable:
    """Selects an application by a table in the form of ``urls.ini``."""

    def __init__(self, text: str, settings: Mapping[str, str] | None = None) -> None:
        """Import every application.

        :param text: the content of the file.
        :param settings: settings of all applications; those of a section take precedence.
        :raises TableError: the table is invalid, or an application cannot be imported.
        """
        parser = _parse(text)
        if _LAST not in parser:
            raise TableError(f"The section [{_LAST}] is missing; it answers all paths that no other section answers.")
        self._rows: list[tuple[re.Pattern[str], Mounted]] = []
        self._root: Mounted | None = None
        for name in parser.sections():
            self._add(name, parser[name], settings or {})

    def __call__(self, rest: str) -> Mounted:
        """The application for the rest of a path."""
        first = rest.partition("/")[0]
        if not rest and self._root is not None:
            return self._root
        return next((mounted for regex, mounted in self._rows if first and regex.fullmatch(first)), self._last)

    def _add(self, name: str, section: Mapping[str, str], settings: Mapping[str, str]) -> None:
        own = {key: value for key, value in section.items() if key not in _OURS}
        application = load(section.get("import_path", ""), section.get("app_object", "application"), name)
        mounted = Mounted(application, {**settings, **own}, segments=int(name not in (_ROOT, _LAST)))
        if name == _LAST:
            self._last = mounted
        elif name == _ROOT:
            self._root = mounted
        else:
            self._rows.append((_regex(name, section.get("regex", "")), mounted))
        if name in (_ROOT, _LAST) and "regex" in section:
            raise TableError(f"[{name}] must not have a regex, because its name defines its paths.")


def _parse(text: str) -> configparser.ConfigParser:
    """Parse a table. :raises TableError: it is malformed, or a section or key occurs twice."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.DuplicateSectionError as error:
        raise TableError(f"Line {error.lineno}: there is a section [{error.section}] already.") from None
    except configparser.DuplicateOptionError as error:
        raise TableError(f"Line {error.lineno}: [{error.section}] has {error.option} already.") from None
    except configparser.MissingSectionHeaderError as error:
        raise TableError(f"Line {error.lineno}: a section such as [{_LAST}] must begin before this line.") from None
    except configparser.ParsingError as error:
        lines = ", ".join(str(line) for line, _ in error.errors)
        raise TableError(f"Line {lines}: this is neither a [section] nor name = value.") from None
    return parser


def _regex(name: str, text: str) -> re.Pattern[str]:
    if not text:
        raise TableError(f"[{name}] needs a regex, which matches the first segment of its paths.")
    try:
        return re.compile(text)
    except re.error as error:
        raise TableError(f"[{name}]: regex = {text} is not a regular expression: {error}.") from None


def load(import_path: str, name: str, place: str) -> Callable[..., Any]:
    """Import an application.

    :param import_path: the name of its module.
    :param name: the name of the application in the module.
    :param place: the section of the table, for error messages.
    :raises TableError: it cannot be imported. The text is one line, with the module and the line that raised the error.
    """
    if not import_path:
        raise TableError(f"[{place}] needs an import_path: the module of its application.")
    try:
        found = getattr(importlib.import_module(import_path), name, None)
    except (Exception, SystemExit) as error:  # a module may call sys.exit
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise TableError(f"[{place}]: {import_path} cannot be imported: {reason}{_line_of(error)}") from error
    if not callable(found):
        raise TableError(f"[{place}]: {import_path} has no application named {name}.")
    application: Callable[..., Any] = found
    return application


def _line_of(error: BaseException) -> str:
    """The file and line that raised an error, for an error message; empty if no module was found. If a library raised
    it, the line of the site's module that called the library.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without the frame of load()
    found = [frame for frame in frames if not frame.filename.startswith(("<frozen ", str(importlib.__file__)))]
    own = [frame for frame in found if not frame.filename.startswith(_LIBRARIES)] or found
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
"""The folders of Python's standard library and of packages that pip has installed."""
