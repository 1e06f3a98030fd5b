from __future__ import annotations

from twisted.trial import unittest

from fanout.stomp.codec import Frame, LocalProtocolError
from fanout.stomp.events import Connect
from fanout.stomp.limits import SessionOptions, StompLimits
from fanout.stomp.session import State
from tests.fanout.stomp.pair import Server, opened, read_frames


def connect(
    *headers: bytes, command: bytes = b"CONNECT", session_options: SessionOptions | None = None
) -> tuple[Server, Frame]:
    """What one CONNECT leads to."""
    server = Server(session_options=session_options)
    said = server.hear(b"\n".join((command, *headers, b"", b"\0")))
    [frame] = read_frames(said, "1.0")
    return server, frame


class TheFirstFrame(unittest.TestCase):
    """N1."""

    def test_connect_and_stomp(self) -> None:
        for command in (b"CONNECT", b"STOMP"):
            server, frame = connect(b"accept-version:1.2", command=command)
            self.assertEqual((frame.command, server.session.state), ("CONNECTED", State.OPEN))

    def test_anything_else(self) -> None:
        for first in (
            b"SEND\ndestination:/a\n\nx\0",
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01\x02\0\x01",
            b"\n\nconnect\n\n\0",
        ):
            server = Server()
            [error] = read_frames(server.hear(first), "1.0")
            self.assertEqual((error.command, error.get("message")), ("ERROR", "Expected CONNECT"))
            self.assertTrue(server.closed)
            self.assertEqual(server.session.faults, ("Expected CONNECT",))

    def test_nothing_behind_it_is_processed(self) -> None:
        server = Server()
        server.hear(b"SEND\ndestination:/a\n\nx\0CONNECT\n\n\0SEND\ndestination:/a\n\nx\0")
        self.assertEqual(server.asked, [])

    def test_half_of_it(self) -> None:
        server = Server()
        self.assertEqual(server.hear(b"CONNECT\naccept-ver"), b"")
        self.assertIn(b"version:1.1", server.hear(b"sion:1.1\n\n\0"))


class TheVersion(unittest.TestCase):
    def test_a_plain_connect_gets_the_originals_answer(self) -> None:
        """N2: to the octet (contract §1.4)."""
        server = Server()
        said = server.hear(b"CONNECT\nreceipt:r\nhost:x\nheart-beat:1,1\nlogin:\nrequest-id:q\n\n\0\n")
        self.assertEqual(said, b"CONNECTED\nresponse-id:q\nreceipt-id:r\nsession:s-1\n\n\0")

    def test_1_0_that_is_asked_for_is_named(self) -> None:
        """N2."""
        _, frame = connect(b"accept-version:1.0")
        self.assertEqual(frame.headers, (("session", "s-1"), ("version", "1.0")))

    def test_the_highest_common_version(self) -> None:
        """N3."""
        for accepted, version in (
            (b"1.0", "1.0"), (b"1.1", "1.1"), (b"1.2", "1.2"), (b"1.0,1.1,1.2", "1.2"), (b"1.2,1.1,1.0", "1.2"),
            (b"1.0,1.1", "1.1"),
            (b" 1.1 , 1.0 ", "1.1"), (b"1.1,2.0", "1.1"), (b"9.9,1.0,x,", "1.0"), (b"1.10,1.1", "1.1"),
        ):  # fmt: skip
            server, frame = connect(b"accept-version:" + accepted)
            self.assertEqual((frame.get("version"), server.session.dialect.version), (version, version), accepted)

    def test_no_common_version(self) -> None:
        """N4."""
        for accepted in (b"2.0", b"", b"1.10", b"1", b"abc", b"1.0.0", b"1.1;1.2"):
            server, frame = connect(b"accept-version:" + accepted)
            self.assertEqual(frame.command, "ERROR", accepted)
            self.assertEqual((frame.get("version"), frame.get("content-type")), ("1.0,1.1,1.2", "text/plain"))
            self.assertIn(b"1.0, 1.1, 1.2", frame.body)
            self.assertTrue(server.closed)

    def test_the_first_accept_version_counts(self) -> None:
        _, frame = connect(b"accept-version:1.1", b"accept-version:1.2")
        self.assertEqual(frame.get("version"), "1.1")


