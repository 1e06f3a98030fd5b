from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial import unittest

from fanout.journal.sqlite import Batches, BatchesFull


class _BatchesCase(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.writes: list[tuple[list[str], Deferred[None]]] = []

    def batches(self, **limits: float) -> Batches[str]:
        return Batches(self.clock, self.write, len, delay=0.01, **limits)  # type: ignore[arg-type]

    def write(self, items: list[str]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.writes.append((items, done))
        return done

    def written(self) -> list[list[str]]:
        return [items for items, _ in self.writes]


class TestBatches(_BatchesCase):
    def test_what_comes_within_the_delay_is_one_write(self) -> None:
        batches = self.batches()
        done = [batches.add("a")]
        self.clock.advance(0.009)
        done.append(batches.add("b"))
        self.assertEqual(self.written(), [])
        self.clock.advance(0.002)
        self.assertEqual(self.written(), [["a", "b"]])
        self.assertFalse(any(each.called for each in done))
        self.writes[0][1].callback(None)
        self.assertEqual([self.successResultOf(each) for each in done], [None, None])

    def test_what_comes_during_a_write_is_the_next_one_in_order(self) -> None:
        batches = self.batches()
        first = batches.add("a")
        self.clock.advance(0.01)
        rest = [batches.add(item) for item in "bcd"]
        self.clock.advance(60)
        self.assertEqual(self.written(), [["a"]], "one write at a time")
        self.writes[0][1].callback(None)
        self.successResultOf(first)
        self.assertEqual(self.written(), [["a"]], "a moment for more to come")
        self.clock.advance(0.01)
        self.assertEqual(self.written(), [["a"], ["b", "c", "d"]])
        self.assertFalse(any(each.called for each in rest))

    def test_a_batch_has_an_end_and_a_large_item_goes_alone(self) -> None:
        batches = self.batches(batch_octets=5)
        for item in ("aaa", "bbb", "c" * 9, "d", "e"):
            batches.add(item)
        self.clock.advance(0.01)
        for number in range(4):
            self.writes[number][1].callback(None)
            self.clock.advance(0.01)
        self.assertEqual(self.written(), [["aaa"], ["bbb"], ["c" * 9], ["d", "e"]])
        self.assertEqual(len(batches), 0)

    def test_a_whole_batch_does_not_wait(self) -> None:
        batches = self.batches(batch_octets=5)
        for item in ("aaaaa", "bbbbb", "c"):
            batches.add(item)
        self.clock.advance(0.01)
        self.writes[0][1].callback(None)
        self.assertEqual(self.written(), [["aaaaa"], ["bbbbb"]])

    def test_a_failed_batch_fails_its_items_and_what_waits_behind_them(self) -> None:
        batches = self.batches()
        failed = [batches.add("a"), batches.add("b")]
        self.clock.advance(0.01)
        failed.append(batches.add("c"))
        self.writes[0][1].errback(OSError("no space"))
        for each in failed:
            self.assertEqual(str(self.failureResultOf(each, OSError).value), "no space")
        self.assertEqual(len(batches), 0)
        good = batches.add("a")
        self.clock.advance(0.01)
        self.assertEqual(self.written(), [["a", "b"], ["a"]])
        self.writes[1][1].callback(None)
        self.assertIsNone(self.successResultOf(good))

    def test_a_write_that_raises_is_a_failed_one(self) -> None:
        def broken(items: list[str]) -> Deferred[None]:
            raise OSError("broken")

        batches: Batches[str] = Batches(self.clock, broken, len)
        done = batches.add("a")
        self.clock.advance(1)
        self.failureResultOf(done, OSError)
        self.assertEqual(len(batches), 0)

    def test_no_more_items_than_allowed(self) -> None:
        batches = self.batches(max_waiting=2)
        batches.add("a")
        self.clock.advance(0.01)
        batches.add("b")
        self.failureResultOf(batches.add("c"), BatchesFull)
        self.writes[0][1].callback(None)
        self.assertNoResult(batches.add("d"))
        self.clock.advance(0.01)
        self.assertEqual(self.written(), [["a"], ["b", "d"]])

    def test_no_more_octets_than_allowed_but_any_item_alone(self) -> None:
        batches = self.batches(max_waiting_octets=5)
        self.assertNoResult(batches.add("a" * 9))
        self.failureResultOf(batches.add("b"), BatchesFull)
        self.clock.advance(0.01)
        self.writes[0][1].callback(None)
        self.assertNoResult(batches.add("b"))

    def test_only_octets_that_still_wait_count(self) -> None:
        for outcome in (None, Failure(OSError("full"))):
            batches = self.batches(max_waiting_octets=10)
            done = batches.add("a" * 6)
            self.clock.advance(0.01)
            self.writes.pop()[1].callback(outcome)
            done.addErrback(lambda _: None)
            self.assertNoResult(batches.add("b" * 6))
            self.assertNoResult(batches.add("c" * 4))
            refused = self.failureResultOf(batches.add("d"), BatchesFull)
            self.assertEqual(str(refused.value), "2 items of 10 octets are already waiting for the disk")
            self.clock.advance(0.01)
            self.writes.pop()[1].callback(None)

    def test_stop_writes_at_once_what_waits_and_takes_no_more(self) -> None:
        batches = self.batches(batch_octets=1)
        batches.add("a")
        batches.add("b")
        stopped = batches.stop()
        self.failureResultOf(batches.add("c"), BatchesFull)
        self.writes[0][1].callback(None)
        self.assertNoResult(stopped)
        self.writes[1][1].callback(None)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual((self.written(), self.clock.getDelayedCalls()), ([["a"], ["b"]], []))

    def test_stop_with_nothing_to_do(self) -> None:
        self.assertIsNone(self.successResultOf(self.batches().stop()))
