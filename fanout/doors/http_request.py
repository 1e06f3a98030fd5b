"""One request over HTTP: what is read of it, and the ways to answer it.

Names with an underscore are Twisted's own, which is pinned.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, AnyStr

from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from fanout.doors.http_answer import REASONS, SECURITY_HEADERS, error_body

if TYPE_CHECKING:
    from fanout.doors.http_channel import HttpChannel

_NO_HEADERS = Headers()


class HttpRequest(Request):
    """One request.

    :cvar every_answer: headers that are sent with each answer, if no other of their name is set.
    :ivar lost: called when the client goes away before its answer is complete.
    """

    every_answer: tuple[tuple[bytes, bytes], ...] = SECURITY_HEADERS

    channel: HttpChannel
    lost: Callable[[], None] | None = None

    def __init__(self, channel: HttpChannel, queued: object = False) -> None:
        super().__init__(channel, queued, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]
        for name, value in self.every_answer:
            self.setHeader(name, value)  # type: ignore[no-untyped-call]

    def put_header(self, name: str, value: str) -> None:
        """Have a header sent with the answer; line breaks in it do no harm."""
        self.setHeader(name.encode(), value.encode(errors="replace"))  # type: ignore[no-untyped-call]

    def getHeader(self, key: AnyStr) -> AnyStr | None:
        """As Twisted, but a value that is no UTF-8 is a client's fault, and none of ours."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        values = self.requestHeaders.getRawHeaders(key.encode())
        return values[-1].decode(errors="replace") if values else None

    def body(self) -> bytes:
        """What the client sent."""
        self.content.seek(0)
        return self.content.read()

    def park(self, lost: Callable[[], None]) -> None:
        """This request will wait for long, among thousands: what was read of it is no longer needed.

        :param lost: called when the client goes away meanwhile.
        """
        self.lost = lost
        self.requestHeaders = self.channel.site.kept(self.requestHeaders)
        self.args = self.content = None  # type: ignore[assignment]
        self.prepath = self.postpath = None
        if self.startedWriting:
            self.responseHeaders = _NO_HEADERS

    def abort(self) -> None:
        """End the connection at once; :attr:`lost` is called later, not before this returns."""
        if not self.gone:
            self.channel.transport.abortConnection()

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self.channel.address

    @property
    def gone(self) -> bool:
        """Whether nobody waits for an answer (any more)."""
        return bool(self._disconnected or self.finished)

    def gotLength(self, length: int | None) -> None:
        """The body stays in memory: it is small, and a temporary file would block the reactor."""
        self.content: IO[bytes] = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """A body without a length announced is counted as it comes."""
        if self.content.tell() + len(data) > self.channel.limits.body:
            self.channel.refuse(413, f"A body may have {self.channel.limits.body} octets.")
        else:
            self.content.write(data)

    def render(self, resrc: Any) -> None:
        """As Twisted, but without naming its version to everybody."""
        self.put_header("server", self.channel.site.name)
        super().render(resrc)  # type: ignore[no-untyped-call]

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        """Answer, unless nobody waits for it any more."""
        if self.gone:
            return
        self.setResponseCode(status, REASONS.get(status, b""))
        self.put_header("content-type", content_type)
        self.put_header("content-length", str(len(body)))
        if not self.responseHeaders.hasHeader("cache-control"):
            self.put_header("cache-control", "no-store")
        self.write(body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]

    def announce(self, content_type: str) -> None:
        """Answer HEAD for what GET would wait for, or stream: only headers, as nobody knows the length."""
        if self.gone:
            return
        self.put_header("content-type", content_type)
        self.put_header("cache-control", "no-store")
        self.finish()  # type: ignore[no-untyped-call]

    def answer_nothing(self) -> None:
        """204: all there is to say stands in the headers."""
        if self.gone:
            return
        self.setResponseCode(204, REASONS[204])
        self.defaultContentType = None
        self.finish()  # type: ignore[no-untyped-call]

    def answer_json(self, status: int, value: object) -> None:
        """Answer with JSON."""
        self.answer(status, json.dumps(value).encode() + b"\n", "application/json")

    def refuse(self, status: int, detail: str) -> None:
        """Answer with an error. Nothing of ours must stand in the detail that is not the client's to know."""
        self.answer(status, error_body(status, detail), "application/json")

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self.lost is not None:
            self.lost()

    def processingFailed(self, reason: Failure) -> Failure:
        """A bug of ours. It is logged, and the client learns no more than that."""
        self._log.failure("", failure=reason)
        self.refuse(500, "The server made an error; its operator finds it in the log.")
        return reason
