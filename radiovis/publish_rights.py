"""The rights to publish: which topics a station may publish to, and the messages made of it (contract §1.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fanout.application.interface import Principal, Refused
from fanout.hub.message import Headers, Message, Publication
from radiovis import topics
from radiovis.directory.interface import Directory, DirectoryError
from radiovis.topic_resolution import TopicResolver

# Contract §2, change 3; nothing else, so that no publisher can forge what the server says (stomp.md C4).
FORWARDED = ("trigger-time", "link", "SlideId", "CategoryId", "CategoryTitle", "content-type")
_FORWARDED = frozenset(FORWARDED)

_FORBIDDEN = "You cannot do that."


class PublishRights:
    """Turns what a station sends into messages, or refuses it."""

    def __init__(
        self, directory: Directory, resolver: TopicResolver, clock: Callable[[], float], new_id: Callable[[], str]
    ) -> None:
        """
        :param clock: Unix time in seconds.
        :param new_id: makes a message-id for publishers that send none.
        """
        self._directory = directory
        self._resolver = resolver
        self._clock = clock
        self._new_id = new_id

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
        message_id = given.get("message-id") or self._new_id()
        headers = forwarded(given)
        when = int(self._clock())
        return [Message(target, publication.body, message_id, when, headers) for target in targets]


def forwarded(given: dict[str, str]) -> Headers:
    """The headers of a SEND that reach the radios, in a fixed order; empty ones do not."""
    if _FORWARDED.isdisjoint(given):
        return ()
    return tuple((name, given[name]) for name in FORWARDED if given.get(name))
