"""Reading an HTTP answer of bounded size."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse


class BodyTooLarge(Exception):
    """The answer is longer than the reader wants to keep."""


def read_body(response: IResponse, limit: int) -> Deferred[bytes]:
    """The whole body. treq's ``content`` neither bounds it nor lets go of the connection when it is cancelled.

    :param limit: bytes; one more closes the connection and fails with :class:`BodyTooLarge`.
    """
    collector = _Collector(limit)
    response.deliverBody(collector)
    return collector.body


class _Collector(Protocol):
    def __init__(self, limit: int) -> None:
        self.body: Deferred[bytes] = Deferred(lambda _: self._hang_up())
        self._limit = limit
        self._received = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > self._limit:
            self._received.clear()
            self._hang_up()
            if not self.body.called:
                self.body.errback(BodyTooLarge(f"an answer of more than {self._limit} bytes"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.body.called:
            return
        # PotentialDataLoss: an HTTP/1.0 answer without a length ends with its connection. JSON shows if it is whole.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.body.callback(bytes(self._received))
        else:
            self.body.errback(reason)

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
