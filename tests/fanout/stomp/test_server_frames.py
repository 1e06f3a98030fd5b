from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from fanout.hub.message import Message
from fanout.stomp.client import ConnectRefused, MessageReceived, Receipted
from fanout.stomp.codec import Frame, LocalProtocolError
from fanout.stomp.dialect import DIALECTS
from fanout.stomp.events import Publish
from fanout.stomp.limits import StompLimits
from fanout.stomp.server_frames import Encoded, MessageForm
from fanout.stomp.session import State
from tests.fanout.stomp.pair import Pair, Server, opened, read_frames

LATER = ("1.1", "1.2")


def send(number: int, receipt: bool = True) -> bytes:
    asked = b"receipt:%d\n" % number if receipt else b""
    return b"SEND\ndestination:/a\n" + asked + b"\n%d\0" % number


def publishes(server: Server) -> list[Publish]:
    return [event for event in server.asked if isinstance(event, Publish)]


def receipts(said: bytes, version: str = "1.2") -> list[str | None]:
    return [frame.get("receipt-id") for frame in read_frames(said, version)]


class Receipts(unittest.TestCase):
    """R1."""

    def test_on_every_frame_but_connect(self) -> None:
        frames = (
            b"SUBSCRIBE\nid:0\ndestination:/a\n", b"SEND\ndestination:/a\n", b"BEGIN\ntransaction:t\n",
            b"SEND\ndestination:/a\ntransaction:t\n", b"COMMIT\ntransaction:t\n", b"BEGIN\ntransaction:u\n",
            b"ABORT\ntransaction:u\n", b"UNSUBSCRIBE\nid:0\n", b"DISCONNECT\n",
        )  # fmt: skip
        for version in LATER:
            server = opened(version)
            for number, frame in enumerate(frames):
                said = server.hear(frame + b"receipt:%d\n\n\0" % number)
                self.assertEqual(receipts(said, version), [str(number)], frame)

    def test_ack_and_nack(self) -> None:
        for version in LATER:
            pair = Pair().connect(version)
            pair.client.subscribe("/a", "0", ack="client-individual")
            for command in (pair.client.ack, pair.client.nack):
                [message] = pair.publish("/a", b"x", message_id=str(command))
                command(message, receipt="r")
                self.assertEqual(pair.talk(), [Receipted("r")])

    def test_none_where_none_is_asked_for(self) -> None:
        server = opened("1.2")
        self.assertEqual(server.hear(send(1, receipt=False) + b"BEGIN\ntransaction:t\n\n\0"), b"")

    def test_a_send_is_answered_when_the_bus_has_it(self) -> None:
        server = opened("1.2")
        server.holding = True
        self.assertEqual(server.hear(send(1)), b"")
        self.assertEqual(receipts(server.let_go()), ["1"])

    def test_in_the_order_of_the_frames(self) -> None:
        """Whatever the order in which the bus confirms; what is processed at once waits in line."""
        server = opened("1.2")
        server.holding = True
        said = server.hear(send(1) + send(2) + b"BEGIN\ntransaction:t\nreceipt:3\n\n\0" + send(4))
        first, second, third = publishes(server)
        self.assertEqual(said, b"")
        third.answer.done()
        second.answer.done()
        self.assertEqual(server.work(), b"")
        self.assertEqual(server.session.pending, 4)
        first.answer.done()
        self.assertEqual(receipts(server.work()), ["1", "2", "3", "4"])
        self.assertEqual(server.session.pending, 0)

    def test_10_000_in_order_and_in_bounded_memory(self) -> None:
        """stomp.md §8: reading pauses while the bus is behind."""
        server = opened("1.2", StompLimits(pending_answers=100))
        server.holding = True
        got: list[str | None] = []
        said = server.hear(b"".join(send(number) for number in range(10_000)))
        while said or server.asked:
            got += receipts(said)
            self.assertLessEqual(server.session.pending, 100)
            waiting, server.asked[:] = list(server.asked), []
            for event in reversed(waiting):
                if isinstance(event, Publish):
                    event.answer.done()
            said = server.work()
        self.assertEqual(got, [str(number) for number in range(10_000)])

    def test_saturated_no_frame_is_read(self) -> None:
        server = opened("1.2", StompLimits(pending_answers=2))
        server.holding = True
        server.hear(send(1) + send(2) + send(3))
        self.assertTrue(server.session.saturated)
        self.assertEqual(len(publishes(server)), 2)
        publishes(server)[0].answer.done()
        server.work()
        self.assertEqual(len(publishes(server)), 3)

    def test_a_receipt_may_hold_anything(self) -> None:
        """R3: what the client sent goes back escaped for its version."""
        for version, receipt in (("1.1", "a:\n\\b"), ("1.2", "a:\r\n\\b"), ("1.2", "%s{0}../*.#")):
            pair = Pair().connect(version)
            pair.client.begin("t", receipt=receipt)
            self.assertEqual(pair.talk(), [Receipted(receipt)])

    def test_an_empty_receipt_is_one(self) -> None:
        self.assertEqual(receipts(opened("1.2").hear(b"BEGIN\ntransaction:t\nreceipt:\n\n\0")), [""])


