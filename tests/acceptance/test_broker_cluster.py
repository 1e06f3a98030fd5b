"""Three nodes of the real RabbitMQ, of which one is killed, paused or cut off from the others under load.

Two front-ends and two ``fallback.py`` name all three nodes in ``RABBITMQ_HOST``. A station publishes at each front-end
all the time, and a topic is silent, so that the leading watchdog sends its default every two seconds. After each fault:

- one watchdog leads, and sends the default again, within :data:`RECOVERY_SECONDS`;
- what the stations got a receipt for is in the log; both front-ends have shown the newest of each topic, nothing twice,
  and all in order;
- a front-end that has not shown all of it has said so (:data:`NOT_ALL`), as docs/deploy.md tells: the broker's stream
  did not answer in time, and clients do not wait for it;
- no default was sent twice.

``FB_QUEUE`` is a quorum queue here, declared before the first watchdog starts: an ordinary queue is on one node of the
broker, and takes nothing while that node is away (docs/deploy.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import ClassVar

from radiovis.watchdog.status import ask
from tests import services
from tests.acceptance.broadcaster import Broadcaster
from tests.acceptance.plugit_process import PlugItProcess
from tests.acceptance.watched import Service, channel, seconds, sent_at, until
from tests.fanout.bus import queue_reader
from tests.processes import Address, Server
from tests.radio import Frame, Radio
from tests.radiovis.watchdog.daemon import Daemon
from tests.services import BrokerCluster, RabbitMQ

SILENT, ALIVE = 1, 2
KINDS = ("text", "image")
RECOVERY_SECONDS = 120.0
"""From a fault until the next receipt and default; the table says how long it really took. A claim without an answer is
given up after 10 s, a silent broker node after about 8 s (:data:`tests.services.TICK_SECONDS`), and the next host is
tried after a second. With four files at a time on two cores, 45 s have been too few."""
PAUSE_SECONDS = 0.1
"""Between two messages of a station. The log takes about 100 entries a second on a machine that is not busy."""
MORE = 20
"""Messages that each station publishes after each recovery."""
NOT_ALL = ("bus.gap", "stream.not_read", "stream.silent")
"""Events of a front-end whose clients may have missed what was published while it changed its broker node."""
HEAD = f"  {'fault':<40} accepted  lost  not shown  leads again  default  receipts   (seconds)"
ROW = "  {:<40} {:>8}  {:>4}  {:>9}  {:>11}  {:>7.1f}  {:>8.1f}"


def number(body: bytes) -> int:
    """Of a station's message."""
    return int(body.split()[-1])


def last_number(bodies: Iterable[bytes], kind: str) -> int:
    """The highest on the topic of this kind; -1 if there is none."""
    return max((number(body) for body in list(bodies) if kind.encode() in body), default=-1)


class Spectator:
    """Hears text and image of both channels at one front-end, all the time.

    :ivar bodies: of the stations' messages, oldest first.
    :ivar defaults: when each default was sent that it heard, text and image.
    """

    def __init__(self, address: Address) -> None:
        self.bodies: list[bytes] = []
        self.defaults: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self._radio = Radio.connect(address)
        for each in (SILENT, ALIVE):
            for kind in KINDS:
                self._radio.subscribe(channel(each) + kind, fast_reply=False)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Hear no more."""
        self._stopping.set()
        self._thread.join()
        self._radio.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._hear(self._radio.frame(0.2))
            except TimeoutError:
                continue

    def _hear(self, message: Frame) -> None:
        destination = message.get("destination") or ""
        if destination.startswith(channel(ALIVE)):
            self.bodies.append(message.body)
        else:
            self.defaults[destination.rpartition("/")[2]].append(sent_at(message))


class Arrivals:
    """Where the stations' messages have arrived: at each front-end, and in the log."""

    def __init__(self, plugit: PlugItProcess, spectators: list[Spectator]) -> None:
        self.log: list[bytes] = []
        self._plugit = plugit
        self._spectators = spectators

    def missing(self, accepted: set[bytes]) -> set[bytes]:
        """What is not in the log. It waits until all is, or nothing has arrived there for :data:`RECOVERY_SECONDS`."""
        missing, arrived = accepted, -1
        deadline = time.monotonic() + RECOVERY_SECONDS
        while missing and time.monotonic() < deadline:
            self.log.extend(entry["message"].encode() for entry in self._plugit.logs(len(self.log)))
            missing = accepted.difference(self.log)
            if len(self.log) > arrived:
                arrived, deadline = len(self.log), time.monotonic() + RECOVERY_SECONDS
            time.sleep(0.1)
        return missing

    def not_shown(self, accepted: set[bytes]) -> list[set[bytes]]:
        """What each front-end has not shown of these."""
        return [accepted.difference(each.bodies) for each in self._spectators]

    def followed(self, accepted: set[bytes]) -> bool:
        """Whether each front-end has shown the newest of these on each topic, or a later message."""
        return all(
            last_number(each.bodies, kind) >= last_number(accepted, kind) for each in self._spectators for kind in KINDS
        )


