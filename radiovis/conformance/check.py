"""A check: a numbered rule and a function that tries it; its outcome; and the list that collects a file's checks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from fanout.stomp.codec import RemoteProtocolError
from radiovis.conformance.subject import CheckFailed, CheckSkipped, Subject

Body = Callable[[Subject], str | None]
B = TypeVar("B", bound=Body)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a check.

    :ivar why: one line, for FAIL and SKIP; after PASS a remark, if there is one.
    :ivar seconds: how long it took.
    """

    verdict: Literal["PASS", "FAIL", "SKIP"]
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ConformanceCheck:
    """One check.

    :ivar id: its number.
    :ivar rule: what a server must do, in one line.
    :ivar body: raises :class:`CheckFailed` or :class:`CheckSkipped`; returns a remark or None.
    """

    id: str
    rule: str
    body: Body

    def run(self, subject: Subject) -> Outcome:
        """Run it against a server."""
        began = time.monotonic()
        verdict, why = self._verdict(subject)
        subject.close_all()
        return Outcome(verdict, why, round(time.monotonic() - began, 3))

    def _verdict(self, subject: Subject) -> tuple[Literal["PASS", "FAIL", "SKIP"], str]:
        try:
            return "PASS", self.body(subject) or ""
        except CheckSkipped as skipped:
            return "SKIP", str(skipped)
        except CheckFailed as failed:
            return "FAIL", str(failed)
        except RemoteProtocolError as error:
            return "FAIL", f"the server sent invalid STOMP: {error.detail}"
        except OSError as error:
            return "FAIL", f"the connection failed: {error.strerror or error}"


class CheckList(list[ConformanceCheck]):
    """The checks of one file."""

    def add(self, id: str, rule: str) -> Callable[[B], B]:
        """Decorator that adds a check: a function that returns if the server follows the rule."""

        def added(body: B) -> B:
            self.append(ConformanceCheck(id, rule, body))
            return body

        return added