class Connected(unittest.TestCase):
    def test_its_headers(self) -> None:
        """N5."""
        session_options = SessionOptions(server="radiovis/1.0", heartbeat=(7000, 8000))
        _, frame = connect(b"receipt:r", b"request-id:q", b"accept-version:1.2", session_options=session_options)
        self.assertEqual(
            frame.headers,
            (
                ("response-id", "q"), ("receipt-id", "r"), ("session", "s-1"),
                ("version", "1.2"), ("server", "radiovis/1.0"), ("heart-beat", "7000,8000"),
            ),
        )  # fmt: skip

    def test_it_repeats_no_line_end(self) -> None:
        """R3: CONNECT is read without escapes, so what it holds can be written back as it stands."""
        server = Server()
        said = server.hear(b"CONNECT\naccept-version:1.2\nreceipt:a\\nevil:1\n\n\0")
        self.assertIn(b"receipt-id:a\\nevil:1\n", said)


class TheHost(unittest.TestCase):
    """N6."""

    def test_any_will_do(self) -> None:
        for header in ((), (b"host:",), (b"host:127.0.0.1",), (b"host:radio.example",)):
            self.assertEqual(connect(b"accept-version:1.2", *header)[1].command, "CONNECTED")

    def test_where_hosts_are_named_others_are_refused(self) -> None:
        session_options = SessionOptions(hosts=frozenset({"radio.example"}))
        for host, command in ((b"radio.example", "CONNECTED"), (b"other", "ERROR")):
            server, frame = connect(b"accept-version:1.1", b"host:" + host, session_options=session_options)
            self.assertEqual((frame.command, server.closed), (command, command == "ERROR"))

    def test_receivers_that_forget_it_are_let_in(self) -> None:
        session_options = SessionOptions(hosts=frozenset({"radio.example"}))
        for header in (b"accept-version:1.2", b"login:"):
            self.assertEqual(connect(header, session_options=session_options)[1].command, "CONNECTED")


class Credentials(unittest.TestCase):
    """N7."""

    def asked(self, *headers: bytes) -> Connect:
        server, _ = connect(*headers)
        [event] = server.asked
        assert isinstance(event, Connect)
        return event

    def test_they_are_trimmed(self) -> None:
        for version in ((), (b"accept-version:1.0",), (b"accept-version:1.2",)):
            event = self.asked(*version, b"login: 1.rock \t", b"passcode:\t secret ")
            self.assertEqual((event.login, event.passcode), ("1.rock", "secret"))

    def test_they_are_never_unescaped(self) -> None:
        for version in (b"1.0", b"1.1", b"1.2"):
            event = self.asked(b"accept-version:" + version, rb"login:a\cb\n", rb"passcode:\t:\x")
            self.assertEqual((event.login, event.passcode), (r"a\cb\n", r"\t:\x"))

    def test_none_or_empty_ones_are_anonymous(self) -> None:
        for headers in ((), (b"login:", b"passcode:"), (b"login: ", b"passcode:\t"), (b"login",)):
            self.assertTrue(self.asked(*headers).anonymous)

    def test_either_one_is_a_login(self) -> None:
        for headers in ((b"login:a",), (b"passcode:a",), (b"login:a", b"passcode:")):
            self.assertFalse(self.asked(*headers).anonymous)

    def test_a_passcode_is_not_shown(self) -> None:
        self.assertNotIn("secret", repr(self.asked(b"login:a", b"passcode:secret")))

    def test_wrong_ones(self) -> None:
        """The ERROR ends the session in every version, and never holds the passcode (R3)."""
        for version in ("1.0", "1.2"):
            server = Server()
            server.holding = True
            accept = b"" if version == "1.0" else b"accept-version:1.2\n"
            server.hear(b"CONNECT\n" + accept + b"login:a\npasscode:secret\n\n\0")
            server.session.refuse("Wrong credentials")
            said = server.work()
            [error] = read_frames(said, version)
            self.assertEqual((error.command, error.get("message")), ("ERROR", "Wrong credentials"))
            self.assertNotIn(b"secret", said)
            self.assertTrue(server.closed)


