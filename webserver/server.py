"""Makes the parts of a server from its site file, and starts and stops them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog
from twisted.internet.defer import Deferred

from fanout.http.access_log import AccessLog, log_file
from fanout.http.auth import OperatorAuth
from fanout.http.dispatch import Dispatcher
from fanout.http.files import Files
from fanout.http.http_server import NO_SNIFFING, HttpSite
from fanout.http.response import ErrorPage, ErrorPages, HttpError, Response
from fanout.http.routing import Request, Route, Routes
from fanout.http.topic_resources import Topics
from fanout.listeners import port
from fanout.listeners.client_limits import ConnectionLimit, ConnectionSettings
from webserver.serving import LocalTopics, SiteTopics, end_in_order, host_names
from webserver.site_config import SiteConfig, SiteError, UploadsPart, WsgiPart
from webserver.uploads import Uploads
from webserver.wsgi import Mounted, TableError, Wsgi, WsgiTable, load, one

log = structlog.get_logger(__name__)


class WebServer:
    """Topics, uploads, applications and files at one port. The part with the longest prefix of a path answers."""

    def __init__(self, reactor: Any, site: SiteConfig, home: Path, topics: SiteTopics | None = None) -> None:
        """
        :param reactor: Twisted's reactor.
        :param site: the content of the site file.
        :param home: the folder of the site file, to which its relative paths refer.
        :param topics: topics that it shares with other servers; None for its own.
        :raises SiteError: a folder, file or module of the site file does not exist or cannot be used.
        """
        self._reactor = reactor
        self._site = site
        self._home = home
        self._listening: Any = None
        self._applications: list[Wsgi] = []
        self._access = self._access_log()
        self._shared = topics is not None
        self._topics = topics or self._local_topics()
        try:
            self._routes = Routes(self._rows(), by_prefix=True)
            self._error_pages = ErrorPages(dict(self._pages()))
        except (NotADirectoryError, TableError) as error:
            raise SiteError(str(error)) from None
        if not self._routes.rows:
            raise SiteError("there is nothing to serve: give [topics], [[files]], [[uploads]] or [[wsgi]]")

    def start(self) -> str:
        """Start listening.

        :return: the address.
        :raises twisted.internet.error.CannotListenError: the port is taken.
        """
        server, limits = self._site.server, self._site.limits
        dispatcher = Dispatcher(self._routes, self._topics.pending, host_names=host_names(server.names))
        self._http = site = HttpSite(
            self._reactor,
            dispatcher,
            ConnectionLimit(
                ConnectionSettings(
                    MAX_CONNECTIONS=limits.connections,
                    MAX_CONNECTIONS_PER_ADDRESS=limits.connections_per_address,
                    CONNECT_RATE=0,
                )
            ),
            limits,
            self._topics.warn,
            pages=self._error_pages,
            headers=(NO_SNIFFING,),
            access=self._access,
            check=dispatcher.check,
            body_bytes=limits.body_bytes,
            request_seconds=limits.request_seconds,
        )
        self._listening = port.listen(self._reactor, server.ip, server.port, site)
        self._topics.start()
        host = self._listening.getHost()
        return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"

    def reload(self) -> None:
        """Handle a SIGHUP: the next line opens a new access log. The site file is only read at the start."""
        if self._access is not None:
            self._access.reopen()
            log.info("access_log.reopened", file=self._site.server.access_log)
        log.info("site.not_reloaded", advice="restart the server to apply changes of the site file")

    def stop(self) -> Deferred[None]:
        """Stop listening, and complete the running answers. Fires when all connections are closed."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await end_in_order(self._listening, self._http, self._topics, self._site.server.grace_seconds)
        for application in self._applications:
            application.stop()

    def _rows(self) -> Iterator[Route]:
        if self._site.topics is not None:
            part = self._site.topics
            may_publish = _needs_token(part.token.get_secret_value())
            yield from Topics(
                self._topics.pending,
                part.at,
                prefix=self._topics.prefix,
                longest_wait=part.longest_wait_seconds,
                forgets=not self._shared,  # other nodes would keep the values
                largest=self._topics.largest,
                may_publish=may_publish,
            ).routes()
        for uploads in self._site.uploads:
            yield from self._upload_rows(uploads)
        for wsgi in self._site.wsgi:
            application = self._application(wsgi)
            self._applications.append(application)
            yield from application.routes()
        for files in self._site.files:
            options = files.model_dump(exclude={"at", "folder"})
            yield from Files(self._home / files.folder, files.at, **options).routes()

    def _local_topics(self) -> LocalTopics:
        part = self._site.topics
        if part is None:
            return LocalTopics(self._reactor)
        token = part.token.get_secret_value()
        return LocalTopics(self._reactor, token, topics=part.topics, listeners=part.listeners)

    def _upload_rows(self, part: UploadsPart) -> Iterator[Route]:
        folder, token = self._home / part.folder, part.token.get_secret_value()
        yield from Uploads(
            self._reactor,
            folder,
            part.at,
            largest=part.largest_bytes,
            total=part.total_bytes,
            most=part.most_files,
            create_folders=part.create_folders,
            listing=part.readable and part.listing,
            token=token,
        ).routes()
        if part.readable:
            yield from Files(folder, part.at, listing=part.listing, untrusted=True, uploads_to=part.at).routes()

    def _application(self, part: WsgiPart) -> Wsgi:
        """:raises SiteError: the part has neither an application nor a table, or both."""
        sys.path[:0] = [str(self._home / folder) for folder in part.python_path]
        if bool(part.application) == bool(part.table):
            raise SiteError("[[wsgi]] needs either an application or a table")
        return Wsgi(self._reactor, self._chooser(part), part.at, threads=part.threads, seconds=part.seconds)

    def _chooser(self, part: WsgiPart) -> Callable[[str], Mounted]:
        if part.table:
            return WsgiTable(self._text(part.table), part.settings)
        module, _, name = part.application.partition(":")
        return one(load(module, name, "wsgi"), part.settings)

    def _pages(self) -> Iterator[tuple[int, ErrorPage]]:
        for status, path in self._site.errors.items():
            if not (status.isdigit() and 400 <= int(status) <= 599):
                raise SiteError(f"[errors]: {status} is not the status of an error, such as 404")
            yield int(status), _page(self._text(path))

    def _access_log(self) -> AccessLog | None:
        server = self._site.server
        if not server.access_log:
            return None
        path = self._home / server.access_log
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise SiteError(f"cannot write {server.access_log}: its folder is missing, or not writable for this user")
        return AccessLog(log_file(str(path), server.access_log_bytes, server.access_log_files), time.time)

    def _text(self, path: str) -> str:
        try:
            return (self._home / path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SiteError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _needs_token(token: str) -> Callable[[Request], None] | None:
    """A check that refuses a client without the token before a body is read; None if there is no token."""
    auth = OperatorAuth(token, "topics")

    def check(request: Request) -> None:
        if not auth.allows(request.http):
            raise auth.refusal(request.http)

    return check if token else None


def _page(text: str) -> ErrorPage:
    def page(error: HttpError) -> Response:
        return Response.html(text, error.status)

    return page
