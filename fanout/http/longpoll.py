"""Long polls: a request is answered when a new message is published, and held until then.

    without last_id     the newest message of each topic at once; held when there is none
    with last_id        what followed that message at once; held when nothing did
    unknown last_id     the node from which the client comes may have got the message earlier: held until this node
                        gets it too, and after CATCH_UP_SECONDS treated as no last_id at all

A poll of one topic gets one message, the next in order. A poll of several gets all that followed, in order, so that
the last one's id stands for all of them.

:class:`LongPolls` holds the polls and answers them; :class:`Poll` is one of them, and :class:`Question` what it asks
for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from fanout.http.http_server import HttpRequest
from fanout.http.limits import CATCH_UP_SECONDS, POLL_BYTES
from fanout.http.pending_requests import PendingRequests, TopicSubscription
from fanout.hub.message import Message
from fanout.hub.subscriber import Cohort, Form, Subscriber

_TURN = 200
"""Polls answered in one turn of the reactor: a publish that answers thousands must not hold up everything else."""
_TURN_OCTETS = 4_194_304
"""Octets of answers in one turn, for the same reason: about 10 ms of joining and writing them."""
_GATHER = 0.05
"""Seconds in which messages on several topics count as published together."""


def _ask_again(request: HttpRequest) -> None:
    """408: clients ask again after it, unlike after a 503."""
    request.refuse(408, "Nothing new was said; ask again.")


@dataclass(frozen=True, slots=True)
class Question:
    """What a poll asks for.

    :ivar destinations: the topics, in the client's spelling.
    :ivar last_id: the last message the client got; None for a new client.
    :ivar single: whether the answer has room for one message only.
    :ivar form: how a message is written, for a destination.
    :ivar write: writes the answer to the request, given one to many messages.
    :ivar newest: whether a new client gets the newest message at once; otherwise it waits for the next.
    :ivar seconds: how long it is held; None for as long as the server holds any, ``math.inf`` for as long as it takes.
    :ivar nothing: answers the request when there was no message for so long.
    """

    destinations: tuple[str, ...]
    last_id: str | None
    single: bool
    form: Callable[[str], Form]
    write: Callable[[HttpRequest, Sequence[bytes]], None]
    newest: bool = True
    seconds: float | None = None
    nothing: Callable[[HttpRequest], None] = _ask_again


class LongPolls:
    """Holds polls, and answers them.

    :ivar requests: what all polls and streams share.
    """

    def __init__(self, requests: PendingRequests) -> None:
        self.requests = requests
        self.single = _Answering(requests, 0)
        self.several = _Answering(requests, _GATHER)

    async def ask(self, request: HttpRequest, question: Question) -> None:
        """Answer now, or hold the request. :raises HttpError: it cannot be answered."""
        keys = await self.requests.resolve(question.destinations)
        if not request.gone:
            Poll(self, request, question, keys).begin(question.newest)


class Poll(Subscriber):
    """One request that is held, or about to be answered."""

    __slots__ = (
        "_awaited",
        "_deadline",
        "_got",
        "_nothing",
        "_patience",
        "_polls",
        "_request",
        "_single",
        "_subscription",
        "_write",
        "slot",
    )
    protocol = "poll"

    def __init__(self, polls: LongPolls, request: HttpRequest, question: Question, keys: Sequence[str]) -> None:
        now = polls.requests.clock()
        self.slot: int | None = None
        self._polls = polls
        self._request: HttpRequest | None = request
        self._single = question.single
        self._write = question.write
        self._nothing = question.nothing
        self._awaited = question.last_id  # an id that this node does not know
        self._got: list[tuple[Cohort, Message]] = []  # written when it is answered: their octets may be many
        settings = polls.requests.settings
        self._deadline = now + (settings.HTTP_POLL_TIMEOUT if question.seconds is None else question.seconds)
        self._patience = now + CATCH_UP_SECONDS
        self._subscription = TopicSubscription(
            polls.requests, keys, [question.form(each) for each in question.destinations], self, request.address
        )

    def begin(self, newest: bool) -> None:
        """Answer with earlier messages, if there are any, or be held. :param newest: as in :class:`Question`."""
        requests = self._polls.requests
        heard = self._earlier(newest)
        if heard and self._awaited is None:
            self._got = heard
            self.answer(_Writer())
            return
        assert self._request is not None
        self._request.hold(self.leave)
        requests.pending.add(self)
        self._schedule()

    def _earlier(self, newest: bool) -> list[tuple[Cohort, Message]]:
        if self._awaited is not None:
            return self._followed(self._awaited)
        return self._subscription.newest() if newest else []

    def _followed(self, last_id: str) -> list[tuple[Cohort, Message]]:
        """What followed an id. An unknown one stays awaited, if there is anything to show when it does not come.

        One known client cuts ``ID:`` off the id it was given.
        """
        limit = 1 if self._single else self._polls.requests.replay
        for known_as in (last_id, f"ID:{last_id}"):
            heard = self._subscription.since(known_as, limit)
            if heard is not None:
                self._awaited = None
                return heard
        return []

    # The subscriber

    @property
    def address(self) -> str:
        """The client's IP address; empty once it has its answer."""
        return self._request.address if self._request is not None else ""

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """Keep the message for the answer."""
        if self._awaited is not None:
            if self._awaited in (message.message_id, message.message_id.removeprefix("ID:")):
                self._awaited = None
            return
        if not self._got:
            (self._polls.single if self._single else self._polls.several).add(self)
        if len(self._got) < (1 if self._single else self._polls.requests.replay):
            self._got.append((cohort, message))

    # Time

    def on_timer(self, now: float) -> None:
        """Give up waiting for an id, or for anything."""
        if self._request is None or self._got:
            return
        if self._awaited is not None and now >= self._patience:
            self._awaited = None
            self._got = self._subscription.newest()
        if self._got:
            self.answer(_Writer())
        elif now >= self._deadline:
            self._time_out()
        else:
            self._schedule()

    def _schedule(self) -> None:
        patience = self._deadline if self._awaited is None else min(self._patience, self._deadline)
        self._polls.requests.wheel.schedule(self, None if math.isinf(patience) else patience)

    # The end

    def answer(self, writer: _Writer) -> None:
        """Send the messages, if the client is still there."""
        request = self._request
        got, self._got = self._got, []
        self.leave()
        if request is not None:
            self._write(request, writer.write(got[:1] if self._single else got))

    def _time_out(self) -> None:
        request = self._request
        self.leave()
        if request is not None:
            self._nothing(request)

    def close(self) -> None:
        """End the poll, as the node shuts down: after 408 clients ask again, another node; after 503 some give up."""
        if self._request is not None:
            self._request.channel.persistent = 0
            self._request.put_header("connection", "close")
        self._time_out()

    def leave(self) -> None:
        """Be held no longer: the poll is answered, or the client is gone."""
        if self._request is not None:
            self._request.lost = None
            self._request = None
            self._subscription.close(self)
            self._polls.requests.pending.discard(self)
            self._polls.requests.wheel.forget(self)


