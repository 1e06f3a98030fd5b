"""The rights to publish: the topics and the rate that a station may use, and the messages of a SEND (contract §1.5).

The rate of a station is a share of the rate of its node (:data:`PUBLISH_OCTETS`).
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

# Contract §2, change 3. Other headers are dropped, so that no publisher can forge the server's headers (stomp.md C4).
FORWARDED = ("trigger-time", "link", "SlideId", "CategoryId", "CategoryTitle", "content-type")
_FORWARDED = frozenset(FORWARDED)

PUBLISH_OCTETS = 67_108_864
"""Octets of memory for the messages that all stations of a node may publish in a second. A node carries up to 35,000
small messages in a second, which take 16 MiB. One station alone gets 32 MiB, and each of two stations gets 21 MiB.
Without this bound, one station with large bodies could fill the journal, the history and the bus faster than they are
emptied."""

_FORBIDDEN = "You cannot do that."
_SHOWN = 200  # characters of a login or a destination in an error text
_TOO_FAST = "the station publishes more in a second than its share of the node; send it again a second later."
_OUTAGE = "the directory of stations does not answer; try again later."

# RFC 9562, 4.1 and 5.4: the bits that mark a random UUID.
_UUID_BITS = (1 << 128) - 1 & ~(0xF << 76) & ~(0x3 << 62)
_UUID_4 = 0x4 << 76 | 0x2 << 62


def new_id() -> str:
    """A new message-id: a random UUID (RFC 9562), as the original server makes it.

    ``uuid.uuid4`` takes four times as long. Its secure random numbers are not needed, because an id is not a secret.
    """
    digits = f"{getrandbits(128) & _UUID_BITS | _UUID_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class PublishRights:
    """Turns the publications of a station into messages, or refuses them.

    :ivar budget: the octets of the current second, which the stations share.
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
        :param make_id: makes the message-id of a publication without one.
        """
        self._directory = directory
        self._resolver = resolver
        self._clock = clock
        self._make_id = make_id
        self._second = 0
        self.budget: SharedBudget[str] = SharedBudget(PUBLISH_OCTETS)

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages of one SEND or of one transaction. If one publication is refused, all are.

        :raises Refused: the client is not logged in, a destination is missing or does not belong to the station, the
            station publishes too much, or the directory does not answer.
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
        """The topics of a SEND, in the sender's spelling. Consumers make the canonical topic of it (contract §1.5)."""
        if destination.startswith(topics.BROADCAST):
            rest = destination.removeprefix(topics.BROADCAST)
            return [channel + rest for channel in allowed]
        wanted = await self._resolver.canonical(destination)
        for channel in allowed:
            if wanted.startswith(await self._resolver.canonical(channel)):
                return [destination]
        raise Refused(_FORBIDDEN, _may_not(principal, destination, "the topic is in none of the station's channels."))

    def _messages(self, principal: Principal, publication: Publication, targets: list[str]) -> list[Message]:
        """One message for each target. All have the same id."""
        given = dict(reversed(publication.headers))  # the first of repeated headers counts
        message_id = given.get("message-id") or self._make_id()
        headers = forwarded(given)
        when, origin = int(self._clock()), principal.origin
        return [Message(target, publication.body, message_id, when, headers, origin=origin) for target in targets]


def _may_not(principal: Principal, topic: str, reason: str) -> str:
    return f"{principal.login[:_SHOWN]} may not publish to {topic[:_SHOWN]}: {reason}"


def forwarded(given: dict[str, str]) -> Headers:
    """The headers of a SEND that are forwarded to radios, in a fixed order. Empty headers are dropped."""
    if _FORWARDED.isdisjoint(given):
        return ()
    return tuple((name, given[name]) for name in FORWARDED if given.get(name))
