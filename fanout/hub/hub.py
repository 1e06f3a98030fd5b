"""Who listens to which topic, and what was last said on it. Decides one fan-out per publish.

A topic is opaque here: the application hands in its canonical key. Subscribers that need the same octets form a
*cohort*, so a publish is encoded once per cohort and touches nobody but the subscribers of its topic.

A cohort of several *streams*, such as STOMP connections, gets what is published in one turn of the reactor in one piece
at its end: joined once for all of them, and each is touched once per turn instead of once per message. Whoever joins,
leaves or moves does so behind what was published before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fanout.hub.history import History
from fanout.hub.message import Message
from fanout.hub.outbox import Outbox

_PIECE = 65_536  # octets beyond which no more is gathered: whoever reads slowly is judged by what one piece adds
_MESSAGE_OVERHEAD = 512  # octets a kept message takes besides its body and headers: the objects, the topic


class Form(Protocol):
    """How subscribers want a message written. Hashable: equal forms give equal octets."""

    @property
    def destination(self) -> str:
        """What the subscribers asked for, in their own spelling."""
        ...

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets.

        :param encoded: shared by all forms one message is encoded for; forms may keep in it what they have in common.
        """
        ...


class Member(Protocol):
    """A subscriber, as the hub sees it: something that takes messages without waiting.

    The hub asks for no more than :meth:`offer`; the rest is for whoever counts clients.
    """

    @property
    def protocol(self) -> str:
        """What it speaks: one of a few words, such as ``stomp``."""
        ...

    @property
    def address(self) -> str:
        """The client's IP address."""
        ...

    @property
    def outbox(self) -> Outbox | None:
        """What waits for it; None for one that is answered at once."""
        ...

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """Take a message and its octets. Must not call the hub."""
        ...


Offered = list[tuple[Message, bytes]]
"""Messages, each with its octets, in their order."""


class Stream(Member, Protocol):
    """A member whose client reads octets one after another, so that several messages may come in one piece."""

    def offer_joined(self, cohort: Cohort, offered: Offered, data: bytes, *, only: bool) -> None:
        """Take several messages at once, or one.

        :param data: all their octets; shared by the cohort's members.
        :param only: whether this is all that anybody is offered in this turn, which is over.
        """
        ...


class Cohort:
    """The subscribers of one topic that get the same octets.

    :ivar topic: the key they listen to; :meth:`Hub.move` may change it.
    :ivar form: how their messages are written.
    :ivar members: each with the number of times it has joined.
    :ivar joined: whether what is published in one turn is given to them in one piece. For streams only.
    :ivar gathered: what was published in this turn and not given to them yet.
    :ivar octets: of these.
    """

    __slots__ = ("form", "gathered", "joined", "members", "octets", "topic")

    def __init__(self, topic: str, form: Form) -> None:
        self.topic = topic
        self.form = form
        self.members: dict[Member, int] = {}
        self.joined = False
        self.gathered: Offered = []
        self.octets = 0


