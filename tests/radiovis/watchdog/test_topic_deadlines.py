"""Which topics count as silent, and what it costs to find them."""

from __future__ import annotations

from twisted.trial import unittest

from radiovis.settings import WatchdogSettings
from radiovis.watchdog.topic_deadlines import STRANGERS, Liveness, Staleness, _Watched

ROCK, TALK, JAZZ = (f"/topic/fm/4e1/4000/{frequency}/text" for frequency in ("09580", "09700", "10120"))
START = 1_795_294_643.0
PATIENCE = 60


def settings(**others: float) -> WatchdogSettings:
    return WatchdogSettings(FB_FALLBACK_TIME=PATIENCE, **others)


class Silent(unittest.TestCase):
    def setUp(self) -> None:
        self.silence = Staleness(settings())

    def watch(self, *topics: str, now: float = START, **known: Liveness) -> None:
        self.silence.watch(topics, {ROCK: known["rock"]} if known else {}, now)

    def due(self, now: float) -> list[str]:
        return self.silence.due(now, again=now + 15)

    def test_a_topic_nobody_ever_heard_of_is_due_at_once(self) -> None:
        self.watch(ROCK, TALK)
        self.assertEqual(self.due(START), [ROCK, TALK])

    def test_one_that_was_alive_before_the_start_has_all_its_time_again(self) -> None:
        for when in (START - 1, START - 3600, START + 3600):
            self.silence = Staleness(settings())
            self.watch(ROCK, rock=Liveness(when))
            self.assertEqual(self.due(START + PATIENCE - 1), [])
            self.assertEqual(self.due(START + PATIENCE + 1), [ROCK])

    def test_it_is_due_after_its_silence_and_not_before(self) -> None:
        self.watch(ROCK, TALK)
        self.silence.heard(ROCK, Liveness(START + 10))
        self.silence.heard(TALK, Liveness(START + 20))
        self.assertEqual(self.due(START + 69.5), [])
        self.assertEqual(self.due(START + 70.5), [ROCK])
        self.assertEqual(self.due(START + 79.5), [])
        self.assertEqual(self.due(START + 80.5), [TALK])

    def test_a_living_topic_is_never_due(self) -> None:
        self.watch(ROCK)
        for second in range(0, 3600, 59):
            self.silence.heard(ROCK, Liveness(START + second))
            self.assertEqual(self.due(START + second + 58), [])

    def test_text_and_image_have_their_own_timers(self) -> None:
        image = ROCK.replace("text", "image")
        self.watch(ROCK, image)
        self.due(START)
        self.silence.heard(ROCK, Liveness(START + 1))
        self.assertEqual(self.due(START + 16), [image])

    def test_what_was_given_out_is_due_again_unless_something_is_heard(self) -> None:
        self.watch(ROCK)
        self.assertEqual(self.due(START), [ROCK])
        self.assertEqual(self.due(START + 14), [])
        self.assertEqual(self.due(START + 15), [ROCK])

    def test_a_default_counts_as_life(self) -> None:
        self.watch(ROCK)
        self.due(START)
        self.silence.heard(ROCK, Liveness(START, is_default=True))
        self.assertEqual(self.due(START + 59), [])
        self.assertEqual(self.due(START + 60.5), [ROCK])

    def test_after_a_default_the_next_may_wait_longer_but_a_station_that_speaks_begins_anew(self) -> None:
        self.silence = Staleness(settings(FB_REPEAT=600))
        self.watch(ROCK)
        self.due(START)
        self.silence.heard(ROCK, Liveness(START, is_default=True))
        self.assertEqual(self.due(START + 599), [])
        self.silence.heard(ROCK, Liveness(START + 599))
        self.assertEqual(self.due(START + 658), [])
        self.assertEqual(self.due(START + 660), [ROCK])

    def test_a_default_from_before_the_start_is_not_repeated_too_early(self) -> None:
        self.silence = Staleness(settings(FB_REPEAT=600))
        self.watch(ROCK, rock=Liveness(START - 100, is_default=True))
        self.assertEqual(self.due(START + 499), [])
        self.assertEqual(self.due(START + 501), [ROCK])

    def test_after_a_time_of_deafness_what_was_alive_begins_anew_and_what_was_not_is_due(self) -> None:
        self.watch(ROCK, TALK)
        self.silence.heard(ROCK, Liveness(START))
        self.silence.heard_nothing_until(START + 300)
        self.assertEqual(self.due(START + 301), [TALK])
        self.assertEqual(self.due(START + 359), [TALK])
        self.assertIn(ROCK, self.due(START + 361))

    def test_topics_that_are_listed_no_more_are_forgotten(self) -> None:
        self.watch(ROCK, TALK)
        self.watch(TALK)
        self.assertEqual((len(self.silence), ROCK in self.silence), (1, False))
        self.assertEqual(self.due(START), [TALK])
        self.silence.later(ROCK, START)
        self.assertEqual(self.due(START + 15), [TALK])

    def test_a_reload_of_the_list_changes_nothing_for_known_topics(self) -> None:
        self.watch(ROCK)
        self.silence.heard(ROCK, Liveness(START + 50))
        self.watch(ROCK, TALK, now=START + 55)
        self.assertEqual(self.due(START + 100), [TALK])

    def test_a_topic_heard_before_it_is_listed_is_alive(self) -> None:
        self.silence.heard(ROCK, Liveness(START))
        self.watch(ROCK, TALK, now=START + 5)
        self.assertEqual(self.due(START + 5), [TALK])

    def test_unlisted_topics_cost_bounded_memory(self) -> None:
        for number in range(STRANGERS + 500):
            self.silence.heard(f"/topic/{number}/text", Liveness(START))
        self.assertEqual(len(self.silence._strangers), STRANGERS)

    def test_a_clock_that_jumps_ahead_for_a_year_costs_no_more(self) -> None:
        self.watch(ROCK)
        self.due(START)
        self.assertEqual(self.due(START + 365 * 86_400), [ROCK])

    def test_a_clock_that_goes_back_loses_nothing(self) -> None:
        self.watch(ROCK, TALK)
        self.due(START + 100)
        self.silence.heard(ROCK, Liveness(START - 100))
        self.assertEqual(self.due(START - 39), [ROCK])


