"""From the bus to the hub: keys, order, and catching up after an outage."""

from __future__ import annotations

from itertools import pairwise

from structlog.testing import CapturingLogger
from twisted.internet.defer import Deferred
from twisted.trial import unittest

from fanout.application.observer import Observer
from fanout.bus.duplicates import Serials
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.subscriber import Cohort
from radiovis.node.consumer import LastShown, TopicReceiver
from radiovis.topic_resolution import TopicResolver
from tests.radiovis.scripted_directory import ScriptedDirectory

GCC = "/topic/fm/4e1/4000/09580/text"
CC = "/topic/fm/ch/4000/09580/text"


def message(topic: str, body: str = "TEXT x", *, id: str = "1", when: int = 100, serial: str = "") -> Message:
    return Message(topic, body.encode(), id, when, (), serial)


def serials(number: int) -> list[str]:
    """The first ones of a publisher."""
    publisher = Serials()
    return [publisher.next() for _ in range(number)]


async def at_once() -> None:
    """No moment."""


class Plain:
    """A form: the body alone."""

    destination = ""

    def encode(self, message: Message, encoded: object) -> bytes:
        return message.body


class Listener:
    """A member of the hub that keeps what it is offered."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        self.heard.append(data)


class KeptSlides:
    """Last slides in a dictionary."""

    is_shared = True

    def __init__(self) -> None:
        self.kept: dict[str, Message] = {}

    def keep(self, topic: str, message: Message) -> None:
        self.kept[topic] = message

    def is_later(self, topic: str, message: Message, last: Message) -> bool:
        return message.message_id != last.message_id and message.when >= last.when

    async def recall_many(self, topics: list[str]) -> dict[str, Message]:
        return {topic: self.kept[topic] for topic in topics if topic in self.kept}


class ReceiverCase(unittest.TestCase):
    """A hub, its receiver, and what the directory and memcached know."""

    def setUp(self) -> None:
        self.directory = ScriptedDirectory()
        self.directory.countries = {"ch": "4e1"}
        self.hub = Hub(lambda member, error: self.fail(f"{member}: {error}"))
        self.slides = KeptSlides()
        self.log = CapturingLogger()
        self.receiver = TopicReceiver(TopicResolver(self.directory, lambda: None), self.hub, self.slides, self.log)  # type: ignore[arg-type]

    def listen(self, topic: str) -> list[bytes]:
        listener = Listener()
        self.hub.join(topic, Plain(), listener)
        return listener.heard

    def receive(self, *messages: Message) -> None:
        for each in messages:
            self.receiver.receive(each)


class TestReceive(ReceiverCase):
    def test_goes_to_its_listeners_and_is_kept(self) -> None:
        heard = self.listen(GCC)
        sent = message(GCC, "TEXT a")
        self.receive(sent)
        self.assertEqual(heard, [b"TEXT a"])
        self.assertIs(self.hub.last(GCC), sent)
        self.assertIs(self.slides.kept[GCC], sent)

    def test_country_and_code_are_one_topic(self) -> None:
        heard = self.listen(GCC)
        self.receive(message(CC, "TEXT a"), message(GCC, "TEXT b"), message(CC.replace("ch", "CH"), "TEXT c"))
        self.assertEqual(heard, [b"TEXT a", b"TEXT b", b"TEXT c"])
        self.assertEqual(self.directory.asked, ["gcc ch"])

    def test_messages_of_a_country_wait_in_order_for_its_code_and_no_others_wait(self) -> None:
        heard = self.listen(GCC)
        other = self.listen("/topic/id/a/b/text")
        self.directory.hold()
        self.receive(*(message(CC, f"TEXT {n}") for n in range(3)), message("/topic/id/a/b/text", "TEXT at once"))
        self.assertEqual((heard, other), ([], [b"TEXT at once"]))
        self.directory.release()
        self.assertEqual(heard, [b"TEXT 0", b"TEXT 1", b"TEXT 2"])

    def test_one_country_does_not_wait_for_another(self) -> None:
        heard = self.listen("/topic/fm/fe1/f000/09580/text")
        self.directory.countries["fr"] = "fe1"
        self.directory.hold()
        self.receive(message(CC, "TEXT ch"), message("/topic/fm/fr/f000/09580/text", "TEXT fr"))
        assert self.directory.held is not None
        self.directory.held.pop(1).callback(None)
        self.assertEqual(heard, [b"TEXT fr"])

    def test_a_country_nobody_knows_is_its_own_key(self) -> None:
        topic = "/topic/fm/zz/4000/09580/text"
        heard = self.listen(topic)
        self.receive(message(topic, "TEXT a"), message(topic, "TEXT b"))
        self.assertEqual(heard, [b"TEXT a", b"TEXT b"])

    def test_while_the_directory_is_down_country_stays_country(self) -> None:
        self.directory.down = True
        heard = self.listen(CC)
        self.receive(message(CC, "TEXT a"))
        self.assertEqual(heard, [b"TEXT a"])

    def test_a_flood_for_a_country_being_looked_up_costs_bounded_memory_and_the_newest_survive(self) -> None:
        heard = self.listen(GCC)
        self.directory.hold()
        self.receive(*(message(CC, f"TEXT {n}") for n in range(5_000)))
        self.directory.release()
        self.assertEqual(heard, [f"TEXT {n}".encode() for n in range(4_000, 5_000)])
        self.assertEqual(
            [(call.args, call.kwargs) for call in self.log.calls],
            [(("country.dropped",), {"country": "ch", "messages": 4_000})],
        )

    def test_large_messages_of_many_countries_share_a_sum_and_the_country_with_most_loses_its_oldest(self) -> None:
        self.directory.countries |= {"fr": "fe1", "de": "de0"}
        self.directory.hold()
        few, many = (self.listen(f"/topic/fm/{code}/4000/09580/text") for code in ("fe1", "de0"))
        body = "x" * 250_000
        self.receive(*(message("/topic/fm/fr/4000/09580/text", f"{n}{body}") for n in range(10)))
        self.receive(*(message("/topic/fm/de/4000/09580/text", f"{n}{body}") for n in range(200)))
        self.directory.release()
        self.assertEqual(len(few), 10)
        self.assertEqual([int(each.rstrip(b"x")) for each in many], [*range(200 - len(many), 200)])
        self.assertTrue(30_000_000 < len(few + many) * len(body) < 33_554_432, len(many))
        dropped = {"country": "de", "messages": 200 - len(many)}
        self.assertEqual([(call.args, call.kwargs) for call in self.log.calls], [(("country.dropped",), dropped)])

    def test_a_fault_of_the_directory_is_logged_and_the_message_arrives(self) -> None:
        def broken(_: str) -> Deferred[None]:
            raise ZeroDivisionError

        self.directory.gcc = broken  # type: ignore[assignment, method-assign]
        heard = self.listen(CC)
        self.receive(message(CC, "TEXT a"))
        self.assertEqual(heard, [b"TEXT a"])
        self.assertEqual([call.args for call in self.log.calls], [("country.failed",)])


class TestCatchUp(ReceiverCase):
    async def test_shows_what_was_missed_to_those_who_listen(self) -> None:
        heard, other = self.listen(GCC), self.listen("/topic/id/a/b/text")
        self.receive(message(GCC, "TEXT old", id="1", when=100))
        self.slides.kept[GCC] = message(GCC, "TEXT new", id="2", when=101)
        await self.receiver.catch_up(at_once)
        self.assertEqual((heard, other), ([b"TEXT old", b"TEXT new"], []))

    async def test_shows_nothing_twice(self) -> None:
        heard = self.listen(GCC)
        self.receive(message(GCC, "TEXT a", id="1", when=100))
        self.slides.kept[GCC] = message(GCC, "TEXT a", id="1", when=100)
        await self.receiver.catch_up(at_once)
        self.assertEqual(heard, [b"TEXT a"])

    async def test_shows_nothing_older(self) -> None:
        heard = self.listen(GCC)
        self.receive(message(GCC, "TEXT new", id="2", when=101))
        self.slides.kept[GCC] = message(GCC, "TEXT old", id="1", when=100)
        await self.receiver.catch_up(at_once)
        self.assertEqual(heard, [b"TEXT new"])

    async def test_leaves_alone_what_the_bus_brings_meanwhile(self) -> None:
        """Another node was faster to hear it, and to keep it: found by the chaos test."""
        heard = self.listen(GCC)
        self.receive(message(GCC, "TEXT a", id="1", when=100))
        self.slides.kept[GCC] = message(GCC, "TEXT c", id="3", when=102)

        async def moment() -> None:
            self.receive(message(GCC, "TEXT b", id="2", when=101))

        await self.receiver.catch_up(moment)
        self.receive(message(GCC, "TEXT c", id="3", when=102))
        self.assertEqual(heard, [b"TEXT a", b"TEXT b", b"TEXT c"])

    async def test_what_it_has_shown_may_come_over_the_bus_later_and_is_not_shown_again(self) -> None:
        """Its publisher had no confirm, and sends it again, with those before it."""
        heard = self.listen(GCC)
        a, b, c = (message(GCC, f"TEXT {serial[-1]}", serial=serial) for serial in serials(3))
        self.slides.kept[GCC] = b
        await self.receiver.catch_up(at_once)
        self.receive(a, b, c)
        self.assertEqual(heard, [b"TEXT 2", b"TEXT 3"])

    async def test_what_it_has_shown_is_not_shown_again_behind_a_default(self) -> None:
        """The other nodes had not heard it, and keep it again; this one is also sent it again."""
        heard = self.listen(GCC)
        a, b = (message(GCC, f"TEXT {serial[-1]}", id=serial, serial=serial) for serial in serials(2))
        self.slides.kept[GCC] = a
        await self.receiver.catch_up(at_once)
        self.receive(message(GCC, "TEXT default", id="d", serial=serials(1)[0]))
        self.slides.kept[GCC] = a
        await self.receiver.catch_up(at_once)
        self.receive(a, b)
        await self.receiver.replay([a, b], self.receiver.last_shown(), self.hub.publish, at_once)
        self.assertEqual(heard, [b"TEXT 1", b"TEXT default", b"TEXT 2"])

    async def test_the_numbers_of_another_publisher_or_none_say_nothing_about_what_it_has_shown(self) -> None:
        heard = self.listen(GCC)
        self.slides.kept[GCC] = message(GCC, "TEXT a", serial=serials(2)[1])
        await self.receiver.catch_up(at_once)
        self.receive(message(GCC, "TEXT other", serial=serials(1)[0]), message(GCC, "TEXT device"))
        self.assertEqual(heard, [b"TEXT a", b"TEXT other", b"TEXT device"])

    async def test_shows_the_first_slide_of_a_topic(self) -> None:
        heard = self.listen(GCC)
        self.slides.kept[GCC] = message(GCC, "TEXT a")
        await self.receiver.catch_up(at_once)
        self.assertEqual(heard, [b"TEXT a"])


class Watched(ReceiverCase):
    """What the observer is told."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[tuple[str, int]] = []
        observer = Observer()
        observer.delivered = lambda topic, clients: self.told.append((topic, clients))  # type: ignore[method-assign]
        resolver = TopicResolver(self.directory, lambda: None)
        self.receiver = TopicReceiver(resolver, self.hub, self.slides, self.log, observer)  # type: ignore[arg-type]

    def test_each_message_with_the_number_of_those_who_heard_it(self) -> None:
        for _ in range(3):
            self.hub.join("/topic/id/a/1/text", Plain(), Listener())
        self.receiver.receive(message("/topic/id/a/1/text"))
        self.assertEqual(self.told, [("/topic/id/a/1/text", 3)])

    def test_no_message_nobody_heard(self) -> None:
        self.receiver.receive(message("/topic/id/a/1/text"))
        self.assertEqual(self.told, [])

    async def test_what_was_missed_in_an_outage_counts_when_it_is_shown(self) -> None:
        self.hub.join("/topic/id/a/1/text", Plain(), Listener())
        self.slides.kept["/topic/id/a/1/text"] = message("/topic/id/a/1/text", id="2")
        await self.receiver.catch_up(at_once)
        self.assertEqual(self.told, [("/topic/id/a/1/text", 1)])


