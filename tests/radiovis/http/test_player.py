"""The EBU player's dialect, between a hub and a WebSocket that are real and a network that is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial import unittest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage
from wsproto.events import Message as WebSocketMessage

from fanout.application.interface import Refused, ResolvedTopic
from fanout.http.limits import WebSocketSettings
from fanout.http.websocket import WebSocket, WebSocketServer
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.outbox import Flusher, OutboxSettings
from fanout.listeners.client_limits import SubscriptionLimit, SubscriptionSettings
from radiovis.http.player import Player, PlayerClient, PlayerForm

CHANNEL = "/topic/fm/4e1/4000/09580"
HELLO = "RADIOVISWEBSOCKET:HELLO\0"


class Application:
    """Answers when the test says so, if it is told to wait."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []
        self.slow_directory = False
        self.slow_memory = False
        self.refuses = False
        self.breaks = False
        self.recalled: dict[str, Message] = {}

    async def resolve(self, destination: str, headers: object) -> ResolvedTopic:
        if self.slow_directory:
            await self._turn()
        if self.breaks:
            raise ValueError("a bug")
        if self.refuses:
            raise Refused("no such topic")
        return ResolvedTopic(destination)

    async def recall(self, topic: str) -> Message | None:
        if self.slow_memory:
            await self._turn()
        return self.recalled.get(topic)

    async def _turn(self) -> None:
        turn: Deferred[None] = Deferred()
        self.waiting.append(turn)
        await turn


class Log:
    def __init__(self) -> None:
        self.errors: list[str] = []

    def error(self, event: str, **fields: object) -> None:
        self.errors.append(event)


def message(kind: str, body: bytes) -> Message:
    return Message(f"{CHANNEL}/{kind}", body, "id-1", 7, (("link", "http://s/"),))


