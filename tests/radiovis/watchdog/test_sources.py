"""Where entries of the log come from, and what is counted on the way; the queue is a real broker's."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.bus.interface import BusError
from fanout.bus.queues import Delivered, QueueNames
from fanout.hub.message import Message
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.log import LogError
from radiovis.watchdog.sources import REMOTE_PREFETCH, TAP_WAITING, Keys, LogTaker, QueueSource, TapSource
from tests import services
from tests.fanout.bus import queue_reader
from tests.fanout.bus.node import Node, device_publishes, until
from tests.radiovis.scripted_directory import ScriptedDirectory
from tests.radiovis.watchdog.fakes import FakeLog

ROCK = "/topic/fm/4e1/4000/09580/"
SERIAL = f"fanout-{'a' * 32}-1"
NOW = 1_795_294_643.7


class Entries(unittest.TestCase):
    def setUp(self) -> None:
        self.log = FakeLog()
        directory = ScriptedDirectory()
        directory.countries["ch"] = "4e1"
        self.taker = LogTaker(Keys(TopicResolver(directory, lambda: None)), self.log, lambda: NOW)

    def test_an_entry_has_all_that_was_heard(self) -> None:
        message = Message("/topic/fm/ch/4000/09580/text", b"TEXT \xff", "the id", 1234, (("link", "http://l"),))
        self.successResultOf(self.taker.take(Delivered(message, "serial-1")))
        entry = self.log.entries[0]
        self.assertEqual((entry.topic, entry.body), (ROCK + "text", b"TEXT \xff"))
        self.assertEqual(entry.headers, (("message-id", "the id"), ("when", "1234"), ("link", "http://l")))
        self.assertEqual((entry.timestamp, entry.serial), (1_795_294_643, "serial-1"))

    def test_a_full_log_refuses(self) -> None:
        self.log.full = True
        refused = self.taker.take(Delivered(Message(ROCK + "text", b"", "id", 1), ""))
        self.failureResultOf(refused, LogError)

    def timestamp(self, when: int, serial: str) -> int:
        self.successResultOf(self.taker.take(Delivered(Message(ROCK + "text", b"", "id", when), serial)))
        return self.log.entries[-1].timestamp

    def test_an_entry_that_waited_in_the_queue_has_the_time_at_which_our_node_published_it(self) -> None:
        self.assertEqual(self.timestamp(1_795_000_000, SERIAL), 1_795_000_000)

    def test_no_entry_is_from_the_future_and_a_devices_clock_is_not_believed(self) -> None:
        self.assertEqual(self.timestamp(2_000_000_000, SERIAL), int(NOW))
        self.assertEqual(self.timestamp(1_795_000_000, "a device's own"), int(NOW))


class Queue(unittest.TestCase):
    timeout = 120

    async def setUp(self) -> None:
        self.address = await deferToThread(services.rabbitmq)
        self.exchange, self.name = f"fanout-{uuid4().hex}", f"queue-{uuid4().hex}"
        self.taken: list[bytes] = []
        self.down = False
        self.hanging: Deferred[None] | None = None
        self.node = Node(self.address, self.exchange)
        self.addCleanup(self.node.bus.stop)
        self.node.start()
        await self.node.connected()

    def take(self, delivered: Delivered) -> Deferred[None]:
        if self.down:
            return fail(LogError("PlugIt is down"))
        if self.hanging is not None:
            return self.hanging
        self.taken.append(delivered.message.body)
        return succeed(None)

    def source(self, *, remote: bool = True) -> QueueSource:
        names = QueueNames(self.name, self.exchange)
        source = QueueSource(reactor, self.node.bus, names, self.take, remote=remote)
        self.addCleanup(lambda: Deferred.fromCoroutine(source.stop()))
        return source

    async def publish(self, *numbers: int) -> None:
        for number in numbers:
            await self.node.bus.publish(Message(ROCK + "text", b"%d" % number, "id", 1))

    def dropped(self, enough: Callable[[list[queue_reader.Taken]], bool]) -> Deferred[list[queue_reader.Taken]]:
        """Take messages out of the queue, as another watchdog does."""
        return deferToThread(queue_reader.take_until, self.address, self.name, enough)

    def purge(self) -> int:
        """Drop what waits in the queue, as a policy of the broker does. :return: how many messages it was."""
        with queue_reader.channel(self.address) as broker:
            return int(broker.queue_purge(self.name).method.message_count)

    async def test_what_waits_is_counted_in_the_queue_and_in_hand_and_nothing_once_it_is_logged(self) -> None:
        self.down, source = True, self.source()
        await source.ensure()
        await self.publish(*range(50))
        await until(lambda: source._queue.waiting == REMOTE_PREFETCH, "the prefetch to be exhausted")
        await source.ensure()
        self.assertEqual((source.waiting, source.trouble), (50, ""))
        self.down = False
        await until(lambda: len(self.taken) == 50, "all to be logged")
        self.assertEqual(self.taken, [b"%d" % number for number in range(50)])
        await source.ensure()
        self.assertEqual((source.waiting, source.lost), (0, 0))

    async def test_a_log_of_this_machine_that_refuses_is_trouble(self) -> None:
        self.down, source = True, self.source(remote=False)
        await source.ensure()
        await self.publish(1)
        await until(lambda: source.trouble, "the trouble")
        self.assertEqual(source.trouble, "PlugIt is down")

    async def test_what_the_broker_dropped_is_counted(self) -> None:
        self.down, source = True, self.source()
        await source.ensure()
        await self.publish(*range(REMOTE_PREFETCH + 30))
        await until(lambda: source._queue.waiting == REMOTE_PREFETCH, "the prefetch to be exhausted")
        self.assertEqual(await deferToThread(self.purge), 30)
        self.down = False
        await self.publish(100)
        await until(lambda: self.taken[-1:] == [b"100"], "the last one")
        self.assertEqual((len(self.taken), source.lost), (REMOTE_PREFETCH + 1, 30))

    async def test_what_another_watchdog_took_meanwhile_was_not_lost(self) -> None:
        source = self.source()
        await source.ensure()
        await self.publish(1)
        await until(lambda: self.taken, "the first one")
        self.node.bus.connection.abort(ConnectionAbortedError("cut"))
        await self.node.connected(2)
        await self.publish(2, 3)
        # Until the third one: the bus may have sent the first one again.
        await self.dropped(lambda came: came[-1][1] == b"3")
        await source.ensure()
        await self.publish(4)
        await until(lambda: self.taken[-1] == b"4", "the last one")
        self.assertEqual(source.lost, 0)

    async def test_devices_do_not_number_their_messages(self) -> None:
        source = self.source()
        await source.ensure()
        await device_publishes(self.address, self.exchange, *[({"topic": ROCK + "text"}, b"x")] * 3, correlation_id="5")
        await until(lambda: len(self.taken) == 3, "all")
        self.assertEqual(source.lost, 0)

    async def test_what_was_refused_is_forgotten_when_the_lead_is_lost(self) -> None:
        self.down, source = True, self.source()
        await source.ensure()
        await self.publish(1)
        await until(lambda: source._queue.trouble, "the refusal")
        source.forget()
        self.assertEqual(source._queue.waiting, 0)

    async def test_what_came_by_a_lost_connection_is_neither_sent_nor_acknowledged(self) -> None:
        """Another watchdog may have it."""
        self.hanging, source = Deferred(), self.source()
        await source.ensure()
        await self.publish(1)
        await until(lambda: source._in_hand, "it in hand")
        self.down = True
        self.node.bus.connection.abort(ConnectionAbortedError("cut"))
        await self.node.connected(2)
        source.forget()
        self.failureResultOf(source._took(Delivered(Message(ROCK, b"1", "id", 1), "")), BusError)
        self.assertEqual((self.taken, len(source._in_hand)), ([], 0))
        self.down, self.hanging = False, None
        await source.ensure()
        await until(lambda: self.taken, "it again")

    async def test_a_copy_of_what_was_confirmed_before_is_for_a_journal_to_recognise(self) -> None:
        message = Message(ROCK + "text", b"copy", "id", 1)
        for remote, taken in ((True, []), (False, [b"copy"])):
            source = self.source(remote=remote)
            source._connection = self.node.bus.connection
            self.successResultOf(source._took(Delivered(message, SERIAL, again=True)))
            self.assertEqual(self.taken, taken)

    async def test_a_device_may_call_its_messages_what_it_likes(self) -> None:
        source = self.source()
        await source.ensure()
        await device_publishes(self.address, self.exchange, ({"topic": ROCK + "text"}, b"1"), type="again")
        await until(lambda: self.taken, "the message")


class Tap(unittest.TestCase):
    def test_what_finds_no_room_is_lost_counted_and_logged(self) -> None:
        source = TapSource(Clock(), lambda _: Deferred())
        with capture_logs() as logs:
            for _ in range(TAP_WAITING + 3):
                source.hear(Message(ROCK + "text", b"", "id", 1))
        most = TAP_WAITING // 2  # One station may take half.
        self.assertEqual((source.waiting, source.lost), (most, TAP_WAITING + 3 - most))
        self.assertIn("log.lost", [line["event"] for line in logs])
