"""The header ``trigger-time``: when a message is to be shown (contract §4), and how a publish handles it.

A message with a time in the future is held until then (``SCHEDULE = server``). A message with a past time is shown now,
because some receivers show nothing otherwise. If the header contains any other text, or is missing, the message is
passed on unchanged. :class:`ScheduledApplication` decides this for each publish, and passes messages for later to a
:class:`SlideIntake`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from twisted.internet.defer import Deferred

from fanout.application.interface import Application, Extension, Principal, Refused
from fanout.bus.interface import together
from fanout.hub.message import Message, Publication

HEADER, NOW = "trigger-time", "NOW"
HORIZON = 604_800.0
"""How far ahead a trigger-time may be, in seconds: a week. A later one is probably a mistake, such as a wrong year."""
_SHOWN = 200  # characters of a login and of a topic in the error for the publisher
_LONGEST = 64  # characters; a longer text is not a date and time
_CACHED = 1_024
"""How many texts are cached with their time. The time of a message is needed when it is accepted, published and read
from the store, and all messages of a broadcast have the same text."""


def trigger_time(message: Message) -> float | None:
    """The trigger-time as Unix time in seconds; None for NOW, for a missing header, and for text that is not a date and
    time with a time zone.

    Such text is passed on unchanged, as the original did (contract §1.5).
    """
    text = dict(message.headers).get(HEADER, NOW).strip()
    return None if text == NOW or len(text) > _LONGEST else _unix_time(text)


@lru_cache(_CACHED)
def _unix_time(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None


def for_now(message: Message, when: int | None = None) -> Message:
    """The same message with a trigger-time of NOW.

    :param when: Unix time in seconds at which it is sent; None does not change the time of the message.
    """
    headers = tuple((name, NOW if name == HEADER else value) for name, value in message.headers)
    return message._replace(headers=headers, when=message.when if when is None else when)


class SlideIntake(Protocol):
    """A store as a node uses it: accepts messages to be shown later, and messages with an empty body, which cancel
    one.
    """

    def hold(self, message: Message) -> Deferred[None]:
        """Hold a message. The Deferred fires when no crash can lose it. Fails with
        :class:`~fanout.bus.interface.BusError`.
        """


class ScheduledApplication(Extension):
    """An application that holds messages with a trigger-time in the future, and passes on all others."""

    def __init__(self, application: Application, intake: SlideIntake, clock: Callable[[], float]) -> None:
        """
        :param application: the wrapped application.
        :param intake: holds messages.
        :param clock: Unix time in seconds.
        """
        super().__init__(application)
        self._intake = intake
        self._clock = clock

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages of these publications.

        :raises Refused: one of them is not allowed, or its trigger-time is too far ahead.
        """
        messages = await self._application.admit(principal, publications)
        latest = self._clock() + HORIZON
        for message in messages:
            if (trigger_time(message) or 0) > latest:
                login = "" if principal is None else principal.login[:_SHOWN]
                topic = message.topic[:_SHOWN]
                detail = f"{login} may not publish to {topic}: a trigger-time may be at most {HORIZON:g} s ahead."
                raise Refused("The trigger-time is too far ahead", detail, unfit=True)
        return messages

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Publish or hold the messages. The Deferred fires when the bus or the store has accepted all of them."""
        now = self._clock()
        later, at_once = [], []
        for message in messages:
            at = trigger_time(message)
            if not message.body or (at or 0) > now:  # An empty body cancels a held message.
                later.append(message)
            else:
                at_once.append(message if at is None else for_now(message))
        if not later:
            return self._application.publish(at_once)
        begun = [self._intake.hold(each) for each in later]
        begun += [self._application.publish(at_once)] if at_once else []
        return together(begun)
