"""Listens to topics for as long as it takes: a connection that is lost is made again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.task import deferLater

from fanout.stomp.client_events import MessageReceived, Refused
from radiovis.commands.arguments import CommandError
from radiovis.commands.conversation import Conversation, Gone, converse, words
from radiovis.commands.server_address import ServerAddress

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Listener:
    """Subscribes to topics, and again after every loss."""

    def __init__(
        self,
        reactor: Any,
        server: ServerAddress,
        topics: Sequence[str],
        heard: Callable[[MessageReceived], None],
        warn: Callable[[str], None],
        *,
        first_pause: float = _FIRST_PAUSE,
    ) -> None:
        """
        :param heard: gets every message.
        :param warn: gets a line when the connection is lost, and when it is there again.
        :param first_pause: seconds before the first attempt to come back; it doubles up to 30 s.
        """
        self._reactor = reactor
        self._server = server
        self._topics = topics
        self._heard = heard
        self._warn = warn
        self._first_pause = first_pause
        self._came = 0

    async def run(self, count: int | None = None, seconds: float | None = None) -> int:
        """Listen until so many messages have come, or so many seconds are over; gives how many came.

        :raises CommandError: the first connection fails, or the server does not want us.
        """
        end = None if seconds is None else self._reactor.seconds() + seconds
        conversation = await self._open()
        while True:
            try:
                await self._hear(conversation, count, end)
            except Gone as gone:
                self._warn(f"{self._server}: connection lost: {gone}; trying again")
            else:
                return self._came
            finally:
                conversation.close()
            again = await self._open_again(end)
            if again is None:
                return self._came
            conversation = again
            self._warn(f"{self._server}: connected again")

    async def _hear(self, conversation: Conversation, count: int | None, end: float | None) -> None:
        """Take what comes, until it is enough or the time is over."""
        while count is None or self._came < count:
            event = await conversation.heard(None if end is None else end - self._reactor.seconds())
            if event is None:
                return
            if isinstance(event, Refused):
                raise CommandError(f"{self._server} refuses: {words(event)}")
            if isinstance(event, MessageReceived):
                self._came += 1
                self._heard(event)

    async def _open(self) -> Conversation:
        conversation, _ = await converse(self._reactor, self._server)
        for number, topic in enumerate(self._topics):
            conversation.session.subscribe(topic, str(number))
        conversation.flush()
        return conversation

    async def _open_again(self, end: float | None) -> Conversation | None:
        """None when the time is over."""
        pause = self._first_pause
        while True:
            wait = pause * random.uniform(0.5, 1)
            if end is not None and self._reactor.seconds() + wait >= end:
                await deferLater(self._reactor, max(0, end - self._reactor.seconds()))
                return None
            await deferLater(self._reactor, wait)
            try:
                return await self._open()
            except CommandError as error:
                if "does not let us in" in str(error):
                    raise
            pause = min(_LONGEST_PAUSE, pause * 2)
