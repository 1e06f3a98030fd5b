"""Leader election: of all processes with one task in a cluster, one leads and the others stand by.

**The election.** Every process consumes one queue on the broker: a quorum queue with ``x-single-active-consumer``. The
broker delivers to one of its consumers, the active one, and to another one after the connection of the first has ended.
So the broker elects the leader, with the agreement of a majority of its nodes. The broker does not tell anybody which
consumer is active, so a process has to ask: it publishes a *question* to the queue, a message that only this process
knows. If the question comes back, this process leads. If the broker has confirmed the question and it does not come
back, another process received it and ignored it. Nothing stays in the queue, because the consumers acknowledge
questions on delivery.

A question is a round trip through the log of the queue, which needs a majority of the broker's nodes. The answer is
certain, as that of a flag would not be: a process that was stopped for a while, or is on the smaller side of a
partition, does not get its question back. The alternative is a token that the leader holds unacknowledged. It would
tell a standby earlier, but it cannot be used to ask again: a token that is returned and delivered again counts as a
failed delivery, and RabbitMQ 4 drops it after 20 of them; a token that is held ends the channel after 30 minutes.

- **A process that lost the lead cannot publish.** Its consumer belongs to the connection over which the bus publishes.
  When a claim shows that the lead is lost while that connection is open, the connection is closed, with everything on
  it. So the lead always ends with a connection, and publishes that were not sent yet end with it.
- **The lead is free as soon as the broker knows that the leader is gone**: at once when its socket closes, after two to
  three heart-beats when the leader is frozen or the network is interrupted.

**Why not the obvious other ways?** *An exclusive queue*, which earlier versions used: in a cluster of RabbitMQ 4.2 and
later (Khepri), the exclusive queue of a broker node that died exists until that node is back. Every process would stand
by, and report that another one leads. *A lock in memcached* expires by time: a leader that was stopped for a while (a
virtual machine that moves, a swapping host) would continue to act together with its successor.

**Heart-beats.** After a claim, a leader publishes a heart-beat to a fan-out exchange for this purpose. The exchange of
the nodes is not used, because nodes of earlier versions would log the heart-beats. Each process receives them over a
queue of its own, and :attr:`~BrokerLeader.leaderless` is the time since the process last knew of a leader.

**Together with an earlier version**, during an upgrade, exactly one process leads. The elected process takes the
exclusive queue as well, so that processes of earlier versions stand by. If another connection holds this queue, there
are two cases. If the leader's work queue (:attr:`LeaderNames.work`) has a consumer, a process of an earlier version
leads, and the elected process stands by. Otherwise a dead broker node left the queue behind, and after
:data:`REMNANT_SECONDS` the elected process leads. One case is not noticed: a leader of an earlier version that holds
the lock and cannot consume its work queue for this time.

States of a :class:`BrokerLeader`:

- *not leading*: before the first :meth:`~BrokerLeader.claim`, while another process leads, and from the moment the
  connection is lost. The last needs no event: :attr:`~BrokerLeader.leading` compares the connection of the last claim
  with the bus's current one.
- *leading*: the last claim succeeded, and its connection is still the bus's.

:meth:`~BrokerLeader.claim` is called periodically, and before each action that must not happen twice. It always asks
the broker. Claims may overlap: each has its own question. If the broker does not answer a claim within
:data:`CLAIM_SECONDS` the connection is closed; if the broker has several hosts, the next connection goes to another
one.
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
"""Seconds within which the broker must answer a claim, including the declarations; it usually takes some milliseconds.
The process does nothing in the meantime, so waiting is safe."""
ANSWER_SECONDS = 0.5
"""Seconds that a question may take after the broker has confirmed it. The question and its confirm leave the broker at
the same time, but the question may pass through another node of the broker. If the time is too short for a process that
does not lead, its claim fails and the next one follows."""
LEADERS_ANSWER_SECONDS = 3.0
"""The same time for a process that leads: it would lose its connection without a reason. It does nothing in the
meantime."""
REMNANT_SECONDS = 5.0
"""Seconds without a consumer of the work queue after which a lock counts as left behind. A leader of an earlier version
consumes the work queue some milliseconds after it has taken the lock."""
HEARTBEAT_SECONDS = 0.5
"""Shortest time in seconds between two heart-beats: many claims in a row do not need more."""
HEARTBEATS = 100
"""How many heart-beats may wait for a process; only the newest one matters."""
HEARTBEATS_EXPIRE_SECONDS = 60
"""Seconds after which the broker drops a queue of heart-beats that has no consumer; see ``QUEUE_EXPIRES_SECONDS`` of
:mod:`fanout.bus.connection_pair`."""
ELECTED = ".elected"
"""Appended to the name of the lock of earlier versions; the result is the name of the election's queue."""
QUORUM = {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-max-length": 1_000}
"""Properties of the queue. They are the same in all versions: RabbitMQ refuses to declare an existing queue with other
properties. The length only matters while the active consumer does not read, for some seconds."""


@dataclass(frozen=True, slots=True)
class LeaderNames:
    """The names that all processes competing for one lead have in common.

    :ivar lock: the exclusive queue with which earlier versions choose their leader.
    :ivar work: the queue that a leader consumes.
    :ivar heartbeats: the fan-out exchange for the leaders' heart-beats; several locks may share it.
    """

    lock: str
    work: str
    heartbeats: str

    @property
    def election(self) -> str:
        """The name of the election's queue."""
        return self.lock + ELECTED


async def take_lock(connection: BrokerConnection, name: str) -> bool:
    """Take the lock of earlier versions, or check that this connection still holds it.

    :param name: the lock's name; the broker lists it as a queue.
    :return: whether this connection holds the lock.
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
    """How many consumers a queue has; 0 if the queue does not exist, or is on a broker node that is down.

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
    """Tells whether this process is the one that acts."""

    @property
    def leading(self) -> bool:
        """Whether this process led when it last asked, and has not lost its connection since then."""

    @property
    def leaderless(self) -> float:
        """Seconds since this process last knew of a leader, which may be this process or another one."""

    async def claim(self) -> bool:
        """Become the leader if there is none, and find out for certain whether this process leads.

        :raises BusError: the answer is not known at the moment.
        """


class Alone:
    """A :class:`Leader` for a process without competitors."""

    leading = True
    leaderless = 0.0

    async def claim(self) -> bool:
        """Always True."""
        return True


class _Candidacy:
    """The part of one process in the election, on one connection: its consumer, its questions, and its heart-beats.

    :ivar connection: the connection; the candidacy ends with it.
    """

    def __init__(self, clock: Any, connection: BrokerConnections, names: LeaderNames) -> None:
        """Call :meth:`begin` before any other method."""
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
        """Whether the candidacy may be used. It also ends when the queue of the election is deleted."""
        return self._consumer.is_open and self._publisher.is_open

    async def begin(self, heard: Any) -> None:
        """Declare the queues and the exchange, and start to consume.

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
        """Ask the broker whether this process is the elected one.

        :param leading: whether this process has led until now.
        :raises BusError: the broker does not answer.
        """
        question = uuid4().bytes
        answer = self._open[question] = Deferred()
        try:
            await self._publisher.publish("", self._names.election, BasicProperties(), question)
            await answer.addTimeout(LEADERS_ANSWER_SECONDS if leading else ANSWER_SECONDS, self._clock)
        except defer.TimeoutError:
            await deferLater(self._clock, 0)  # If this process was stopped, the answer may wait in the socket.
            await deferLater(self._clock, 0)
            return question in self._returned
        finally:
            del self._open[question]
            self._returned.discard(question)
        return True

    def _answered(self, _channel: Channel, _method: Basic.Deliver, _properties: BasicProperties, body: bytes) -> None:
        """A question was delivered. A question of another process, or of a claim that was given up, needs no answer."""
        answer = self._open.get(body)
        if answer is None:
            return
        self._returned.add(body)
        if not answer.called:
            answer.callback(None)

    async def keeps_earlier_versions_out(self, *, leading: bool) -> bool:
        """Take the lock of earlier versions.

        :param leading: whether one of the consumers of the work queue belongs to this process.
        :return: False if a process of an earlier version leads.
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
        """Tell the other processes that this one leads. If one heart-beat is lost, either another one follows or the
        lead ends.
        """
        sent = self._publisher.publish(self._names.heartbeats, self._names.lock, BasicProperties(), b"")
        sent.addErrback(lambda _failure: None)


class BrokerLeader:
    """A :class:`Leader` that is elected through the broker. See the head of this file."""

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
        """Whether this process leads, as far as it knows without asking the broker."""
        return self._leads_on is not None and self._leads_on is self._bus.connection

    @property
    def leaderless(self) -> float:
        """Seconds since this process last led, received a heart-beat, or noticed a leader of an earlier version."""
        return max(0.0, float(self._clock.seconds() - self._known_at))

    async def claim(self) -> bool:
        """Ask the broker whether this process leads. Changes are logged.

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
                raise BusError(self._bus.state().reason) from None  # It elects no other process.
            error = BusError(f"the broker did not name a leader within {CLAIM_SECONDS:g} s; has it lost its majority?")
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
        """The reason why this process does not lead; empty if it leads."""
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
        """A leader's heart-beat was received. It may be from another cluster on the same virtual host."""
        if method.routing_key == self._names.lock:
            self._known_at = self._clock.seconds()

    def _lead(self, connection: BrokerConnections) -> None:
        if connection is not self._bus.connection:
            return  # The connection ended meanwhile, and the lead with it.
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
        """End the lead with the connection. A leader also publishes and consumes over it, so nothing of the lead
        continues.
        """
        if self._leads_on is connection:
            self._end(connection, reason)

    def _end(self, connection: BrokerConnections, reason: str) -> None:
        led, self._leads_on = self._leads_on is connection, None
        if connection is self._bus.connection:
            log.warning("leader.disconnects", lock=self._names.lock, led=led, reason=reason)
            connection.abort(ConnectionAbortedError(reason))
