from __future__ import annotations

from twisted.trial import unittest

from fanout.stomp.client import ClientSession, Connected, ConnectRefused, MessageReceived, Receipted
from fanout.stomp.codec import Frame, LocalProtocolError, RemoteProtocolError
from fanout.stomp.limits import StompLimits
from tests.fanout.stomp.pair import Pair, read_frames
from tests.fanout.stomp.wire_cases import ALL

LET_IN = b"CONNECTED\nversion:%s\nsession:s\nheart-beat:10000,10000\n\n\0"


def connected(version: str, *versions: str, heartbeat: tuple[int, int] = (0, 0)) -> ClientSession:
    """A client that a server has let in."""
    session = ClientSession(0.0)
    session.connect(versions=versions or ALL, heartbeat=heartbeat)
    session.data_to_send(0.0)
    session.receive_data(LET_IN % version.encode(), 0.0)
    session.next_event()
    return session


class Connecting(unittest.TestCase):
    def frame(self, *versions: str, **more: str) -> Frame:
        session = ClientSession(0.0)
        session.connect(versions=versions, **more)  # type: ignore[arg-type]
        [frame] = read_frames(session.data_to_send(0.0), "1.0")
        return frame

    def test_an_old_radio(self) -> None:
        self.assertEqual(self.frame("1.0"), Frame("CONNECT"))
        self.assertEqual(self.frame("1.0", login="a", passcode="b").headers, (("login", "a"), ("passcode", "b")))

    def test_a_new_one(self) -> None:
        frame = self.frame("1.1", "1.2", host="radio.example")
        self.assertEqual(
            frame.headers, (("accept-version", "1.1,1.2"), ("heart-beat", "0,0"), ("host", "radio.example"))
        )

    def test_with_a_server_of_ours(self) -> None:
        for version in ALL:
            pair = Pair().connect(version)
            [told] = pair.told
            assert isinstance(told, Connected)
            self.assertEqual((told.version, told.session), (version, "s-1"))
            self.assertTrue(pair.client.connected)

    def test_the_server_chooses(self) -> None:
        pair = Pair().connect(*ALL)
        self.assertEqual(pair.client.dialect and pair.client.dialect.version, "1.2")

    def test_a_server_that_names_no_version_speaks_1_0(self) -> None:
        session = ClientSession(0.0)
        session.connect()
        session.receive_data(b"CONNECTED\nsession:s\n\n\0", 0.0)
        self.assertEqual(session.next_event(), Connected("1.0", "s", (("session", "s"),)))

    def test_refused(self) -> None:
        for version in ALL:
            pair = Pair()
            pair.holding = True
            pair.connect(version, login="a", passcode="b")
            pair.session.refuse("Wrong credentials")
            [told] = pair.talk()
            assert isinstance(told, ConnectRefused)
            self.assertEqual(told.summary, "Wrong credentials")
            self.assertTrue(pair.client.closed)

    def test_a_server_that_breaks_the_protocol(self) -> None:
        for said in (
            b"MESSAGE\ndestination:/a\n\nx\0", b"CONNECTED\nversion:1.0\n\n\0", b"CONNECTED\nversion:3\n\n\0",
            b"HTTP/1.1 400 Bad Request\r\n\r\n\0", b"CONNECTED\nversion:1.2\nheart-beat:x\n\n\0",
            b"CONNECTED\nversion:1.2\0",
        ):  # fmt: skip
            session = ClientSession(0.0)
            session.connect(versions=("1.1", "1.2"))
            session.receive_data(said, 0.0)
            self.assertRaises(RemoteProtocolError, session.next_event)
            self.assertTrue(session.closed)

    def test_a_server_that_sends_too_much(self) -> None:
        session = ClientSession(0.0, StompLimits(frame_bytes=1000))
        session.connect(versions=("1.2",))
        session.receive_data(LET_IN % b"1.2" + b"MESSAGE\n\n" + b"x" * 1000, 0.0)
        self.assertIsInstance(session.next_event(), Connected)
        self.assertRaises(RemoteProtocolError, session.next_event)


