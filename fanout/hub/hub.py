"""The index from topics to subscribers, and the retained message of each topic. The hub delivers each published
message.

**Responsibilities.** The hub has four, because each must happen in one step with the others: the index of the
subscribers of a topic; the *retained message*, the last one of a topic, which a new subscriber gets; the *history*, for
clients that reconnect and ask for missed messages; and the delivery itself. A topic is opaque here: the application
passes its canonical key, and decides which client may publish.

**Cohorts.** Ten thousand clients need a message in a small number of forms: STOMP 1.0 with a NUL, 1.2 with an id, an
event of a stream. Subscribers of one topic with equal forms are a :class:`~fanout.hub.subscriber.Cohort`. A message is
encoded once per cohort, and the same ``bytes`` object goes to all of its members. The obvious design, a set of
subscribers per topic in which each encodes for itself, costs an encoding per delivery. Forms share work, too, through
the dictionary ``encoded`` of a publish: if each client has an id of its own, there are as many cohorts as clients, but
the head and the body of the frame are still written only once.

**Gathering.** A cohort is in one of two states::

                    publish, more than one member
         EMPTY ───────────────────────────────────────> GATHERING ──┐ publish
           ^                                                │  ^─────┘
           └── end of the turn, hand_out, join, leave,  ────┘
               move, or more than _PIECE octets

A busy publisher sends many messages in one turn of the reactor. A subscriber whose client reads a stream of octets
(:meth:`Hub.join_stream`) does not need a call for each of them: the messages of the turn are joined once for the whole
cohort, and each member is called once at the end of the turn. With eight publishes in progress this saves a quarter of
the cost of a fan-out. A cohort with one member does not gather, because it would not save anything. Polls and event
streams do not gather either: their clients name the last message they received, across topics, so they get every
message at once, in the order of publishing.

**Invariants.**

- A member gets the messages of a topic in the order in which they were published, each at most once per cohort.
- A change of the members takes effect after everything published before it: :meth:`Hub.join`, :meth:`Hub.leave` and
  :meth:`Hub.move` first hand out the messages that the cohort has gathered. So a new member does not get a message
  twice, once as the retained message and once as a delivery, and a member that leaves gets all messages published
  before.
- :meth:`Hub.join` returns the retained message in the same step in which it adds the member, so no message is missed.
- A cohort in the index has at least one member, a topic in the index at least one cohort.
- If a member raises, the other members still get the message, and the owner of the hub gets the error.
- :meth:`Hub.publish` accesses the cohorts of its topic only, however many topics and clients there are.

**What a subscriber must not do.** It must not call the hub from ``offer``, because the hub iterates over the members at
that moment.

Sans-IO. The end of a turn is a callback from the owner, and the one coroutine, :meth:`Hub.recall`, only waits for the
function that its caller passes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, ClassVar

from fanout.cache.bounded_dict import SharedDict
from fanout.hub.history import History
from fanout.hub.message import Message
from fanout.hub.subscriber import Cohort, Form, Subscriber
from fanout.settings.field import SettingsGroup, constant, setting

_PIECE = 65_536
"""Octets beyond which a cohort does not gather any more: one piece must not fill the outbox of a slow client."""
_WEIGH = attrgetter("weight")


MAX_LAST_MESSAGES = 100_000
"""How many topics may have a retained message. Beyond this number, the publisher with the most topics loses the message
that it published longest ago. It is enough for a thousand stations with fifty services each. MAX_LAST_MESSAGES_BYTES
limits the memory."""


class RetainedSettings(SettingsGroup):
    """Retained messages."""

    retired: ClassVar[Mapping[str, str]] = {"MAX_LAST_MESSAGES": constant(MAX_LAST_MESSAGES, "topics")}

    MAX_LAST_MESSAGES_BYTES: int = setting(
        67_108_864,
        "Limit of the memory for the retained messages of all topics.",
        "octets",
        why="Raise it if the messages of your topics need more than 64 MiB, or lower it if memory is short.",
        ge=262_144,
    )


class Hub:
    """The index from topics to subscribers, and the retained message of each topic. See the head of this file.

    :ivar messages: how many messages were published since the start.
    :ivar deliveries: to how many subscribers they were offered, for all messages together.
    :ivar delivered_octets: the octets of the bodies of these deliveries.
    """

    def __init__(
        self,
        failed: Callable[[Subscriber, Exception], None],
        settings: RetainedSettings | None = None,
        *,
        last_messages: int = MAX_LAST_MESSAGES,
        history: History | None = None,
        at_end_of_turn: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """
        :param failed: called with a member whose ``offer`` raised, and the exception.
        :param settings: how much memory retained messages may take. Beyond this limit, the owner that uses the most
            memory loses the message that it published longest ago. A single message above the limit is not retained.
        :param last_messages: how many retained messages there may be; beyond this number the same rule applies.
        :param history: retained messages are added to it.
        :param at_end_of_turn: calls its argument when all input of this turn of the reactor was processed. Without it
            the hub does not gather messages.
        """
        self._failed = failed
        self._history = history
        self._topics: dict[str, dict[Form, Cohort]] = {}
        settings = settings or RetainedSettings()
        self._last: SharedDict[str, Message] = SharedDict(
            last_messages, owner_of=_owner, weigh=_WEIGH, weight_limit=settings.MAX_LAST_MESSAGES_BYTES
        )
        self._at_end_of_turn = at_end_of_turn
        self._gathering: list[Cohort] = []
        self.messages = self.deliveries = self.delivered_octets = 0

    # Subscribing

    def join(self, topic: str, form: Form, member: Subscriber) -> tuple[Cohort, Message | None]:
        """Subscribe, and get the retained message in the same step, so that no message is missed in between.

        :return: the cohort, which is the argument of :meth:`leave`, and the retained message.
        """
        cohorts = self._topics.setdefault(topic, {})
        cohort = cohorts.get(form)
        if cohort is None:
            cohort = cohorts[form] = Cohort(topic, form)
        self._hand_out(cohort)
        cohort.members[member] = cohort.members.get(member, 0) + 1
        return cohort, self._last.get(topic)

    def join_stream(self, topic: str, form: Form, member: Subscriber) -> tuple[Cohort, Message | None]:
        """Like :meth:`join`, for a client that may get the messages of one turn in one piece.

        All members of a cohort are treated in the same way: the first member that joins decides whether the cohort
        gathers.
        """
        cohort, last = self.join(topic, form, member)
        if len(cohort.members) == 1:
            cohort.gathers = self._at_end_of_turn is not None
        return cohort, last

    def leave(self, cohort: Cohort, member: Subscriber) -> None:
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
        """Subscribe a whole cohort to another topic, and give it the retained message of that topic.

        This is needed when the application changes the meaning of a destination. No other cohort of that topic may have
        the same form; equal destinations move together.
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
        """Every cohort of every topic. The hub may be changed during the iteration."""
        for cohorts in list(self._topics.values()):
            yield from list(cohorts.values())

    def topics(self) -> list[str]:
        """The topics that have a subscriber."""
        return list(self._topics)

    def listeners(self, topic: str) -> Iterator[Subscriber]:
        """The subscribers of a topic. A subscriber is returned once for each of its cohorts."""
        for cohort in self._topics.get(topic, {}).values():
            yield from cohort.members

    # Publishing

    def publish(self, topic: str, message: Message) -> int:
        """Retain the message, and offer it to every subscriber of the topic.

        :return: the number of subscribers.
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
            if cohort.gathers and len(cohort.members) > 1:
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
            except Exception as error:  # noqa: BLE001 (it is reported, and the other subscribers get the message)
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
        """Deliver the gathered messages of all cohorts now, because the order matters before the end of the turn."""
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
                member.offer_joined(cohort, offered, data, only=only)
            except Exception as error:  # noqa: BLE001  (as in _offer)
                self._failed(member, error)

    # The retained message

    def last(self, topic: str) -> Message | None:
        """The retained message of a topic; None if there was none, or if it was dropped."""
        return self._last.get(topic)

    async def recall(self, topic: str, ask: Callable[[str], Awaitable[Message | None]]) -> Message | None:
        """Retain a message that another store has as the last one of a topic, unless a newer one is published
        meanwhile.

        :param ask: asks the other store. It must give the same object to all callers that wait at the same time.
        :return: the message, if it is now the retained one of the topic and was not before.
        """
        if self._last.get(topic) is not None:
            return None
        message = await ask(topic)
        if message is None:
            return None
        if self._last.get(topic) is None:
            self.remember(topic, message)
        return message if self._last.get(topic) is message else None

    @property
    def remembered(self) -> Mapping[str, Message]:
        """The retained messages, by topic."""
        return self._last

    @property
    def remembered_octets(self) -> int:
        """The memory that the retained messages take, in octets."""
        return self._last.weight

    @property
    def remembered_owners(self) -> int:
        """How many owners the retained messages have; a topic without a known publisher counts as an owner."""
        return self._last.owners

    @property
    def displaced(self) -> int:
        """How many retained messages were dropped since the start because an owner had too many, or too large ones."""
        return self._last.displaced

    def remember(self, topic: str, message: Message) -> None:
        """Retain a message as the last one of its topic, without offering it to subscribers."""
        self._last[topic] = message
        if self._history is not None and topic in self._last:
            self._history.add(topic, message)

    def forget(self, topic: str) -> bool:
        """Drop the retained message of a topic, and its history. Its subscribers stay subscribed.

        :return: whether there was a retained message.
        """
        if self._history is not None:
            self._history.forget(topic)
        return self._last.pop(topic, None) is not None


def _owner(topic: str, message: Message) -> str:
    """The account to which a retained message is charged. Without a known publisher each topic is an account of its
    own.
    """
    return topic if message.origin is None else message.origin.owner
