"""Leader election: of all processes with one task in a cluster, one leads and the others stand by.

**The election.** Every process consumes one queue on the broker: a quorum queue with ``x-single-active-consumer``. The
broker delivers to one of its consumers, the active one, and to another when that one's connection has ended. So the
broker elects, and a majority of its nodes agrees on it. The broker tells nobody which consumer is active. A process
asks: it publishes a *question* to the queue, a message that only it knows. If the question comes back, this process
leads; if the broker has confirmed it and it does not come, another process got it, and ignores it. Nothing is stored in
the queue: questions are acknowledged by their delivery.

A question is a round trip through the queue's log, which takes a majority of the broker's nodes. This finds out for
certain what a flag cannot know: a process that was stopped for a while, or is on the smaller side of a partition, gets
no question back. A token that the leader holds unacknowledged would tell a standby earlier, but not ask again: returned
and delivered again it counts as a failed delivery, and RabbitMQ 4 drops it after 20 of them; held it ends the channel
after 30 minutes.

- **A process that lost the lead cannot publish.** Its consumer belongs to the connection over which the bus publishes.
  When a claim shows that the lead is lost while that connection is open, the connection is closed, with everything on
  it. So the lead always ends with a connection, and publishes that were not sent yet end with it.
- **The lead is free as soon as the broker knows of the holder's end**: at once when its socket closes, after two to
  three heart-beats when the holder is frozen or the network is gone.

**Why not the obvious other ways?** *An exclusive queue*, which earlier versions used: in a cluster of RabbitMQ 4.2 and
later (Khepri), the exclusive queue of a broker node that died exists until that node is back. Every process would stand
by, and say that another one leads. *A lock in memcached* expires by time: a leader that was stopped for a while (a
virtual machine that moves, a swapping host) would go on acting beside its successor.

**Heart-beats.** After a claim, a leader publishes a heart-beat to a fan-out exchange of its own, not to the exchange of
the nodes: those of earlier versions would log it. Each process receives them over a queue of its own, and
:attr:`~BrokerLeader.leaderless` is the time since it last knew of a leader.

**Beside an earlier version**, during an upgrade, exactly one leads. The process that is elected takes the exclusive
queue as well, so that earlier versions stand by. If another connection has it, that is a leader of an earlier version
if the leader's work queue (:attr:`LeaderNames.work`) has a consumer: then the elected process stands by. Otherwise,
after :data:`REMNANT_SECONDS`, it is what a dead broker node left behind, and the elected process leads. A leader of an
earlier version that holds the lock and cannot consume its work queue for so long is not noticed.

States of a :class:`BrokerLeader`:

- *not leading*: before the first :meth:`~BrokerLeader.claim`, while another process leads, and from the moment the
  connection is lost, without any event: :attr:`~BrokerLeader.leading` compares the connection of the last claim with
  the bus's current one.
- *leading*: the last claim succeeded, and its connection is still the bus's.

:meth:`~BrokerLeader.claim` is called before each thing that must not happen twice, and periodically. It always asks the
broker. Claims may overlap: each has its own question. A claim that the broker does not answer within
:data:`CLAIM_SECONDS` ends the connection: if the broker has several hosts, the next connection goes to another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import structlog
from pika.channel import Channel
from pika.spec import Basic, BasicProperties
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import deferLater

from fanout.bus.amqp_connection import NOT_FOUND, RESOURCE_LOCKED, AmqpChannel, Refusal
from fanout.bus.broker_settings import CONNECT_SECONDS
from fanout.bus.interface import BrokerBus, BrokerConnection, BrokerConnections, BusError
from fanout.bus.queues import ConfirmedChannel

log = structlog.get_logger(__name__)

CLAIM_SECONDS = CONNECT_SECONDS
"""Seconds within which the broker answers a claim, declarations included; it usually takes some milliseconds. Nothing
is done in the meantime, so that waiting is safe."""
ANSWER_SECONDS = 0.5
"""Seconds that a question may take after the broker has confirmed it. Both leave the broker at the same time; the way
of the one may be longer, by another node of the broker. For a process that does not lead, too short a time is a claim
in vain, and the next one follows."""
LEADERS_ANSWER_SECONDS = 3.0
"""The same for a process that leads: it would lose its connection for nothing. It does nothing in the meantime."""
REMNANT_SECONDS = 5.0
"""Seconds for which nobody consumes the work queue until a lock counts as left behind. A leader of an earlier version
consumes it some milliseconds after it has taken the lock."""
HEARTBEAT_SECONDS = 0.5
"""Least time in seconds between two heart-beats: many claims in a row need no more."""
HEARTBEATS = 100
"""Heart-beats that wait for a process; the newest is enough."""
HEARTBEATS_EXPIRE_SECONDS = 60
"""A queue of heart-beats without a consumer is dropped by the broker after so long; see ``QUEUE_EXPIRES_SECONDS`` of
:mod:`fanout.bus.connection_pair`."""
ELECTED = ".elected"
"""What the name of the queue of the election has behind that of the lock of earlier versions."""
QUORUM = {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-max-length": 1_000}
"""Properties of the queue. They are the same in all versions: RabbitMQ refuses to declare a queue again with others.
Its length matters only while the active consumer does not read, for some seconds."""


@dataclass(frozen=True, slots=True)
class LeaderNames:
    """What the processes that compete for one lead have in common.

    :ivar lock: the exclusive queue by which earlier versions choose their leader.
    :ivar work: the queue that a leader consumes.
    :ivar heartbeats: the fan-out exchange for the leaders' heart-beats; other locks may share it.
    """

    lock: str
    work: str
    heartbeats: str

    @property
    def election(self) -> str:
        """The queue of the election."""
        return self.lock + ELECTED


async def take_lock(connection: BrokerConnection, name: str) -> bool:
    """Take the lock of earlier versions, or make sure that this connection still has it. Returns whether it has.

    :param name: the lock's name; the broker lists it as a queue.
    :raises BusError: the broker refuses, or the connection is lost.
    """
    channel = await AmqpChannel.open(connection)
    try:
        await channel.ask("queue_declare", queue=name, exclusive=True)
    except Refusal as refusal:
        if refusal.code != RESOURCE_LOCKED:
            raise
        return False
    channel.close()
    return True


async def consumers_of(connection: BrokerConnection, queue: str) -> int:
    """How many consumers a queue has; 0 if it does not exist, or is on a broker node that is down.

    :raises BusError: the broker refuses, or the connection is lost.
    """
    channel = await AmqpChannel.open(connection)
    try:
        declared = await channel.ask("queue_declare", queue=queue, passive=True)
    except Refusal as refusal:
        if refusal.code != NOT_FOUND:
            raise
        return 0
    channel.close()
    return int(declared.method.consumer_count)


class Leader(Protocol):
    """Knows whether this process is the one that acts."""

    @property
    def leading(self) -> bool:
        """Whether it was the leader when last asked, and has not lost its connection since then."""

    @property
    def leaderless(self) -> float:
        """Seconds since this process last knew of a leader, itself or another one."""

    async def claim(self) -> bool:
        """Become the leader if there is none, and find out for certain whether this process is the leader.

        :raises BusError: it is unknown now.
        """


class Alone:
    """A :class:`Leader` for a process without others beside it."""

    leading = True
    leaderless = 0.0

    async def claim(self) -> bool:
        """Always True."""
        return True


class _Candidacy:
    """One process's part in the election, on one connection: its consumer, its questions, and heart-beats.

    :ivar connection: the one it ends with.
    """

    def __init__(self, clock: Any, connection: BrokerConnections, names: LeaderNames) -> None:
        """Use :meth:`begin` before anything else."""
        self.connection = connection
        self._clock = clock
        self._names = names
        self._consumer: AmqpChannel
        self._publisher: ConfirmedChannel
        self._open: dict[bytes, Deferred[None]] = {}
        self._returned: set[bytes] = set()
        self._locked = False
        self._unused_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it may be used; it ends also when the queue of the election is deleted."""
        return self._consumer.is_open and self._publisher.is_open

    async def begin(self, heard: Any) -> None:
        """Declare what is needed, and consume.

        :param heard: called with each heart-beat of a leader.
        :raises BusError: the broker refuses, or the connection is lost.
        """
        self._publisher = await ConfirmedChannel.open(self.connection.publishing)
        await self._consume_heartbeats(heard)
        channel = self._consumer = await AmqpChannel.open(self.connection.publishing)
        election = self._names.election
        await channel.ask("queue_declare", queue=election, durable=True, arguments=QUORUM)
        channel.raw.add_on_cancel_callback(lambda _frame: channel.close())  # The queue was deleted.
        await channel.ask("basic_consume", queue=election, on_message_callback=self._answered, auto_ack=True)

    async def _consume_heartbeats(self, heard: Any) -> None:
        channel = await AmqpChannel.open(self.connection.hearing)
        exchange = self._names.heartbeats
        await channel.ask("exchange_declare", exchange=exchange, exchange_type="fanout", durable=True)
        bounds = {"x-max-length": HEARTBEATS, "x-expires": 1_000 * HEARTBEATS_EXPIRE_SECONDS}
        declared = await channel.ask("queue_declare", queue="", exclusive=True, auto_delete=True, arguments=bounds)
        queue = declared.method.queue
        await channel.ask("queue_bind", queue=queue, exchange=exchange, routing_key="")
        await channel.ask("basic_consume", queue=queue, on_message_callback=heard, auto_ack=True)

    async def is_elected(self, *, leading: bool) -> bool:
        """Ask the broker. :param leading: whether that was so until now. :raises BusError: it does not answer."""
        question = uuid4().bytes
        answer = self._open[question] = Deferred()
        try:
            await self._publisher.publish("", self._names.election, BasicProperties(), question)
            await answer.addTimeout(LEADERS_ANSWER_SECONDS if leading else ANSWER_SECONDS, self._clock)
        except defer.TimeoutError:
            await deferLater(self._clock, 0)  # If this process was stopped, the answer waits to be read.
            await deferLater(self._clock, 0)
            return question in self._returned
        finally:
            del self._open[question]
            self._returned.discard(question)
        return True

    def _answered(self, _channel: Channel, _method: Basic.Deliver, _properties: BasicProperties, body: bytes) -> None:
        """A question came. One of another process, or of a claim that was given up, needs no answer."""
        answer = self._open.get(body)
        if answer is None:
            return
        self._returned.add(body)
        if not answer.called:
            answer.callback(None)

    async def keeps_earlier_versions_out(self, *, leading: bool) -> bool:
        """Take the lock of earlier versions; False if one of those leads.

        :param leading: whether one of the consumers of the work queue is our own.
        :raises BusError: the broker does not answer.
        """
        self._locked = self._locked or await take_lock(self.connection.publishing, self._names.lock)
        if self._locked:
            return True
        if await consumers_of(self.connection.publishing, self._names.work) > leading:
            self._unused_since = None
            return False
        now = self._clock.seconds()
        self._unused_since = now if self._unused_since is None else self._unused_since
        return bool(now - self._unused_since >= REMNANT_SECONDS)

    def send_heartbeat(self) -> None:
        """Tell the others that this process leads. If one heart-beat is lost, another follows, or the lead ends."""
        sent = self._publisher.publish(self._names.heartbeats, self._names.lock, BasicProperties(), b"")
        sent.addErrback(lambda _failure: None)


