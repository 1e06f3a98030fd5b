from __future__ import annotations

from collections.abc import Sequence

from twisted.trial import unittest

from fanout.stomp.client import ConnectRefused, MessageReceived, Receipted
from fanout.stomp.codec import Frame
from fanout.stomp.events import Subscribe
from fanout.stomp.limits import StompLimits
from fanout.stomp.session import State
from tests.fanout.stomp.pair import Pair, Server, opened, read_frames

LATER = ("1.1", "1.2")


class SubscriptionCase(unittest.TestCase):
    def assert_refused(self, server: Server, frame: bytes, summary: str) -> None:
        version = server.session.dialect.version
        [error] = read_frames(server.hear(frame), version)
        self.assertEqual((error.command, error.get("message")), ("ERROR", summary), frame)
        self.assertEqual(server.closed, version != "1.0")


class Subscribing(SubscriptionCase):
    """C1."""

    def test_what_is_published_comes_with_its_id(self) -> None:
        for version in LATER:
            pair = Pair().connect(version)
            pair.client.subscribe("/a", "0", receipt="r")
            self.assertEqual(pair.talk(), [Receipted("r")])
            [message] = pair.publish("/a", b"x")
            assert isinstance(message, MessageReceived)
            self.assertEqual((message.destination, message.subscription, message.body), ("/a", "0", b"x"))
            self.assertEqual(pair.publish("/b", b"y"), [])

    def test_needs_a_destination_and_an_id(self) -> None:
        for version in LATER:
            for frame, summary in (
                (b"SUBSCRIBE\ndestination:/a\n\n\0", "Missing id"),
                (b"SUBSCRIBE\nid:0\n\n\0", "You need a destination to subscribe."),
                (b"SUBSCRIBE\nid:0\ndestination:\n\n\0", "You need a destination to subscribe."),
            ):
                self.assert_refused(opened(version), frame, summary)

    def test_an_id_is_for_one_subscription_to_a_destination(self) -> None:
        for version in LATER:
            server = opened(version)
            server.hear(b"SUBSCRIBE\nid:0\ndestination:/a\n\n\0SUBSCRIBE\nid:0\ndestination:/b\n\n\0")
            self.assert_refused(server, b"SUBSCRIBE\nid:0\ndestination:/a\n\n\0", "Duplicate id")

    def test_an_id_is_short_as_all_clients_ids_together_take_memory(self) -> None:
        for version, letter in (("1.0", "x"), ("1.2", "é")):
            longest = letter * (255 // len(letter.encode()))
            opened(version).hear(f"SUBSCRIBE\nid:{longest}\ndestination:/a\n\n\0".encode())
            frame = f"SUBSCRIBE\nid:{longest}{letter}\ndestination:/a\n\n\0".encode()
            self.assert_refused(opened(version), frame, "id too long")

    def test_an_id_may_be_used_again_after_unsubscribe(self) -> None:
        server = opened("1.2")
        frame = b"SUBSCRIBE\nid:0\ndestination:/a\n\n\0"
        self.assertEqual(server.hear(frame + b"UNSUBSCRIBE\nid:0\n\n\0" + frame), b"")
        self.assertEqual(len(server.session.subscriptions), 1)

    def test_ack_modes(self) -> None:
        for ack in (b"auto", b"client", b"client-individual"):
            self.assertEqual(opened("1.2").hear(b"SUBSCRIBE\nid:0\ndestination:/a\nack:%s\n\n\0" % ack), b"")
        for ack in (b"", b"AUTO", b"client ", b"none"):
            frame = b"SUBSCRIBE\nid:0\ndestination:/a\nack:%s\n\n\0" % ack
            self.assert_refused(opened("1.2"), frame, "Unknown ack mode")

    def test_limits(self) -> None:
        server = opened("1.2", StompLimits(subscriptions=256))
        frames = [b"SUBSCRIBE\nid:%d\ndestination:/a\n\n\0" % number for number in range(5000)]
        self.assertEqual(server.hear(b"".join(frames[:256])), b"")
        self.assert_refused(server, b"".join(frames[256:]), "Too many subscriptions")

    def test_a_destination_is_length_limited(self) -> None:
        """In octets, not in characters."""
        self.assertEqual(opened("1.2").hear(b"SUBSCRIBE\nid:0\ndestination:%s\n\n\0" % (b"x" * 1024)), b"")
        for long in (b"x" * 1025, "é".encode() * 513):
            frame = b"SUBSCRIBE\nid:0\ndestination:%s\n\n\0" % long
            self.assert_refused(opened("1.2"), frame, "Destination too long")

    def test_a_destination_is_opaque(self) -> None:
        for destination in ("../../etc/passwd", "/a/#", ">", "/topic/*", "(a+)+$", "{0}%s", " /a "):
            pair = Pair().connect("1.2")
            pair.client.subscribe(destination, "0", headers=(("selector", "1=1; DROP TABLE x"),))
            self.assertEqual(pair.talk(), [])
            self.assertEqual(pair.hub.topics(), [destination])

    def test_the_application_sees_the_headers(self) -> None:
        server = opened("1.2")
        server.hear(b"SUBSCRIBE\nid:0\ndestination:/a\nx-ebu-nofastreply:yes\n\n\0")
        event = server.asked[-1]
        assert isinstance(event, Subscribe)
        self.assertEqual(Frame("SUBSCRIBE", event.headers).get("x-ebu-nofastreply"), "yes")

    def test_a_refused_one_is_forgotten(self) -> None:
        server = opened("1.0")
        server.holding = True
        server.hear(b"SUBSCRIBE\nid:0\ndestination:/a\n\n\0")
        event = server.asked[-1]
        assert isinstance(event, Subscribe)
        server.session.forget(event.subscription)
        event.answer.refuse("no")
        self.assertEqual(server.work(), b"ERROR\nmessage:no\n\n\0")
        self.assertEqual(len(server.session.subscriptions), 0)
        self.assert_refused(server, b"UNSUBSCRIBE\nid:0\n\n\0", "Unknown ID")


class TwoToOneTopic(SubscriptionCase):
    """C2."""

    def test_two_messages(self) -> None:
        pair = Pair().connect("1.2")
        pair.client.subscribe("/a", "0")
        pair.client.subscribe("/a", "1")
        pair.talk()
        told = pair.publish("/a", b"x")
        self.assertEqual([event.subscription for event in told if isinstance(event, MessageReceived)], ["0", "1"])


class OneIdForSeveral(SubscriptionCase):
    """C1: npm node-stomp 1.1.0 sends ``id:0`` with every SUBSCRIBE (contract §2, change 14)."""

    def subscribed(self, version: str, destinations: Sequence[str], ack: str = "auto") -> Pair:
        pair = Pair().connect(version)
        for destination in destinations:
            pair.client.write(Frame("SUBSCRIBE", (("id", "0"), ("destination", destination), ("ack", ack))))
        self.assertEqual(pair.talk(), [])
        return pair

    def test_each_destination_is_delivered_under_it(self) -> None:
        for version in LATER:
            pair = self.subscribed(version, ("/a", "/b"))
            for destination in ("/b", "/a"):
                [message] = pair.publish(destination, b"x")
                assert isinstance(message, MessageReceived)
                self.assertEqual((message.destination, message.subscription), (destination, "0"))

    def test_unsubscribe_ends_all_of_them(self) -> None:
        """Also beyond the number that is searched one by one, and no others."""
        for count in (2, 30):
            pair = self.subscribed("1.2", [f"/{number}" for number in range(count)])
            pair.client.subscribe("/other", "1")
            pair.client.unsubscribe("0", receipt="r")
            self.assertEqual(pair.talk(), [Receipted("r")])
            self.assertEqual(pair.hub.topics(), ["/other"])
            self.assert_refused(pair, b"UNSUBSCRIBE\nid:0\n\n\0", "Unknown ID")

    def test_unsubscribe_takes_as_long_as_so_many_frames(self) -> None:
        pair = self.subscribed("1.2", [f"/{number}" for number in range(30)])
        before = pair.session.allowance
        pair.client.unsubscribe("0")
        pair.talk()
        self.assertGreaterEqual(before - pair.session.allowance, 30)

    def test_the_id_may_be_used_again(self) -> None:
        pair = self.subscribed("1.2", ("/a", "/b"))
        pair.client.unsubscribe("0")
        pair.client.subscribe("/a", "0")
        self.assertEqual(pair.talk(), [])
        self.assertEqual(pair.hub.topics(), ["/a"])

    def test_messages_of_each_are_acknowledged(self) -> None:
        """Also if two have the same message-id, as a broadcast has on all its topics."""
        for version in LATER:
            pair = self.subscribed(version, ("/a", "/b"), "client-individual")
            messages = [event for topic in ("/a", "/b") for event in pair.publish(topic, b"x")]
            for message in messages:
                assert isinstance(message, MessageReceived)
                pair.client.ack(message, receipt="r")
                self.assertEqual(pair.talk(), [Receipted("r")])

    def test_under_10_one_unsubscribe_ends_the_latest(self) -> None:
        """As in the original."""
        server = opened("1.0")
        server.hear(b"SUBSCRIBE\nid:0\ndestination:/a\n\n\0SUBSCRIBE\nid:0\ndestination:/b\n\n\0")
        server.hear(b"UNSUBSCRIBE\nid:0\n\n\0")
        self.assertEqual(server.hub.topics(), ["/a"])


class Unsubscribing(SubscriptionCase):
    """C3."""

    def test_nothing_comes_behind_its_receipt(self) -> None:
        for version in LATER:
            pair = Pair().connect(version)
            pair.client.subscribe("/a", "0")
            pair.client.subscribe("/a", "1")
            pair.client.unsubscribe("0", receipt="r")
            self.assertEqual(pair.talk(), [Receipted("r")])
            told = pair.publish("/a", b"x")
            self.assertEqual([event.subscription for event in told if isinstance(event, MessageReceived)], ["1"])

    def test_needs_a_known_id(self) -> None:
        for version in LATER:
            for frame, summary in (
                (b"UNSUBSCRIBE\nid:1\n\n\0", "Unknown ID"),
                (b"UNSUBSCRIBE\ndestination:/a\n\n\0", "Missing id"),
                (b"UNSUBSCRIBE\n\n\0", "Missing id"),
            ):
                server = opened(version)
                server.hear(b"SUBSCRIBE\nid:0\ndestination:/a\n\n\0")
                self.assert_refused(server, frame, summary)


class Acknowledging(SubscriptionCase):
    """C6."""

    def pair(self, version: str, ack: str, limits: StompLimits | None = None) -> Pair:
        pair = Pair(limits=limits).connect(version)
        pair.client.subscribe("/a", "0", ack=ack)
        pair.talk()
        return pair

    def deliver(self, pair: Pair, count: int) -> list[MessageReceived]:
        messages = []
        for number in range(count):
            told = pair.publish("/a", b"x", message_id=f"m-{number}")
            messages += [event for event in told if isinstance(event, MessageReceived)]
        self.assertEqual(len(messages), count)
        return messages

    def known(self, pair: Pair, message: MessageReceived, command: str = "ack") -> bool:
        getattr(pair.client, command)(message, receipt="r")
        [told] = pair.talk()
        if isinstance(told, ConnectRefused):
            self.assertEqual((told.summary, told.receipt), ("Unknown message", "r"))
            self.assertTrue(pair.closed)
        return told == Receipted("r")

    def test_each_once(self) -> None:
        for version in LATER:
            for command in ("ack", "nack"):
                for ack in ("client", "client-individual"):
                    pair = self.pair(version, ack)
                    [message] = self.deliver(pair, 1)
                    self.assertTrue(self.known(pair, message, command))
                    self.assertFalse(self.known(pair, message, command))

    def test_client_is_cumulative(self) -> None:
        for version in LATER:
            pair = self.pair(version, "client")
            messages = self.deliver(pair, 3)
            self.assertTrue(self.known(pair, messages[1]))
            self.assertTrue(self.known(pair, messages[2]))
            self.assertFalse(self.known(pair, messages[0]))

    def test_client_individual_is_not(self) -> None:
        for version in LATER:
            pair = self.pair(version, "client-individual")
            messages = self.deliver(pair, 3)
            for index in (1, 0, 2):
                self.assertTrue(self.known(pair, messages[index]))

    def test_auto_takes_none(self) -> None:
        for version in LATER:
            pair = self.pair(version, "auto")
            [message] = self.deliver(pair, 1)
            self.assertFalse(self.known(pair, message))

    def test_another_subscription_does_not_count(self) -> None:
        """1.1 names message and subscription."""
        pair = self.pair("1.1", "client-individual")
        pair.client.subscribe("/b", "1", ack="client-individual")
        [message] = self.deliver(pair, 1)
        pair.client.write(Frame("ACK", (("message-id", message.message_id), ("subscription", "1"))))
        [told] = pair.talk()
        assert isinstance(told, ConnectRefused)
        self.assertEqual(told.summary, "Unknown message")

    def test_two_subscriptions_acknowledge_apart(self) -> None:
        """1.2: a message that came twice has two ack ids."""
        pair = self.pair("1.2", "client-individual")
        pair.client.subscribe("/a", "1", ack="client-individual")
        pair.talk()
        messages = [event for event in pair.publish("/a", b"x") if isinstance(event, MessageReceived)]
        self.assertEqual(len(messages), 2)
        for message in messages:
            self.assertTrue(self.known(pair, message))
        self.assertFalse(self.known(pair, messages[0]))

    def test_what_names_nothing(self) -> None:
        frames = {
            "1.1": (b"", b"message-id:m-0\n", b"subscription:0\n", b"message-id:x\nsubscription:0\n", b"id:0/m-0\n"),
            "1.2": (b"", b"id:\n", b"id:m-0\n", b"id:0/\n", b"id:1/m-0\n", b"message-id:m-0\nsubscription:0\n"),
        }
        for version, headers in frames.items():
            for header in headers:
                pair = self.pair(version, "client-individual")
                self.deliver(pair, 1)
                self.assert_refused(pair, b"ACK\n" + header + b"\n\0", "Unknown message")

    def test_beyond_the_limit_the_oldest_count_as_acknowledged(self) -> None:
        pair = self.pair("1.2", "client-individual", StompLimits(unacknowledged=3))
        messages = self.deliver(pair, 5)
        self.assertTrue(self.known(pair, messages[2]))
        self.assertFalse(self.known(pair, messages[1]))

    def test_the_subscriptions_of_a_client_share_the_limit(self) -> None:
        pair = self.pair("1.2", "client-individual", StompLimits(unacknowledged=4))
        pair.client.subscribe("/a", "1", ack="client-individual")
        pair.talk()
        published = [event for number in range(3) for event in pair.publish("/a", b"x", f"m-{number}")]
        messages = [each for each in published if isinstance(each, MessageReceived) and each.subscription == "0"]
        self.assertEqual([self.known(pair, each) for each in reversed(messages)], [True, True, False])

    def test_a_subscription_that_ended_takes_none(self) -> None:
        pair = self.pair("1.2", "client-individual")
        [message] = self.deliver(pair, 1)
        pair.client.unsubscribe("0")
        self.assertFalse(self.known(pair, message))

    def test_the_session_tells_whether_deliveries_matter(self) -> None:
        self.assertFalse(self.pair("1.2", "auto").session.acknowledges)
        self.assertTrue(self.pair("1.2", "client").session.acknowledges)


class Under10(SubscriptionCase):
    """The manners of the original (contract §1.4, §2)."""

    def setUp(self) -> None:
        self.pair = Pair().connect("1.0")
        self.client = self.pair.client

    def test_no_id_needed(self) -> None:
        self.client.subscribe("/a")
        self.assertEqual(self.pair.talk(), [])
        [message] = self.pair.publish("/a", b"x")
        assert isinstance(message, MessageReceived)
        self.assertIsNone(message.subscription)

    def test_an_id_comes_back(self) -> None:
        self.client.subscribe("/a", "7")
        self.pair.talk()
        [message] = self.pair.publish("/a", b"x")
        assert isinstance(message, MessageReceived)
        self.assertEqual(message.subscription, "7")

    def test_the_destination_is_trimmed(self) -> None:
        self.pair.hear(b"SUBSCRIBE\ndestination: /a \t\n\n\0")
        self.assertEqual(self.pair.hub.topics(), ["/a"])
        self.pair.hear(b"SEND\ndestination: /a\n\nx\0")
        self.assertEqual([each.destination for each in self.pair.published], ["/a"])
        self.assertEqual(self.pair.hear(b"UNSUBSCRIBE\ndestination: /a\n\n\0"), b"")
        self.assertEqual(self.pair.hub.topics(), [])

    def test_other_values_stay_as_they_were_sent(self) -> None:
        """Contract §2, change 13: also ids and receipts, in both directions."""
        said = self.pair.hear(b"SUBSCRIBE\nreceipt: 1 \nid: 7 \ndestination: /a\n\n\0")
        self.assertEqual(said, b"RECEIPT\nreceipt-id: 1 \n\n\0")
        [message] = self.pair.publish("/a", b"x")
        assert isinstance(message, MessageReceived)
        self.assertEqual(message.subscription, " 7 ")
        self.assert_refused(self.pair, b"UNSUBSCRIBE\nid:7\n\n\0", "Unknown ID")
        self.assertEqual(self.pair.hear(b"UNSUBSCRIBE\nid: 7 \n\n\0"), b"")

    def test_unsubscribe_by_destination_or_id(self) -> None:
        for named in (b"id:7\n", b"destination:/a\n", b"id:7\ndestination:/a\n", b"id:other\ndestination:/a\n"):
            server = opened("1.0")
            server.hear(b"SUBSCRIBE\nid:7\ndestination:/a\n\n\0")
            self.assertEqual(server.hear(b"UNSUBSCRIBE\n" + named + b"\n\0"), b"", named)
            self.assertEqual(server.hub.topics(), [])

    def test_one_unsubscribe_removes_one(self) -> None:
        """Of two to one destination; with an id that one."""
        server = opened("1.0")
        server.hear(b"SUBSCRIBE\nid:1\ndestination:/a\n\n\0SUBSCRIBE\nid:2\ndestination:/a\n\n\0")
        server.hear(b"UNSUBSCRIBE\nid:2\ndestination:/a\n\n\0")
        self.assertEqual([each.id for each in server.session.subscriptions], ["1"])

    def test_an_old_id_does_not_stick(self) -> None:
        """The original sent the id of a subscription that was long gone."""
        server = opened("1.0")
        server.hear(
            b"SUBSCRIBE\nid:7\ndestination:/a\n\n\0UNSUBSCRIBE\ndestination:/a\n\n\0SUBSCRIBE\ndestination:/a\n\n\0"
        )
        [subscription] = server.session.subscriptions
        self.assertIsNone(subscription.id)

    def test_one_error_for_each_refused_unsubscribe(self) -> None:
        """Contract §2, change 1: the original sent two."""
        for named, summary in (
            (b"", "No ID or channel"), (b"id:\n", "No ID or channel"), (b"id:x\n", "Unknown ID"),
            (b"destination:/x\n", "Not subscribed"),
        ):  # fmt: skip
            server = opened("1.0")
            self.assert_refused(server, b"UNSUBSCRIBE\n" + named + b"\n\0", summary)
            self.assertEqual(server.session.state, State.OPEN)

    def test_acks_are_unknown_commands(self) -> None:
        self.assertEqual(self.pair.hear(b"ACK\nmessage-id:1\n\n\0NACK\nmessage-id:1\n\n\0"), b"")

    def test_an_ack_mode_means_nothing(self) -> None:
        self.assertEqual(self.pair.hear(b"SUBSCRIBE\ndestination:/a\nack:whatever\n\n\0"), b"")
        self.assertFalse(self.pair.session.acknowledges)

    def test_limits_hold_and_the_connection_stays(self) -> None:
        server = opened("1.0", StompLimits(subscriptions=2))
        frame = b"SUBSCRIBE\ndestination:/a\n\n\0"
        server.hear(frame * 2)
        self.assert_refused(server, frame, "Too many subscriptions")
        self.assertEqual(len(server.session.subscriptions), 2)
