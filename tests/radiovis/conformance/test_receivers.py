"""The checks of RadioVIS and of what receivers need, on servers that do it otherwise, and on wrong ones."""

from __future__ import annotations

import socket

from fanout.stomp.codec import Frame
from tests.radiovis.conformance.small_server import TOPIC, ConformanceCase, Original, Peer, SmallServer

FM = "/topic/fm/4e1/4000/09580/"


class Foreign(ConformanceCase):
    """V5."""

    def test_a_refusal_may_come_behind_the_receipt_or_be_the_end(self) -> None:
        for server in (SmallServer(), Original(), Closes(), KeepsListenersOut()):
            with self.subTest(server=type(server).__name__):
                self.assert_verdict(server, "V5", "PASS")

    def test_a_1_0_server_may_drop_it_without_a_word(self) -> None:
        self.assert_verdict(Drops10(), "V5", "PASS", "the publisher gets no ERROR, which STOMP 1.0 allows")

    def test_others_have_to_tell_the_publisher(self) -> None:
        self.assert_verdict(Drops(), "V5", "FAIL", "the publisher gets no ERROR, but RECEIPT receipt-id:1")

    def test_a_server_that_publishes_it_is_found_whatever_it_says(self) -> None:
        for server in (Open(), PublishesAndRefuses()):
            with self.subTest(server=type(server).__name__):
                self.assert_verdict(server, "V5", "FAIL", "the message was published: MESSAGE destination:/topic/")

    def test_a_login_that_may_publish_everywhere_cannot_be_checked(self) -> None:
        self.assert_verdict(Open(), "V5", "SKIP", "publish to all topics", topic="/topic/")


class Closes(SmallServer):
    def forbidden(self, peer: Peer, frame: Frame) -> bool:
        peer.close()
        return False


class KeepsListenersOut(SmallServer):
    """As the BBC's server: an ERROR and the end for a topic of no station."""

    def subscribe(self, peer: Peer, frame: Frame) -> bool:
        if (frame.get("destination") or "").startswith(TOPIC):
            return super().subscribe(peer, frame)
        self.error(peer, frame, "Invalid Topic Bearer")
        return False


class Drops(SmallServer):
    def forbidden(self, peer: Peer, frame: Frame) -> bool:
        return True


class Drops10(Drops):
    versions = ("1.0",)


class Open(SmallServer):
    allowed = ("/topic/",)


class PublishesAndRefuses(SmallServer):
    def forbidden(self, peer: Peer, frame: Frame) -> bool:
        self.publish(frame.get("destination") or "", frame.body)
        return super().forbidden(peer, frame)


class FmServer(Original):
    allowed = (TOPIC, FM)


class FmServerWithPicture(FmServer):
    listed = (FM,)


class OtherNames(FmServerWithPicture):
    """Delivers under another name than a radio asked for, but delivers."""

    def rewritten(self, topic: str) -> str:
        return topic

    def publish(self, topic: str, body: bytes) -> None:
        for peer in list(self._peers):
            for _ in peer.subscriptions:
                self.send(peer, "MESSAGE", f"destination:{topic.replace('09580', '*')}", "message-id:1", body=body)


class RewrittenTopics(ConformanceCase):
    def test_a_channel_that_the_original_lists_can_be_checked(self) -> None:
        found = self.check(FmServerWithPicture(), "C2,L1,L5,F4,R1", topic=FM)
        self.assertEqual(found, {**dict.fromkeys(("C2", "L1", "L5", "F4", "R1"), ("PASS", ""))})

    def test_one_that_is_rewritten_fails_once_and_other_checks_say_why_they_cannot_be_made(self) -> None:
        found = self.check(FmServer(), "L1,L5,F4,R1,M1", topic=FM)
        self.assertEqual(
            {id: verdict for id, (verdict, _) in found.items()},
            {
                "F4": "SKIP",
                "R1": "PASS",
                "L1": "SKIP",
                "L5": "FAIL",
                "M1": "SKIP",
            },
        )
        self.assertIn("does not get its messages: see L5, and give a --topic", found["L1"][1])

    def test_a_name_that_nobody_asked_for_is_said(self) -> None:
        found = self.check(OtherNames(), "L1,L5", topic=FM)
        self.assertEqual((found["L1"][0], found["L5"][0]), ("SKIP", "FAIL"))
        self.assertRegex(found["L1"][1], r"this server uses /topic/fm/4e1/4000/\*/\w+ for a subscription to /topic/fm/")
        self.assertIn("the Qt client drops a MESSAGE", found["L5"][1])

    def test_other_topics_of_the_same_server_need_no_trial(self) -> None:
        found = self.check(FmServer(), "L1,L5")
        self.assertEqual([verdict for verdict, _ in found.values()], ["PASS", "PASS"])


