"""Looks at what is published, tells what radios may not like about it, and remembers that for the operator."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from twisted.internet.defer import Deferred, gatherResults, succeed

from fanout.message import Message
from fanout.steady_time import unix_time
from fanout.throttle import Throttle
from radiovis.preflight.bodies import body_complaints, slide_url
from radiovis.preflight.verdicts import Verdict, Verdicts

LOG_SECONDS = 60.0
"""Between two lines about the same body on the same topic."""
RECENT = 50
"""Topics with a finding that are remembered for the dashboard, the last one of each."""
_SHOWN = 600  # characters of a body that are remembered

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one message.

    :ivar when: Unix time in seconds at which it was found.
    :ivar body: what was published, as text.
    :ivar complaints: each in a few words.
    :ivar looked: whether the slide could be looked at at all; it is not our fault, nor the publisher's, when not.
    """

    topic: str
    when: float
    body: str
    complaints: tuple[str, ...]
    looked: bool = True

    def __str__(self) -> str:
        return f"{self.topic}: {', '.join(self.complaints)}"


class Preflight:
    """Looks at messages.

    :ivar unfit: messages with complaints; the same body on the same topic counts once in :data:`LOG_SECONDS`.
    :ivar refused: publishes that were refused for it.
    """

    def __init__(self, mode: str, verdicts: Verdicts, clock: Any) -> None:
        """
        :param mode: ``warn`` or ``reject``, for those who show it.
        :param clock: Twisted's reactor.
        """
        self.mode = mode
        self.verdicts = verdicts
        self.unfit = self.refused = 0
        self._unix_time = unix_time(clock)
        self._recent: OrderedDict[str, Finding] = OrderedDict()
        self._throttle = Throttle(clock.seconds, LOG_SECONDS)

    @property
    def recent(self) -> list[Finding]:
        """The last finding of each topic, newest first."""
        return list(reversed(self._recent.values()))

    def look(self, messages: Sequence[Message]) -> Deferred[list[Finding]]:
        """What is wrong with these messages; empty when nothing is. Takes a limited time, and never fails.

        One slide on many topics is told once.
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
        self._recent.move_to_end(finding.topic)
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        if self._throttle.allow((finding.topic, finding.body)):
            self.unfit += 1
            log.warning("preflight.unfit", topic=finding.topic, body=finding.body, complaints=finding.complaints)
