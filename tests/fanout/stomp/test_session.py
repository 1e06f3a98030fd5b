from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from fanout.stomp.client import Connected, ConnectRefused, Receipted
from fanout.stomp.codec import Frame, LocalProtocolError, RemoteProtocolError
from fanout.stomp.commands import COMMANDS, COMMANDS_10
from fanout.stomp.limits import SessionOptions, StompLimits
from fanout.stomp.session import Heartbeat, State
from tests.fanout.stomp.pair import Pair, Server, opened, read_frames
from tests.fanout.stomp.wire_cases import ALL, FAULTS, LATER


class Leaving(unittest.TestCase):
    """C8."""

    def test_a_receipt_if_asked_then_the_end(self) -> None:
        for version in ALL:
            for octets, expected in (
                (b"DISCONNECT\n\n\0", []),
                (b"DISCONNECT\nreceipt:77\n\n\0", ["77"]),
                (b"DISCONNECT\nreceipt:77\n\0", ["77"]),
                (b"DISCONNECT\0", []),
            ):
                server = opened(version)
                said = read_frames(server.hear(octets), version)
                self.assertEqual([frame.get("receipt-id") for frame in said], expected)
                self.assertTrue(server.closed)

    def test_what_came_before_is_done_first(self) -> None:
        server = opened("1.2")
        server.holding = True
        frames = (
            b"SEND\ndestination:/a\nreceipt:1\n\nx\0DISCONNECT\nreceipt:2\n\n\0SEND\ndestination:/b\nreceipt:3\n\ny\0"
        )
        self.assertEqual(server.hear(frames), b"")
        self.assertEqual(server.session.state, State.LEAVING)
        said = read_frames(server.let_go(), "1.2")
        self.assertEqual([frame.get("receipt-id") for frame in said], ["1", "2"])
        self.assertEqual([send.destination for send in server.published], ["/a"])
        self.assertTrue(server.closed)

    def test_frames_behind_it_are_ignored(self) -> None:
        for version in ALL:
            server = opened(version)
            server.hear(b"DISCONNECT\n\n\0SEND\ndestination:/a\n\nx\0")
            self.assertEqual(server.hear(b"SEND\ndestination:/a\nreceipt:1\n\nx\0GARBAGE\xff\0"), b"")
            self.assertEqual((server.published, server.session.faults), ([], ()))

    def test_nothing_is_kept_of_what_comes_behind(self) -> None:
        server = opened("1.2")
        server.hear(b"DISCONNECT\n\n\0")
        for _ in range(100):
            server.hear(b"x" * 10_000)
        self.assertLess(len(server.session._decoder._buffer), 100)


