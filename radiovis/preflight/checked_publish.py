"""An application that looks at slides before they are on air, or while they are."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from twisted.internet.defer import Deferred

from fanout.application.interface import Application, Extension, Principal, Refused
from fanout.hub.message import Headers, Message, Publication
from radiovis.preflight.slide_check import Finding, Preflight

_SUMMARY, _DETAIL = 200, 1_000  # characters of what a publisher is told


class CheckedApplication(Extension):
    """Hands everything on to another application, and has a look at it."""

    def __init__(self, application: Application, preflight: Preflight) -> None:
        super().__init__(application)
        self._preflight = preflight

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """Mode ``reject`` waits for the verdict here, where the client's next frames wait, too: its order is kept.

        :raises Refused: a radio could not show one of them, or nobody could find out; then none is published.
        """
        messages = await self._application.admit(principal, publications)
        if self._preflight.mode == "reject":
            found = await self._preflight.check(messages)
            if found:
                self._preflight.refused += 1
                raise _refusal(found)
        return messages

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Mode ``warn`` lets everything through, and looks at it meanwhile."""
        if self._preflight.mode == "warn":
            self._preflight.check(messages)
        return self._application.publish(messages)

    def receipt_headers(self, messages: Sequence[Message]) -> Awaitable[Headers]:
        """``preflight:ok``, or ``preflight-warning`` with all complaints."""
        return self._receipt_headers(messages)

    async def _receipt_headers(self, messages: Sequence[Message]) -> Headers:
        found = [] if self._preflight.mode == "reject" else await self._preflight.check(messages)
        own = ("preflight-warning", _words(found)[:_DETAIL]) if found else ("preflight", "ok")
        others = self._application.receipt_headers(messages)
        return (own, *(() if others is None else await others))


def _refusal(found: list[Finding]) -> Refused:
    words = _words(found)
    looked = all(each.looked for each in found)
    return Refused(f"Not published: {words}"[:_SUMMARY], words[:_DETAIL], temporary=not looked, unfit=looked)


def _words(found: list[Finding]) -> str:
    return "; ".join(str(each) for each in found)
