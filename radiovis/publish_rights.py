"""The rights to publish: which topics a station may publish to, how fast, and the messages made of it (contract §1.5).

How fast is a share of what all stations of a node may publish in a second (:data:`PUBLISH_OCTETS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import getrandbits

from fanout.application.interface import Principal, Refused
from fanout.cache.bounded_dict import SharedBudget
from fanout.hub.message import Headers, Message, Publication
from radiovis import topics
from radiovis.directory.interface import Directory, DirectoryError
from radiovis.topic_resolution import TopicResolver

# Contract §2, change 3; nothing else, so that no publisher can forge what the server says (stomp.md C4).
FORWARDED = ("trigger-time", "link", "SlideId", "CategoryId", "CategoryTitle", "content-type")
_FORWARDED = frozenset(FORWARDED)

PUBLISH_OCTETS = 67_108_864
"""Octets that all stations of a node may publish in a second, as much memory as their messages take. A node carries
up to 35,000 small messages in a second, which are 16 MiB; a station by itself gets 32 MiB, and each of two 21. A single
one with large bodies would otherwise fill the journal, the history and the bus faster than they can take it."""

_FORBIDDEN = "You cannot do that."
_SHOWN = 200  # characters of a login, and of a destination, in what the publisher is told
_TOO_FAST = "its station publishes more in a second than its share of the node; send it again a second later."
_OUTAGE = "the directory of stations does not answer; try again later."

# RFC 9562, 4.1 and 5.4: which bits say that an UUID is random.
_UUID_BITS = (1 << 128) - 1 & ~(0xF << 76) & ~(0x3 << 62)
_UUID_4 = 0x4 << 76 | 0x2 << 62


def new_id() -> str:
    """A message-id that was never given before: a random UUID (RFC 9562), as the original gives.

    Not ``uuid.uuid4``, which is four times as much work for each publish; an id need not be unguessable.
    """
    digits = f"{getrandbits(128) & _UUID_BITS | _UUID_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class PublishRights:
    """Turns what a station sends into messages, or refuses it.

    :ivar budget: of the present second, which the stations share.
    """

    def __init__(
        self,
        directory: Directory,
        resolver: TopicResolver,
        clock: Callable[[], float],
        make_id: Callable[[], str] = new_id,
    ) -> None:
        """
        :param clock: Unix time in seconds.
        :param make_id: makes the message-id of a publish that brings none.
        """
        self._directory = directory
        self._resolver = resolver
        self._clock = clock
        self._make_id = make_id
        self._second = 0
        self.budget: SharedBudget[str] = SharedBudget(PUBLISH_OCTETS)

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages of one SEND, or of a transaction: all of them, or none.

        :raises Refused: the client is not logged in, there is no destination, it is not the station's, or the station
            publishes too much.
        """
        if principal is None:
            topic = publications[0].destination[:_SHOWN] if publications else ""
            raise Refused(_FORBIDDEN, f"Publishing to {topic} needs a login.")
        if not all(each.destination for each in publications):
            raise Refused("No destination ?", f"SEND of {principal.login[:_SHOWN]} needs a destination header.")
        allowed = await self._channels(principal, publications)
        messages: list[Message] = []
        for each in publications:
            messages += self._messages(principal, each, await self._targets(principal, each.destination, allowed))
        self._check_rate(principal, publications, messages)
        return tuple(messages)

    def _check_rate(
        self, principal: Principal, publications: Sequence[Publication], messages: Sequence[Message]
    ) -> None:
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self.budget.clear()
        if not self.budget.take(principal.name, sum([each.weight for each in messages])):
            detail = _may_not(principal, publications[0].destination, _TOO_FAST)
            raise Refused("Too many messages", detail, temporary=True)

    async def _channels(self, principal: Principal, publications: Sequence[Publication]) -> tuple[str, ...]:
        try:
            return await self._directory.channels(principal.name)
        except DirectoryError:
            topic = publications[0].destination if publications else ""
            raise Refused(_FORBIDDEN, _may_not(principal, topic, _OUTAGE), temporary=True) from None

    async def _targets(self, principal: Principal, destination: str, allowed: tuple[str, ...]) -> list[str]:
        """The topics a SEND goes to, in the sender's spelling: consumers translate it (contract §1.5)."""
        if destination.startswith(topics.BROADCAST):
            rest = destination.removeprefix(topics.BROADCAST)
            return [channel + rest for channel in allowed]
        wanted = await self._resolver.canonical(destination)
        for channel in allowed:
            if wanted.startswith(await self._resolver.canonical(channel)):
                return [destination]
        raise Refused(_FORBIDDEN, _may_not(principal, destination, "the topic is in none of the station's channels."))

    def _messages(self, principal: Principal, publication: Publication, targets: list[str]) -> list[Message]:
        """One message per target, all with the same id."""
        given = dict(reversed(publication.headers))  # the first of repeated headers counts
        message_id = given.get("message-id") or self._make_id()
        headers = forwarded(given)
        when, origin = int(self._clock()), principal.origin
        return [Message(target, publication.body, message_id, when, headers, origin=origin) for target in targets]


def _may_not(principal: Principal, topic: str, reason: str) -> str:
    return f"{principal.login[:_SHOWN]} may not publish to {topic[:_SHOWN]}: {reason}"


def forwarded(given: dict[str, str]) -> Headers:
    """The headers of a SEND that reach the radios, in a fixed order; empty ones do not."""
    if _FORWARDED.isdisjoint(given):
        return ()
    return tuple((name, given[name]) for name in FORWARDED if given.get(name))
