"""The rights to publish: which topics a station may publish to, and the messages made of it (contract §1.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import getrandbits

from fanout.application.interface import Principal, Refused
from fanout.hub.message import Headers, Message, Publication
from radiovis import topics
from radiovis.directory.interface import Directory, DirectoryError
from radiovis.topic_resolution import TopicResolver

# Contract §2, change 3; nothing else, so that no publisher can forge what the server says (stomp.md C4).
FORWARDED = ("trigger-time", "link", "SlideId", "CategoryId", "CategoryTitle", "content-type")
_FORWARDED = frozenset(FORWARDED)

_FORBIDDEN = "You cannot do that."

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
    """Turns what a station sends into messages, or refuses it."""

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

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages of one SEND, or of a transaction: all of them, or none.

        :raises Refused: the client is not logged in, there is no destination, or it is not the station's.
        """
        if principal is None:
            raise Refused(_FORBIDDEN, "Publishing needs a login.")
        if not all(each.destination for each in publications):
            raise Refused("No destination ?", "SEND needs a destination header.")
        allowed = await self._channels(principal)
        messages: list[Message] = []
        for each in publications:
            messages += self._messages(each, await self._targets(each.destination, allowed))
        return tuple(messages)

    async def _channels(self, principal: Principal) -> tuple[str, ...]:
        try:
            return await self._directory.channels(principal.name)
        except DirectoryError:
            detail = "The directory of stations does not answer; try again later."
            raise Refused(_FORBIDDEN, detail, temporary=True) from None

    async def _targets(self, destination: str, allowed: tuple[str, ...]) -> list[str]:
        """The topics a SEND goes to, in the sender's spelling: consumers translate it (contract §1.5)."""
        if destination.startswith(topics.BROADCAST):
            rest = destination.removeprefix(topics.BROADCAST)
            return [channel + rest for channel in allowed]
        wanted = await self._resolver.canonical(destination)
        for channel in allowed:
            if wanted.startswith(await self._resolver.canonical(channel)):
                return [destination]
        raise Refused(_FORBIDDEN, "The destination is none of the station's channels.")

    def _messages(self, publication: Publication, targets: list[str]) -> list[Message]:
        """One message per target, all with the same id."""
        given = dict(reversed(publication.headers))  # the first of repeated headers counts
        message_id = given.get("message-id") or self._make_id()
        headers = forwarded(given)
        when = int(self._clock())
        return [Message(target, publication.body, message_id, when, headers) for target in targets]


def forwarded(given: dict[str, str]) -> Headers:
    """The headers of a SEND that reach the radios, in a fixed order; empty ones do not."""
    if _FORWARDED.isdisjoint(given):
        return ()
    return tuple((name, given[name]) for name in FORWARDED if given.get(name))
