"""Checks published messages for reasons why radios may not show them. The findings are kept for the operator.

:func:`body_complaints` checks the first word, the length and the URL of a body. It is sans-IO. :class:`Preflight` also
fetches the slide. :class:`CheckedApplication` checks messages before they are published (``PREFLIGHT = reject``), or
while they are published (``warn``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import structlog
from twisted.internet.defer import Deferred, gatherResults, succeed

from fanout.application.interface import Application, Extension, Principal, Refused
from fanout.cache.bounded_dict import BoundedDict
from fanout.hub.message import Headers, Message, Publication
from fanout.process.logs import Throttle
from radiovis.directory.interface import MAX_URL, text_fault
from radiovis.preflight.slide_verdicts import SlideVerdicts, Verdict
from radiovis.settings import SlideSettings

_KINDS = {"text": "TEXT", "image": "SHOW"}
_BLANK_OR_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def body_complaints(message: Message) -> Iterator[str]:
    """The reasons why receivers cannot use a body (contract §4, "Bodies"). An empty body is valid: it shows nothing."""
    expected = _KINDS.get(message.topic.rpartition("/")[2])
    word, _, rest = message.body.partition(b" ")
    if not message.body or expected is None:
        return
    if word.decode(errors="replace") != expected:
        yield f"its body does not begin with {expected}"
    elif expected == "TEXT":
        yield from _text_complaints(rest)
    else:
        yield from _url_complaints(rest)


def slide_url(message: Message) -> str | None:
    """The URL of the slide; None if the message has no slide, or an invalid URL."""
    if not message.topic.endswith("/image") or not message.body.startswith(b"SHOW "):
        return None
    if any(_url_complaints(message.body[5:])):
        return None
    return message.body[5:].decode().strip()


def _text_complaints(text: bytes) -> Iterator[str]:
    if fault := text_fault(text):
        yield f"its text {fault}"
    try:
        text.decode()
    except UnicodeDecodeError:
        yield "its text is not UTF-8"


def _url_complaints(octets: bytes) -> Iterator[str]:
    if len(octets) > MAX_URL:
        yield f"its URL has {len(octets)} octets, radios take {MAX_URL}"
        return
    try:
        text = octets.decode("ascii").strip()
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # This includes non-ASCII octets and an invalid port.
        yield "its URL is invalid"
        return
    if not usable or _BLANK_OR_CONTROL.search(text):
        yield "its URL is not a valid http:// or https:// URL"
    elif url.username is not None:
        yield "its URL contains a login, which receivers do not send"


LOG_SECONDS = 60.0
"""Seconds between two log lines about the same body on the same topic."""
RECENT = 50
"""Topics whose last finding is kept for the dashboard."""
_SHOWN = 600  # characters that are kept of a body

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """The problems of one message.

    :ivar when: the time of the check, as Unix time in seconds.
    :ivar body: the body, as text.
    :ivar complaints: the problems, each in a few words.
    :ivar looked: False if the server had no capacity to fetch the slide.
    """

    topic: str
    when: float
    body: str
    complaints: tuple[str, ...]
    looked: bool = True

    def __str__(self) -> str:
        return f"{self.topic}: {', '.join(self.complaints)}"


class Preflight:
    """Checks messages.

    :ivar settings: contains ``PREFLIGHT``, for :attr:`mode`. A reload replaces it.
    :ivar unfit: number of messages with complaints. The same body on the same topic counts once in
        :data:`LOG_SECONDS`.
    :ivar refused: number of publishes that were refused because of complaints.
    """

    def __init__(
        self,
        settings: SlideSettings,
        verdicts: SlideVerdicts,
        clock: Any,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """
        :param clock: Twisted's reactor.
        :param unix_time: returns the Unix time in seconds.
        """
        self.settings = settings
        self.verdicts = verdicts
        self.unfit = self.refused = 0
        self._unix_time = unix_time
        self._recent: BoundedDict[str, Finding] = BoundedDict(RECENT)
        self._throttle = Throttle(clock.seconds, LOG_SECONDS)

    @property
    def mode(self) -> Literal["off", "warn", "reject"]:
        """The setting ``PREFLIGHT``: whether messages with complaints are logged (``warn``) or refused (``reject``)."""
        return self.settings.PREFLIGHT

    @property
    def recent(self) -> list[Finding]:
        """The last finding of each topic, newest first."""
        return list(self._recent.values())[::-1]

    def check(self, messages: Sequence[Message]) -> Deferred[list[Finding]]:
        """The findings on these messages; empty if there are no problems. Takes a limited time, and never fails.

        The same body on many topics is reported once.
        """
        by_body = {(message.topic.rpartition("/")[2], message.body): message for message in reversed(messages)}
        looks = [self._look(message) for message in reversed(by_body.values())]
        return gatherResults(looks).addCallback(lambda found: [each for each in found if each is not None])

    def _look(self, message: Message) -> Deferred[Finding | None]:
        complaints = tuple(body_complaints(message))
        url = slide_url(message)
        verdict = succeed(Verdict(complaints)) if url is None else self.verdicts.of(url)
        return verdict.addCallback(self._judged, message)

    def _judged(self, verdict: Verdict, message: Message) -> Finding | None:
        if not verdict.complaints:
            return None
        body = message.body.decode(errors="replace")[:_SHOWN]
        finding = Finding(message.topic, self._unix_time(), body, verdict.complaints, verdict.looked)
        self._remember(finding)
        return finding

    def _remember(self, finding: Finding) -> None:
        self._recent[finding.topic] = finding
        if self._throttle.allow((finding.topic, finding.body)):
            self.unfit += 1
            log.warning("preflight.unfit", topic=finding.topic, body=finding.body, complaints=finding.complaints)


_SUMMARY, _DETAIL = 200, 1_000  # characters in the error to the publisher


class CheckedApplication(Extension):
    """An application that checks the messages on their way to another application."""

    def __init__(self, application: Application, preflight: Preflight) -> None:
        super().__init__(application)
        self._preflight = preflight

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages of these publications.

        In mode ``reject`` they are checked here. The client's next frames wait meanwhile, so that the order is kept.

        :raises Refused: a radio cannot show one of the messages, or the check could not be made. No message is
            published.
        """
        messages = await self._application.admit(principal, publications)
        if self._preflight.mode == "reject":
            found = await self._preflight.check(messages)
            if found:
                self._preflight.refused += 1
                raise _refusal(found, "" if principal is None else principal.login[:_SHOWN])
        return messages

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Publish the messages. In mode ``warn`` they are checked at the same time."""
        if self._preflight.mode == "warn":
            self._preflight.check(messages)
        return self._application.publish(messages)

    def receipt_headers(self, messages: Sequence[Message]) -> Awaitable[Headers]:
        """``preflight:ok``, or ``preflight-warning`` with all complaints; then the headers of the inner application."""
        return self._receipt_headers(messages)

    async def _receipt_headers(self, messages: Sequence[Message]) -> Headers:
        found = [] if self._preflight.mode == "reject" else await self._preflight.check(messages)
        own = ("preflight-warning", _text(found)[:_DETAIL]) if found else ("preflight", "ok")
        others = self._application.receipt_headers(messages)
        return (own, *(() if others is None else await others))


def _refusal(found: list[Finding], login: str) -> Refused:
    words = _text(found)
    looked = all(each.looked for each in found)
    detail = f"{login} may not publish to {words}"[:_DETAIL]
    return Refused(f"Not published: {words}"[:_SUMMARY], detail, temporary=not looked, unfit=looked)


def _text(found: list[Finding]) -> str:
    return "; ".join(str(each) for each in found)
