"""WSGI applications (PEP 3333) as parts of a site, unchanged, in a pool of threads.

An application that raises gets its client a 500. One that never ends keeps its thread, as nobody can take it away,
but not its client, who gets a 504, as do those who wait for a thread too long; when many wait, further ones get a 503.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.python.threadpool import ThreadPool

from fanout.doors.http_endpoint import HttpError
from fanout.web.request import Request
from fanout.web.response import Response
from fanout.web.routes import Route, every_method
from fanout.web.wsgi_environ import environ
from fanout.web.wsgi_run import Gateway, Run

_QUEUE = 100
"""Requests that may wait for a thread, for each thread there is."""

_NOT_ITS_OWN = frozenset({"content-type", "server", "date"})  # headers that are written for the application


class _Threads(ThreadPool):
    """Threads that do not keep the process from ending."""

    threadFactory: Any = staticmethod(partial(threading.Thread, daemon=True))


@dataclass(frozen=True, slots=True)
class Mounted:
    """An application and where it is.

    :ivar application: PEP 3333's callable.
    :ivar settings: handed to it as ``kp.NAME``.
    :ivar segments: of the path behind the mount that lead to it.
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
        :param choose: the application for the rest of a path; see :func:`one`, and
            :class:`~fanout.web.wsgi_table.WsgiTable`.
        :param at: where they are, such as ``/app``; empty for the whole site.
        :param threads: how many requests are worked on at a time.
        :param seconds: an application may take for its first and for each further piece of an answer.
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
        """End the threads, unless one is in an application that does not return."""
        if not self._running:
            self._threads.stop()

    async def call(self, request: Request) -> Response:
        """Call the application. :raises HttpError: it takes too long, or has too much to do."""
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
        return Response(run.pieces(), status, kind, others)

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
        """In the application's thread."""
        self._reactor.callFromThread(self._count_down)

    def _count_down(self) -> None:
        self._running -= 1


def one(application: Callable[..., Any], settings: Mapping[str, str] | None = None) -> Callable[[str], Mounted]:
    """The same application for every path."""
    mounted = Mounted(application, settings or {})
    return lambda _: mounted