class TestBrokerCluster(Service):
    names: ClassVar[tuple[str, ...]] = ("silent", "alive")
    cluster: ClassVar[BrokerCluster]
    watchdogs: ClassVar[list[Daemon]]
    front_ends: ClassVar[list[Server]]
    spectators: ClassVar[list[Spectator]]
    on_air: ClassVar[list[Broadcaster]]
    arrivals: ClassVar[Arrivals]
    table: ClassVar[list[str]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.front_ends = [cls.make_node(RABBITMQ_HOST=cls.cluster.hosts(first)) for first in (0, 1)]
        cls.make_queue()
        cls.watchdogs = [cls.make_fallback(RABBITMQ_HOST=cls.cluster.hosts(first)) for first in (0, 1)]
        for each in cls.watchdogs:
            each.launch()
        for each in cls.watchdogs:
            each.wait_for("fallback.ready")
        cls.spectators = [Spectator(each.address) for each in cls.front_ends]
        for spectator in cls.spectators:
            cls.addClassCleanup(spectator.stop)
        cls.arrivals, cls.table = Arrivals(cls.plugit, cls.spectators), []
        cls.on_air = [
            cls.make_broadcaster(front_end, channel(ALIVE) + kind, name=kind, pause=PAUSE_SECONDS)
            for front_end, kind in zip(cls.front_ends, KINDS, strict=True)
        ]
        for each in cls.on_air:
            each.start()
        cls.publish_more()

    @classmethod
    def tearDownClass(cls) -> None:
        print("\n".join(("", HEAD, *cls.table)))
        super().tearDownClass()

    @classmethod
    def make_broker(cls) -> services.AmqpAddress:
        cls.cluster = BrokerCluster().__enter__()
        cls.addClassCleanup(cls.cluster.close)
        return cls.cluster.nodes[0].address

    @classmethod
    def make_queue(cls) -> None:
        with queue_reader.channel(cls.broker) as broker:
            broker.queue_declare(cls.queue, durable=True, arguments={"x-queue-type": "quorum"})
            broker.queue_bind(cls.queue, cls.exchange)

    @classmethod
    def publish_more(cls) -> None:
        for each in cls.on_air:
            each.wait_for(MORE)

    # Where things are

    def leader(self) -> Daemon:
        """The watchdog that leads; exactly one does, by their own word."""
        until(lambda: len(self.leading()) == 1, "led by one watchdog", RECOVERY_SECONDS)
        return self.leading()[0]

    def leading(self) -> list[Daemon]:
        reports = [(each, ask(str(each.folder / "fallback.socket"))) for each in self.watchdogs]
        return [each for each, report in reports if report and report["leading"]]

    def leaders_node(self) -> RabbitMQ:
        """The broker node to which the leader is connected."""
        host = self.leader().events("broker.host")[-1]["host"]
        return next(each for each in self.cluster.nodes if host == f"{each.host}:{each.port}")

    def elections_node(self) -> RabbitMQ:
        """The broker node with the leader of the replicas of the queue of the election."""
        queue = f"{self.queue}.leader.elected"
        question = f'ra_leaderboard:lookup_leader(binary_to_atom(<<"%2F_{queue}">>)).'
        answer = self.cluster.nodes[0].erlang(question)
        return next(each for each in self.cluster.nodes if each.node_name in answer)

    # One fault

    def strike(self, fault: str, strike: Callable[[], float], recover: Callable[[], None]) -> None:
        """Let it happen, wait until all is well although the fault lasts, end it, and check what was promised.

        :param strike: the moment in Unix time.
        """
        before = [len(each.confirmed) for each in self.on_air]
        moment = strike()
        try:
            sent = [len(each.sent) for each in self.on_air]
            self.until(lambda: self.have_receipts(sent), "followed by receipts", moment)
            receipt = time.time() - moment
            self.until(lambda: bool(self.defaults_after(moment)), "followed by a default", moment)
            default = min(self.defaults_after(moment)) - moment
            lead = self.led_after(moment)
        finally:
            recover()
        self.cluster.wait_until_whole()
        self.publish_more()
        self.leader()
        accepted = {body for each, first in zip(self.on_air, before, strict=True) for body in each.confirmed[first:]}
        lost = self.arrivals.missing(accepted)
        self.until(lambda: self.arrivals.followed(accepted), "followed by the newest", moment)
        not_shown = self.arrivals.not_shown(accepted)
        counts = len(accepted), len(lost), sum(map(len, not_shown))
        self.table.append(ROW.format(fault, *counts, lead, default, receipt))
        self.assertEqual(sorted(lost), [], self.table[-1])
        for front_end, bodies in zip(self.front_ends, not_shown, strict=True):
            said = [event for event in list(front_end.log) if event["event"] in NOT_ALL and seconds(event) > moment - 1]
            self.assertTrue(said or not bodies, f"{sorted(bodies)}\n{self.table[-1]}\n{self.events_after(moment)}")
        self.assert_nothing_twice()

    def until(self, condition: Callable[[], bool], what: str, moment: float) -> None:
        """Wait for it; a failure tells what the front-ends have logged."""
        try:
            until(condition, what, RECOVERY_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.events_after(moment)}") from None

    def have_receipts(self, sent: list[int]) -> bool:
        """Whether each station has one for something that it sent after these numbers of messages."""
        return all(number(each.confirmed[-1]) >= first for each, first in zip(self.on_air, sent, strict=True))

    def defaults_after(self, moment: float) -> list[float]:
        """When each default was sent since then that has reached a radio."""
        return [sent for each in self.spectators for sent in each.defaults["text"] if sent > moment]

    def led_after(self, moment: float) -> str:
        """Seconds until a watchdog knew that it leads; or that the leader has kept the lead."""
        led = [seconds(event) - moment for each in self.watchdogs for event in each.events("leader.leading")]
        return f"{max(led):.1f}" if max(led) > 0 else "kept"

    def events_after(self, moment: float) -> str:
        """What stations know, and processes have logged about the broker and the lead, for the report of a failure."""
        processes = {f"front-end {number}": each for number, each in enumerate(self.front_ends)}
        processes |= {f"watchdog {number}": each for number, each in enumerate(self.watchdogs)}
        lines = [
            f"station {number}: {len(each.sent)} sent, the last receipt is for {each.confirmed[-1]!r}"
            for number, each in enumerate(self.on_air)
        ]
        lines += [
            f"{name}, {seconds(event) - moment:.1f} s: {event}"
            for name, each in processes.items()
            for event in list(each.log)
            if event["event"].startswith(("bus.", "stream.", "broker.", "leader.")) and seconds(event) > moment - 1
        ]
        return "\n".join(lines)

    def assert_nothing_twice(self) -> None:
        """Neither a message of a station nor a default, and each topic in its order."""
        for each in self.spectators:
            for kind in KINDS:
                numbers = [number(body) for body in each.bodies if kind.encode() in body]
                self.assertEqual([pair for pair in pairwise(numbers) if pair[0] >= pair[1]], [])
                times = each.defaults[kind]
                self.assertEqual([pair for pair in pairwise(times) if pair[1] - pair[0] <= 1.9], [])

    # The faults

    def kill(self, node: RabbitMQ) -> float:
        node.kill()
        return time.time()

    def pause(self, node: RabbitMQ) -> float:
        node.pause()
        return time.time()

    def resume(self, node: RabbitMQ) -> None:
        """As RabbitMQ's guide to partitions demands: the others have given it up, and it does not join them again.

        ``pause_minority`` does not help: when it runs again, it reaches the others at once, with tables of its own.
        """
        node.resume()
        node.kill()
        node.start()

    def test_the_leaders_node_is_killed(self) -> None:
        node = self.leaders_node()
        self.strike("the leader's node was killed", lambda: self.kill(node), node.start)

    def test_the_node_of_the_election_is_killed(self) -> None:
        node = self.elections_node()
        self.strike("the node of the election was killed", lambda: self.kill(node), node.start)

    def test_the_leaders_node_is_paused(self) -> None:
        node = self.leaders_node()
        self.strike("the leader's node was paused", lambda: self.pause(node), lambda: self.resume(node))

    def test_the_leaders_node_is_cut_off(self) -> None:
        self.cut_off("the leader's node was cut off", self.leaders_node())

    def test_the_node_of_the_election_is_cut_off(self) -> None:
        self.cut_off("the node of the election was cut off", self.elections_node())

    def cut_off(self, fault: str, node: RabbitMQ) -> None:
        self.strike(fault, lambda: self.cluster.partition(node), lambda: self.cluster.heal(node))
