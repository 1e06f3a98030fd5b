"""The connection of one STOMP client, over any transport.

**Responsibilities.** The connection joins five parts that do not know each other: the *transport* carries octets; the
*session* (:mod:`fanout.stomp.session`) turns them into events and encodes answers; the *application* decides; the
*hub* delivers messages; the *outbox* keeps the octets that were not sent to the client yet. ::

    transport ──octets──> session ──event──> application ──messages──> bus ··> hub
        ^                    │                                                  │
        └──────── outbox <───┴── answers                        messages ───────┘ (offer)

**The states.** The session has the states of the protocol. The flags of a connection are:

===============  ====================================================  ======================================
flag             it is set while                                       meanwhile
===============  ====================================================  ======================================
``_busy``        an event waits for the application                    later frames wait, in order
``_waits``       the client sent more frames than fit into a turn      the rest waits for the next turns
``_paused``      the server does not read from the client: an event    TCP slows the client down, and the time
                 or frames wait, too many answers are outstanding,     limits of the client do not run
                 or the outbox is full
``_blocked_at``  the transport is full, since this time                WRITE_TIMEOUT runs
``_ended``       the client has closed its side                        its input is still processed
``_closing``     everything was written, and the transport closes      nothing is read or written any more
``_gone``        the connection is closed                              its input is still processed
===============  ====================================================  ======================================

:meth:`Connection._pump` processes events until one must wait; the end of each wait calls it again. ``_settle`` then
adapts reading, closing and the timer to the state. It is the last step of every entry point.

**Invariants.**

- Events are processed one after the other. SEND is an exception: when it is admitted, later frames do not wait until
  the bus has confirmed it; the session keeps the answers in order.
- Complete frames that the client sent before its connection closed are processed, so no accepted frame is lost.
- A client gets no more than its share of a turn, however much it sends. One limit applies to the unfinished input of
  all clients.
- An answer goes into the outbox after all messages that were published before it: the hub first hands out the messages
  that it has gathered. The RECEIPT of a SUBSCRIBE comes before the first message of the subscription.
- A subscription occupies one place of the subscription limit if and only if it has a cohort. ``gone`` gives both back,
  even while a SUBSCRIBE waits for the application.
- A 1.0 client with several subscriptions to one topic gets each message once, because it cannot distinguish them.
- A closed connection is in no reference cycle, and no living object refers to it, so its memory is freed immediately.
  Otherwise it would be freed by Python's garbage collection, which stops all clients meanwhile.

**Why not an object per subscription in the hub?** That obvious design would need twice the memory: most clients have
two subscriptions and one outbox. In the hub, a connection is a member of several cohorts; the cohort distinguishes the
subscriptions. **Why coroutines without Deferreds?** Few events must wait, because the application usually has the
answer in memory; ``_begin`` then runs the coroutine like a function.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fanout.application.interface import Peer, Principal, Refused
from fanout.application.observer import Client
from fanout.bus.interface import BusError
from fanout.hub.message import Headers, Message
from fanout.hub.subscriber import Cohort, Form, FramedForm, Offered, OutboxSubscriber
from fanout.stomp.events import Connect, Event, Publish, Subscribe, Unsubscribe
from fanout.stomp.session import ServerSession, State
from fanout.stomp.subscriptions import Subscription
from fanout.stomp_server.stomp_server import StompServer, Transport

T = TypeVar("T")

_SERVER_FAULT = "The server made an error; its operator finds it in the log under this session's id."
_SHOWN = 200  # Characters of a login that are logged; a client may send many more.
_FULL = "This server, or your network's share of it, has no room for more subscriptions; try again later."
_TOO_MUCH_INPUT = (
    "The unfinished input of all clients takes too much memory: incomplete frames, transactions, and frames that wait "
    "for an answer. Yours takes the most. Send whole frames, and COMMIT soon."
)
_TOO_LONG = "A transaction must be committed or aborted within {:g} seconds."
_MANY_CONNECTIONS = "The server is full, and your address has more connections than any other; try again later."


class Connection(OutboxSubscriber):
    """The connection of one client; see the docstring of this module.

    :ivar slot: the position of the connection in the timer wheel; only the wheel uses it.
    """

    __slots__ = (
        "_address",
        "_answering",
        "_blocked_at",
        "_busy",
        "_client",
        "_closing",
        "_ended",
        "_gone",
        "_heard",
        "_held",
        "_log",
        "_paused",
        "_principal",
        "_server",
        "_session",
        "_transport",
        "_waits",
        "slot",
    )

    def __init__(self, server: StompServer, transport: Transport, address: str, port: int = 0) -> None:
        super().__init__(server.flusher)
        now = server.clock()
        self._server = server
        self._transport = transport
        self._address = address
        self.slot: int | None = None
        self._session = ServerSession(server.limits, server.session_options, now)
        self._log = server.log
        self._client = Client("", f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
        self._principal: Principal | None = None
        self._heard: dict[
            str, int
        ] = {}  # Topic → mark of its last message, if a 1.0 client has several subscriptions to it.
        self._held = 0  # Octets of unfinished input that input_memory has counted for this client.
        self._busy = False  # An event is being processed, and later frames wait.
        self._waits = False  # More frames wait for the client's next turn.
        self._paused = False  # The server does not read from the client.
        self._ended = False  # The client will not send more octets.
        self._closing = False  # Everything was written, and the transport closes.
        self._gone = False
        self._answering = False  # Answers will be handed to the outbox at the end of the turn.
        self._blocked_at: float | None = None
        server.connections.add(self)
        self._schedule()

    # For metrics

    @property
    def protocol(self) -> str:
        """The protocol and the transport of the client, as a label of metrics."""
        return self._transport.kind

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self._address

    @property
    def version(self) -> str:
        """The version of STOMP; empty until it was agreed on."""
        return self._session.dialect.version if self._client.session else ""

    @property
    def login(self) -> str:
        """The login of the client; empty if it has not logged in."""
        return "" if self._principal is None else self._principal.login

    @property
    def heard_at(self) -> float:
        """The time when octets last came from the client. It is always now for a client that has logged in: such a
        client is a station, which may be silent for a long time.
        """
        return self._session.heard_at if self._principal is None else self._server.clock()

    # The transport's events

    def received(self, data: bytes) -> None:
        """Process octets that came from the client."""
        now = self._server.clock()
        if not self._session.hear_beat(data, now):
            self._session.receive_data(data, now)
            self._pump()

    def ended(self) -> None:
        """The client has closed its side, but may still read: its input is processed first (stomp.md §6)."""
        self._ended = True
        self._pump()

    def gone(self) -> None:
        """The connection is closed. Complete frames are still processed, so no accepted frame is lost."""
        if self._gone:
            return
        self._gone = True
        self._server.connections.discard(self)
        self._server.vanished += not self._closing
        self._server.wheel.forget(self)
        self._count_input()  # which also drops the reference to this connection
        left = [self._leave(subscription) for subscription in self._session.subscriptions]
        self._outbox.close()
        if self._client.session:
            self._server.observer.closed(self._client, [topic for topic in reversed(left) if topic is not None])
        self._log.debug("client.gone", dropped=self._outbox.dropped)

    def full(self) -> None:
        """The transport's buffer is full."""
        self._outbox.block()
        self._blocked_at = self._server.clock()
        self._server.wheel.schedule(self, self._blocked_at + self._server.settings.WRITE_TIMEOUT)
        self._read_or_wait()

    def drained(self) -> None:
        """The transport's buffer has room again."""
        self._blocked_at = None
        self._outbox.unblock()
        self._pump()

    # The destination of the outbox

    def write(self, data: bytes) -> None:
        """Send octets to the client. Called by the outbox."""
        if not self._gone:
            self._transport.write(data)

    def cut_off(self) -> None:
        """Disconnect a client that does not read. Called by the outbox."""
        self._server.warn("client.slow", self.address, reason="does not read what it is sent")
        self._transport.abort()

    # The subscriber

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """Send a message to the client. A 1.0 client with several subscriptions to the topic gets it once."""
        if self._hears_twice(cohort):
            mark = _mark(message)
            if mark == self._heard.get(cohort.topic):
                return
            self._heard[cohort.topic] = mark
        self._give(cohort, message, data)

    def offer_joined(self, cohort: Cohort, offered: Offered, data: bytes, *, only: bool) -> None:
        """Send the messages that were published on one topic in a turn. For a slow client they stay separate, so that
        the outbox can skip some.
        """
        session = self._session
        unheard = offered
        if session.dialect.lenient and len(session.subscriptions) > 1:
            unheard = self._unheard(cohort, offered)
        if unheard is offered and self._outbox.has_room(len(data)) and not session.acknowledges:
            (self._outbox.pass_on if only else self._outbox.offer)(cohort, data)
        else:
            for message, frame in unheard:
                self._give(cohort, message, frame)

    def _unheard(self, cohort: Cohort, offered: Offered) -> Offered:
        """These messages without those that the client already got by another subscription to the topic."""
        if not self._hears_twice(cohort):
            return offered
        last, self._heard[cohort.topic] = self._heard.get(cohort.topic), _mark(offered[-1][0])
        for index, (message, _) in enumerate(offered):
            if _mark(message) == last:
                return offered[index + 1 :]
        return offered

    def _hears_twice(self, cohort: Cohort) -> bool:
        """Whether this is a 1.0 client with another subscription to the same topic."""
        subscriptions = self._session.subscriptions
        if not self._session.dialect.lenient or len(subscriptions) == 1:
            return False
        for subscription in subscriptions:
            other = subscription.cohort
            if other is not cohort and other is not None and other.topic == cohort.topic:
                return True
        return False

    def _give(self, cohort: Cohort, message: Message, data: bytes) -> None:
        self._outbox.offer(cohort, data)
        if self._session.acknowledges:
            form: Any = cohort.form.form if isinstance(cohort.form, FramedForm) else cohort.form
            if form.acknowledged:
                for subscription in self._session.subscriptions.with_id(form.subscription):
                    if subscription.cohort is cohort:
                        self._session.delivered(subscription, message)

    # Processing the client's frames

    def _pump(self) -> None:
        """Process frames, in order, until one must wait or the client's share of the turn is used up."""
        if self._waits:
            self._settle()
        else:
            self.work(self._server.turns.grant)

    def work(self, most: int) -> None:
        """Process frames as :meth:`_pump` does. Also called for the next turn of this client.

        :param most: the maximum number of frames.
        """
        session = self._session
        self._waits = False
        session.allowance = most
        while not self._busy:
            event = session.next_event()
            if event is None:
                break
            self._busy = True
            self._begin(event)
            self._queue_answers()
        self._server.turns.spend(most - session.allowance)
        if session.allowance <= 0 and session.unread and not self._busy:
            self._waits = True
            self._server.turns.wait(self)
        self._settle()

    def _begin(self, event: Event | Connect) -> None:
        """Process an event. Most events need not wait; they then take a tenth of the time of
        ``Deferred.fromCoroutine``.
        """
        acting = self._act(event)
        try:
            awaited = acting.send(None)
        except StopIteration:
            self._busy = False
        except Exception:  # noqa: BLE001  (It is logged, and ends at most one connection.)
            self._acted(Failure(), event)
        else:
            waiting = Deferred.fromCoroutine(_rest(acting, awaited))
            waiting.addBoth(self._acted, event).addCallback(lambda _: self._pump())

    def _acted(self, result: Failure | None, event: Event | Connect) -> None:
        self._busy = False
        if isinstance(result, Failure):
            self._log.error("client.failed", exc_info=(result.type, result.value, result.getTracebackObject()))
            if isinstance(event, Connect) or event.answer.data is not None:
                self._session.disconnect("Internal error", _SERVER_FAULT)
            else:
                event.answer.refuse("Internal error", _SERVER_FAULT, final=True)

    def _queue_answers(self) -> None:
        """Hand the session's answers to the outbox, before any later message."""
        data = self._session.data_to_send()
        if data and not self._gone:
            if self._session.subscriptions:
                self._server.hub.hand_out()
            self._outbox.send(self._framed(data))

    def _framed(self, data: bytes) -> bytes:
        framing = self._transport.framing
        return data if framing is None else framing(data)

    def _settle(self) -> None:
        """Close the connection, continue to read, or pause reading, depending on the state."""
        self._count_input()
        self._queue_answers()
        for fault in self._session.faults:
            self._warn(fault)
        self._session.faults = ()
        if self._gone or self._closing:
            return
        idle = not (self._busy or self._waits or self._session.pending)
        if self._session.state is State.CLOSED or (self._ended and idle):
            self._close()
        else:
            self._read_or_wait()
            self._schedule()

    def _count_input(self) -> None:
        """Report the octets of unfinished input. For most frames there are none: they come whole and are answered
        immediately.
        """
        held = self._session.held
        if self._gone and not self._waits and not self._busy:
            held = 0  # An unfinished frame will not be completed.
        if held != self._held:
            self._held = held
            self._server.input_memory.hold(self, held)

    def give_up(self) -> None:
        """See :meth:`InputHolder.give_up <fanout.listeners.client_limits.InputHolder.give_up>`."""
        self._held = 0
        self._warn("Too much unfinished input")
        self._end("Too much unfinished input", _TOO_MUCH_INPUT)
        self._server.flusher.first(self._settle)

    def close_for_others(self) -> None:
        """See :class:`~fanout.listeners.client_limits.AdmittedConnection`."""
        self._warn("Server full")
        if self._blocked_at is None:
            self.close("Server full", _MANY_CONNECTIONS)
        else:
            self._transport.abort()  # The client would not read the reason, and would stay connected.

    def _close(self) -> None:
        """Close when everything was written. If the transport is full, :meth:`drained` leads to another call."""
        self._outbox.flush()
        if not len(self._outbox):
            self._closing = True
            self._transport.finish()

    def _read_or_wait(self) -> None:
        """Read from the client only while its frames can be processed and its messages can be sent."""
        wait = self._busy or self._waits or self._session.saturated or self._outbox.blocked
        if wait == self._paused or self._gone:
            return
        self._paused = wait
        if wait:
            self._transport.pause()
        else:
            self._session.resumed(self._server.clock())
            self._transport.resume()

    def _refuse(self, event: Subscribe | Publish, refused: Refused) -> None:
        topics = (
            [each.destination for each in event.sends]
            if isinstance(event, Publish)
            else [event.subscription.destination]
        )
        self._warn(refused.summary, login=self.login[:_SHOWN], topic="".join(topics[:1])[:_SHOWN])
        event.answer.refuse(refused.summary, refused.detail)

    def _warn(self, fault: str, **fields: str) -> None:
        self._server.warn("client.fault", self.address, fault=fault, **fields)

    async def _act(self, event: Event | Connect) -> None:
        if isinstance(event, Publish):
            await self._publish(event)
        elif isinstance(event, Subscribe):
            await self._subscribe(event)
        elif isinstance(event, Unsubscribe):
            for subscription in event.subscriptions:
                topic = self._leave(subscription)
                if topic is not None:
                    self._server.observer.unsubscribed(self._client, topic)
            event.answer.done()
        else:
            await self._connect(event)

    async def _connect(self, connect: Connect) -> None:
        if not connect.anonymous and not await self._login(connect):
            return
        if self._session.state is not State.AUTHENTICATING:
            return  # The node shuts down, and the client got an ERROR while its login was checked.
        session_id = str(uuid.uuid4())
        self._log = self._log.bind(session=session_id[:8], address=self.address)
        self._log.debug("client.connected", version=self._session.dialect.version, login=connect.login)
        self._session.accept(session_id, logged_in=self._principal is not None)
        self._server.wheel.schedule(
            self, self._session.next_look(self._outbox.sent_at)
        )  # Heart-beats may be due earlier.
        if not self._gone:
            self._client = Client(session_id, self._client.address)
            self._server.observer.opened(self._client)

    async def _login(self, connect: Connect) -> bool:
        peer = Peer(self.address, self.protocol, self._transport.certificates)
        try:
            self._principal = await self._server.application.login(connect.login, connect.passcode, peer)
        except Refused as refused:
            self._refuse_login(refused.summary)
            return False
        if self._principal is None:
            login = connect.login[:_SHOWN]
            self._server.warn("login.refused", self.address, login=login, interface=self.protocol)
            self._refuse_login("Wrong credentials")
            return False
        self._principal = self._principal.connected(peer)
        return True

    def _refuse_login(self, summary: str) -> None:
        if self._session.state is State.AUTHENTICATING:
            self._session.refuse(summary)

    async def _subscribe(self, event: Subscribe) -> None:
        subscription = event.subscription
        try:
            resolved = await self._server.application.resolve(subscription.destination, event.headers)
        except Refused as refused:
            self._session.forget(subscription)
            self._refuse(event, refused)
            return
        if self._gone:
            return
        if not self._server.subscription_limit.take(self.address):
            self._session.forget(subscription)
            self._refuse(event, Refused("Too many subscriptions", _FULL, temporary=True))
            return
        framing = self._transport.framing
        form: Form = subscription.form if framing is None else FramedForm(subscription.form, framing)
        cohort, last = self._server.hub.join_stream(resolved.topic, form, self)
        subscription.cohort = cohort
        self._server.observer.subscribed(self._client, cohort.topic)
        event.answer.done()
        if resolved.replay:
            self._replay(subscription, cohort, last)

    def _replay(self, subscription: Subscription, cohort: Cohort, last: Message | None) -> None:
        """Send the retained message immediately: a screen should not stay blank until the next message."""
        if last is not None:
            self._queue_answers()  # The RECEIPT of the SUBSCRIBE comes first.
            self.show(cohort, last)
        else:
            recalled = Deferred.fromCoroutine(self._recall(subscription, cohort))
            recalled.addErrback(lambda failure: self._log.error("recall.failed", reason=failure.getErrorMessage()))

    async def _recall(self, subscription: Subscription, cohort: Cohort) -> None:
        topic = cohort.topic
        message = await self._server.hub.recall(topic, self._server.application.recall)
        if message is not None and subscription.cohort is cohort and cohort.topic == topic and not self._gone:
            self.show(cohort, message)

    def show(self, cohort: Cohort, message: Message) -> None:
        """See :meth:`Subscriber.show`. A 1.0 client that subscribes again gets the message again."""
        self._heard.pop(cohort.topic, None)
        super().show(cohort, message)

    async def _publish(self, event: Publish) -> None:
        try:
            messages = await self._server.application.admit(self._principal, event.sends)
        except Refused as refused:
            self._refuse(event, refused)
            return
        if self._session.dialect.lenient:
            self._queue_answers()  # The RECEIPT comes first, even if the bus delivers to this client immediately.
        published = self._server.application.publish(messages)
        # This is not awaited: later frames are processed while the bus confirms.
        published.addCallbacks(self._published, self._not_published, (event, messages), errbackArgs=(event,))
        if event.answer.data is None:
            published.addBoth(self._answered_late, event)

    def _published(self, _: None, event: Publish, messages: Sequence[Message]) -> Deferred[None] | None:
        receipt_headers = None if event.answer.receipt is None else self._server.application.receipt_headers(messages)
        if receipt_headers is not None:
            return Deferred.fromCoroutine(self._remark(event, receipt_headers))
        event.answer.done()
        return None

    async def _remark(self, event: Publish, receipt_headers: Awaitable[Headers]) -> None:
        event.answer.done(await receipt_headers)

    def _not_published(self, failure: Failure, event: Publish) -> None:
        failure.trap(BusError)
        event.answer.refuse("Not published", str(failure.value))

    def _answered_late(self, result: object, event: Publish) -> None:
        if isinstance(result, Failure):
            self._acted(result, event)
        if self._paused or self._ended or self._session.state is not State.OPEN:
            self._pump()
        elif not self._answering:  # Only the client waits for this answer; one confirm settles many answers.
            self._answering = True
            self._server.flusher.first(self._end_turn)

    def _end_turn(self) -> None:
        self._answering = False
        self._queue_answers()

    def _leave(self, subscription: Subscription) -> str | None:
        """Remove a subscription from the hub. :return: its topic; None if it was not in the hub."""
        cohort, subscription.cohort = subscription.cohort, None
        if cohort is None:
            return None
        self._server.hub.leave(cohort, self)
        self._heard.pop(cohort.topic, None)
        self._server.subscription_limit.give_back(self.address)
        return cohort.topic

    # Time

    def on_timer(self, now: float) -> None:
        """Check the time limits, and send a heart-beat if one is due. Called by the timer wheel.

        :param now: the current time in seconds.
        """
        if self._gone:
            return
        if self._blocked_at is not None:
            if now - self._blocked_at >= self._server.settings.WRITE_TIMEOUT:
                self.cut_off()
                return
        elif not self._paused and (reason := self._session.overdue(now)):
            self._server.warn("client.overdue", self.address, reason=reason)
            self._transport.abort()
            return
        if self._session.transaction_overdue(now):
            self.close("Transaction too old", _TOO_LONG.format(self._session.limits.transaction_seconds))
            return
        beat = self._session.beat(now, self._outbox.sent_at)
        if beat and self._blocked_at is None:  # A full transport already has octets to send.
            self._outbox.pass_on(None, self._framed(beat))
        self._schedule()

    def _schedule(self) -> None:
        """Schedule the next :meth:`on_timer`. Octets in either direction only make it due later, so a connection that
        is scheduled keeps its time. Only an unfinished frame may be due earlier.
        """
        wheel = self._server.wheel
        if self.slot is None or self._session.unfinished:
            wheel.schedule(self, self._session.next_look(self._outbox.sent_at))
        if self._blocked_at is not None:
            wheel.schedule(self, self._blocked_at + self._server.settings.WRITE_TIMEOUT)

    # The server's side

    def close(self, summary: str, detail: str = "") -> None:
        """Close the connection from the server's side. A client of 1.1 or 1.2 gets an ERROR with the reason. A client
        of 1.0 gets none, because some old clients never connect again after an ERROR.

        :param summary: a few words for the ``message`` header.
        :param detail: text for the body; empty to repeat the summary.
        """
        self._end(summary, detail)
        self._settle()

    def _end(self, summary: str, detail: str) -> None:
        if self._session.dialect.lenient:
            self._session.finish()
        else:
            self._session.disconnect(summary, detail)


def _mark(message: Message) -> int:
    """A number that distinguishes a message from others of its topic, without a reference to it. ``id()`` alone would
    not suffice: a later message may have the same identity after this one is freed.
    """
    return hash((id(message), message.message_id, message.serial, message.when))


def _rest(acting: Coroutine[Deferred[Any], Any, T], awaited: Deferred[Any]) -> Generator[Deferred[Any], Any, T]:
    """The rest of a coroutine that was started by hand and now waits, for ``Deferred.fromCoroutine``.

    :param acting: the coroutine.
    :param awaited: the Deferred that it waits for.
    """
    while True:
        resume: Callable[[Any], Deferred[Any]] = acting.send
        try:
            answer = yield awaited
        except BaseException as error:  # noqa: BLE001  (It is raised in the coroutine.)
            resume, answer = acting.throw, error
        try:
            awaited = resume(answer)
        except StopIteration as returned:
            result: T = returned.value
            return result
