"""A store in memory, which the test empties, breaks and reads."""

from __future__ import annotations

from collections.abc import Callable

from fanout.bus.interface import BusError
from fanout.hub.message import Message
from radiovis.schedule.held_slides import Take

TOPIC = "/topic/fm/4e1/4000/09580/image"


def message(name: str, trigger: str = "NOW", body: bytes = b"SHOW http://x/1.png", when: int = 0) -> Message:
    return Message(TOPIC, body, name, when, (("trigger-time", trigger), ("link", "http://l/")))


class FakeSlideStore:
    """What was given and is not done is given again after :meth:`lose`."""

    def __init__(self) -> None:
        self.lying: dict[int, Message] = {}
        self.room: bool | None = None
        self.broken = False
        self._take: Take | None = None
        self._forget: Callable[[], None] = lambda: None

    async def ensure(self, take: Take, forget: Callable[[], None], *, room: bool) -> None:
        if self.broken:
            raise BusError("no broker")
        self.room = room
        if self._take is None:
            self._take, self._forget = take, forget
            for ticket, each in list(self.lying.items()):
                take(each, ticket)

    def put(self, each: Message) -> None:
        ticket = len(self.lying) + 1000
        while ticket in self.lying:
            ticket += 1
        self.lying[ticket] = each
        if self._take is not None:
            self._take(each, ticket)

    def lose(self) -> None:
        self._take = None
        self._forget()

    def done(self, ticket: int) -> None:
        del self.lying[ticket]

    async def stop(self) -> None:
        self._take = None

    @property
    def names(self) -> list[str]:
        return [each.message_id for each in self.lying.values()]