class _Writer:
    """Writes messages for polls that are answered together; one that many of them get is written once.

    :ivar octets: of all answers.
    """

    def __init__(self) -> None:
        self.octets = 0
        self._written: dict[tuple[Cohort, Message], bytes] = {}
        self._kept = 0

    def write(self, got: Sequence[tuple[Cohort, Message]]) -> list[bytes]:
        """The first of these messages, as many as an answer has room for, and at least one."""
        found: list[bytes] = []
        left = POLL_BYTES
        for cohort, message in got:
            data = self._data(cohort, message)
            left -= len(data)
            if left < 0 and found:
                break
            found.append(data)
            self.octets += len(data)
        return found

    def _data(self, cohort: Cohort, message: Message) -> bytes:
        data = self._written.get((cohort, message))
        if data is None:
            data = cohort.encode(message)
            if cohort.members and self._kept + len(data) <= POLL_BYTES:  # others get the same
                self._written[cohort, message] = data
                self._kept += len(data)
        return data


class _Answering:
    """The polls that have something to be answered with: after the publish, and not too many in one turn."""

    def __init__(self, requests: PendingRequests, delay: float) -> None:
        self._requests = requests
        self._delay = delay
        self._ready: list[Poll] = []
        self._writer = _Writer()

    def add(self, poll: Poll) -> None:
        if not self._ready:
            self._requests.later(self._delay, self._answer)
        self._ready.append(poll)

    def _answer(self) -> None:
        """Answer the first of them. The writer is kept for the others: they get the same messages."""
        end = self._writer.octets + _TURN_OCTETS
        count = 0
        for poll in islice(self._ready, _TURN):
            count += 1
            try:
                poll.answer(self._writer)
            except Exception as error:  # noqa: BLE001  (one broken client is reported and stops no other)
                self._requests.failed(poll, error)
            if self._writer.octets >= end:
                break
        del self._ready[:count]
        if self._ready:
            self._requests.later(0, self._answer)
        else:
            self._writer = _Writer()