class TestReplay(ReceiverCase):
    """What the bus has read from its memory, in its order; every topic here has a listener."""

    def setUp(self) -> None:
        super().setUp()
        self.heard = self.listen(GCC)

    def replay(self, *messages: Message, before: LastShown | None = None) -> None:
        shown = self.receiver.last_shown() if before is None else before
        self.successResultOf(Deferred.fromCoroutine(self.receiver.replay(messages, shown, self.hub.publish, at_once)))

    def test_all_is_shown_in_order_and_kept(self) -> None:
        self.receive(message(GCC, "TEXT a", id="a"))
        self.replay(message(GCC, "TEXT b", id="b"), message(CC, "TEXT c", id="c"))
        self.successResultOf(Deferred.fromCoroutine(self.receiver._resolver.canonical(CC)))
        self.assertEqual(self.heard, [b"TEXT a", b"TEXT b", b"TEXT c"])
        self.assertEqual(self.slides.kept[GCC].body, b"TEXT c")

    def test_clocks_may_err(self) -> None:
        """The order of the bus counts: the watchdog's clock was fast."""
        self.receive(message(GCC, "TEXT default", id="a", when=200))
        self.replay(message(GCC, "TEXT slide", id="b", when=100))
        self.assertEqual(self.heard, [b"TEXT default", b"TEXT slide"])

    def test_what_memcached_has_told_meanwhile_is_not_shown_again_nor_what_is_before_it(self) -> None:
        before = self.receiver.last_shown()
        self.hub.remember(GCC, message(GCC, "TEXT b", id="b"))
        self.replay(*(message(GCC, f"TEXT {each}", id=each) for each in "abc"), before=before)
        self.assertEqual(self.heard, [b"TEXT c"])

    def test_what_memcached_told_is_later_than_lower_numbers_of_its_publisher_whatever_clocks_say(self) -> None:
        before = self.receiver.last_shown()
        a, b, c = (message(GCC, f"TEXT {each[-1]}", serial=each, when=100 - int(each[-1])) for each in serials(3))
        self.hub.remember(GCC, b)
        self.replay(a, c, before=before)
        self.assertEqual(self.heard, [b"TEXT 3"])

    def test_what_memcached_told_may_be_later_than_all_of_it(self) -> None:
        before = self.receiver.last_shown()
        self.hub.remember(GCC, message(GCC, "TEXT later", id="l", when=101))
        self.replay(message(GCC, "TEXT a", id="a", when=100), before=before)
        self.assertEqual(self.heard, [])

    def test_what_memcached_told_when_an_earlier_reading_failed_is_not_shown_again_nor_what_is_before_it(self) -> None:
        self.hub.remember(GCC, message(GCC, "TEXT b", id="b"))
        self.replay(*(message(GCC, f"TEXT {each}", id=each) for each in "abc"))
        self.assertEqual(self.heard, [b"TEXT c"])

    def test_ids_and_bodies_that_a_publisher_uses_again_after_a_message_that_was_heard(self) -> None:
        self.receive(message(GCC, "TEXT a", id="1", when=100))
        self.replay(message(GCC, "TEXT b", id="1", when=101), message(GCC, "TEXT a", id="1", when=102))
        self.assertEqual(self.heard, [b"TEXT a", b"TEXT b", b"TEXT a"])

    def test_ids_that_a_publisher_uses_again(self) -> None:
        self.replay(message(GCC, "TEXT a", id="1"), message(GCC, "TEXT b", id="1"), message(GCC, "TEXT c", id="1"))
        self.assertEqual(self.heard, [b"TEXT a", b"TEXT b", b"TEXT c"])

    def test_messages_of_an_unknown_country_wait_for_its_code_and_none_gives_way_to_new_ones(self) -> None:
        topics = [CC.replace("4000", f"{number:04x}") for number in range(1_500)]
        self.directory.hold()
        self.receive(message(CC, "TEXT before", id="b"))
        self.replay(*(message(topic, "TEXT missed", id=topic) for topic in topics))
        released = self.receiver.released()
        self.receive(*(message(CC, f"TEXT {number}", id=str(number)) for number in range(1_100)))
        self.assertNoResult(released)
        self.directory.release()
        self.successResultOf(released)
        self.assertEqual(len(self.slides.kept), 1_501)
        self.assertEqual(self.heard, [b"TEXT before", *(f"TEXT {number}".encode() for number in range(100, 1_100))])

    def test_much_of_it_is_handed_on_in_several_turns(self) -> None:
        turns: list[Deferred[None]] = []

        def next_turn() -> Deferred[None]:
            turns.append(Deferred())
            return turns[-1]

        messages = [message(GCC, f"TEXT {number}", id=str(number)) for number in range(1_000)]
        done = Deferred.fromCoroutine(self.receiver.replay(messages, {}, self.hub.publish, next_turn))
        sizes = []
        while not done.called:
            turns[-1].callback(None)
            sizes.append(len(self.heard))
        self.assertEqual(len(self.heard), 1_000)
        self.assertLessEqual(max(after - before for before, after in pairwise(sizes)), 200)
