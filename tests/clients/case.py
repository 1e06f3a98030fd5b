"""What the tests of clients have in common: a node with each of the settings that transcripts need, and its company."""

from __future__ import annotations

import itertools
import json
import unittest
from collections.abc import Callable
from typing import Any, ClassVar

from tests.clients.transcript import TOPICS, Company, Conversation, Transcript, transcripts
from tests.processes import Server, node
from tests.services import free_port

Settings = tuple[tuple[str, str], ...]


def node_settings(settings: Settings = ()) -> dict[str, Any]:
    """Of a node for transcripts: its station 1 may publish to all their topics."""
    return {"TEST_TOPICS": json.dumps(TOPICS), "HTTP_PORT": free_port(), **dict(settings)}


class ClientCase(unittest.TestCase):
    """Plays transcripts against nodes, which are started once for all tests of a class."""

    servers: ClassVar[dict[Settings, Server]]
    companies: ClassVar[dict[Settings, Company]]
    numbers: ClassVar[itertools.count[int]]

    @classmethod
    def setUpClass(cls) -> None:
        cls.servers, cls.companies, cls.numbers = {}, {}, itertools.count()
        for settings in dict.fromkeys(each.settings for each in transcripts()):
            server = cls.servers[settings] = cls.start(settings)
            cls.companies[settings] = Company(server.address, server.http)
            cls.addClassCleanup(cls.companies[settings].close)

    @classmethod
    def start(cls, settings: Settings) -> Server:
        """A node, which is closed after the tests of the class."""
        server = node(**node_settings(settings))
        cls.addClassCleanup(server.close)
        return server.start()

    def tearDown(self) -> None:
        for server in self.servers.values():
            self.assertEqual(server.faults, [])

    def play(self, transcript: Transcript, tears: Callable[[int], bool] = lambda _: False) -> Conversation:
        """Play it once, with topics of its own."""
        conversation = Conversation(transcript, self.companies[transcript.settings], next(self.numbers), tears)
        conversation.play()
        return conversation
