from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from fanout.stomp.client import Connected
from fanout.stomp.errors import RemoteProtocolError
from fanout.stomp.heartbeat import Heartbeat
from fanout.stomp.limits import SessionOptions, StompLimits
from tests.fanout.stomp.pair import Pair, Server, opened, read_frames


class Agreeing(unittest.TestCase):
    """stomp.md §5."""

    def test_the_slower_of_both(self) -> None:
        for theirs, ours, send_every, expect_every in (
            ("0,0", (10_000, 10_000), 0, 0),
            ("10000,10000", (10_000, 10_000), 10, 10),
            ("5000,20000", (10_000, 10_000), 20, 10),
            ("20000,5000", (10_000, 10_000), 10, 20),
            ("0,20000", (10_000, 10_000), 20, 0),
            ("20000,0", (10_000, 10_000), 0, 20),
            ("20000,20000", (0, 0), 0, 0),
            ("20000,20000", (10_000, 0), 20, 0),
        ):
            agreed = Heartbeat.agree(theirs, ours)
            self.assertEqual((agreed.send_every, agreed.expect_every), (send_every, expect_every), theirs)

    def test_not_a_thousand_a_second_and_not_once_a_year(self) -> None:
        for theirs, ours in (("1,1", (1, 1)), ("0,1", (1, 1)), ("999,999", (0, 999))):
            agreed = Heartbeat.agree(theirs, ours)
            self.assertLessEqual({agreed.send_every, agreed.expect_every}, {0, 1})
        agreed = Heartbeat.agree("99999999999,99999999999", (10_000, 10_000))
        self.assertEqual((agreed.send_every, agreed.expect_every), (3600, 3600))

    def test_malformed(self) -> None:
        for theirs in (
            "abc",
            "5",
            "1,2,3",
            "-1,-1",
            "1.5,1",
            "",
            ",",
            "1,",
            " 1,1",
            "1, 1",
            "1,1\n",
            "+1,1",
            "\u0661,1",
        ):
            self.assertRaises(RemoteProtocolError, Heartbeat.agree, theirs, (1, 1))

    @given(st.text())
    def test_any_text(self, theirs: str) -> None:
        """Never anything but two numbers or a protocol error."""
        try:
            agreed = Heartbeat.agree(theirs, (10_000, 10_000))
        except RemoteProtocolError:
            return
        self.assertLessEqual(max(agreed.send_every, agreed.expect_every), 3600)


class AtConnect(unittest.TestCase):
    def test_a_malformed_one_is_refused(self) -> None:
        for wrong in (b"abc", b"5", b"1,2,3", b"-1,-1", b"1.5,1", b"10000, 10000"):
            for version in ("1.1", "1.2"):
                server = Server()
                said = server.hear(b"CONNECT\naccept-version:%s\nheart-beat:%s\n\n\0" % (version.encode(), wrong))
                [error] = read_frames(said, version)
                self.assertEqual(error.get("message"), "Malformed heart-beat")
                self.assertTrue(server.closed)

    def test_under_1_0_it_is_none_of_our_business(self) -> None:
        server = opened("1.0", headers=b"heart-beat:abc\n")
        self.assertIsNone(server.session.next_look(0))
        self.assertIsNone(server.session.overdue(1e9))