class Errors(unittest.TestCase):
    """R2."""

    def test_what_it_holds(self) -> None:
        for version in LATER:
            pair = Pair().connect(version)
            pair.client.unsubscribe("unknown", receipt="r-7")
            [refused] = pair.talk()
            assert isinstance(refused, ConnectRefused)
            self.assertEqual((refused.summary, refused.receipt), ("Unknown ID", "r-7"))
            self.assertEqual(
                refused.detail,
                "UNSUBSCRIBE names no subscription of this connection.\nThe frame at fault: UNSUBSCRIBE\n",
            )
            self.assertIn(("content-type", "text/plain"), refused.headers)
            self.assertTrue(pair.closed)

    def test_without_a_receipt_none_is_named(self) -> None:
        [error] = read_frames(opened("1.2").hear(b"FOO\n\n\0"), "1.2")
        self.assertIsNone(error.get("receipt-id"))

    def test_unreadable_frames_have_it_too(self) -> None:
        [error] = read_frames(opened("1.2").hear(b"SEND\nreceipt:7\na:\\t\n\n\0"), "1.2")
        self.assertEqual((error.get("message"), error.get("receipt-id")), ("Malformed header", "7"))

    def test_nothing_behind_it_is_processed(self) -> None:
        for version in LATER:
            server = opened(version)
            said = server.hear(b"FOO\n\n\0" + send(1))
            self.assertEqual([frame.command for frame in read_frames(said, version)], ["ERROR"])
            self.assertEqual((server.hear(send(2)), server.published), (b"", []))
            self.assertEqual(server.session.state, State.CLOSED)

    def test_what_came_before_is_answered_first(self) -> None:
        server = opened("1.2")
        server.holding = True
        self.assertEqual(server.hear(send(1) + b"FOO\n\n\0" + send(2)), b"")
        self.assertEqual(server.session.state, State.LEAVING)
        said = read_frames(server.let_go(), "1.2")
        self.assertEqual([frame.command for frame in said], ["RECEIPT", "ERROR"])
        self.assertTrue(server.closed)

    def test_what_the_bus_has_of_later_frames_is_not_told(self) -> None:
        """The first SEND fails: its ERROR is the last frame, whatever becomes of the second."""
        server = opened("1.2")
        server.holding = True
        server.hear(send(1) + send(2))
        first, second = publishes(server)
        second.answer.done()
        first.answer.refuse("Not published", "The bus is down.")
        self.assertEqual([frame.get("message") for frame in read_frames(server.work(), "1.2")], ["Not published"])
        self.assertTrue(server.closed)

    def test_a_later_one_that_is_settled_after_the_end_harms_nothing(self) -> None:
        server = opened("1.2")
        server.holding = True
        server.hear(send(1) + send(2))
        first, second = publishes(server)
        first.answer.refuse("no")
        server.work()
        second.answer.done()
        self.assertEqual(server.work(), b"")

    def test_under_1_0_it_has_no_body_and_ends_nothing(self) -> None:
        """Contract §1.4."""
        server = opened("1.0")
        self.assertEqual(server.hear(b"SUBSCRIBE\n\n\0"), b"ERROR\nmessage:You need a destination to subscribe.\n\n\0")
        self.assertEqual(server.session.state, State.OPEN)
        server.hear(send(1))
        self.assertEqual(len(server.published), 1)

    def test_faults_are_kept_for_the_log_and_bounded(self) -> None:
        server = opened("1.0")
        for _ in range(1000):
            server.hear(b"SUBSCRIBE\n\n\0")
        self.assertEqual(len(server.session.faults), 10)


