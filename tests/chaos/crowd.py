"""Radios and publishers with receipts, all in one process, which keep a record of what they hear and send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from fanout.stomp.client import ClientEvent, Connected, MessageReceived, Receipted
from radiovis.client.conversation import StompClient
from tests.chaos.account import Account, Life

Address = tuple[str, int]
VERSIONS = (("1.0",), ("1.1",), ("1.2",))
LOGIN, PASSCODE = "1.test", "test"
MAX_OUTSTANDING = 500  # receipts one publisher waits for before it holds back
REDIAL = (0.3, 1.0)  # seconds


def topic(number: int) -> str:
    """The topic of a publisher."""
    return f"/topic/id/tests._ebu.nowhere/topic1/chaos-{number}/image"


class Member:
    """Somebody who connects, and connects again, always to the same node, while that one takes clients."""

    def __init__(
        self,
        reactor: Any,
        addresses: Sequence[Address],
        takes_clients: Callable[[int], bool],
        number: int,
        chance: Random,
    ) -> None:
        self.number = number
        self.ready = False
        self.reconnects = -1
        self.client: StompClient | None = None
        self._reactor = reactor
        self._node = number % len(addresses)
        self._address = addresses[self._node]
        self._takes_clients = takes_clients
        self._chance = chance
        self._stopped = False

    def dial(self) -> None:
        """Connect."""
        if self._stopped:
            return
        if not self._takes_clients(self._node):
            self._later()
            return
        client = StompClient(self._reactor, self._heard, self._lost)
        login = (LOGIN, PASSCODE) if isinstance(self, Publisher) else ("", "")
        client.session.connect(*login, versions=VERSIONS[self.number % 3], host="chaos")
        endpoint = TCP4ClientEndpoint(self._reactor, *self._address, timeout=5)
        connectProtocol(endpoint, client).addErrback(lambda _: self._later())
        self.client = client

    def stop(self) -> None:
        """Hang up for good."""
        self._stopped = True
        if self.client is not None:
            self.client.close()

    def _later(self) -> None:
        self._reactor.callLater(self._chance.uniform(*REDIAL), self.dial)

    def _lost(self, reason: str) -> None:
        self.ready = False
        self.ended()
        self._later()

    def _heard(self, event: ClientEvent) -> None:
        if isinstance(event, Connected):
            self.reconnects += 1
        self.heard(event)

    def heard(self, event: ClientEvent) -> None:
        """The node said something."""

    def ended(self) -> None:
        """The connection is lost."""


class Radio(Member):
    """Listens to every topic; its connections are lives in the account."""

    def __init__(self, account: Account, topics: Sequence[str], *rest: Any) -> None:
        super().__init__(*rest)
        self._account = account
        self._topics = topics
        self.life: Life | None = None

    def heard(self, event: ClientEvent) -> None:
        if isinstance(event, Connected):
            self.life = self._account.life(self.number)
            for each in self._topics:
                assert self.client is not None
                self.client.session.subscribe(each, each, receipt=each)
        elif isinstance(event, Receipted) and self.life is not None:
            self.life.began[event.receipt] = self._reactor.seconds()
            self.ready = len(self.life.began) == len(self._topics)
        elif isinstance(event, MessageReceived) and self.life is not None:
            self.life.hear(event.destination, int(event.body.split()[-1]))

    def ended(self) -> None:
        if self.life is not None:
            self.life.ended = True


class Publisher(Member):
    """Publishes numbered slides on a topic of its own, at a constant rate, each with a receipt."""

    def __init__(self, account: Account, rate: float, *rest: Any) -> None:
        """:param rate: per second."""
        super().__init__(*rest)
        self.topic = topic(self.number)
        self.outstanding: set[int] = set()
        self._account = account
        self._every = 1 / rate
        self._call: Any = None

    def heard(self, event: ClientEvent) -> None:
        if isinstance(event, Connected):
            self.ready = True
            self._call = self._reactor.callLater(self._chance.random() * self._every, self._next)
        elif isinstance(event, Receipted):
            number = int(event.receipt)
            self.outstanding.discard(number)
            self._account.receipted(self.topic, number)

    def ended(self) -> None:
        self.outstanding.clear()  # Nobody knows what became of those.
        self.pause()

    def pause(self) -> None:
        """Publish no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _next(self) -> None:
        self._call = self._reactor.callLater(self._every, self._next)
        if len(self.outstanding) < MAX_OUTSTANDING and self.client is not None and not self.client.session.closed:
            self.publish()

    def publish(self) -> int:
        """One more slide; its number."""
        assert self.client is not None
        number = self._account.sent(self.topic, self._reactor.seconds())
        self.outstanding.add(number)
        self.client.session.send(self.topic, b"SHOW http://chaos/ %d" % number, receipt=str(number))
        self.client.flush()
        return number


class Crowd:
    """All of them."""

    def __init__(
        self,
        reactor: Any,
        addresses: Sequence[Address],
        radios: int,
        publishers: int,
        rate: float,
        seed: int,
        takes_clients: Callable[[int], bool] = lambda _: True,
    ) -> None:
        """
        :param rate: publishes of each publisher per second.
        :param takes_clients: whether the node of this address, by its number, takes new clients.
        """
        chance = Random(seed)
        self.account = Account()
        self.topics = [topic(number) for number in range(publishers)]
        shared = (reactor, addresses, takes_clients)
        self.radios = [Radio(self.account, self.topics, *shared, number, chance) for number in range(radios)]
        self.publishers = [Publisher(self.account, rate, *shared, number, chance) for number in range(publishers)]

    def start(self) -> None:
        """Let everybody connect; publishers begin to publish."""
        for each in (*self.radios, *self.publishers):
            each.dial()

    def stop(self) -> None:
        """Let everybody hang up."""
        for each in (*self.radios, *self.publishers):
            each.stop()

    def pause(self) -> None:
        """Let publishing end."""
        for each in self.publishers:
            each.pause()

    def healthy_since(self, newest: Sequence[int]) -> bool:
        """Whether everybody is connected, and each publisher had a RECEIPT for something behind this number."""
        receipted = [self.account.newest_receipted(each) for each in self.topics]
        return all(each.ready for each in (*self.radios, *self.publishers)) and all(
            now > before for now, before in zip(receipted, newest, strict=True)
        )

    def newest(self) -> list[int]:
        """The number of each publisher's last slide."""
        return [self.account.newest(each) for each in self.topics]

    def all_heard(self, numbers: Sequence[int]) -> bool:
        """Whether every radio has this slide of each topic."""
        pairs = list(zip(self.topics, numbers, strict=True))
        return all(radio.life is not None and all(radio.life.has(*pair) for pair in pairs) for radio in self.radios)

    @property
    def reconnects(self) -> int:
        return sum(max(0, each.reconnects) for each in (*self.radios, *self.publishers))
