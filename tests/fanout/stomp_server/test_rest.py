"""What is left of a coroutine that waits goes on as with ``await``."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial import unittest

from fanout.stomp_server.connection import _rest


class Rest(unittest.TestCase):
    def begin(self, coroutine: Any) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred.fromCoroutine(_rest(coroutine, coroutine.send(None)))
        self.assertNoResult(waiting)
        return waiting

    def test_one_that_waits_several_times(self) -> None:
        asked: list[Deferred[int]] = [Deferred(), Deferred(), Deferred()]

        async def add() -> int:
            return await asked[0] + await asked[1] + await asked[2]

        waiting = self.begin(add())
        for number, each in enumerate(asked, 1):
            self.assertNoResult(waiting)
            each.callback(number)
        self.assertEqual(self.successResultOf(waiting), 6)

    def test_what_fails_is_raised_where_it_is_awaited(self) -> None:
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()

        async def careful() -> str:
            try:
                await first
            except ValueError as error:
                await second
                return f"caught {error}"
            return "not raised"

        waiting = self.begin(careful())
        first.errback(ValueError("bad"))
        second.callback(None)
        self.assertEqual(self.successResultOf(waiting), "caught bad")

    def test_what_it_raises_later_is_its_failure(self) -> None:
        first: Deferred[None] = Deferred()

        async def bad() -> None:
            await first
            raise ValueError("bad")

        waiting = self.begin(bad())
        first.callback(None)
        self.assertEqual(str(self.failureResultOf(waiting, ValueError).value), "bad")

    def test_cancelled_it_cancels_what_it_waits_for(self) -> None:
        first: Deferred[None] = Deferred()

        async def wait() -> None:
            await first

        waiting = self.begin(wait())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertTrue(first.called)