class TestPlayer(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.application = Application()
        self.log = Log()
        self.failed: list[Exception] = []
        self.hub = Hub(lambda member, error: self.failed.append(error))
        self.turn: list[Callable[[], None]] = []
        flusher = Flusher(
            self.clock.seconds,
            self.turn.append,
            lambda outbox, error: self.failed.append(error),
            OutboxSettings(OUTBOX_BYTES=4_096),
        )
        self.websockets = WebSocketServer(
            self.clock,
            WebSocketSettings(),
            self.clock.seconds,
            lambda *_, **__: None,
            lambda _, error: self.failed.append(error),
        )
        self.subscription_limit = SubscriptionLimit(SubscriptionSettings(MAX_SUBSCRIPTIONS_TOTAL=100))
        self.player = Player(
            self.application,  # type: ignore[arg-type]
            self.hub,
            flusher,
            self.websockets,
            self.log,
            self.subscription_limit,
        )

    def open(self) -> None:
        self.client = Connection(ConnectionType.CLIENT)
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 4711))
        viewer: Callable[[WebSocket], PlayerClient] = lambda socket: PlayerClient(self.player, socket, CHANNEL)  # noqa: E731
        self.socket = WebSocket(self.websockets, viewer, "192.0.2.1", 4711)
        self.socket.makeConnection(self.transport)

    def heard(self) -> list[str]:
        """The messages the client has got, at the end of the turn."""
        while self.turn:
            self.turn.pop()()
        self.client.receive_data(self.transport.value())
        self.transport.clear()
        self.events = list(self.client.events())
        return [event.data for event in self.events if isinstance(event, WebSocketMessage)]

    def bodies(self) -> list[str]:
        return [each.partition("\n\n")[2] for each in self.heard()]

    def test_hello_the_last_ones_and_what_comes(self) -> None:
        self.hub.publish(f"{CHANNEL}/text", message("text", b"TEXT a"))
        self.open()
        head = f"MESSAGE\ndestination:{CHANNEL}/text\nlink:http://s/\nmessage-id:id-1\nwhen:7\n"
        self.assertEqual(self.heard(), [HELLO, head + "\nTEXT a"])
        self.hub.publish(f"{CHANNEL}/image", message("image", b"SHOW b"))
        self.hub.publish(f"{CHANNEL}/other", message("other", b"TEXT c"))
        self.assertEqual(self.bodies(), ["SHOW b"])

    def recalling(self) -> Deferred[Any]:
        """A player whose image is being asked for: its turn. Its text is known."""
        self.hub.publish(f"{CHANNEL}/text", message("text", b"TEXT a"))
        self.application.recalled = {f"{CHANNEL}/image": message("image", b"SHOW old")}
        self.application.slow_memory = True
        self.open()
        self.assertEqual(self.bodies(), ["", "TEXT a"])
        return self.application.waiting.pop()

    def test_the_last_message_another_node_kept(self) -> None:
        self.recalling().callback(None)
        self.assertEqual(self.bodies(), ["SHOW old"])

    def test_not_when_a_newer_one_came_meanwhile(self) -> None:
        turn = self.recalling()
        self.hub.publish(f"{CHANNEL}/image", message("image", b"SHOW new"))
        turn.callback(None)
        self.assertEqual(self.bodies(), ["SHOW new"])

    def test_nor_to_who_has_left(self) -> None:
        turn = self.recalling()
        self.socket.connectionLost()
        turn.callback(None)
        self.assertEqual(self.heard(), [])

    def test_who_leaves_before_the_directory_has_answered_is_not_remembered(self) -> None:
        self.application.slow_directory = True
        self.open()
        self.socket.connectionLost()
        self.application.slow_directory = False
        self.application.waiting.pop().callback(None)
        self.assertEqual(self.hub.topics(), [])

    def test_who_leaves_later_neither(self) -> None:
        self.open()
        self.assertEqual(len(self.hub.topics()), 2)
        self.socket.connectionLost()
        self.assertEqual(self.hub.topics(), [])
        self.assertEqual(self.hub.publish(f"{CHANNEL}/text", message("text", b"TEXT a")), 0)

    def test_a_topic_that_is_none(self) -> None:
        self.application.refuses = True
        self.open()
        self.assertEqual(self.heard(), ["RADIOVISWEBSOCKET:NOVIS\0"])
        self.assertIsInstance(self.events[-1], CloseConnection)

    def test_a_bug_is_logged_and_the_viewer_told_no_more_than_that(self) -> None:
        self.application.breaks = True
        self.open()
        self.assertEqual(self.heard(), ["RADIOVISWEBSOCKET:ERROR:The server made an error\0"])
        self.assertEqual(self.log.errors, ["player.failed"])

    def test_a_player_has_nothing_to_say_and_is_told_so_once(self) -> None:
        self.open()
        self.heard()
        self.socket.dataReceived(self.client.send(TextMessage("a")) + self.client.send(TextMessage("b")))
        self.assertEqual(self.heard(), ["RADIOVISWEBSOCKET:ERROR:Unexcepted message\0"])
        self.assertIsInstance(self.events[-1], CloseConnection)

    def test_a_slow_one_gets_the_newest_of_each_topic(self) -> None:
        self.open()
        self.heard()
        self.socket.pauseProducing()
        for number in range(1_000):
            self.hub.publish(f"{CHANNEL}/image", message("image", b"SHOW %d" % number))
        self.hub.publish(f"{CHANNEL}/text", message("text", b"TEXT"))
        self.assertEqual(self.heard(), [])
        self.socket.resumeProducing()
        bodies = self.bodies()
        self.assertEqual(bodies[-2:], ["SHOW 999", "TEXT"])
        self.assertLess(len(bodies), 50)


class TestPlayerForm(unittest.TestCase):
    def test_equal_pages_share_one_encoding(self) -> None:
        self.assertEqual(
            len({PlayerForm("/topic/a/text"), PlayerForm("/topic/a/text"), PlayerForm("/topic/b/text")}), 2
        )

    def test_what_is_no_text_is_replaced_and_only_the_last_nul_goes(self) -> None:
        frame = PlayerForm("/topic/a/text").encode(Message("x", b"TEXT \xff\0\0", "1", 1), {})
        self.assertTrue(frame.endswith("\n\nTEXT \ufffd\0\0".encode()))
