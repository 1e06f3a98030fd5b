"""Clients of HTTP at a real node: each answer compared whole, with the client's octets torn at every place, too."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tests.acceptance.test_http import HttpCase as _HttpCase
from tests.clients.http_transcripts import SLIDE, SLIDE_TIME, TRANSCRIPTS, Transcript, places, play
from tests.web import ask


class _Case(_HttpCase):
    """A node with a channel for each transcript. Each class has a node of its own: what is retained is part of it."""

    settings: ClassVar[dict[str, Any]] = {
        "HTTP_POLL_TIMEOUT": 3,
        "TEST_TOPICS": json.dumps([each.channel for each in TRANSCRIPTS if each.channel]),
    }

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="radiovis-slides-")
        cls.addClassCleanup(folder.cleanup)
        slide = Path(folder.name) / "1.png"
        slide.write_bytes(SLIDE)
        os.utime(slide, (SLIDE_TIME, SLIDE_TIME))
        cls.settings = {**cls.settings, "SLIDES_DIR": folder.name}
        super().setUpClass()

    def play_all(self, cuts_of: Callable[[Transcript], Sequence[int]]) -> None:
        for transcript in TRANSCRIPTS:
            with self.subTest(client=transcript.client, transport=transcript.transport):
                play(transcript, self.server.http, self._publish, self._settle, cuts_of(transcript))

    def _publish(self, topic: str, body: bytes, message_id: str) -> None:
        escaped = message_id.replace(":", "\\c")
        self.publisher.publish(topic, body, {"message-id": escaped})

    def _settle(self) -> None:
        """The node answers in the order in which it reads."""
        self.assertEqual(ask(self.server.http, "/comet", method="OPTIONS").status, 204)


class TestWhole(_Case):
    def test_each_client_gets_its_answers(self) -> None:
        """It prints the rows of a table: client, version, transport, what is done, what comes back."""
        self.play_all(lambda _: [0])
        print()
        for each in TRANSCRIPTS:
            print(f"| {each.client} | {each.version} | {each.transport} | {each.done} | {each.got} |")


class TestTorn(_Case):
    """Hundreds of clients side by side, one for each place."""

    def test_at_every_place(self) -> None:
        self.play_all(places)


class TestOctetByOctet(_Case):
    def test_every_octet_by_itself(self) -> None:
        self.play_all(lambda _: [-1])
