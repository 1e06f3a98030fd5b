"""stomp.md C7."""

from __future__ import annotations

from twisted.trial import unittest

from fanout.stomp.client import ConnectRefused, MessageReceived, Receipted
from fanout.stomp.events import Publish
from fanout.stomp.limits import StompLimits
from tests.fanout.stomp.pair import Pair, opened

LATER = ("1.1", "1.2")


class TransactionCase(unittest.TestCase):
    def pair(self, version: str = "1.2", limits: StompLimits | None = None) -> Pair:
        return Pair(limits=limits).connect(version)

    def refused(self, pair: Pair) -> str:
        """The summary of the ERROR that ends the session now."""
        [refused] = [event for event in pair.talk() if isinstance(event, ConnectRefused)]
        self.assertTrue(pair.closed)
        return refused.summary


class SendsThatWait(TransactionCase):
    def test_go_out_together_and_in_order_at_commit(self) -> None:
        for version in LATER:
            pair = self.pair(version)
            pair.client.begin("t")
            for number in range(5):
                pair.client.send("/a", b"%d" % number, transaction="t")
            pair.client.send("/a", b"outside")
            pair.talk()
            self.assertEqual([send.body for send in pair.published], [b"outside"])
            pair.client.commit("t", receipt="r")
            self.assertEqual(pair.talk(), [Receipted("r")])
            self.assertEqual([send.body for send in pair.published[1:]], [b"0", b"1", b"2", b"3", b"4"])
            self.assertIsInstance(pair.asked[-1], Publish)
            self.assertEqual(len(pair.asked), 3)  # CONNECT, the one outside, and all of the transaction in one

    def test_vanish_at_abort(self) -> None:
        pair = self.pair()
        pair.client.begin("t")
        pair.client.send("/a", b"x", transaction="t")
        pair.client.abort("t", receipt="r")
        self.assertEqual(pair.talk(), [Receipted("r")])
        self.assertEqual(pair.published, [])

    def test_vanish_at_disconnect(self) -> None:
        pair = self.pair()
        pair.client.begin("t")
        pair.client.send("/a", b"x", transaction="t")
        pair.client.disconnect(receipt="r")
        self.assertEqual(pair.talk(), [Receipted("r")])
        self.assertEqual(pair.published, [])

    def test_their_own_receipt_says_that_they_wait(self) -> None:
        pair = self.pair()
        pair.client.begin("t")
        pair.client.send("/a", b"x", transaction="t", receipt="r")
        self.assertEqual(pair.talk(), [Receipted("r")])
        self.assertEqual(pair.published, [])

    def test_several_transactions_do_not_mix(self) -> None:
        pair = self.pair()
        for name in ("t", "u"):
            pair.client.begin(name)
        for name in ("t", "u", "t"):
            pair.client.send("/a", name.encode(), transaction=name)
        pair.client.commit("u")
        pair.talk()
        self.assertEqual([send.body for send in pair.published], [b"u"])
        pair.client.commit("t")
        pair.talk()
        self.assertEqual([send.body for send in pair.published], [b"u", b"t", b"t"])

    def test_the_commit_is_answered_when_the_bus_has_all(self) -> None:
        pair = self.pair()
        pair.holding = True
        pair.client.begin("t")
        pair.client.send("/a", b"x", transaction="t")
        pair.client.commit("t", receipt="r")
        self.assertEqual(pair.talk(), [])
        pair._to_client(pair.let_go())
        self.assertEqual(pair.told[-1], Receipted("r"))

    def test_a_name_may_be_used_again(self) -> None:
        pair = self.pair()
        for end in (pair.client.commit, pair.client.abort, pair.client.commit):
            pair.client.begin("t")
            end("t", receipt="r")
            self.assertEqual(pair.talk(), [Receipted("r")])

    def test_a_commit_of_nothing(self) -> None:
        pair = self.pair()
        pair.client.begin("t")
        pair.client.commit("t", receipt="r")
        self.assertEqual(pair.talk(), [Receipted("r")])
        self.assertEqual(pair.published, [])

    def test_a_wrong_frame_in_it_is_refused_at_once(self) -> None:
        pair = self.pair(limits=StompLimits(destination_bytes=10))
        pair.client.begin("t")
        pair.client.send("/a" * 10, b"x", transaction="t")
        self.assertEqual(self.refused(pair), "Destination too long")