class Hub:
    """The one index topic → subscribers, and the last message of each topic.

    :ivar messages: how many were published, since the start.
    :ivar deliveries: to how many subscribers, all messages together.
    :ivar delivered_octets: the bodies of these deliveries.
    """

    def __init__(
        self,
        failed: Callable[[Member, Exception], None],
        *,
        last_messages: int = 100_000,
        last_octets: int = 67_108_864,
        history: History | None = None,
        at_end_of_turn: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """
        :param failed: told of a member whose ``offer`` raised; its neighbours get their message all the same.
        :param last_messages: topics whose last message is kept; beyond it the one published longest ago is forgotten.
        :param last_octets: the memory these may take, by the same rule; a message that takes more alone is not kept.
        :param history: what is remembered is added to it, for clients that come back and ask what they missed.
        :param at_end_of_turn: calls its argument once everything that has come in by now was looked at; without it
            nothing is gathered, and streams are given each message at once.
        """
        self._failed = failed
        self._last_messages = last_messages
        self._last_octets = last_octets
        self._history = history
        self._topics: dict[str, dict[Form, Cohort]] = {}
        self._last: OrderedDict[str, Message] = OrderedDict()
        self._octets = 0
        self._at_end_of_turn = at_end_of_turn
        self._gathering: list[Cohort] = []
        self.messages = self.deliveries = self.delivered_octets = 0

    # Listening

    def join(self, topic: str, form: Form, member: Member) -> tuple[Cohort, Message | None]:
        """Start listening, and learn the last message in the same step, so that nothing falls in between.

        :return: the cohort, to be handed to :meth:`leave`, and the last message.
        """
        cohorts = self._topics.setdefault(topic, {})
        cohort = cohorts.get(form)
        if cohort is None:
            cohort = cohorts[form] = Cohort(topic, form)
        self._hand_out(cohort)
        cohort.members[member] = cohort.members.get(member, 0) + 1
        return cohort, self._last.get(topic)

    def join_stream(self, topic: str, form: Form, stream: Stream) -> tuple[Cohort, Message | None]:
        """As :meth:`join`, for a stream. All who ever use this form have to be streams."""
        cohort, last = self.join(topic, form, stream)
        if len(cohort.members) == 1:
            cohort.joined = self._at_end_of_turn is not None
        return cohort, last

    def leave(self, cohort: Cohort, member: Member) -> None:
        """Undo one :meth:`join`."""
        self._hand_out(cohort)
        joined = cohort.members[member] - 1
        if joined:
            cohort.members[member] = joined
            return
        del cohort.members[member]
        if not cohort.members:
            self._take_out(cohort)

    def move(self, cohort: Cohort, topic: str) -> None:
        """Let a whole cohort listen to another topic, and show it that one's last message: its destination has come to
        mean something else. No other cohort of that topic may have the same form; equal destinations move together.
        """
        self._hand_out(cohort)
        self._take_out(cohort)
        cohort.topic = topic
        self._topics.setdefault(topic, {})[cohort.form] = cohort
        last = self._last.get(topic)
        if last is not None:
            self._offer(cohort, last, {})

    def _take_out(self, cohort: Cohort) -> None:
        cohorts = self._topics[cohort.topic]
        del cohorts[cohort.form]
        if not cohorts:
            del self._topics[cohort.topic]

    def cohorts(self) -> Iterator[Cohort]:
        """Every cohort, of every topic. The hub may be changed meanwhile."""
        for cohorts in list(self._topics.values()):
            yield from list(cohorts.values())

    def topics(self) -> list[str]:
        """The topics somebody listens to."""
        return list(self._topics)

    def listeners(self, topic: str) -> Iterator[Member]:
        """Who listens to a topic; a member once for each of its cohorts."""
        for cohort in self._topics.get(topic, {}).values():
            yield from cohort.members

    # Speaking

    def publish(self, topic: str, message: Message) -> int:
        """Remember the message and offer it to every subscriber of the topic.

        :return: to how many.
        """
        self.messages += 1
        self.remember(topic, message)
        cohorts = self._topics.get(topic)
        if cohorts is None:
            return 0
        encoded: dict[Any, Any] = {}
        deliveries = 0
        for cohort in cohorts.values():
            deliveries += len(cohort.members)
            if cohort.joined and len(cohort.members) > 1:
                self._gather(cohort, message, cohort.form.encode(message, encoded))
            else:
                self._offer(cohort, message, encoded)
        self.deliveries += deliveries
        self.delivered_octets += deliveries * len(message.body)
        return deliveries

    def _offer(self, cohort: Cohort, message: Message, encoded: dict[Any, Any]) -> None:
        data = cohort.form.encode(message, encoded)
        for member in cohort.members:
            try:
                member.offer(cohort, message, data)
            except Exception as error:  # noqa: BLE001  (whatever it is, the neighbours get theirs; it is reported)
                self._failed(member, error)

    # Gathering

    def _gather(self, cohort: Cohort, message: Message, data: bytes) -> None:
        if not cohort.gathered:
            if not self._gathering and self._at_end_of_turn is not None:
                self._at_end_of_turn(self._end_turn)
            self._gathering.append(cohort)
        cohort.gathered.append((message, data))
        cohort.octets += len(data)
        if cohort.octets > _PIECE:
            self._hand_out(cohort)

    def hand_out(self) -> None:
        """Give everybody what was gathered for them: somebody needs to be sure of it before the turn is over."""
        gathering, self._gathering = self._gathering, []
        for cohort in gathering:
            self._hand_out(cohort)

    def _end_turn(self) -> None:
        if len(self._gathering) == 1:
            self._hand_out(self._gathering.pop(), only=True)
        else:
            self.hand_out()

    def _hand_out(self, cohort: Cohort, *, only: bool = False) -> None:
        offered = cohort.gathered
        if not offered:
            return
        cohort.gathered, cohort.octets = [], 0
        data = offered[0][1] if len(offered) == 1 else b"".join([data for _, data in offered])
        for member in cohort.members:
            try:
                member.offer_joined(cohort, offered, data, only=only)  # type: ignore[attr-defined]  # They joined as streams.
            except Exception as error:  # noqa: BLE001  (as in _offer)
                self._failed(member, error)

    # The last message

    def last(self, topic: str) -> Message | None:
        """The last message of a topic, as far as it is remembered."""
        return self._last.get(topic)

    @property
    def remembered(self) -> Mapping[str, Message]:
        """The last message of every topic that has one."""
        return self._last

    @property
    def remembered_octets(self) -> int:
        """The memory they take."""
        return self._octets

    def remember(self, topic: str, message: Message) -> None:
        """Keep a message as the last one of its topic without offering it to anybody."""
        former = self._last.pop(topic, None)
        if former is not None:
            self._octets -= _weight(former)
        weight = _weight(message)
        if weight > self._last_octets:
            return
        self._last[topic] = message
        self._octets += weight
        if self._history is not None:
            self._history.add(topic, message)
        while len(self._last) > self._last_messages or self._octets > self._last_octets:
            _, oldest = self._last.popitem(last=False)
            self._octets -= _weight(oldest)

    def forget(self, topic: str) -> bool:
        """Let a topic have no last message, nor any before it. Who listens goes on.

        :return: whether there was one.
        """
        if self._history is not None:
            self._history.forget(topic)
        former = self._last.pop(topic, None)
        if former is None:
            return False
        self._octets -= _weight(former)
        return True


def _weight(message: Message) -> int:
    return len(message.body) + sum(len(name) + len(value) for name, value in message.headers) + _MESSAGE_OVERHEAD


# What goes around the octets of a message on a carrier that has messages of its own, such as a WebSocket.

# Octets as the door writes them → octets as they travel. The same function for all whose carriers are alike.
Framing = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class FramedForm:
    """A :class:`Form` inside a transport's framing: a cohort's message is framed once, not once per client."""

    form: Form
    framing: Framing

    @property
    def destination(self) -> str:
        """What the subscribers asked for."""
        return self.form.destination

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets as they travel."""
        return self.framing(self.form.encode(message, encoded))
