from __future__ import annotations

import json
from urllib.parse import unquote

from twisted.trial import unittest

from fanout.http.response import HttpError
from fanout.hub.message import Message
from fanout.stomp.limits import MAX_DESTINATION_BYTES
from radiovis.http.visjson import PushForm, VisForm, check_topic


class TestVisForm(unittest.TestCase):
    def encode(self, body: bytes, *headers: tuple[str, str], destination: str = "/topic/a/b/image") -> object:
        return json.loads(VisForm(destination).encode(Message("/topic/x", body, "7", 1, headers), {}))

    def test_all_there_is(self) -> None:
        headers = (("trigger-time", "2026-12-24T18:00:00Z"), ("link", "http://a/"), ("SlideId", "3"))
        expected = {
            "RadioVIS-Message-ID": "7",
            "RadioVIS-Destination": "/topic/a/b/image",
            "RadioVIS-Trigger-Time": "2026-12-24T18:00:00Z",
            "RadioVIS-Link": "http://a/",
        }
        self.assertEqual(
            self.encode(b"SHOW http://a/1.png", *headers), {"body": "SHOW http://a/1.png", "headers": expected}
        )

    def test_a_time_that_is_not_given_is_now_and_a_link_is_left_out(self) -> None:
        found = self.encode(b"TEXT x")
        assert isinstance(found, dict)
        self.assertEqual(found["headers"]["RadioVIS-Trigger-Time"], "NOW")
        self.assertNotIn("RadioVIS-Link", found["headers"])

    def test_octets_that_are_no_utf_8_are_replaced(self) -> None:
        found = self.encode(b"TEXT caf\xe9")
        assert isinstance(found, dict)
        self.assertEqual(found["body"], "TEXT caf\N{REPLACEMENT CHARACTER}")

    def test_the_octets_are_ascii_without_line_ends(self) -> None:
        data = VisForm("/t").encode(Message("/t", "TEXT é\u2028\n".encode(), "7", 1), {})
        self.assertTrue(data.isascii())
        self.assertNotIn(b"\n", data)

    def test_brackets_are_written_so_that_no_client_takes_the_object_for_an_array(self) -> None:
        message = Message("/t", rb"TEXT [a] \[ \\] \u005b", "[7]", 1, (("link", "http://[::1]/"),))
        data = VisForm("/t/[x]").encode(message, {})
        self.assertNotRegex(data, rb"[\[\]]")
        found = json.loads(data)
        self.assertEqual(found["body"], r"TEXT [a] \[ \\] \u005b")
        self.assertEqual(found["headers"]["RadioVIS-Message-ID"], "[7]")
        self.assertEqual(found["headers"]["RadioVIS-Destination"], "/t/[x]")
        self.assertEqual(found["headers"]["RadioVIS-Link"], "http://[::1]/")

    def test_equal_spellings_share_one_encoding(self) -> None:
        self.assertEqual(VisForm("/t"), VisForm("/t"))
        self.assertEqual(hash(VisForm("/t")), hash(VisForm("/t")))
        self.assertNotEqual(VisForm("/t"), VisForm("/T"))


class TestCheckTopic(unittest.TestCase):
    def test_topics(self) -> None:
        for topic in (
            "/topic/fm/4e1/4000/09580/image",
            "/topic/fm/4e1/4000/*/image",
            "/topic/id/www.ebu.ch/radio-é/text",
            "/topic/test/1",
        ):
            check_topic(topic)

    def test_no_topics(self) -> None:
        for topic in ("", "/topic", "/topic/", "/topic/a", "/topic/a/", "/topic//a", "x/topic/a/b", "/topic/a/b\n"):
            with self.assertRaises(HttpError, msg=topic) as caught:
                check_topic(topic)
            self.assertEqual(caught.exception.status, 400)

    def test_octets_count_not_characters(self) -> None:
        most = (MAX_DESTINATION_BYTES - len("/topic/a/")) // 2
        check_topic("/topic/a/" + most * "é")
        with self.assertRaises(HttpError):
            check_topic("/topic/a/" + (most + 1) * "é")


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