class BrokerLeader:
    """A :class:`Leader` by an election on the broker. See the head of this file."""

    def __init__(self, clock: Any, bus: BrokerBus, names: LeaderNames) -> None:
        """:param clock: Twisted's reactor."""
        self._clock = clock
        self._bus = bus
        self._names = names
        self._candidacy: _Candidacy | None = None
        self._beginning = DeferredLock()
        self._leads_on: BrokerConnections | None = None
        self._standing_by = False
        self._known_at = clock.seconds()
        self._heartbeat_at = float("-inf")

    @property
    def leading(self) -> bool:
        """Whether this process leads, as far as we know without asking."""
        return self._leads_on is not None and self._leads_on is self._bus.connection

    @property
    def leaderless(self) -> float:
        """Seconds since this process last led, received a heart-beat, or saw that an earlier version leads."""
        return max(0.0, float(self._clock.seconds() - self._known_at))

    async def claim(self) -> bool:
        """Ask the broker. Changes are logged.

        :raises BusError: there is no connection, the broker has stopped reading or does not answer, or the connection
            ended meanwhile.
        """
        connection, state = self._bus.connection, self._bus.state()
        if connection is None or not state.connected:
            raise BusError(state.reason)
        try:
            asked = Deferred.fromCoroutine(self._ask(connection))
            reason = await asked.addTimeout(CLAIM_SECONDS, self._clock)
        except defer.TimeoutError:
            if connection is self._bus.connection and not self._bus.state().connected:
                raise BusError(self._bus.state().reason) from None  # It has stopped reading, and elects nobody else.
            error = BusError(f"the broker has not said within {CLAIM_SECONDS:g} s who leads: has it lost its majority?")
            self._end(connection, str(error))
            raise error from None
        except BusError as error:
            self._end_lead(connection, str(error))
            raise
        if reason:
            self._stand_by(connection, reason)
        else:
            self._lead(connection)
        return self.leading

    async def _ask(self, connection: BrokerConnections) -> str:
        """Why this process does not lead; empty if it does."""
        candidacy = await self._candidacy_on(connection)
        leading = self._leads_on is connection
        if not await candidacy.is_elected(leading=leading):
            return "another fallback.py leads"
        if not await candidacy.keeps_earlier_versions_out(leading=leading):
            self._known_at = self._clock.seconds()
            return "a fallback.py of an earlier version leads"
        return ""

    async def _candidacy_on(self, connection: BrokerConnections) -> _Candidacy:
        await self._beginning.acquire()
        try:
            candidacy = self._candidacy
            if candidacy is None or candidacy.connection is not connection or not candidacy.is_open:
                candidacy = _Candidacy(self._clock, connection, self._names)
                await candidacy.begin(self._heard)
                self._candidacy = candidacy
            return candidacy
        finally:
            self._beginning.release()

    def _heard(self, _channel: Channel, method: Basic.Deliver, _properties: BasicProperties, _body: bytes) -> None:
        """A leader's heart-beat, maybe of another cluster's on the same virtual host."""
        if method.routing_key == self._names.lock:
            self._known_at = self._clock.seconds()

    def _lead(self, connection: BrokerConnections) -> None:
        if connection is not self._bus.connection:
            return  # It ended meanwhile, and the lead with it.
        if not self.leading:
            log.info("leader.leading", lock=self._names.lock)
        self._standing_by = False
        self._leads_on = connection
        now = self._known_at = self._clock.seconds()
        if self._candidacy is not None and now - self._heartbeat_at >= HEARTBEAT_SECONDS:
            self._heartbeat_at = now
            self._candidacy.send_heartbeat()

    def _stand_by(self, connection: BrokerConnections, reason: str) -> None:
        if not self._standing_by:
            log.info("leader.standing_by", lock=self._names.lock, reason=reason)
        self._standing_by = True
        self._end_lead(connection, reason)

    def _end_lead(self, connection: BrokerConnections, reason: str) -> None:
        """With the connection, over which a leader also publishes and consumes, so that nothing of it goes on."""
        if self._leads_on is connection:
            self._end(connection, reason)

    def _end(self, connection: BrokerConnections, reason: str) -> None:
        led, self._leads_on = self._leads_on is connection, None
        if connection is self._bus.connection:
            log.warning("leader.disconnects", lock=self._names.lock, led=led, reason=reason)
            connection.abort(ConnectionAbortedError(reason))
