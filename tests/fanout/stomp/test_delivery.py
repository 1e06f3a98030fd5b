from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from fanout.hub.message import Message
from fanout.stomp.client import MessageReceived
from fanout.stomp.delivery import Encoded, MessageForm
from fanout.stomp.dialect import DIALECTS
from fanout.stomp.frame import Frame
from tests.fanout.stomp.pair import Pair, read_frames

SLIDE = Message(
    "/published", b"SHOW http://x/1.png", "m-1", 1795294643, (("trigger-time", "NOW"), ("link", "http://x/"))
)
ALL = ("1.0", "1.1", "1.2")


def written(version: str, subscription: str | None = None, message: Message = SLIDE, **more: bool) -> bytes:
    return MessageForm(DIALECTS[version], "/a", subscription, **more).encode(message, {})


class TheOctets(unittest.TestCase):
    def test_1_0(self) -> None:
        """F10, F12, F12a: as the original wrote it (contract §1.3, §1.7)."""
        self.assertEqual(
            written("1.0", "7"),
            b"MESSAGE\ndestination:/a\ntrigger-time:NOW\nlink:http://x/\nmessage-id:m-1\nwhen:1795294643\nsubscription:7\n"
            b"\nSHOW http://x/1.png\0",
        )

    def test_1_0_without_an_id(self) -> None:
        self.assertTrue(written("1.0").endswith(b"when:1795294643\n\nSHOW http://x/1.png\0"))

    def test_1_1_and_1_2(self) -> None:
        for version in ("1.1", "1.2"):
            self.assertEqual(
                written(version, "7"),
                b"MESSAGE\ndestination:/a\ntrigger-time:NOW\nlink:http\\c//x/\nmessage-id:m-1\nwhen:1795294643\n"
                b"content-length:19\nsubscription:7\n\nSHOW http://x/1.png\0\n",
            )

    def test_an_ack_for_who_acknowledges_under_1_2(self) -> None:
        """C5, C6a."""
        self.assertIn(b"\nack:7/m-1\nsubscription:7\n\n", written("1.2", "7", acknowledged=True))
        self.assertNotIn(b"\nack:", written("1.2", "7"))
        self.assertNotIn(b"\nack:", written("1.1", "7", acknowledged=True))

    def test_the_destination_is_the_one_subscribed_to(self) -> None:
        for version in ALL:
            [frame] = read_frames(written(version, "7"), version)
            self.assertEqual(frame.get("destination"), "/a")

    def test_a_nul_in_the_body(self) -> None:
        """F10: then 1.0 is told the length too."""
        for version in ALL:
            [frame] = read_frames(written(version, "7", Message("/t", b"a\0b", "m", 1)), version)
            self.assertEqual((frame.body, frame.get("content-length")), (b"a\0b", "3"))

    def test_header_injection(self) -> None:
        """F9, stomp.md §8: `link:a\\nevil:1` from a 1.2 publisher."""
        message = Message("/t", b"", "m\nevil:2\0", 1, (("link", "a\nevil:1"), ("x\ny:z", "\r\n\nbody\0")))
        for version in ALL:
            [frame] = read_frames(written(version, "7\nevil:3", message), version)
            names = [name for name, _ in frame.headers if name != "content-length"]
            self.assertEqual(len(names), 6, version)
            self.assertNotIn("evil", names)
            self.assertEqual(frame.get("link"), "a evil:1" if version == "1.0" else "a\nevil:1")


class Sharing(unittest.TestCase):
    def test_equal_wishes_are_equal_forms(self) -> None:
        form = MessageForm(DIALECTS["1.2"], "/a", "0")
        self.assertEqual(form, MessageForm(DIALECTS["1.2"], "/a", "0"))
        for other in (
            MessageForm(DIALECTS["1.1"], "/a", "0"),
            MessageForm(DIALECTS["1.2"], "/b", "0"),
            MessageForm(DIALECTS["1.2"], "/a", "1"),
            MessageForm(DIALECTS["1.2"], "/a", None),
            MessageForm(DIALECTS["1.2"], "/a", "0", acknowledged=True),
        ):
            self.assertNotEqual(form, other)

    @given(st.data())
    @settings(deadline=None)
    def test_what_is_shared_changes_nothing(self, data: st.DataObject) -> None:
        """Encoded one after the other with what they share, or each alone: the same octets."""
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
        forms = data.draw(
            st.lists(
                st.builds(
                    MessageForm,
                    st.sampled_from([DIALECTS[version] for version in ALL]),
                    st.sampled_from(["/a", "/b"]),
                    st.none() | text,
                    st.booleans(),
                ),
                max_size=6,
            )
        )
        headers = data.draw(st.lists(st.tuples(text, text), max_size=3))
        message = Message("/t", data.draw(st.binary(max_size=20)), data.draw(text), 1, tuple(headers))
        encoded: Encoded = {}
        for form in forms:
            octets = form.encode(message, encoded)
            self.assertEqual(octets, form.encode(message, {}))


class Arriving(unittest.TestCase):
    def test_at_clients_of_every_version(self) -> None:
        """Body and headers arrive as they were published, whatever the network does to the octets."""
        body = bytes(range(256)) * 4
        for version in ALL:
            for piece in (None, 1, 7):
                pair = Pair(piece=piece).connect(version)
                pair.client.subscribe("/a", "0")
                pair.talk()
                [message] = pair.publish("/a", body, link="http://x/ü:\\")
                assert isinstance(message, MessageReceived)
                self.assertEqual(message.body, body)
                self.assertEqual(Frame("", message.headers).get("link"), "http://x/ü:\\")
                self.assertEqual((message.destination, message.message_id, message.subscription), ("/a", "m-1", "0"))

    def test_in_order_and_behind_the_receipt(self) -> None:
        pair = Pair().connect("1.2")
        pair.publish("/a", b"last")
        pair.client.subscribe("/a", "0", receipt="r")
        told = pair.talk()
        told += pair.publish("/a", b"1") + pair.publish("/a", b"2")
        self.assertEqual([getattr(event, "body", None) for event in told], [None, b"last", b"1", b"2"])