class AcksThatWait(TransactionCase):
    def setUp(self) -> None:
        self.client_pair = self.pair()
        self.client = self.client_pair.client
        self.client.subscribe("/a", "0", ack="client-individual")
        [message] = self.client_pair.publish("/a", b"x")
        assert isinstance(message, MessageReceived)
        self.message = message
        self.client.begin("t")
        self.client.ack(message, transaction="t")
        self.client_pair.talk()

    def test_count_at_commit(self) -> None:
        self.client.commit("t", receipt="r")
        self.assertEqual(self.client_pair.talk(), [Receipted("r")])
        self.client.ack(self.message)
        self.assertEqual(self.refused(self.client_pair), "Unknown message")

    def test_vanish_at_abort(self) -> None:
        self.client.abort("t")
        self.client.ack(self.message, receipt="r")
        self.assertEqual(self.client_pair.talk(), [Receipted("r")])

    def test_unknown_ones_are_refused_at_commit_and_nothing_is_published(self) -> None:
        self.client.send("/b", b"x", transaction="t")
        self.client.ack(self.message, transaction="t")
        self.client.commit("t")
        self.assertEqual(self.refused(self.client_pair), "Unknown message")
        self.assertEqual(self.client_pair.published, [])


class WrongNames(TransactionCase):
    def test_unknown(self) -> None:
        for version in LATER:
            for command in ("commit", "abort"):
                pair = self.pair(version)
                getattr(pair.client, command)("t")
                self.assertEqual(self.refused(pair), "Unknown transaction")

    def test_unknown_on_a_send(self) -> None:
        pair = self.pair()
        pair.client.send("/a", b"x", transaction="t")
        self.assertEqual(self.refused(pair), "Unknown transaction")
        self.assertEqual(pair.published, [])

    def test_open_already(self) -> None:
        pair = self.pair()
        pair.client.begin("t")
        pair.client.begin("t")
        self.assertEqual(self.refused(pair), "Transaction exists")

    def test_over_already(self) -> None:
        for end in ("commit", "abort"):
            pair = self.pair()
            pair.client.begin("t")
            getattr(pair.client, end)("t")
            pair.client.commit("t")
            self.assertEqual(self.refused(pair), "Unknown transaction")

    def test_missing_or_empty(self) -> None:
        for frame in (b"BEGIN\n\n\0", b"COMMIT\n\n\0", b"ABORT\ntransaction:\n\n\0"):
            self.assertIn(b"message:Missing transaction\n", opened("1.1").hear(frame))


class Limited(TransactionCase):
    """C7a."""

    def test_open_ones(self) -> None:
        pair = self.pair(limits=StompLimits(transactions=16))
        for number in range(16):
            pair.client.begin(str(number))
        self.assertEqual(pair.talk(), [])
        pair.client.begin("16")
        self.assertEqual(self.refused(pair), "Too many transactions")

    def test_frames_in_one(self) -> None:
        pair = self.pair(limits=StompLimits(transaction_actions=10))
        pair.client.begin("t")
        for _ in range(10):
            pair.client.send("/a", b"", transaction="t")
        self.assertEqual(pair.talk(), [])
        pair.client.send("/a", b"", transaction="t")
        self.assertEqual(self.refused(pair), "Transaction too large")

    def test_octets_in_one(self) -> None:
        pair = self.pair(limits=StompLimits(transaction_bytes=2000))
        pair.client.begin("t")
        pair.client.send("/a", b"x" * 900, transaction="t")
        self.assertEqual(pair.talk(), [])
        pair.client.send("/a", b"x" * 101, transaction="t")
        self.assertEqual(self.refused(pair), "Transaction too large")

    def test_octets_of_headers_count(self) -> None:
        """Or 1,024 frames of 256 KiB of headers would wait in 16 transactions of one client."""
        pair = self.pair(limits=StompLimits(transaction_bytes=1000))
        pair.client.begin("t")
        pair.client.send("/a", b"", headers=(("link", "x" * 1001),), transaction="t")
        self.assertEqual(self.refused(pair), "Transaction too large")

    def test_the_weight_of_objects_counts(self) -> None:
        """Frames of many small headers take 25 times as much memory as octets on the wire."""
        pair = self.pair(limits=StompLimits(transaction_bytes=100_000))
        pair.client.begin("t")
        for _ in range(20):
            pair.client.send("/a", b"", headers=tuple((f"h{n}", "v") for n in range(60)), transaction="t")
        self.assertEqual(self.refused(pair), "Transaction too large")

    def test_what_an_ack_does_not_need_is_not_kept(self) -> None:
        server = opened("1.2", limits=StompLimits(transaction_bytes=100_000))
        server.hear(b"BEGIN\ntransaction:t\n\n\0")
        ack = b"ACK\nid:1\ntransaction:t\nlink:" + b"x" * 8_000 + b"\n\n\0"
        self.assertEqual(server.hear(ack * 100), b"")
        self.assertLess(server.session.held, 100_000)

    def test_seconds(self) -> None:
        session = opened("1.2", limits=StompLimits(transaction_seconds=60)).session
        session.receive_data(b"BEGIN\ntransaction:t\n\n\0", 100.0)
        self.assertIsNone(session.next_event())
        self.assertEqual(session.next_look(100.0), 160.0)
        self.assertEqual([session.transaction_overdue(now) for now in (159.0, 160.0)], [False, True])
        session.receive_data(b"ABORT\ntransaction:t\n\n\0", 200.0)
        self.assertIsNone(session.next_event())
        self.assertFalse(session.transaction_overdue(300.0))
        self.assertIsNone(session.next_look(200.0))


