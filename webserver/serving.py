"""From a table of routes to a running server, in one call: for small programs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import structlog
from twisted.internet.defer import Deferred, maybeDeferred

from fanout.http.dispatch import Face
from fanout.http.routing import Route, Routes
from fanout.http.server import HttpLimits
from fanout.http.site import FaceSite
from fanout.listeners import port as ports
from fanout.listeners.limits import ConnectionLimit
from fanout.process.logs import set_up_logs
from fanout.process.service import Notify, Service
from fanout.settings import LimitSettings
from webserver.local_topics import LocalTopics

log = structlog.get_logger(__name__)


def serve(reactor: Any, rows: Iterable[Route], topics: LocalTopics, *, ip: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until a signal ends the process.

    :param topics: what handlers say something on, and clients listen to.
    :param port: 0 for a free one; the log says which.
    :raises twisted.internet.error.CannotListenError: the port is taken.
    """
    set_up_logs()
    limit = ConnectionLimit(LimitSettings(CONNECT_RATE=0))
    face = Face(Routes(rows), door=topics.door)
    listening = ports.listen(reactor, ip, port, FaceSite(reactor, face, limit, HttpLimits(), topics.warn))
    topics.start()
    host: Any = listening.getHost()  # type: ignore[no-untyped-call]

    def stop() -> Deferred[Any]:
        topics.stop()
        return maybeDeferred(listening.stopListening)

    def reload() -> None:
        log.warning("reload.ignored", advice="there are no settings to read again")

    where = f"{host.host}:{host.port}"
    reactor.callWhenRunning(log.info, "web.ready", address=where)
    Service(reactor, Notify(os.environ), stop=stop, reload=reload, status=lambda: f"serving at {where}").run()
