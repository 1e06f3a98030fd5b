"""What was published, confirmed, heard and stored, and the invariants that must hold (:class:`Account`).

Some are checked at the moment when they could break, the others at the end of a schedule, when everything is healed:

- *receipt*: a publisher is told only what the broker has confirmed.
- *acknowledged*: what the watchdog acknowledges is in its log.
- *one leader*: while one watchdog's default reaches the broker, no other one leads.
- *leader in time*: while a watchdog is connected, somebody leads, or an alarm says so, after a bounded time.
- *once and in order*: no node gets a message twice, or an older one after a newer one of the same topic; nor does the
  log. *radio order*: nor does a radio. The log has no order for messages of which it got a further copy only: its queue
  did not exist when the first one was routed, and was declared again before its publisher sent the copy.
- *nothing lost*: a node that was never disconnected got every message that was published after it had caught up, and
  confirmed; every node retains the newest confirmed one of each topic that anything still has, also when all nodes and
  memcached have been restarted; the log has all.
- *memcached*: no node overwrites the newest message there with an older one, for longer than a moment.
- *everything recovers*: all are connected again, one leads, and what is published then reaches every node once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fanout.hub.message import Message
from radiovis.watchdog.default_messages import is_default
from tests.simulation.processes import EXCHANGE, QUEUE, SETTINGS, WATCHED, FrontEnd, Machine, Parts, WatchdogMachine
from tests.simulation.queues import Item, Queue, Stored
from tests.simulation.session import Session

LEADERLESS_SECONDS = 2 * SETTINGS.FB_FALLBACK_CHECK + 10.0
"""Two check periods, and the time in which the broker and the watchdogs notice that the old leader is gone."""
WRITTEN_SECONDS = 1.0
"""A node that heard a message has written it to memcached after so long."""
SAMPLE_SECONDS = 0.5
FAULT = "fault "
"""What the names of faults have before them among the counts."""


class Violation(Exception):
    """An invariant does not hold. :ivar name: of the invariant."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


@dataclass(eq=False, slots=True)
class Published:
    """One publish of a station. :ivar number: rises with each publish on a topic."""

    topic: str
    number: int
    front: FrontEnd
    at: float
    state: str = "waiting"


