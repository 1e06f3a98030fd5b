"""What a check is, and how one comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from fanout.stomp.errors import RemoteProtocolError
from radiovis.conformance.subject import Skipped, Subject
from radiovis.conformance.wire import Failed

Body = Callable[[Subject], None]
B = TypeVar("B", bound=Body)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check came out.

    :ivar why: one line, for FAIL and SKIP.
    :ivar seconds: how long it took.
    """

    verdict: Literal["PASS", "FAIL", "SKIP"]
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Check:
    """One check. :ivar id: its number. :ivar rule: what a server must do, in one line."""

    id: str
    rule: str
    body: Body

    def run(self, subject: Subject) -> Outcome:
        """Try it on a server."""
        began = time.monotonic()
        verdict, why = self._verdict(subject)
        subject.hang_up()
        return Outcome(verdict, why, round(time.monotonic() - began, 3))

    def _verdict(self, subject: Subject) -> tuple[Literal["PASS", "FAIL", "SKIP"], str]:
        try:
            self.body(subject)
        except Skipped as skipped:
            return "SKIP", str(skipped)
        except Failed as failed:
            return "FAIL", str(failed)
        except RemoteProtocolError as error:
            return "FAIL", f"what it sent is no STOMP: {error.detail}"
        except OSError as error:
            return "FAIL", f"the connection broke: {error.strerror or error}"
        return "PASS", ""


class Checks(list[Check]):
    """The checks of one file."""

    def add(self, id: str, rule: str) -> Callable[[B], B]:
        """Decorates a function that is a check: it returns when the server does right."""

        def added(body: B) -> B:
            self.append(Check(id, rule, body))
            return body

        return added
