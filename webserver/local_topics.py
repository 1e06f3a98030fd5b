"""Topics of one process, with all that serves them: the shortest way from a reactor to a door."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from secrets import token_hex
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from fanout.application.observer import ClientCounters, ClientWarnings
from fanout.bus.loopback import Loopback
from fanout.http.open_topics import OpenTopics
from fanout.http.pending import PendingRequests
from fanout.hub.history import History
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.outbox import Flusher
from fanout.process.throttle import Throttle
from fanout.settings import HttpServerSettings

log = structlog.get_logger(__name__)


class LocalTopics:
    """A hub, its history, and the door of HTTP clients that listen.

    :ivar application: who may publish.
    :ivar door: for a :class:`~fanout.http.routing.Face`.
    :ivar warn: logs a client's fault, one a second of each address.
    """

    def __init__(self, reactor: Any, token: str = "", *, topics: int = 10_000, listeners: int = 10_000) -> None:
        """
        :param token: what clients need to know to publish; empty for nothing.
        :param topics: how many last values are kept; beyond it the one said longest ago is forgotten.
        :param listeners: clients that may wait or be streamed to at a time.
        """
        life, numbers = token_hex(4), count(1)
        self._bus = Loopback()
        self._new_id: Callable[[], str] = lambda: f"{life}-{next(numbers)}"
        complaints = ClientWarnings(ClientCounters(), Throttle(time.monotonic), log)
        self.warn = complaints.warn
        self.application = OpenTopics(self._bus, time.time, self._new_id, token)
        history = History(time.monotonic)
        hub = Hub(complaints.failed, last_messages=topics, history=history)
        self.door = PendingRequests(
            application=self.application,
            hub=hub,
            history=history,
            flusher=Flusher(time.monotonic, lambda flush: reactor.callLater(0, flush), complaints.failed),
            later=reactor.callLater,
            clock=time.monotonic,
            warn=self.warn,
            failed=complaints.failed,
            settings=HttpServerSettings(HTTP_MAX_LISTENERS=listeners),
        )
        self._looking = LoopingCall(self.door.tick)
        self._looking.clock = reactor

    def start(self) -> None:
        """Begin to take and to give."""
        self._bus.start(self._receive, lambda: None)
        self._looking.start(self.door.wheel.tick)

    def stop(self) -> None:
        """Let those go who listen; nothing is published any more."""
        if self._looking.running:
            self._looking.stop()
        for client in list(self.door.pending):
            client.close()
        self._bus.stop()

    def say(self, topic: str, body: bytes, content_type: str = "text/plain; charset=utf-8") -> Deferred[None]:
        """Publish. Fires when it was said; fails with :class:`~fanout.bus.interface.BusError`."""
        headers = (("content-type", content_type),)
        return self._bus.publish(Message(topic, body, self._new_id(), int(time.time()), headers))

    def last(self, topic: str) -> bytes | None:
        """The last value of a topic; None when nothing was said."""
        message = self.door.hub.last(topic)
        return None if message is None else message.body

    def _receive(self, message: Message) -> None:
        self.door.hub.publish(message.topic, message)