class Commands(unittest.TestCase):
    def test_unknown_ones_from_1_1_on(self) -> None:
        """C9, stomp.md §8: what a server sends is none a client may send."""
        for version in LATER:
            for command in (b"FOO", b"send", b"MESSAGE", b"ERROR", b"CONNECTED", b"RECEIPT", b"A" * 2048):
                server = opened(version)
                [error] = read_frames(server.hear(command + b"\nreceipt:1\n\nx\0"), version)
                self.assertEqual((error.get("message"), error.get("receipt-id")), ("Unknown command", "1"))
                self.assertTrue(server.closed)

    def test_unknown_ones_under_1_0(self) -> None:
        """§7: silence, but for the RECEIPT."""
        server = opened("1.0")
        for command in (
            b"FOO",
            b"send",
            b"MESSAGE",
            b"ERROR",
            b"ACK",
            b"NACK",
            b"BEGIN",
            b"COMMIT",
            b"ABORT",
            b"STOMP",
        ):
            self.assertEqual(server.hear(command + b"\n\n\0"), b"")
            self.assertEqual(server.hear(command + b"\nreceipt:1\n\n\0"), b"RECEIPT\nreceipt-id:1\n\n\0")
        self.assertEqual(server.session.state, State.OPEN)

    def test_the_tables_hold_every_client_command(self) -> None:
        self.assertEqual(
            set(COMMANDS),
            {"SUBSCRIBE", "UNSUBSCRIBE", "SEND", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT"}
            | {"CONNECT", "STOMP"},
        )
        self.assertEqual(set(COMMANDS_10), {"SUBSCRIBE", "UNSUBSCRIBE", "SEND", "DISCONNECT"})

    def test_a_body_where_none_belongs_is_ignored(self) -> None:
        """F11."""
        for version in ALL:
            server = opened(version)
            server.hear(b"SUBSCRIBE\nid:0\ndestination:/a\ncontent-length:3\n\na\0b\0UNSUBSCRIBE\nid:0\n\nbody\0")
            self.assertEqual((len(server.asked), server.session.state), (3, State.OPEN))


class Sending(unittest.TestCase):
    """C4; who may send where is the application's."""

    def test_destination_headers_and_body_come_through(self) -> None:
        for version in ALL:
            pair = Pair().connect(version)
            body = bytes(range(256))
            pair.client.send("/a", body, headers=(("link", "http://x/"), ("message-id", "mine")))
            pair.talk()
            [sent] = pair.published
            self.assertEqual((sent.destination, sent.body), ("/a", body))
            named = Frame("", sent.headers)
            self.assertEqual((named.get("link"), named.get("message-id")), ("http://x/", "mine"))

    def test_without_a_destination_the_application_decides(self) -> None:
        for version in ALL:
            server = opened(version)
            server.hear(b"SEND\n\nx\0")
            self.assertEqual([send.destination for send in server.published], [""])

    def test_a_destination_is_trimmed_under_10_only(self) -> None:
        """Contract §2, change 13: QStomp and Python's stomper write a blank behind the colon."""
        for version in ALL:
            server = opened(version)
            server.hear(b"SEND\ndestination: /a\n\nx\0")
            self.assertEqual(server.published[0].destination, "/a" if version == "1.0" else " /a")

    def test_a_long_destination(self) -> None:
        for version in ALL:
            server = opened(version)
            [error] = read_frames(server.hear(b"SEND\ndestination:" + b"x" * 1025 + b"\n\nx\0"), version)
            self.assertEqual(error.get("message"), "Destination too long")
            self.assertEqual((server.published, server.closed), ([], version != "1.0"))


class DisconnectedByTheServer(unittest.TestCase):
    def test_while_the_login_is_checked(self) -> None:
        for version in ALL:
            server = Server()
            server.holding = True
            server.hear(b"CONNECT\naccept-version:%s\nreceipt:1\n\n\0" % version.encode())
            self.assertEqual(server.session.state, State.AUTHENTICATING)
            server.session.disconnect("Server shutting down", "Connect again.")
            [error] = read_frames(server.work(), version)
            self.assertEqual((error.command, error.get("message")), ("ERROR", "Server shutting down"))
            self.assertEqual(error.get("version"), None)
            self.assertTrue(server.closed)
            with self.assertRaises(LocalProtocolError):
                server.session.accept("s-2")
            self.assertEqual(server.session.data_to_send(), b"")

    def test_before_connect(self) -> None:
        server = Server()
        server.session.disconnect("Server shutting down")
        self.assertTrue(server.work().startswith(b"ERROR\n"))
        self.assertTrue(server.closed)


class TheMannersOf10(unittest.TestCase):
    """§7."""

    def test_the_receipt_comes_first_and_whatever_becomes_of_the_frame(self) -> None:
        for frame in (b"SUBSCRIBE\n", b"UNSUBSCRIBE\nid:x\n"):
            said = read_frames(opened("1.0").hear(frame + b"receipt:7\n\n\0"), "1.0")
            self.assertEqual([each.command for each in said], ["RECEIPT", "ERROR"])

    def test_before_the_bus_has_the_message(self) -> None:
        server = opened("1.0")
        server.holding = True
        self.assertEqual(server.hear(b"SEND\ndestination:/a\nreceipt:7\n\nx\0"), b"RECEIPT\nreceipt-id:7\n\n\0")
        self.assertEqual(server.let_go(), b"")

    def test_disconnect_is_answered_once(self) -> None:
        said = opened("1.0").hear(b"DISCONNECT\nreceipt:7\n\n\0")
        self.assertEqual(said, b"RECEIPT\nreceipt-id:7\n\n\0")

    def test_no_escaping_in_either_direction(self) -> None:
        server = opened("1.0")
        self.assertEqual(server.hear(b"FOO\nreceipt:a\\n:\\c\n\n\0"), b"RECEIPT\nreceipt-id:a\\n:\\c\n\n\0")

    def test_where_the_boundary_is_known_the_connection_stays(self) -> None:
        """stomp.md §8, for every row of the table."""
        for case in FAULTS:
            if case.fault is not None and not case.opening and "1.0" in case.versions:
                server = opened("1.0")
                errors = [frame for frame in read_frames(server.hear(case.octets), "1.0") if frame.command == "ERROR"]
                self.assertEqual(errors[0].get("message"), case.fault, case.name)
                self.assertEqual(server.session.state, State.OPEN if case.goes_on else State.CLOSED, case.name)

    def test_the_frame_behind_a_broken_one_is_processed(self) -> None:
        server = opened("1.0")
        said = server.hear(b"SEND\na:\xff\n\nx\0SEND\ndestination:/a\nreceipt:1\n\ny\0")
        self.assertEqual([frame.command for frame in read_frames(said, "1.0")], ["ERROR", "RECEIPT"])
        self.assertEqual([send.body for send in server.published], [b"y"])


class BadInput(unittest.TestCase):
    """stomp.md §8."""

    def test_every_row_gets_an_error_and_the_end_from_1_1_on(self) -> None:
        for case in FAULTS:
            for version in LATER:
                if case.fault is not None and not case.opening and version in case.versions:
                    server = opened(version)
                    said = [
                        frame for frame in read_frames(server.hear(case.octets), version) if frame.command == "ERROR"
                    ]
                    self.assertEqual([frame.get("message") for frame in said], [case.fault], case.name)
                    self.assertTrue(server.closed, case.name)

    def test_every_row_before_connect(self) -> None:
        for case in FAULTS:
            if case.opening:
                server = Server()
                [error] = read_frames(server.hear(case.octets), "1.0")
                self.assertEqual(error.get("message"), case.fault, case.name)
                self.assertTrue(server.closed)

    def test_500_connects_with_receipts(self) -> None:
        for number in range(500):
            pair = Pair().connect("1.2")
            pair.client.disconnect(receipt=str(number))
            self.assertEqual(pair.talk(), [Receipted(str(number))])
            self.assertTrue(pair.closed)

    @given(st.sampled_from(ALL), st.binary(max_size=200), st.lists(st.integers(1, 50), max_size=5))
    @settings(deadline=None)
    def test_noise(self, version: str, noise: bytes, sizes: list[int]) -> None:
        """Never an exception; what is said are whole frames; behind the end nothing."""
        server = opened(version)
        said = b""
        for size in sizes:
            said += server.hear(noise[:size])
            noise = noise[size:]
        said += server.hear(noise + b"\0\n\nSEND\ndestination:/a\n\nx\0")
        for frame in read_frames(said, version):
            self.assertIn(frame.command, ("ERROR", "RECEIPT"))
        if server.closed:
            self.assertEqual(server.hear(b"BEGIN\ntransaction:x\nreceipt:1\n\n\0"), b"")


# Random scripts of a client, against a model that knows nothing of octets

Step = tuple[str, str]  # a method of the client and its subject: an id, a body or a transaction
STEPS = st.lists(
    st.tuples(st.sampled_from(["subscribe", "unsubscribe", "send", "begin", "commit", "abort"]), st.sampled_from("abc"))
    | st.tuples(st.just("hold"), st.sampled_from("abc")),
    max_size=12,
)


@dataclass
class Model:
    """What must come of a script."""

    lenient: bool
    ids: set[str] = field(default_factory=set)
    transactions: dict[str, list[bytes]] = field(default_factory=dict)
    published: list[bytes] = field(default_factory=list)

    def take(self, step: Step, body: bytes) -> bool:
        """:return: whether the step is legal."""
        method, subject = step
        if method == "subscribe":
            legal = self.lenient or subject not in self.ids
            self.ids.add(subject)
        elif method == "unsubscribe":
            legal = subject in self.ids
            self.ids.discard(subject)
        elif method == "send" or (self.lenient and method == "hold"):
            legal = True
            self.published.append(body)
        else:
            legal = self.lenient or self._transact(method, subject, body)
        return legal

    def _transact(self, method: str, name: str, body: bytes) -> bool:
        if method == "begin":
            legal = name not in self.transactions
            self.transactions.setdefault(name, [])
        else:
            legal = name in self.transactions
            if legal and method == "hold":
                self.transactions[name].append(body)
            elif legal:
                waiting = self.transactions.pop(name)
                self.published += waiting if method == "commit" else []
        return legal


def play(pair: Pair, step: Step, body: bytes, receipt: str) -> None:
    """The step, as the client says it."""
    method, subject = step
    if method == "subscribe":
        pair.client.subscribe("/" + subject, subject, receipt=receipt)
    elif method == "send":
        pair.client.send("/a", body, receipt=receipt)
    elif method == "hold":
        pair.client.send("/a", body, receipt=receipt, transaction=subject)
    else:
        getattr(pair.client, method)(subject, receipt=receipt)


class Scripts(unittest.TestCase):
    """A client and a server joined in memory."""

    @given(st.sampled_from(LATER), STEPS, st.none() | st.integers(1, 40))
    @settings(deadline=None)
    def test_receipts_in_order_until_the_first_fault(self, version: str, steps: list[Step], piece: int | None) -> None:
        pair, model = Pair(piece=piece).connect(version), Model(lenient=False)
        for number, step in enumerate(steps):
            play(pair, step, b"%d\0\r\n" % number, str(number))
        expected = []
        for number, step in enumerate(steps):
            expected.append((model.take(step, b"%d\0\r\n" % number), str(number)))
            if expected[-1][0] is False:
                break
        answers = [event for event in pair.talk() if isinstance(event, Receipted | ConnectRefused)]
        told = [(isinstance(event, Receipted), event.receipt) for event in answers]
        self.assertEqual(told, expected)
        self.assertEqual([send.body for send in pair.published], model.published)
        self.assertEqual(pair.closed, pair.client.closed)
        self.assertEqual(pair.closed, any(not legal for legal, _ in expected))

    @given(STEPS, st.none() | st.integers(1, 40))
    @settings(deadline=None)
    def test_under_1_0_every_receipt_and_no_end(self, steps: list[Step], piece: int | None) -> None:
        pair, model = Pair(piece=piece).connect("1.0"), Model(lenient=True)
        for number, step in enumerate(steps):
            body = b"%d\0\r\n" % number
            if step[0] == "subscribe" and step[1] in model.ids:
                continue  # the id of an old radio may stand for two
            play(pair, step, body, str(number))
            told = pair.talk()
            self.assertEqual(told[0], Receipted(str(number)))
            self.assertEqual(len(told), 1 if model.take(step, body) else 2)
            self.assertEqual([type(event) for event in told[1:]], [ConnectRefused][: len(told) - 1])
        self.assertEqual([send.body for send in pair.published], model.published)
        self.assertFalse(pair.client.closed)
        self.assertEqual(pair.session.state, State.OPEN)

    def test_the_door_never_sees_a_protocol_error(self) -> None:
        """It is the session's to answer."""
        for case in FAULTS:
            server = Server() if case.opening else opened(case.versions[0])
            try:
                server.hear(case.octets)
            except RemoteProtocolError:
                self.fail(case.name)


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
    """FRAME_SECONDS: content-length longer than the body, then silence."""

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