class ClosesSlow(SmallServer):
    """As the original does when 250 messages wait: without a word, and in the middle of a frame."""

    def write(self, peer: Peer, octets: bytes) -> None:
        if peer.login:
            super().write(peer, octets)
            return
        sent = peer.socket.send(octets, socket.MSG_DONTWAIT)
        if sent < len(octets):
            peer.socket.shutdown(socket.SHUT_RDWR)


class DropsSlow(SmallServer):
    """Skips messages for a client that does not read, and keeps its place in a frame."""

    def __init__(self) -> None:
        self.rest = b""

    def write(self, peer: Peer, octets: bytes) -> None:
        if peer.login or not octets.startswith(b"MESSAGE"):
            super().write(peer, octets)
        elif octets.endswith(b"TEXT last\0"):
            super().write(peer, self.rest + octets)
        elif not self.rest:
            try:
                self.rest = octets[peer.socket.send(octets, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                self.rest = octets


class LosesTheLast(DropsSlow):
    def publish(self, topic: str, body: bytes) -> None:
        if body != b"TEXT last":
            super().publish(topic, body)


class RefusesFloods(SmallServer):
    def send_frame(self, peer: Peer, frame: Frame) -> bool:
        if len(frame.body) > 10_000:
            self.error(peer, frame, "too large")
            return False
        return super().send_frame(peer, frame)


class SlowReader(ConformanceCase):
    """L10."""

    def test_waiting_dropping_and_closing_are_right(self) -> None:
        self.assert_verdict(SmallServer(), "L10", "PASS")
        self.assert_verdict(DropsSlow(), "L10", "PASS")
        self.assert_verdict(ClosesSlow(), "L10", "PASS", "the server disconnects a client that does not read")

    def test_a_torn_frame_is_found(self) -> None:
        self.assert_verdict(Original(), "L10", "FAIL", r"a frame is torn: its body has \d+ octets, with .*MESSAGE")

    def test_the_newest_message_has_to_come(self) -> None:
        self.assert_verdict(LosesTheLast(), "L10", "FAIL", "it sent nothing for 3 s")

    def test_a_server_that_takes_no_such_messages_cannot_be_checked(self) -> None:
        self.assert_verdict(RefusesFloods(), "L10", "SKIP", "it does not accept 200 messages of 60000 octets: ERROR")


class IgnoresUnsubscribe(Original):
    def not_subscribed(self, peer: Peer, frame: Frame) -> None:
        pass


class ClosesAfterErrors(SmallServer):
    def not_subscribed(self, peer: Peer, frame: Frame) -> None:
        self.error(peer, frame, "not subscribed")
        peer.close()


class RefusedUnsubscribe(ConformanceCase):
    """M3."""

    def test_one_error_with_or_without_the_end_and_none_are_right(self) -> None:
        for server in (SmallServer(), ClosesAfterErrors(), IgnoresUnsubscribe()):
            with self.subTest(server=type(server).__name__):
                self.assert_verdict(server, "M3", "PASS")

    def test_two_are_found(self) -> None:
        self.assert_verdict(
            Original(), "M3", "FAIL", "for UNSUBSCRIBE it sent ERROR message:No ID or channel and ERROR"
        )
