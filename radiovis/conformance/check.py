"""A check (a rule with a number, and a function that tests it), its outcome, and the list of the checks of a file."""

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

    :ivar why: the reason for FAIL or SKIP in one line; for PASS a remark, which may be empty.
    :ivar seconds: the duration of the check.
    """

    verdict: Literal["PASS", "FAIL", "SKIP"]
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ConformanceCheck:
    """One check.

    :ivar id: the number of the check, such as ``N1``.
    :ivar rule: what a server must do, in one line.
    :ivar body: the test. It raises :class:`CheckFailed` or :class:`CheckSkipped`, or returns a remark or None.
    """

    id: str
    rule: str
    body: Body

    def run(self, subject: Subject) -> Outcome:
        """Run the check against a server, and close the connections of the check."""
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
        """Return a decorator that adds a function as a check. The function returns if the server follows the rule."""

        def added(body: B) -> B:
            self.append(ConformanceCheck(id, rule, body))
            return body

        return added