class Account:
    """Keeps the books of one schedule."""

    def __init__(self, parts: Parts, fronts: list[FrontEnd], watchdogs: list[WatchdogMachine]) -> None:
        """:param fronts: the present ones; the list changes with restarts."""
        self.parts, self.world = parts, parts.world
        self.fronts, self.watchdogs = fronts, watchdogs
        self.former: list[FrontEnd] = []
        self.published: list[Published] = []
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self._confirmed: set[bytes] = set()
        self._first_copies: dict[bytes, Stored] = {}
        self._log_got_first: set[bytes] = set()
        self._log_got_copy: set[bytes] = set()
        self._logged = 0
        self._in_log: set[str] = set()
        self._in_stream: set[bytes] = set()
        self._overwritten: set[str] = set()
        self._newest_kept: dict[str, int] = {}
        self._older_since: dict[str, float] = {}
        self._leaderless_since: float | None = None
        self._leader: WatchdogMachine | None = None
        parts.cluster.stored = self._on_stored
        parts.cluster.confirmed = self._on_confirmed
        parts.cluster.acknowledged = self._on_acknowledged
        parts.memory.written = self._on_written
        parts.memory.forgot = self._on_forgot

    def broken(self, name: str, text: str) -> None:
        self.world.say("BROKEN  %s: %s", name, text)
        self.violations.append(Violation(name, text))

    # While it runs

    def publish(self, front: FrontEnd, topic: str) -> None:
        """A station publishes the next message of a topic."""
        number = 1 + sum(each.topic == topic for each in self.published)
        published = Published(topic, number, front, self.world.now)
        self.published.append(published)
        self.counts["published"] += 1
        message = Message(topic, _body(topic, number), f"{topic}#{number}", int(self.world.wall()))
        self.world.say("%s publishes %s", front.name, message.message_id)
        front.process.call(self._send, published, message)

    def _send(self, published: Published, message: Message) -> None:
        done = published.front.bus.publish(message)
        done.addCallbacks(self._receipt, self._failed, callbackArgs=(published,), errbackArgs=(published,))
        done.addErrback(self.parts.report)

    def _receipt(self, _: object, published: Published) -> None:
        published.state = "confirmed"
        self.counts["confirmed"] += 1
        if _body(published.topic, published.number) not in self._confirmed:
            self.broken("receipt", f"{published.topic}#{published.number} before the broker's confirm")

    def _failed(self, failure: object, published: Published) -> None:
        published.state = "failed"
        self.counts["failed"] += 1

    def _on_confirmed(self, message: Stored) -> None:
        self._confirmed.add(message.body)

    def _on_stored(self, message: Stored, session: Session) -> None:
        self._first_copies.setdefault(message.body, message)
        process = session.connection.other.process
        actor = next((each for each in self.watchdogs if each.process is process), None)
        if actor is None or message.exchange != EXCHANGE:
            return
        self.counts["defaults"] += 1
        self.world.say("%s sends a default %r", actor.name, message.body)
        others = [each.name for each in self.watchdogs if each is not actor and each.leading]
        if others:
            self.broken("one leader", f"{actor.name} acts, and {', '.join(others)} leads")

    def _on_acknowledged(self, queue: Queue, item: Item) -> None:
        if queue.name != QUEUE:
            return
        is_first = self._first_copies.get(item.message.body) is item.message
        (self._log_got_first if is_first else self._log_got_copy).add(item.message.body)
        entries = self.parts.disk.entries
        self._in_log.update(entry.serial for entry in entries[self._logged :])
        self._logged = len(entries)
        if item.message.properties().correlation_id not in self._in_log:
            self.broken("acknowledged", f"{item.message.body!r} is acknowledged and not in the log")

    def _on_written(self, value: bytes, before: bytes | None) -> None:
        """All nodes write all messages, so an older one may stand there for a moment."""
        topic, number = _parse(_kept_body(value))
        if number is None or (topic, number) in self._strays:
            return
        newest = self._newest_kept.get(topic, 0)
        if number >= newest:
            self._newest_kept[topic] = number
            self._judge_overwriting(topic)
        else:
            self._older_since.setdefault(topic, self.world.now)

    def _on_forgot(self) -> None:
        """It is filled again with what is older."""
        self._newest_kept.clear()
        self._older_since.clear()

    def _judge_overwriting(self, topic: str) -> None:
        since = self._older_since.pop(topic, self.world.now)
        if self.world.now - since > WRITTEN_SECONDS:
            self._overwritten.add(topic)
            self.broken("memcached", f"from {since:.1f} s to {self.world.now:.1f} s it had an older message of {topic}")

    def sample(self) -> None:
        """Look at what lasts: called again and again."""
        for front in self.fronts:
            if front.caught_up_since is None and front.bus.state().caught_up:
                front.caught_up_since = self.world.now
        self._sample_leader()
        self.world.later(SAMPLE_SECONDS, self.sample)

    def _sample_leader(self) -> None:
        leaders = [each for each in self.watchdogs if each.leading]
        if leaders and leaders[0] is not self._leader:
            self._leader = leaders[0]
            self.counts["leaders"] += 1
            self.world.say("%s leads", self._leader.name)
        if leaders or not any(self._could_lead(each) for each in self.watchdogs):
            self._leaderless_since = None
        elif self._leaderless_since is None:
            self._leaderless_since = self.world.now
        elif self.world.now - self._leaderless_since > LEADERLESS_SECONDS:
            if not any(each.running and each.alarm for each in self.watchdogs):
                self.broken("leader in time", f"nobody leads since {self._leaderless_since:.1f} s")
            self._leaderless_since = None

    def _could_lead(self, watchdog: WatchdogMachine) -> bool:
        up = watchdog.running and watchdog.bus.state().connected and len(watchdog.broker_nodes) >= 2
        return up and all(node.up and not node.process.paused for node in watchdog.broker_nodes)

    # At the end

    def check_order(self) -> None:
        """Of what came, and of what was shown and stored."""
        for front in [*self.fronts, *self.former]:
            self._check_rising(front.name, [message.body for _, message in front.heard])
            for radio in front.radios.values():
                shown = [message.body for message in radio.shown]
                self._check_rising(f"a radio of {front.name}", shown, "radio order")
        without_order = self._log_got_copy - self._log_got_first
        logged = [entry.body for entry in self.parts.disk.entries]
        self._check_rising("the log", [body for body in logged if body not in without_order])

    def _check_rising(self, name: str, bodies: Iterable[bytes], invariant: str = "once and in order") -> None:
        last: dict[str, int] = {}
        strays = self._strays
        for body in bodies:
            topic, number = _parse(body)
            if number is None or (topic, number) in strays:
                continue
            if number <= last.get(topic, 0):
                kind = "twice" if number == last[topic] else f"after number {last[topic]}"
                self.broken(invariant, f"{name} got {topic}#{number} {kind}")
            last[topic] = number

    @property
    def _strays(self) -> set[tuple[str, int]]:
        """Published by a node that died before it had the confirm: they may still come, at any time."""
        return {
            (each.topic, each.number) for each in self.published if each.state == "waiting" and each.front.process.dead
        }

    def check_nothing_lost(self, topics: Iterable[str]) -> None:
        """What was confirmed."""
        confirmed = [each for each in self.published if each.state == "confirmed"]
        streams = [each for each in self.parts.cluster.queues.values() if each.is_stream]
        self._in_stream = {item.message.body for stream in streams for item in stream.items}
        for topic in list(self._older_since):
            self._judge_overwriting(topic)
        for front in self.fronts:
            if front.connected_throughout and front.caught_up_since is not None:
                self._check_throughout(front, front.caught_up_since, confirmed)
            for topic in set(topics) - self._overwritten:
                self._check_retained(front, topic, confirmed)
        self._check_log(confirmed)

    def _check_throughout(self, front: FrontEnd, since: float, confirmed: list[Published]) -> None:
        heard = {message.body for _, message in front.heard}
        for each in confirmed:
            if each.at > since and _body(each.topic, each.number) not in heard:
                self.broken("nothing lost", f"{front.name}, never disconnected, did not get {each.topic}#{each.number}")

    def _check_retained(self, front: FrontEnd, topic: str, confirmed: list[Published]) -> None:
        newest = max((each.number for each in confirmed if each.topic == topic and self._safe(each)), default=0)
        last = front.hub.last(topic)
        number = (_parse(last.body)[1] or 0) if last is not None else 0
        if number < newest:
            self.broken("nothing lost", f"{front.name} retains #{number} of {topic}, and #{newest} was confirmed")

    def _safe(self, published: Published) -> bool:
        """Whether anything still has it: the stream, its node, or memcached, to which nodes that heard it wrote it."""
        body = _body(published.topic, published.number)
        if body in self._in_stream or not published.front.process.dead:
            return True
        since = self.parts.memory.forgot_at
        for front in [*self.fronts, *self.former]:
            end = front.ended if front.process.dead else self.world.now
            if any(message.body == body and end - at > WRITTEN_SECONDS and at > since for at, message in front.heard):
                return True
        return False

    def _check_log(self, confirmed: list[Published]) -> None:
        queue = self.parts.cluster.queues.get(QUEUE)
        if queue is not None and queue.items and self.watchdogs:
            self.broken("nothing lost", f"{len(queue.items)} messages are still in the log's queue")

    def check_recovered(self, machines: Iterable[Machine]) -> None:
        """Everything is healed since long."""
        for machine in machines:
            if not machine.bus.state().connected:
                self.broken("everything recovers", f"{machine.name}: {machine.bus.state().reason}")
            elif not machine.bus.state().caught_up:
                self.broken("everything recovers", f"{machine.name} has not caught up")
        leaders = [each.name for each in self.watchdogs if each.leading]
        if self.watchdogs and len(leaders) != 1:
            self.broken("everything recovers", f"{len(leaders)} watchdogs lead: {leaders}")
        for front in self.fronts:
            if self.watchdogs and not self.retains_default(front):
                last = front.hub.last(f"{WATCHED}text")
                self.broken("everything recovers", f"{front.name} retains no default on a silent topic: {last}")

    def retains_default(self, front: FrontEnd) -> bool:
        """Whether it has what a watchdog sends for a silent topic."""
        last = front.hub.last(f"{WATCHED}text")
        return last is not None and is_default(last)

    def check_probes(self, topics: Iterable[str]) -> None:
        """What was published after the recovery."""
        for topic in topics:
            probe = next(each for each in self.published if each.topic == topic)
            if probe.state != "confirmed":
                self.broken("everything recovers", f"a publish by {probe.front.name} is {probe.state}")
            for front in self.fronts:
                if sum(message.topic == topic for _, message in front.heard) != 1:
                    self.broken("everything recovers", f"{front.name} did not hear {topic} once")

    def check_errors(self) -> None:
        for error in self.parts.errors:
            self.broken("no errors inside", error)


def _body(topic: str, number: int) -> bytes:
    return f"TEXT {topic}#{number}".encode()


def _parse(body: bytes) -> tuple[str, int | None]:
    """Topic and number; None for a default."""
    topic, _, number = body.decode().removeprefix("TEXT ").partition("#")
    return topic, int(number) if number else None


def _kept_body(value: bytes) -> bytes:
    """Of a last message as it lies in memcached."""
    return str(json.loads(value)[2]).encode("latin-1")