class OutOfTurn(unittest.TestCase):
    def test_twice(self) -> None:
        session = ClientSession(0.0)
        session.connect()
        self.assertRaises(LocalProtocolError, session.connect)

    def test_before_the_version_is_known(self) -> None:
        session = ClientSession(0.0)
        self.assertRaises(LocalProtocolError, session.send, "/a", b"x")
        session.connect()
        self.assertRaises(LocalProtocolError, session.send, "/a", b"x")

    def test_a_client_that_offers_one_version_need_not_wait(self) -> None:
        for version in ALL:
            pair = Pair()
            pair.client.connect(versions=(version,))
            pair.client.send("/a:b", b"x", receipt="r")
            pair.client.disconnect(receipt="end")
            self.assertEqual(pair.talk()[1:], [Receipted("r"), Receipted("end")])
            self.assertEqual(pair.published[0].destination, "/a:b")

    def test_behind_the_end(self) -> None:
        session = connected("1.2")
        session.disconnect()
        self.assertRaises(LocalProtocolError, session.send, "/a", b"x")
        self.assertRaises(LocalProtocolError, session.disconnect)

    def test_behind_an_error(self) -> None:
        for version, closed in (("1.0", False), ("1.1", True), ("1.2", True)):
            session = connected(version)
            session.receive_data(b"ERROR\nmessage:no\nreceipt-id:7\n\nwhy\0", 0.0)
            told = session.next_event()
            assert isinstance(told, ConnectRefused)
            self.assertEqual((told.summary, told.detail, told.receipt), ("no", "why", "7"))
            self.assertEqual(session.closed, closed)


class Commands(unittest.TestCase):
    def written(self, version: str, command: str, *arguments: object, **named: object) -> Frame:
        session = connected(version)
        getattr(session, command)(*arguments, **named)
        [frame] = read_frames(session.data_to_send(0.0), version)
        return frame

    def test_subscribe(self) -> None:
        frame = self.written("1.2", "subscribe", "/a", "0", ack="client", headers=(("x", "y"),), receipt="r")
        self.assertEqual(
            frame,
            Frame("SUBSCRIBE", (("destination", "/a"), ("id", "0"), ("ack", "client"), ("receipt", "r"), ("x", "y"))),
        )

    def test_unsubscribe(self) -> None:
        self.assertEqual(self.written("1.2", "unsubscribe", "0"), Frame("UNSUBSCRIBE", (("id", "0"),)))
        self.assertEqual(
            self.written("1.0", "unsubscribe", destination="/a"), Frame("UNSUBSCRIBE", (("destination", "/a"),))
        )

    def test_send(self) -> None:
        frame = self.written("1.0", "send", "/a", b"x", transaction="t", receipt="r", headers=(("link", "l"),))
        headers = (("destination", "/a"), ("transaction", "t"), ("receipt", "r"), ("link", "l"))
        self.assertEqual(frame, Frame("SEND", headers, b"x"))

    def test_ack_and_nack(self) -> None:
        message = MessageReceived("/a", "m-1", "0", (("ack", "a-1"),), b"")
        for command in ("ack", "nack"):
            self.assertEqual(self.written("1.2", command, message), Frame(command.upper(), (("id", "a-1"),)))
            self.assertEqual(
                self.written("1.1", command, message),
                Frame(command.upper(), (("message-id", "m-1"), ("subscription", "0"))),
            )

    def test_transactions(self) -> None:
        for command in ("begin", "commit", "abort"):
            frame = self.written("1.2", command, "t", receipt="r")
            self.assertEqual(frame, Frame(command.upper(), (("transaction", "t"), ("receipt", "r"))))

    def test_any_other_frame(self) -> None:
        self.assertEqual(self.written("1.2", "write", Frame("FOO", (("a", "b"),))), Frame("FOO", (("a", "b"),)))


class Time(unittest.TestCase):
    """Heart-beats; with a server of ours in test_heartbeat.py."""

    def test_a_beat_when_one_is_owed(self) -> None:
        session = connected("1.2", heartbeat=(10_000, 0))
        self.assertEqual(session.next_look(), 8.0)
        self.assertEqual(session.data_to_send(7.9), b"")
        self.assertEqual(session.data_to_send(8.0), b"\n")
        self.assertEqual(session.data_to_send(8.1), b"")

    def test_a_frame_is_one(self) -> None:
        session = connected("1.2", heartbeat=(10_000, 0))
        session.begin("t")
        self.assertEqual(session.data_to_send(9.0), b"BEGIN\ntransaction:t\n\n\0\n")
        self.assertEqual(session.next_look(), 17.0)

    def test_none_behind_the_end(self) -> None:
        session = connected("1.2", heartbeat=(10_000, 0))
        session.disconnect()
        session.data_to_send(1.0)
        self.assertEqual(session.data_to_send(100.0), b"")