class WithoutALogin(unittest.TestCase):
    def setUp(self) -> None:
        self.server = opened("1.2", logged_in=False)
        self.server.hear(b"BEGIN\ntransaction:t\n\n\0")

    def test_no_send_waits(self) -> None:
        said = self.server.hear(b"SEND\ndestination:/a\ntransaction:t\n\nx\0")
        self.assertIn(b"message:You cannot do that.\n", said)
        self.assertEqual((self.server.closed, self.server.session.held), (True, 0))

    def test_a_commit_is_possible(self) -> None:
        self.assertIn(b"RECEIPT", self.server.hear(b"COMMIT\ntransaction:t\nreceipt:r\n\n\0"))


class Held(unittest.TestCase):
    """What a session says it holds."""

    def test_nothing_of_what_was_dealt_with(self) -> None:
        server = opened("1.2")
        for frame in (b"BEGIN\ntransaction:t\n\n\0", b"SEND\ndestination:/a\ntransaction:t\n\nx\0"):
            before = server.session.held
            server.hear(frame)
            self.assertGreater(server.session.held, before)
        server.hear(b"COMMIT\ntransaction:t\n\n\0SEND\ndestination:/a\n\nx\0")
        self.assertEqual(server.session.held, 0)

    def test_a_part_of_a_frame_and_its_headers_as_objects(self) -> None:
        server = opened("1.2")
        server.hear(b"SEND\n" + b"a:b\n" * 60 + b"\n")
        self.assertGreater(server.session.held, 60 * 150)
        server.hear(b"\0")
        self.assertEqual(server.session.held, 0)

    def test_frames_that_wait_for_an_answer(self) -> None:
        server = opened("1.2")
        server.holding = True
        server.hear((b"SEND\ndestination:/a\n\n" + b"x" * 5_000 + b"\0") * 3)
        self.assertGreater(server.session.held, 15_000)
        server.let_go()
        self.assertEqual(server.session.held, 0)

    def test_large_ones_stop_the_reading_sooner(self) -> None:
        server = opened("1.2", limits=StompLimits(pending_bytes=10_000))
        server.holding = True
        server.hear((b"SEND\ndestination:/a\n\n" + b"x" * 5_000 + b"\0") * 9)
        self.assertEqual((len(server.asked), server.session.saturated), (3, True))
        server.let_go()
        self.assertEqual(len(server.published), 9)


class Under10(unittest.TestCase):
    def test_they_are_unknown_commands(self) -> None:
        """The original knew no transactions: a SEND goes out at once, whatever it says."""
        server = opened("1.0")
        said = server.hear(
            b"BEGIN\ntransaction:t\n\n\0SEND\ndestination:/a\ntransaction:t\n\nx\0ABORT\ntransaction:t\n\n\0"
        )
        self.assertEqual((said, len(server.published)), (b"", 1))
