"""Long polls: a request is answered when a new message is published, and held until then.

    without last_id     the newest message of each topic immediately; held if there is none
    with last_id        the messages after that one immediately; held if there is none
    unknown last_id     held until this node receives that message: the client's previous node may have received it
                        earlier. After CATCH_UP_SECONDS the poll is treated like one without last_id

A poll of one topic gets one message, the next in order. A poll of several topics gets all later messages in order, so
that the id of the last message covers all topics.

:class:`LongPolls` holds polls and answers them. :class:`Poll` is one poll, and :class:`Question` describes it.
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
"""Polls answered in one turn of the reactor: a message that answers thousands must not delay other work."""
_TURN_OCTETS = 4_194_304
"""Octets of answers in one turn, for the same reason: about 10 ms of joining and writing them."""
_GATHER = 0.05
"""Seconds in which messages on several topics count as published together."""


def _ask_again(request: HttpRequest) -> None:
    """408: clients ask again after it, unlike after a 503."""
    request.refuse(408, "There was no new message; ask again.")


@dataclass(frozen=True, slots=True)
class Question:
    """The parameters of a poll.

    :ivar destinations: the topics, in the client's spelling.
    :ivar last_id: the id of the last message that the client received; None for a new client.
    :ivar single: whether the answer has room for one message only.
    :ivar form: a function from a destination to the form that encodes its messages.
    :ivar write: writes the answer to the request, with one or more encoded messages.
    :ivar newest: whether a new client gets the newest message immediately; otherwise it waits for the next one.
    :ivar seconds: seconds that the poll is held; None for HTTP_POLL_TIMEOUT, ``math.inf`` for no limit.
    :ivar nothing: answers the request if no message came in this time.
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

    :ivar requests: the objects that all polls and streams share.
    """

    def __init__(self, requests: PendingRequests) -> None:
        self.requests = requests
        self.single = _Answering(requests, 0)
        self.several = _Answering(requests, _GATHER)

    async def ask(self, request: HttpRequest, question: Question) -> None:
        """Answer the request immediately, or hold it.

        :raises HttpError: too many requests wait, or a destination is invalid.
        """
        keys = await self.requests.resolve(question.destinations)
        if not request.gone:
            Poll(self, request, question, keys).begin(question.newest)


class Poll(Subscriber):
    """One request that is held, or that will be answered immediately."""

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
        self._awaited = question.last_id  # An id that this node does not know.
        self._got: list[tuple[Cohort, Message]] = []  # Encoded only for the answer, as the octets may be many.
        settings = polls.requests.settings
        self._deadline = now + (settings.HTTP_POLL_TIMEOUT if question.seconds is None else question.seconds)
        self._patience = now + CATCH_UP_SECONDS
        self._subscription = TopicSubscription(
            polls.requests, keys, [question.form(each) for each in question.destinations], self, request.address
        )

    def begin(self, newest: bool) -> None:
        """Answer with earlier messages if there are any; otherwise hold the poll.

        :param newest: as in :class:`Question`.
        """
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
        """The messages after an id. If this node does not know the id, the poll waits for its message.

        One known client removes ``ID:`` from the id that it received.
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
        """The client's IP address; empty after the answer."""
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
        """End the wait for an unknown id, or for a message, when its time limit is reached."""
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
        """Send the messages, if the client is still connected."""
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
        """End the poll with a 408, because the node shuts down. Clients then ask another node; after a 503, some
        clients would stop.
        """
        if self._request is not None:
            self._request.channel.persistent = 0
            self._request.put_header("connection", "close")
        self._time_out()

    def leave(self) -> None:
        """Stop holding the request, because it is answered or the client has disconnected."""
        if self._request is not None:
            self._request.lost = None
            self._request = None
            self._subscription.close(self)
            self._polls.requests.pending.discard(self)
            self._polls.requests.wheel.forget(self)


class _Writer:
    """Encodes messages for polls that are answered together. A message that many of them get is encoded once.

    :ivar octets: the octets of all answers.
    """

    def __init__(self) -> None:
        self.octets = 0
        self._written: dict[tuple[Cohort, Message], bytes] = {}
        self._kept = 0

    def write(self, got: Sequence[tuple[Cohort, Message]]) -> list[bytes]:
        """Encode the first of these messages: as many as an answer has room for, and at least one."""
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
            if cohort.members and self._kept + len(data) <= POLL_BYTES:  # Other polls get the same message.
                self._written[cohort, message] = data
                self._kept += len(data)
        return data


class _Answering:
    """Answers the polls that have messages: after the publish, and only a limited number in one turn of the reactor."""

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
        """Answer the first polls. The writer is kept for the others, because they get the same messages."""
        end = self._writer.octets + _TURN_OCTETS
        count = 0
        for poll in islice(self._ready, _TURN):
            count += 1
            try:
                poll.answer(self._writer)
            except Exception as error:  # noqa: BLE001  (A failed answer is reported; others are sent.)
                self._requests.failed(poll, error)
            if self._writer.octets >= end:
                break
        del self._ready[:count]
        if self._ready:
            self._requests.later(0, self._answer)
        else:
            self._writer = _Writer()
