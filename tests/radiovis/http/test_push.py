from __future__ import annotations

import json
from urllib.parse import unquote

from twisted.trial import unittest

from fanout.hub.message import Message
from radiovis.http.push import PushForm


class TestPushForm(unittest.TestCase):
    def fields(self, kind: str, body: bytes, message_id: str = "7", *headers: tuple[str, str]) -> dict[str, str]:
        """The lines of the one event there must be."""
        data = PushForm(f"/topic/a/b/{kind}").encode(Message("/t", body, message_id, 1, headers), {})
        self.assertTrue(data.endswith(b"\n\n"))
        lines = data.decode().removesuffix("\n\n").split("\n")
        self.assertEqual(len(lines), 3, data)
        return dict(line.split(": ", 1) for line in lines)

    def test_an_image(self) -> None:
        fields = self.fields("image", b"SHOW http://a/1.png\n", "7", ("link", "http://a/"), ("SlideId", "3"))
        self.assertEqual(fields["event"], "image")
        self.assertEqual(json.loads(fields["data"]), {"src": "http://a/1.png", "link": "http://a/"})

    def test_a_text(self) -> None:
        fields = self.fields("text", "TEXT TEXT é\n\r\n\n".encode(), "7", ("trigger-time", "NOW"))
        self.assertEqual(fields["event"], "text")
        self.assertEqual(json.loads(fields["data"]), {"body": "TEXT é\n\r\n\n", "trigger-time": "NOW"})

    def test_a_body_that_is_neither(self) -> None:
        self.assertEqual(json.loads(self.fields("image", b"\xff")["data"]), {"src": "\N{REPLACEMENT CHARACTER}"})

    def test_any_id_comes_back_as_it_was(self) -> None:
        for message_id in ("ID:host-1:2", "a b", "a\nevent: image", "%41", "\r\0", "é\u2028"):
            sent = self.fields("text", b"TEXT x", message_id)["id"]
            self.assertTrue(sent.isascii() and " " not in sent, sent)
            self.assertEqual(unquote(sent), message_id)
