"""How a node lets its clients go before it ends: they are told, and spread over some time.

Radios come back at once, each to another node of the cluster. If all were let go in the same moment, all logins and
subscriptions would reach that node in the same moment, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import structlog
from twisted.internet.task import deferLater

from fanout.http.pending import PendingRequests
from fanout.http.websocket import WebSocketServer
from fanout.stomp_server.server import StompServer

SUMMARY = "Server shutting down"
_UNNOTICED = 200
"""Clients per second that no other node notices; fewer clients need no time."""
_TICK = 0.05
_LOG_SECONDS = 1.0
_SLACK = 0.5
"""Seconds beyond the lingering for the last octets and the ends of connections to be seen."""

log = structlog.get_logger(__name__)


class Drain:
    """Lets the clients of all servers go, spread over the DRAIN_SECONDS of the STOMP server."""

    def __init__(
        self,
        reactor: Any,
        stomp: StompServer,
        pending: PendingRequests,
        websockets: WebSocketServer,
    ) -> None:
        self._reactor = reactor
        self._stomp = stomp
        self._pending = pending
        self._websockets = websockets

    @property
    def clients(self) -> int:
        """How many are still there; one of HTTP only while it is held."""
        return len(self._farewells())

    async def leave(self) -> None:
        """Close all connections. A client that waits for a RECEIPT gets it first, once the bus has answered."""
        farewells = self._farewells()
        seconds = min(self._stomp.settings.DRAIN_SECONDS, len(farewells) / _UNNOTICED)
        log.info("server.draining", clients=len(farewells), seconds=round(seconds, 1))
        self._websockets.go_away()
        began = logged = self._stomp.clock()
        done = 0
        while done < len(farewells):
            now = self._stomp.clock()
            passed = now - began + _TICK
            due = len(farewells) if passed >= seconds else int(len(farewells) * passed / seconds)
            self._say(farewells[done:due])
            done = due
            if now - logged >= _LOG_SECONDS:
                logged = now
                log.info("server.draining", clients=self.clients)
            await deferLater(self._reactor, _TICK)

    async def gone(self) -> None:
        """Wait until all clients have gone, but not for long; also those that came meanwhile, over open connections."""
        self._say(self._farewells())
        deadline = self._stomp.clock() + self._stomp.settings.LINGER_SECONDS + _SLACK
        await deferLater(self._reactor, _TICK)
        while self.clients and self._stomp.clock() < deadline:
            await deferLater(self._reactor, _TICK)

    def _farewells(self) -> list[Callable[[], None]]:
        connections = self._stomp.connections
        with_session: Collection[object] = connections
        return [
            *(partial(each.close, SUMMARY) for each in connections),
            *(each.close for each in self._pending.pending),
            *(each.finish for each in self._websockets.sockets if each.listener not in with_session),
        ]

    def _say(self, farewells: Sequence[Callable[[], None]]) -> None:
        for farewell in farewells:
            try:
                farewell()
            except Exception:
                log.exception("client.failed")  # the others are to be told, too
