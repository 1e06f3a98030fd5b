"""Each address is fetched once, however many ask, and remembered for a while."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.trial import unittest
from zope.interface import implementer

from radiovis.preflight.slide_verdicts import BAD_SECONDS, GOOD_SECONDS, KEPT, UNDER_WAY, SlideVerdicts, Verdict
from radiovis.slides.fetch import SlideFetch, share
from tests.radiovis.preflight.slides import Slides

GOOD = Verdict(())


@implementer(IStreamClientEndpoint)
class Hanging:
    """Never connects."""

    def connect(self, _factory: object) -> Deferred[None]:
        return Deferred()


class TestVerdicts(unittest.TestCase):
    def setUp(self) -> None:
        self.clock, self.slides = Clock(), Slides()
        self.verdicts = SlideVerdicts(self.clock, self.slides.fetch)

    def of(self, url: str) -> Deferred[Verdict]:
        return self.verdicts.of(url)

    def test_asked_by_many_it_is_fetched_once(self) -> None:
        asked = [self.of("a") for _ in range(100)]
        self.slides.answer()
        self.assertEqual([self.successResultOf(each) for each in asked], [GOOD] * 100)
        self.assertEqual((self.slides.urls, self.verdicts.under_way), (["a"], 0))

    def test_a_good_one_is_known_for_long_and_a_bad_one_for_a_moment(self) -> None:
        self.of("good")
        self.slides.answer()
        self.of("bad")
        self.slides.answer("it is too large")
        self.clock.advance(BAD_SECONDS - 1)
        self.assertEqual(self.successResultOf(self.of("bad")).complaints, ("it is too large",))
        self.clock.advance(1)
        self.assertNoResult(self.of("bad"))
        self.assertEqual(self.successResultOf(self.of("good")), GOOD)
        self.clock.advance(GOOD_SECONDS)
        self.assertNoResult(self.of("good"))

    def test_what_waited_too_long_was_not_looked_at_and_may_come_again_at_once(self) -> None:
        asked = self.of("waits")
        self.clock.advance(4.9)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        verdict = self.successResultOf(asked)
        self.assertFalse(verdict.looked)
        self.assertIn("not complete within 5 s", verdict.complaints[0])
        self.assertNoResult(self.of("waits"))
        self.slides.answer()
        self.assertEqual(self.successResultOf(self.of("waits")), GOOD)

    def test_a_host_that_hangs_is_to_blame_for_those_that_had_their_turn(self) -> None:
        asked = self.hanging(at_once=4, urls=[f"http://hangs/{number}" for number in range(3)])
        self.clock.advance(5)
        self.assertNoResult(asked[2])
        self.clock.advance(0.1)
        self.assertEqual([self.successResultOf(each).looked for each in asked], [True, True, False])

    def test_a_turn_that_comes_late_and_is_cut_short_is_none(self) -> None:
        (first,) = self.hanging(at_once=1, urls=["http://hangs/"])
        self.clock.advance(3)
        cut_short = self.of("http://late/")
        self.clock.advance(2)
        self.assertTrue(self.successResultOf(first).looked)
        self.assertNoResult(cut_short)
        self.clock.advance(3.1)
        self.assertFalse(self.successResultOf(cut_short).looked)

    def hanging(self, *, at_once: int, urls: list[str]) -> list[Deferred[Verdict]]:
        """Slides of servers that take connections and say nothing."""
        fetch = SlideFetch(self.clock, at_once=at_once, dial=lambda _host, _port: Hanging())
        self.verdicts = SlideVerdicts(self.clock, fetch.get)
        return [self.of(url) for url in urls]

    def test_too_many_at_a_time_are_not_looked_at(self) -> None:
        for number in range(UNDER_WAY):
            self.of(f"http://host{number}/")
        busy = self.successResultOf(self.of("http://more/"))
        self.assertFalse(busy.looked)
        self.assertNoResult(self.of("http://host0/"))
        self.assertEqual(len(self.slides.asked), UNDER_WAY)

    def test_one_host_cannot_take_all_the_places(self) -> None:
        for number in range(UNDER_WAY):
            self.of(f"http://hangs/{number}")
        self.assertEqual(self.verdicts.under_way, share(UNDER_WAY))
        self.assertFalse(self.successResultOf(self.of("http://hangs/more")).looked)
        self.assertNoResult(self.of("http://other/"))
        self.clock.advance(6)
        self.assertNoResult(self.of("http://hangs/more"))

    def test_what_is_remembered_is_bounded(self) -> None:
        for number in range(KEPT + 1):
            self.of(str(number))
            self.slides.answer()
        self.assertEqual(self.successResultOf(self.of("1")), GOOD)
        self.assertNoResult(self.of("0"))
