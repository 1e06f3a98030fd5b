"""Routes behind a real socket, and blocking clients in threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.http.auth import OperatorAuth
from fanout.http.dispatch import Dispatcher
from fanout.http.http_server import NO_SNIFFING, HttpSite
from fanout.http.response import ErrorPages
from fanout.http.routing import Route, Routes
from fanout.listeners import port
from fanout.listeners.client_limits import ConnectionLimit
from tests.web import Address, Answer, Raw, ask
from webserver.serving import LocalTopics
from webserver.site_config import SiteLimits

T = TypeVar("T")


class ServedCase(unittest.TestCase):
    """Serves what :meth:`rows` returns.

    :ivar address: where.
    """

    limits = SiteLimits(body_bytes=1_000_000)
    pages = ErrorPages()
    auth: OperatorAuth | None = None
    timeout = 30

    def rows(self) -> list[Route]:
        raise NotImplementedError

    def local_topics(self) -> LocalTopics:
        return LocalTopics(reactor)

    def setUp(self) -> None:
        self.topics = self.local_topics()
        self.topics.start()
        self.addCleanup(self.topics.stop)
        dispatcher = Dispatcher(Routes(self.rows()), self.topics.pending, self.auth)
        self.site = HttpSite(
            reactor,
            dispatcher,
            ConnectionLimit(),
            self.limits,
            self.topics.warn,
            pages=self.pages,
            headers=(NO_SNIFFING,),
            check=dispatcher.check,
            body_bytes=self.limits.body_bytes,
            request_seconds=self.limits.request_seconds,
        )
        self.listening = port.listen(reactor, "127.0.0.1", 0, self.site)
        self.addCleanup(self.listening.stopListening)
        self.address: Address = ("127.0.0.1", self.listening.getHost().port)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Deferred[Answer]:
        """One request, on a connection of its own."""
        return deferToThread(ask, self.address, path, method=method, body=body, **headers)

    def talk(self, conversation: Callable[[Raw], T], data: bytes = b"") -> Deferred[T]:
        """Say something, octet by octet, in a thread.

        :param data: to begin with.
        """
        return deferToThread(self._talk, conversation, data)

    def _talk(self, conversation: Callable[[Raw], T], data: bytes) -> T:
        with Raw(self.address, data) as raw:
            return conversation(raw)

    def whole(self, data: bytes) -> Deferred[bytes]:
        """All that comes back for these octets, until the server closes."""
        return self.talk(Raw.to_the_end, data)

    def assert_lives(self) -> Deferred[Any]:
        """The server still answers."""
        return self.ask("/no/such/page").addCallback(lambda answer: self.assertEqual(answer.status, 404))