class Ours(unittest.TestCase):
    def test_the_first_within_the_first_interval(self) -> None:
        session = opened("1.2", headers=b"heart-beat:0,10000\n").session
        self.assertEqual(session.beat(7.9, sent_at=0), b"")
        self.assertEqual(session.beat(8.0, sent_at=0), b"\n")
        self.assertEqual(session.next_look(sent_at=0), 8.0)

    def test_any_frame_counts(self) -> None:
        session = opened("1.2", headers=b"heart-beat:0,10000\n").session
        self.assertEqual(session.beat(16.0, sent_at=9.0), b"")
        self.assertEqual(session.next_look(sent_at=9.0), 17.0)

    def test_0_1_gets_one_a_second(self) -> None:
        """Also where HEARTBEAT_MS offers more."""
        server = Server(session_options=SessionOptions(heartbeat=(1, 1)))
        server.hear(b"CONNECT\naccept-version:1.2\nheart-beat:0,1\n\n\0")
        beats, sent_at = 0, 0.0
        for now in (step / 100 for step in range(1000)):
            if server.session.beat(now, sent_at):
                beats, sent_at = beats + 1, now
        self.assertEqual(beats, 12)  # one every 0.8 s

    def test_0_1_under_the_default(self) -> None:
        """Both sides' wishes count: HEARTBEAT_MS says every 10 s, so that is what it gets."""
        session = opened("1.2", headers=b"heart-beat:0,1\n").session
        self.assertEqual(session.next_look(sent_at=0), 8.0)

    def test_none_for_who_wants_none(self) -> None:
        for headers in (b"", b"heart-beat:10000,0\n", b"heart-beat:0,0\n"):
            self.assertEqual(opened("1.2", headers=headers).session.beat(1e6, sent_at=0), b"")

    def test_none_behind_the_end(self) -> None:
        server = opened("1.2", headers=b"heart-beat:0,1000\n")
        server.hear(b"DISCONNECT\n\n\0")
        self.assertEqual(server.session.beat(100, sent_at=0), b"")

    def test_none_before_connected(self) -> None:
        server = Server()
        server.holding = True
        server.hear(b"CONNECT\naccept-version:1.2\nheart-beat:0,1000\n\n\0")
        self.assertEqual(server.session.beat(100, sent_at=0), b"")

    def test_an_old_radio_behind_a_nat(self) -> None:
        """IDLE_LF_SECONDS."""
        server = Server(session_options=SessionOptions(idle_lf=50))
        server.hear(b"CONNECT\n\n\0")
        self.assertEqual(server.session.beat(39, sent_at=0), b"")
        self.assertEqual(server.session.beat(40, sent_at=0), b"\n")


class Theirs(unittest.TestCase):
    def setUp(self) -> None:
        self.server = opened("1.2", headers=b"heart-beat:10000,0\n")

    def test_silence_for_two_intervals(self) -> None:
        self.assertIsNone(self.server.session.overdue(20.0))
        self.assertEqual(self.server.session.overdue(20.1), "heart-beat missed")
        self.assertEqual(self.server.session.next_look(sent_at=0), 20.0)

    def test_a_line_end_is_a_beat(self) -> None:
        self.server.now = 15
        self.server.hear(b"\n")
        self.assertIsNone(self.server.session.overdue(35))
        self.assertEqual(self.server.session.overdue(35.1), "heart-beat missed")

    def test_so_is_a_frame_or_a_part_of_one(self) -> None:
        for octets in (b"BEGIN\ntransaction:1\n\n\0", b"SEND\nde"):
            self.server.now += 15
            self.server.hear(octets)
            self.assertIsNone(self.server.session.overdue(self.server.now + 20))

    def test_while_we_do_not_read_it_is_not_silence(self) -> None:
        self.server.session.resumed(100)
        self.assertIsNone(self.server.session.overdue(119))

    def test_one_who_promised_nothing_may_be_silent(self) -> None:
        self.assertIsNone(opened("1.2").session.overdue(1e9))