class Again(unittest.TestCase):
    """N8."""

    def test_from_1_1_on_an_error(self) -> None:
        for version in ("1.1", "1.2"):
            for command in (b"CONNECT", b"STOMP"):
                server = opened(version)
                [error] = read_frames(server.hear(command + b"\n\n\0"), version)
                self.assertEqual(error.get("message"), "Already connected")
                self.assertTrue(server.closed)

    def test_under_1_0_silence(self) -> None:
        server = opened("1.0")
        self.assertEqual(server.hear(b"CONNECT\nlogin:b\n\n\0"), b"")
        self.assertEqual((server.session.state, len(server.asked)), (State.OPEN, 1))


class Pipelining(unittest.TestCase):
    """N9."""

    frames = (
        b"CONNECT\naccept-version:1.2\n\n\0SEND\ndestination:/a\nreceipt:1\n\nx\0SEND\ndestination:/b\nreceipt:2\n\ny\0"
    )

    def test_in_order_once_let_in(self) -> None:
        server = Server()
        server.holding = True
        self.assertEqual(server.hear(self.frames), b"")
        self.assertEqual(len(server.asked), 1)
        said = read_frames(server.let_go(), "1.2")
        self.assertEqual([frame.command for frame in said], ["CONNECTED", "RECEIPT", "RECEIPT"])
        self.assertEqual([send.destination for send in server.published], ["/a", "/b"])

    def test_more_may_come_while_the_directory_thinks(self) -> None:
        server = Server()
        server.holding = True
        for index in range(len(self.frames)):
            self.assertEqual(server.hear(self.frames[index : index + 1]), b"")
        self.assertEqual(len(read_frames(server.let_go(), "1.2")), 3)

    def test_nothing_is_processed_behind_wrong_credentials(self) -> None:
        server = Server()
        server.holding = True
        server.hear(self.frames)
        server.session.refuse("Wrong credentials")
        self.assertEqual([frame.command for frame in read_frames(server.work(), "1.2")], ["ERROR"])
        self.assertEqual(server.hear(b"SEND\ndestination:/c\n\nx\0"), b"")
        self.assertEqual((server.published, len(server.asked)), ([], 1))

    def test_frames_behind_connect_are_read_in_the_agreed_version(self) -> None:
        server = Server()
        server.hear(b"CONNECT\naccept-version:1.2\n\n\0SUBSCRIBE\nid:0\ndestination:/a\\cb\n\n\0")
        [subscription] = server.session.subscriptions
        self.assertEqual(subscription.destination, "/a:b")


class Time(unittest.TestCase):
    """N10."""

    def test_no_connect(self) -> None:
        server = Server(StompLimits(connect_timeout=10))
        self.assertEqual(server.session.next_look(0), 10)
        self.assertIsNone(server.session.overdue(9.9))
        self.assertEqual(server.session.overdue(10), "no CONNECT frame")

    def test_octets_do_not_prolong_it(self) -> None:
        server = Server(StompLimits(connect_timeout=10))
        for octet in (b"\n", b"C", b"O", b"N"):
            server.now += 2.5
            server.hear(octet)
        self.assertEqual(server.session.overdue(10), "no CONNECT frame")

    def test_the_directory_may_take_its_time(self) -> None:
        server = Server()
        server.holding = True
        server.hear(b"CONNECT\naccept-version:1.2\nheart-beat:1000,0\n\n\0")
        self.assertIsNone(server.session.overdue(1000))

    def test_16_kib_are_enough(self) -> None:
        server = Server()
        said = server.hear(b"CONNECT\n" + (b"a:" + b"x" * 4000 + b"\n") * 5)
        self.assertEqual(read_frames(said, "1.0")[0].get("message"), "Frame too large")
        self.assertTrue(server.closed)

    def test_behind_connect_frames_may_be_larger(self) -> None:
        server = opened("1.2")
        server.hear(b"SEND\ndestination:/a\n\n" + b"x" * 100_000 + b"\0")
        self.assertEqual(len(server.published[0].body), 100_000)


class OurOwnMistakes(unittest.TestCase):
    def test_no_answer_without_a_question(self) -> None:
        for server in (Server(), opened("1.2")):
            self.assertRaises(LocalProtocolError, server.session.accept, "s")
            self.assertRaises(LocalProtocolError, server.session.refuse, "no")

    def test_no_second_answer(self) -> None:
        server = Server()
        server.holding = True
        server.hear(b"CONNECT\n\n\0")
        server.session.accept("s")
        self.assertRaises(LocalProtocolError, server.session.accept, "s")
