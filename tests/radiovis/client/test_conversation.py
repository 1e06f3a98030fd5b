"""A conversation, with servers that say only what the test has them say."""

from __future__ import annotations

from typing import Any

from twisted.internet import protocol, reactor
from twisted.trial import unittest

from fanout.stomp.client import MessageReceived, Receipted
from radiovis.client.command_line import CommandError
from radiovis.client.conversation import (
    ConnectRejected,
    Conversation,
    ConversationEnded,
    converse,
)
from radiovis.client.server_address import ServerAddress

CONNECTED = b"CONNECTED\nversion:1.2\nsession:1\nheart-beat:0,0\n\n\0"
MESSAGE = b"MESSAGE\ndestination:/topic/x\nmessage-id:%d\nsubscription:1\n\nTEXT x\0"


class ScriptedServer(protocol.Protocol):
    """Answers each frame with the next text, and closes the connection when there is none."""

    answers: list[bytes]

    def dataReceived(self, data: bytes) -> None:
        for _ in range(data.count(b"\0")):
            assert self.transport is not None
            if self.answers:
                self.transport.write(self.answers.pop(0))
            else:
                self.transport.loseConnection()


class ConversationCase(unittest.TestCase):
    def server(self, *answers: bytes) -> ServerAddress:
        factory: Any = protocol.Factory.forProtocol(ScriptedServer)
        ScriptedServer.answers = list(answers)
        listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        return ServerAddress("127.0.0.1", listening.getHost().port)

    async def open(self, *answers: bytes) -> Conversation:
        conversation, _ = await converse(reactor, self.server(CONNECTED, *answers))
        self.addCleanup(conversation.close)
        return conversation


class Connecting(ConversationCase):
    async def fails(self, text: str, *answers: bytes, seconds: float = 10.0) -> CommandError:
        with self.assertRaisesRegex(CommandError, text) as caught:
            await converse(reactor, self.server(*answers), seconds=seconds)
        return caught.exception

    async def test_a_refused_login_can_be_told_apart(self) -> None:
        error = await self.fails(
            "refuses a connection without a login: no such login", b"ERROR\nmessage:no such login\n\n\0"
        )
        self.assertIsInstance(error, ConnectRejected)

    async def test_a_server_that_closes_the_connection(self) -> None:
        error = await self.fails("closed the connection before it answered CONNECT")
        self.assertNotIsInstance(error, ConnectRejected)

    async def test_a_server_that_says_nothing(self) -> None:
        await self.fails("sent nothing for 0.1 s; is this a STOMP port", b"", seconds=0.1)


class Events(ConversationCase):
    async def test_nothing_comes_in_time(self) -> None:
        conversation = await self.open()
        self.assertIsNone(await conversation.next_event(0.01))

    async def test_a_receipt_behind_messages(self) -> None:
        conversation = await self.open(MESSAGE % 1 + b"RECEIPT\nreceipt-id:other\n\n\0RECEIPT\nreceipt-id:mine\n\n\0")
        conversation.session.send("/topic/x", b"TEXT x", receipt="mine")
        conversation.flush()
        self.assertEqual((await conversation.receipt("mine", 10)).receipt, "mine")

    async def test_a_receipt_that_is_an_error(self) -> None:
        conversation = await self.open(b"ERROR\nmessage:not yours\n\n\0")
        conversation.session.send("/topic/x", b"TEXT x", receipt="mine")
        conversation.flush()
        with self.assertRaisesRegex(CommandError, "the server refuses: not yours"):
            await conversation.receipt("mine", 10)

    async def test_the_end_is_told_again(self) -> None:
        conversation = await self.open()
        conversation.session.subscribe("/topic/x", "1")
        conversation.flush()
        for _ in range(2):
            with self.assertRaises(ConversationEnded):
                await conversation.next_event(10)

    async def test_a_flood_waits_in_the_kernel_and_nothing_is_lost(self) -> None:
        conversation = await self.open(b"".join(MESSAGE % n for n in range(5_000)) + b"RECEIPT\nreceipt-id:r\n\n\0")
        conversation.session.subscribe("/topic/x", "1", receipt="r")
        conversation.flush()
        came = 0
        while not isinstance(event := await conversation.next_event(10), Receipted):
            assert isinstance(event, MessageReceived)
            came += 1
        self.assertEqual(came, 5_000)