class WhatIsEchoed(unittest.TestCase):
    """R3."""

    hostile = (b"%s%n{0}", b"../../etc/passwd", b"(a+)+$", b"\\nevil\\c1", b"<script>")

    def test_no_header_is_forged(self) -> None:
        for octets in self.hostile:
            for frame in (
                b"SUBSCRIBE\nid:0\nack:%s\ndestination:/a\nreceipt:%s\n\n\0",
                b"UNSUBSCRIBE\nid:%s\nreceipt:%s\n\n\0",
                b"COMMIT\ntransaction:%s\nreceipt:%s\n\n\0",
            ):
                [error] = read_frames(opened("1.2").hear(frame % (octets, octets)), "1.2")
                self.assertEqual(error.command, "ERROR")
                names = [name for name, _ in error.headers]
                self.assertEqual(names, ["message", "content-type", "receipt-id", "content-length"])

    def test_the_command_is_shown_only_when_it_looks_like_one(self) -> None:
        for command, shown in (
            (b"FOO", "FOO"), (b"send", "send"), (b"A" * 17, "(not readable)"), (b"A" * 2048, "(not readable)"),
            (b"a\x1b[31m", "(not readable)"), ("é".encode(), "(not readable)"), (b"a:b", "(not readable)"),
        ):  # fmt: skip
            [error] = read_frames(opened("1.2").hear(command + b"\n\n\0"), "1.2")
            self.assertIn(f"The frame at fault: {shown}\n".encode(), error.body)

    def test_no_frame_is_at_fault_when_it_is_we_who_end_it(self) -> None:
        server = opened("1.2")
        server.session.disconnect("Shutting down", "The server is going down; connect again.")
        [error] = read_frames(server.session.data_to_send(), "1.2")
        self.assertEqual(error.body, b"The server is going down; connect again.\n")

    def test_a_passcode_never(self) -> None:
        for octets in (b"CONNECT\npasscode:secret\n\n\0", b"SEND\npasscode:secret\n\n\0FOO\npasscode:secret\n\n\0"):
            self.assertNotIn(b"secret", opened("1.2").hear(octets))


class Refusals(unittest.TestCase):
    """What the server refuses."""

    def test_from_1_1_on_it_ends_the_session(self) -> None:
        server = opened("1.2")
        server.holding = True
        server.hear(send(1))
        publishes(server)[0].answer.refuse("You cannot do that.", "The station has no such topic.")
        [error] = read_frames(server.work(), "1.2")
        self.assertEqual((error.get("message"), error.get("receipt-id")), ("You cannot do that.", "1"))
        self.assertTrue(error.body.startswith(b"The station has no such topic.\n"))
        self.assertTrue(server.closed)

    def test_under_1_0_the_session_goes_on(self) -> None:
        server = opened("1.0")
        server.holding = True
        self.assertEqual(server.hear(send(1)), b"RECEIPT\nreceipt-id:1\n\n\0")
        publishes(server)[0].answer.refuse("You cannot do that.")
        self.assertEqual(server.work(), b"ERROR\nmessage:You cannot do that.\n\n\0")
        self.assertEqual(server.session.state, State.OPEN)

    def test_final_means_final_under_1_0_too(self) -> None:
        server = opened("1.0")
        server.holding = True
        server.hear(send(1))
        publishes(server)[0].answer.refuse("Internal error", final=True)
        server.work()
        self.assertTrue(server.closed)

    def test_no_answer_twice(self) -> None:
        server = opened("1.2")
        server.hear(send(1))
        [publish] = publishes(server)
        self.assertRaises(LocalProtocolError, publish.answer.done)
        self.assertRaises(LocalProtocolError, publish.answer.refuse, "no")


class Remarks(unittest.TestCase):
    def test_they_are_headers_of_the_receipt_and_reach_nobody_who_asked_for_none(self) -> None:
        server = opened("1.2")
        server.holding = True
        server.hear(send(1) + send(2, receipt=False))
        for event in publishes(server):
            event.answer.done((("warning", "a: b\nc"),))
        (said,) = read_frames(server.work(), "1.2")
        self.assertEqual(said.headers, (("receipt-id", "1"), ("warning", "a: b\nc")))


class FromOurSide(unittest.TestCase):
    """The server shuts down, or made a mistake."""

    def test_behind_what_is_still_to_be_answered(self) -> None:
        server = opened("1.2")
        server.holding = True
        server.hear(send(1))
        server.session.disconnect("Going down", "Come back in a minute.")
        self.assertEqual(server.work(), b"")
        said = read_frames(server.let_go(), "1.2")
        self.assertEqual([frame.command for frame in said], ["RECEIPT", "ERROR"])
        self.assertEqual(said[1].get("message"), "Going down")
        self.assertTrue(server.closed)

    def test_before_connect_and_while_the_directory_thinks(self) -> None:
        for octets in (b"", b"CONNECT\naccept-version:1.2\n\n\0"):
            server = Server()
            server.holding = True
            server.hear(octets)
            server.session.disconnect("Going down")
            self.assertEqual(read_frames(server.work(), "1.2")[0].get("message"), "Going down")
            self.assertTrue(server.closed)

    def test_twice_or_behind_the_end_it_does_nothing(self) -> None:
        server = opened("1.2")
        server.session.disconnect("Going down")
        self.assertEqual([frame.command for frame in read_frames(server.work(), "1.2")], ["ERROR"])
        server.session.disconnect("Going down")
        self.assertEqual(server.work(), b"")


class Headers(unittest.TestCase):
    def test_the_first_of_a_name_counts(self) -> None:
        """F5."""
        self.assertEqual(Frame("SEND", (("a", "1"), ("a", "2"))).get("a"), "1")
        self.assertEqual(receipts(opened("1.2").hear(b"BEGIN\ntransaction:t\nreceipt:1\nreceipt:2\n\n\0")), ["1"])


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