class UnfinishedFrames(unittest.TestCase):
    """FRAME_TIMEOUT: content-length longer than the body, then silence."""

    def setUp(self) -> None:
        self.server = opened("1.2", StompLimits(frame_timeout=30))
        self.server.now = 100
        self.server.hear(b"SEND\ndestination:/a\ncontent-length:9\n\nabc")

    def test_closed_after_a_while(self) -> None:
        self.assertEqual(self.server.session.next_look(sent_at=0), 130)
        self.assertIsNone(self.server.session.overdue(129.9))
        self.assertEqual(self.server.session.overdue(130), "unfinished frame")

    def test_dribbling_does_not_prolong_it(self) -> None:
        self.server.now = 129
        self.server.hear(b"d")
        self.assertEqual(self.server.session.overdue(130), "unfinished frame")

    def test_completed_in_time(self) -> None:
        self.server.now = 129
        self.server.hear(b"defghi\0")
        self.assertIsNone(self.server.session.overdue(1000))
        self.assertIsNone(self.server.session.next_look(sent_at=0))

    def test_each_frame_has_its_own_time(self) -> None:
        self.server.now = 129
        self.server.hear(b"defghi\0BEG")
        self.assertIsNone(self.server.session.overdue(158.9))
        self.assertEqual(self.server.session.overdue(159), "unfinished frame")

    def test_line_ends_are_no_frame(self) -> None:
        server = opened("1.2")
        server.hear(b"\n\n\r\n")
        self.assertIsNone(server.session.overdue(1e9))

    def test_the_time_we_do_not_read_does_not_count(self) -> None:
        self.server.session.resumed(200)
        self.assertIsNone(self.server.session.overdue(229))
        self.assertEqual(self.server.session.overdue(230), "unfinished frame")


class BothSides(unittest.TestCase):
    def test_each_hears_the_other(self) -> None:
        """An hour in steps of half a second: nobody is overdue, and nobody says more than was agreed."""
        pair = Pair(session_options=SessionOptions(heartbeat=(10_000, 10_000))).connect("1.2", heartbeat=(5000, 20_000))
        self.assertIsInstance(pair.told[0], Connected)
        from_client = from_server = 0
        sent_at = pair.now
        while pair.now < 3600:
            pair.now += 0.5
            said = pair.client.data_to_send(pair.now)
            from_client += len(said)
            if said:
                pair.hear(said)
            beat = pair.session.beat(pair.now, sent_at)
            if beat:
                from_server, sent_at = from_server + 1, pair.now
                pair.client.receive_data(beat, pair.now)
            self.assertIsNone(pair.session.overdue(pair.now))
            self.assertFalse(pair.client.overdue(pair.now))
        self.assertEqual((from_client, from_server), (450, 225))  # every 8 s of the agreed 10, every 16 of 20

    def test_a_dead_server_is_noticed(self) -> None:
        pair = Pair().connect("1.2", heartbeat=(0, 10_000))
        self.assertFalse(pair.client.overdue(20))
        self.assertTrue(pair.client.overdue(20.1))
        self.assertEqual(pair.client.next_look(), 20.0)

    def test_without_heartbeats_time_means_nothing(self) -> None:
        for version in ("1.0", "1.2"):
            pair = Pair().connect(version)
            self.assertFalse(pair.client.overdue(1e9))
            self.assertEqual(pair.client.data_to_send(1e9), b"")
            self.assertIsNone(pair.client.next_look())


class TestTheShortWay(unittest.TestCase):
    """A heart-beat and nothing else is taken without looking for frames."""

    def test_it_counts_as_heard(self) -> None:
        session = opened("1.2").session
        self.assertTrue(session.hear_beat(b"\n", 7.0))
        self.assertEqual((session.heard_at, session.next_event()), (7.0, None))

    def test_whatever_else_comes_is_left_alone(self) -> None:
        for octets in (b"", b"\0", b"\n\n", b"\r\n", b"\nSEND"):
            session = opened("1.2").session
            self.assertFalse(session.hear_beat(octets, 7.0), octets)
            self.assertEqual(session.heard_at, 0.0)

    def test_inside_a_frame_a_line_end_is_a_part_of_it(self) -> None:
        session = opened("1.2").session
        session.receive_data(b"SEND\ndestination:/t", 1.0)
        self.assertIsNone(session.next_event())
        self.assertFalse(session.hear_beat(b"\n", 7.0))

    def test_before_connect_it_is_none(self) -> None:
        self.assertFalse(Server().session.hear_beat(b"\n", 7.0))
