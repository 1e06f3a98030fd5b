"""Who listens to which topic, and what was last said on it. Decides one fan-out per publish.

A topic is opaque here: the application hands in its canonical key. Subscribers that need the same octets form a
*cohort*, so a publish is encoded once per cohort and touches nobody but the subscribers of its topic.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from fanout.history import History
from fanout.message import Message
from fanout.outbox import Outbox

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


class Cohort:
    """The subscribers of one topic that get the same octets.

    :ivar topic: the key they listen to; :meth:`Hub.move` may change it.
    :ivar form: how their messages are written.
    :ivar members: each with the number of times it has joined.
    """

    __slots__ = ("form", "members", "topic")

    def __init__(self, topic: str, form: Form) -> None:
        self.topic = topic
        self.form = form
        self.members: dict[Member, int] = {}


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
    ) -> None:
        """
        :param failed: told of a member whose ``offer`` raised; its neighbours get their message all the same.
        :param last_messages: topics whose last message is kept; beyond it the one published longest ago is forgotten.
        :param last_octets: the memory these may take, by the same rule; a message that takes more alone is not kept.
        :param history: what is remembered is added to it, for clients that come back and ask what they missed.
        """
        self._failed = failed
        self._last_messages = last_messages
        self._last_octets = last_octets
        self._history = history
        self._topics: dict[str, dict[Form, Cohort]] = {}
        self._last: OrderedDict[str, Message] = OrderedDict()
        self._octets = 0
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
        cohort.members[member] = cohort.members.get(member, 0) + 1
        return cohort, self._last.get(topic)

    def leave(self, cohort: Cohort, member: Member) -> None:
        """Undo one :meth:`join`."""
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


def _weight(message: Message) -> int:
    return len(message.body) + sum(len(name) + len(value) for name, value in message.headers) + _MESSAGE_OVERHEAD
