"""From the bus to the hub: keys, order, and catching up after an outage."""

from __future__ import annotations

from structlog.testing import CapturingLogger, capture_logs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.application.observer import Observer
from fanout.hub.hub import Hub, RetainedSettings
from fanout.hub.message import Message
from fanout.hub.subscriber import Cohort
from radiovis.node.consumer import RESTORE_SECONDS, JournalRestore, TopicReceiver
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.log import LogError
from tests.radiovis.scripted_directory import ScriptedDirectory

GCC = "/topic/fm/4e1/4000/09580/text"
CC = "/topic/fm/ch/4000/09580/text"


def message(topic: str, body: str = "TEXT x", *, id: str = "1", when: int = 100) -> Message:
    return Message(topic, body.encode(), id, when)


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

    async def recall_many(self, topics: list[str]) -> dict[str, Message]:
        return {topic: self.kept[topic] for topic in topics if topic in self.kept}


class _Case(unittest.TestCase):
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


class TestReceive(_Case):
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

    def test_a_fault_of_the_directory_is_logged_and_the_message_arrives(self) -> None:
        def broken(_: str) -> Deferred[None]:
            raise ZeroDivisionError

        self.directory.gcc = broken  # type: ignore[assignment, method-assign]
        heard = self.listen(CC)
        self.receive(message(CC, "TEXT a"))
        self.assertEqual(heard, [b"TEXT a"])
        self.assertEqual([call.args for call in self.log.calls], [("country.failed",)])


class TestCatchUp(_Case):
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

    async def test_shows_the_first_slide_of_a_topic(self) -> None:
        heard = self.listen(GCC)
        self.slides.kept[GCC] = message(GCC, "TEXT a")
        await self.receiver.catch_up(at_once)
        self.assertEqual(heard, [b"TEXT a"])


class Watched(_Case):
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


class FakeGuest:
    """An application beside RadioVIS, with the topics under ``/guest/``."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def hear(self, message: Message) -> bool:
        if not message.topic.startswith("/guest/"):
            return False
        self.hub.publish(message.topic, message._replace(body=b"guest: " + message.body))
        return True


class SlowLog:
    """A watchdog whose log answers when the test says so."""

    def __init__(self) -> None:
        self.answer: Deferred[list[Message]] = Deferred()

    def latest(self, limit: int, octets: int) -> Deferred[list[Message]]:
        return self.answer


class TestJournalRestore(_Case):
    def setUp(self) -> None:
        super().setUp()
        self.clock, self.watchdog = Clock(), SlowLog()
        resolver = TopicResolver(self.directory, lambda: None)
        guests = [FakeGuest(self.hub)]
        self.restore = JournalRestore(self.clock, RetainedSettings(), self.hub, resolver, guests, self.watchdog)  # type: ignore[arg-type, list-item]
        self.restore.start(lambda failure, name: self.fail(f"{name}: {failure}"))

    def recalled(self, topic: str) -> Deferred[Message | None]:
        """What a client that subscribes now is shown."""
        return Deferred.fromCoroutine(self.hub.recall(topic, self.restore.recall))

    def read(self, *messages: Message) -> None:
        """The journal has been read."""
        self.watchdog.answer.callback(list(messages))
        self.clock.advance(0)

    def test_the_messages_of_the_journal_are_retained_and_not_counted_as_published(self) -> None:
        old = message(GCC)
        self.read(old)
        self.assertIs(self.hub.last(GCC), old)
        self.assertEqual((self.hub.messages, self.clock.getDelayedCalls()), (0, []))

    def test_a_client_that_subscribes_before_gets_it_once(self) -> None:
        heard = self.listen(GCC)
        shown, nothing = self.recalled(GCC), self.recalled("/topic/id/a/b/text")
        self.assertNoResult(shown)
        old = message(GCC)
        self.read(old)
        self.assertIs(self.successResultOf(shown), old)
        self.assertIsNone(self.successResultOf(nothing))
        self.assertEqual(heard, [])
        self.assertIsNone(self.successResultOf(self.recalled("/topic/id/a/b/text")))

    def test_what_came_since_the_start_is_newer(self) -> None:
        heard, shown = self.listen(GCC), self.recalled(GCC)
        self.receive(new := message(GCC, "TEXT new"))
        self.read(message(GCC, "TEXT old"), message(CC, "TEXT old, too"))
        self.assertIs(self.hub.last(GCC), new)
        self.assertIsNone(self.successResultOf(shown))
        self.assertEqual(heard, [b"TEXT new"])

    def test_of_two_topics_that_are_one_now_the_later_message_counts(self) -> None:
        self.read(message(CC, "TEXT older", when=200), later := message(GCC, "TEXT later", when=100))
        self.assertIs(self.hub.last(GCC), later)

    def test_what_is_read_too_late_is_offered_to_those_that_were_not_kept_waiting(self) -> None:
        heard, shown = self.listen(GCC), self.recalled(GCC)
        self.clock.advance(RESTORE_SECONDS)
        self.assertIsNone(self.successResultOf(shown))
        self.assertIsNone(self.successResultOf(self.recalled(GCC)))
        self.read(message(GCC, "TEXT old"))
        self.assertEqual(heard, [b"TEXT old"])

    def test_guests_hear_their_own_unless_they_have_a_newer_value(self) -> None:
        heard = self.listen("/guest/a")
        newer = message("/guest/b", "new")
        self.hub.publish("/guest/b", newer)
        self.read(message("/guest/a", "1"), message("/guest/b", "old"))
        self.assertEqual(heard, [b"guest: 1"])
        self.assertIs(self.hub.last("/guest/b"), newer)

    def test_a_journal_that_cannot_be_read_is_logged_and_keeps_nobody_waiting(self) -> None:
        shown = self.recalled(GCC)
        with capture_logs() as logs:
            self.watchdog.answer.errback(LogError("no disk"))
        self.assertEqual([(line["event"], line["reason"]) for line in logs], [("journal.not_restored", "no disk")])
        self.assertIsNone(self.successResultOf(shown))
        self.assertEqual(self.clock.getDelayedCalls(), [])
