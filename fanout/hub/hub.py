"""The index from topics to subscribers, and the last message of each topic. One publish makes one fan-out here.

**What it is responsible for.** Four things, and they are in one place because each must happen in one step with the
others: which subscribers listen to a topic; the *retained message*, the last one of a topic, which a new subscriber
is shown; the *history*, for clients that come back and ask what they missed; and the fan-out itself. A topic is opaque
here: the application hands in its canonical key, and decides which client may publish.

**Cohorts.** Ten thousand clients want a message in a handful of forms: STOMP 1.0 with a NUL, 1.2 with an id, an event
of a stream. Subscribers of one topic with equal forms are a :class:`~fanout.hub.subscriber.Cohort`. A message is
encoded once per cohort, and the same ``bytes`` object goes to all of its members. The obvious design, a set of
subscribers per topic in which each encodes for itself, costs an encoding per delivery. Forms share work, too, through
the dictionary ``encoded`` of a publish: where each client has an id of its own, there are as many cohorts as clients,
but the head and the body of the frame are still written once.

**Gathering.** A cohort is in one of two states::

                    publish, more than one member
         EMPTY ───────────────────────────────────────> GATHERING ──┐ publish
           ^                                                │  ^─────┘
           └── end of the turn, hand_out, join, leave,  ────┘
               move, or more than _PIECE octets

A busy publisher sends many messages in one turn of the reactor. A subscriber whose client reads one octet after
another (:meth:`Hub.join_stream`) needs no call for each of them: what is published in the turn is joined once for the
whole cohort, and each member is called once at the end of the turn. That is a quarter of the cost of a fan-out with
eight publishes under way. A cohort with one member does not gather: there is nothing to share. Polls and event streams
do not gather either: their clients name the last message they saw, across topics, so they get every message at
once, in the order of publishing.

**Invariants.**

- A member gets the messages of a topic in the order they were published, each at most once per cohort.
- A change of the members happens behind everything published before it: :meth:`Hub.join`, :meth:`Hub.leave` and
  :meth:`Hub.move` first hand out what the cohort has gathered. So a new member gets nothing it was already shown as
  the retained message, and one that leaves gets all it is owed.
- :meth:`Hub.join` returns the retained message in the same step as it adds the member: no message falls between.
- A cohort in the index has at least one member, a topic in the index at least one cohort.
- A member that raises costs its neighbours nothing; the owner of the hub is told.
- :meth:`Hub.publish` touches the cohorts of its topic and nothing else, however many topics and clients there are.

**What a subscriber must not do.** Call the hub from ``offer``: the members are being walked through.

Sans-IO. The end of a turn is a callback that the owner hands in, and the one coroutine, :meth:`Hub.recall`, waits for
what its caller gives it.
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
"""Octets beyond which a cohort gathers no more: a slow client is judged by what one piece adds to its outbox."""
_WEIGH = attrgetter("weight")


MAX_LAST_MESSAGES = 100_000
"""Most topics whose last message is kept; beyond it the publisher with most topics loses the one it published longest
ago. As many topics as a thousand stations with fifty services each have. MAX_LAST_MESSAGES_BYTES bounds the memory."""


class RetainedSettings(SettingsGroup):
    """Last messages."""

    retired: ClassVar[Mapping[str, str]] = {"MAX_LAST_MESSAGES": constant(MAX_LAST_MESSAGES, "topics")}

    MAX_LAST_MESSAGES_BYTES: int = setting(
        67_108_864,
        "Most memory that the last messages of all topics may take.",
        "octets",
        why="Raise it if the messages of your topics need more than 64 MiB, or lower it if memory is short.",
        ge=262_144,
    )


class Hub:
    """The index from topics to subscribers, and the last message of each topic. See the head of this file.

    :ivar messages: how many messages were published since the start.
    :ivar deliveries: how many subscribers they were offered to, all messages together.
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
        :param failed: is called with a member whose ``offer`` raised, and the exception.
        :param settings: how much memory retained messages may take. Beyond it the owner of most of that memory loses
            the message it published longest ago; a message that takes more alone is not retained.
        :param last_messages: how many retained messages there may be; beyond it the same.
        :param history: retained messages are added to it.
        :param at_end_of_turn: calls its argument when all input of this turn of the reactor was processed. Without it
            nothing is gathered.
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
        """Subscribe, and get the last message in the same step, so that no message falls in between.

        :return: the cohort, which :meth:`leave` asks for, and the last message.
        """
        cohorts = self._topics.setdefault(topic, {})
        cohort = cohorts.get(form)
        if cohort is None:
            cohort = cohorts[form] = Cohort(topic, form)
        self._hand_out(cohort)
        cohort.members[member] = cohort.members.get(member, 0) + 1
        return cohort, self._last.get(topic)

    def join_stream(self, topic: str, form: Form, member: Subscriber) -> tuple[Cohort, Message | None]:
        """As :meth:`join`, for a client to which the messages of one turn may come in one piece.

        Members of a cohort are treated alike; whether it gathers is decided when the first of them joins.
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
        """Subscribe a whole cohort to another topic, and show it the last message there.

        Needed when the application changes what a destination means. No other cohort of that topic may have the same
        form; equal destinations move together.
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
        """The topics that have a subscriber."""
        return list(self._topics)

    def listeners(self, topic: str) -> Iterator[Subscriber]:
        """The subscribers of a topic; one is given once for each of its cohorts."""
        for cohort in self._topics.get(topic, {}).values():
            yield from cohort.members

    # Publishing

    def publish(self, topic: str, message: Message) -> int:
        """Retain the message, and offer it to every subscriber of the topic.

        :return: how many subscribers these are.
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
            except Exception as error:  # noqa: BLE001  (any failure: it is reported, and the other subscribers get the message)
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
        """Give all cohorts what they have gathered, because the order matters before the turn is over."""
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
        """The last message of a topic; None when there was none, or it was dropped."""
        return self._last.get(topic)

    async def recall(self, topic: str, ask: Callable[[str], Awaitable[Message | None]]) -> Message | None:
        """Retain what another memory has as the last message of a topic, unless a newer one is published meanwhile.

        :param ask: asks that memory; it gives all callers that wait at the same time the same object.
        :return: the message, if it is the last one of the topic now, and was not before.
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
        """The last message of every topic that has one."""
        return self._last

    @property
    def remembered_octets(self) -> int:
        """The memory they take."""
        return self._last.weight

    @property
    def remembered_owners(self) -> int:
        """How many owners they have; a topic without a known publisher counts as an owner."""
        return self._last.owners

    @property
    def displaced(self) -> int:
        """How many of them were dropped since the start because an owner had too many, or too large ones."""
        return self._last.displaced

    def remember(self, topic: str, message: Message) -> None:
        """Retain a message as the last one of its topic, without offering it to anybody."""
        self._last[topic] = message
        if self._history is not None and topic in self._last:
            self._history.add(topic, message)

    def forget(self, topic: str) -> bool:
        """Drop the last message of a topic, and its history. Its subscribers stay.

        :return: whether there was a last message.
        """
        if self._history is not None:
            self._history.forget(topic)
        return self._last.pop(topic, None) is not None


def _owner(topic: str, message: Message) -> str:
    """The account that a retained message counts for. Without a known publisher each topic has a share of its own."""
    return topic if message.origin is None else message.origin.owner