class Cost(unittest.TestCase):
    def stale(self, count: int) -> tuple[Staleness, list[str]]:
        """So many topics, of which 100 are stale at START + 61 and the others are alive."""
        staleness = Staleness(settings())
        topics = [f"/topic/fm/4e1/{number:05x}/09580/text" for number in range(count)]
        staleness.watch(topics, {}, START)
        staleness.due(START, again=START + 1000)
        for number, topic in enumerate(topics):
            staleness.heard(topic, Liveness(START + (0 if number < 100 else 50 + number % 100 / 10)))
        return staleness, topics

    def test_a_check_looks_at_the_stale_topics_only(self) -> None:
        """10,000 topics of which 1 % are stale: 100 looks, a slot's neighbours aside."""
        staleness, topics = self.stale(10_000)
        looked = []
        look = _Watched.on_timer
        self.patch(_Watched, "on_timer", lambda watched, now: (looked.append(watched.topic), look(watched, now)))
        self.assertEqual(staleness.due(START + 61, again=START + 76), topics[:100])
        self.assertEqual(looked, topics[:100])

    def test_a_topic_that_is_heard_all_the_time_costs_bounded_memory(self) -> None:
        staleness = Staleness(settings())
        staleness.watch([ROCK], {}, START)
        for second in range(10_000):  # On a standby, where nobody asks what is due.
            staleness.heard(ROCK, Liveness(START + second))
        self.assertEqual(len(staleness._wheel._slots), 1)
