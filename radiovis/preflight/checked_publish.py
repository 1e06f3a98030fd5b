"""Checks messages when they are published: before they are sent (``PREFLIGHT = reject``) or afterwards (``warn``)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from twisted.internet.defer import Deferred

from fanout.application.interface import Application, Extension, Principal, Refused
from fanout.hub.message import Headers, Message, Publication
from radiovis.preflight.message_check import Finding, Preflight

_SUMMARY, _DETAIL = 200, 1_000  # characters of what a publisher is told


class CheckedApplication(Extension):
    """An application that checks the messages on their way to another application."""

    def __init__(self, application: Application, preflight: Preflight) -> None:
        super().__init__(application)
        self._preflight = preflight

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages these publications make.

        In mode ``reject`` they are checked here: the client's next frames wait meanwhile, so that the order is kept.

        :raises Refused: a radio cannot show one of them, or this could not be found out; then none is published.
        """
        messages = await self._application.admit(principal, publications)
        if self._preflight.mode == "reject":
            found = await self._preflight.check(messages)
            if found:
                self._preflight.refused += 1
                raise _refusal(found)
        return messages

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Publish. In mode ``warn`` the messages are checked meanwhile."""
        if self._preflight.mode == "warn":
            self._preflight.check(messages)
        return self._application.publish(messages)

    def receipt_headers(self, messages: Sequence[Message]) -> Awaitable[Headers]:
        """``preflight:ok``, or ``preflight-warning`` with all complaints; then those of the inner application."""
        return self._receipt_headers(messages)

    async def _receipt_headers(self, messages: Sequence[Message]) -> Headers:
        found = [] if self._preflight.mode == "reject" else await self._preflight.check(messages)
        own = ("preflight-warning", _text(found)[:_DETAIL]) if found else ("preflight", "ok")
        others = self._application.receipt_headers(messages)
        return (own, *(() if others is None else await others))


def _refusal(found: list[Finding]) -> Refused:
    words = _text(found)
    looked = all(each.looked for each in found)
    return Refused(f"Not published: {words}"[:_SUMMARY], words[:_DETAIL], temporary=not looked, unfit=looked)


def _text(found: list[Finding]) -> str:
    return "; ".join(str(each) for each in found)
