"""What clients are shown that subscribe before the last messages from before the start are known."""

from __future__ import annotations

from collections.abc import Callable

from structlog.testing import capture_logs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from fanout.bus.interface import BusState, Replay
from fanout.hub.hub import Hub, RetainedSettings
from fanout.hub.message import Message
from radiovis.node.consumer import BusConsumer
from radiovis.node.restore import RESTORE_SECONDS, JournalReading, Restore
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.log import LogError
from tests.radiovis.node.test_consumer import CC, GCC, KeptSlides, ReceiverCase, message

OTHER = "/topic/id/a/b/text"


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


class SlowSlides(KeptSlides):
    """A memcached that answers at once, or when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Deferred[None]] | None = None

    async def recall(self, topic: str) -> Message | None:
        if self.held is not None:
            self.held.append(Deferred())
            await self.held[-1]
        return self.kept.get(topic)

    def release(self) -> None:
        held, self.held = self.held or [], None
        for each in held:
            each.callback(None)


class RestoreCase(ReceiverCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock, self.memcached = Clock(), SlowSlides()
        self.restore = Restore(self.clock, self.hub, self.memcached)  # type: ignore[arg-type]
        self.restore.start()

    def recalled(self, topic: str) -> Deferred[Message | None]:
        """What a client that subscribes now is shown."""
        return Deferred.fromCoroutine(self.hub.recall(topic, self.restore.recall))

    def report(self, failure: object, name: str) -> None:
        self.fail(f"{name}: {failure}")


class TestRecall(RestoreCase):
    def test_memcached_is_asked_first(self) -> None:
        self.memcached.kept[GCC] = kept = message(GCC)
        self.assertIs(self.successResultOf(self.recalled(GCC)), kept)

    def test_what_memcached_does_not_have_is_waited_for(self) -> None:
        heard, shown, nothing = self.listen(GCC), self.recalled(GCC), self.recalled(OTHER)
        self.assertEqual(self.restore.put(GCC, old := message(GCC)), 0)
        self.assertNoResult(shown)
        self.restore.end()
        self.assertIs(self.successResultOf(shown), old)
        self.assertIsNone(self.successResultOf(nothing))
        self.assertEqual(heard, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_of_what_is_retained_twice_the_last_is_shown(self) -> None:
        shown = self.recalled(GCC)
        self.restore.put(GCC, message(GCC, "TEXT a"))
        self.restore.put(GCC, last := message(GCC, "TEXT b"))
        self.restore.end()
        self.assertIs(self.successResultOf(shown), last)

    def test_what_is_newer_than_memcached_is_offered_to_those_who_were_shown_that(self) -> None:
        self.memcached.kept[GCC] = message(GCC, "TEXT older")
        heard, shown = self.listen(GCC), self.recalled(GCC)
        self.assertIsNotNone(self.successResultOf(shown))
        self.assertEqual(self.restore.put(GCC, message(GCC, "TEXT newer")), 1)
        self.assertEqual(heard, [b"TEXT newer"])

    def test_memcached_answers_later_than_the_reading_ends(self) -> None:
        """Each client is shown one message, the newer one."""
        self.memcached.kept[GCC] = message(GCC, "TEXT older")
        self.memcached.held = []
        heard, shown = self.listen(GCC), self.recalled(GCC)
        self.restore.put(GCC, newer := message(GCC, "TEXT newer"))
        self.restore.end()
        self.assertNoResult(shown)
        self.memcached.release()
        self.assertIs(self.successResultOf(shown), newer)
        self.assertEqual(heard, [])

    def test_memcached_answers_between_two_messages_of_a_topic(self) -> None:
        self.memcached.held = []
        shown = self.recalled(GCC)
        self.restore.put(GCC, message(GCC, "TEXT a"))
        self.memcached.release()
        self.assertNoResult(shown)
        self.restore.put(GCC, last := message(GCC, "TEXT b"))
        self.restore.end()
        self.assertIs(self.successResultOf(shown), last)

    def test_memcached_answers_after_the_longest_wait(self) -> None:
        """What was published meanwhile is not shown once more."""
        self.memcached.held = []
        heard, shown = self.listen(GCC), self.recalled(GCC)
        self.clock.advance(RESTORE_SECONDS)
        self.restore.put(GCC, message(GCC, "TEXT read"))
        self.memcached.release()
        self.assertIsNone(self.successResultOf(shown))
        self.assertEqual(heard, [b"TEXT read"])

    def test_a_message_that_is_published_meanwhile_is_the_last_one(self) -> None:
        heard, shown = self.listen(GCC), self.recalled(GCC)
        self.restore.put(GCC, message(GCC, "TEXT old"))
        self.receive(message(GCC, "TEXT new"))
        self.restore.end()
        self.assertIsNone(self.successResultOf(shown))
        self.assertEqual(heard, [b"TEXT new"])


class OpenBus:
    """A bus whose memory is read when the test says so. A :class:`~fanout.bus.interface.RememberingBus`."""

    connected = True

    def remember(self, begin: Callable[[], Replay]) -> None:
        self.begin = begin

    def start(self, receive: Callable[[Message], None], connected: Callable[[], Deferred[None] | None]) -> None:
        self.receive, self.reconnected = receive, connected

    def publish(self, message: Message) -> Deferred[None]:
        raise NotImplementedError

    def state(self) -> BusState:
        return BusState(self.connected, "", 0)

    def stop(self) -> Deferred[None]:
        raise NotImplementedError


class TestTheMemoryOfTheBus(RestoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.bus = OpenBus()
        guests = [FakeGuest(self.hub)]
        consumer = BusConsumer(self.clock, self.receiver, self.restore, None, self.report, guests)  # type: ignore[arg-type, list-item]
        consumer.start(self.bus)

    def read(self, *messages: Message) -> None:
        """The memory of the bus has been read."""
        self.successResultOf(Deferred.fromCoroutine(self.bus.begin()(messages)))  # type: ignore[arg-type]

    def test_the_first_reading_is_retained_and_shared_and_not_published(self) -> None:
        heard, shown = self.listen(GCC), self.recalled(GCC)
        self.read(old := message(GCC))
        self.assertIs(self.successResultOf(shown), old)
        self.assertEqual((heard, self.hub.messages), ([], 0))
        self.assertIs(self.slides.kept[GCC], old)

    def test_later_ones_are_what_subscribers_have_missed(self) -> None:
        heard = self.listen(GCC)
        self.read()
        self.read(message(GCC, "TEXT missed"))
        self.assertEqual(heard, [b"TEXT missed"])

    def test_a_first_reading_that_ended_with_the_connection_is_continued(self) -> None:
        heard, shown = self.listen(GCC), self.recalled(GCC)
        self.bus.connected = False
        self.read(message(GCC, "TEXT a", id="a"))
        self.assertNoResult(shown)
        self.bus.connected = True
        self.read(last := message(GCC, "TEXT b", id="b"))
        self.assertIs(self.successResultOf(shown), last)
        self.assertEqual(heard, [])

    def test_a_bus_that_cannot_read_keeps_nobody_waiting(self) -> None:
        shown = self.recalled(GCC)
        self.bus.reconnected()
        self.assertIsNone(self.successResultOf(shown))

    def test_a_country_whose_code_is_unknown_is_waited_for(self) -> None:
        heard, shown = self.listen(GCC), self.recalled(GCC)
        self.directory.hold()
        self.read(old := message(CC))
        self.assertNoResult(shown)
        self.bus.receive(message(OTHER))
        self.assertEqual(self.hub.messages, 1)
        self.directory.release()
        self.assertIs(self.successResultOf(shown), old)
        self.assertEqual(heard, [])

    def test_guests_hear_their_own(self) -> None:
        heard = self.listen("/guest/a")
        self.read(message("/guest/a", "1"))
        self.assertEqual(heard, [b"guest: 1"])


class TestTheJournal(RestoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.watchdog = SlowLog()
        resolver, guests = TopicResolver(self.directory, lambda: None), [FakeGuest(self.hub)]
        reading = JournalReading(
            self.clock,
            RetainedSettings(),
            self.hub,
            resolver,
            guests,  # type: ignore[arg-type]
            self.watchdog,  # type: ignore[arg-type]
            self.restore,
        )
        reading.start(self.report)

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
