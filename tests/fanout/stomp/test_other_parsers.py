"""Two STOMP libraries of other hands: what we write they must read, and what they write we must read.

stompest knows 1.0 to 1.2. Where it is stricter or looser than the specification, or than we are, the test says so.
stomper writes what many publishers send: 1.0 and 1.1, nothing escaped, ``NUL LF`` at the end.
"""

from __future__ import annotations

from typing import Any

import stomper
from hypothesis import given, settings
from hypothesis import strategies as st
from stompest.error import StompError
from stompest.protocol import StompFrame, StompParser, StompSession, commands
from twisted.trial import unittest

from fanout.hub.message import Message
from fanout.stomp.codec import Decoder, Frame, RemoteProtocolError, encode
from fanout.stomp.dialect import DIALECTS
from fanout.stomp.server_frames import MessageForm
from tests.fanout.stomp.pair import Server, opened, read_frames
from tests.fanout.stomp.wire_cases import ALL, LATER, LIMITS, per_version

COMMANDS = ("SEND", "MESSAGE", "ERROR", "SUBSCRIBE", "RECEIPT", "DISCONNECT", "ACK")
WITH_BODY = ("SEND", "MESSAGE", "ERROR")

# Rows of the table that stompest does not read, and we do: old receivers and the specification's examples send most of
# them, and what is no command (lower case, 2 KiB) is the session's to refuse. It takes 1.0 for ASCII, and wants every
# colon in a value escaped from 1.1 on.
KINDER = {
    "F1 blanks around the command",
    "F2 line ends between frames",
    "F2 NULs between frames",
    "F6 no colon",
    "F6 colons in a value",
    "F7 UTF-8",
    "F7 other line ends are none",
    "F11 body where none belongs",
    "F14 DISCONNECT without blank line",
    "F14 with CRLF",
    "F14 without line end",
    "F14 nothing but the command",
    "F14 no blank line",
    "F14 no blank line and a length",
    "F14 NUL inside the headers",
    "lower-case command is a frame",
    "command line of 2 KiB is a frame",
}
# Rows it reads, or waits for the rest of, and we refuse: it has no limits, and takes for a number what Python does.
STRICTER = {
    "F6 no name",
    "no blank line",
    "65 headers",
    "1,000 headers",
    "1,000 headers without end",
    "content-length in blanks",
    "content-length '+2'",
    "content-length '0_2'",
    "content-length '\u0662'",
    "content-length '11111111111111111111'",
    "content-length 2147483647",
    "content-length 4294967295",
    "body of 8 MiB, announced",
}


def headers(version: str) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    """What the version can carry, and stompest with it, which takes 1.0 for ASCII."""
    if version == "1.0":
        name = value = st.text(st.characters(max_codepoint=126, exclude_characters="\0\r\n:"), min_size=1)
    else:
        characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0\r" if version == "1.1" else "\0")
        name = value = st.text(characters, min_size=1)
    return st.lists(st.tuples(name.filter(lambda text: text != "content-length"), value), max_size=4).map(tuple)


@st.composite
def frames(draw: st.DrawFn, version: str) -> Frame:
    command = draw(st.sampled_from(COMMANDS))
    body = draw(st.binary(max_size=20)) if command in WITH_BODY else b""
    return Frame(command, draw(headers(version)), body)


def stompest_reads(octets: bytes, version: str) -> list[tuple[str, list[tuple[str, str]], bytes]]:
    parser = StompParser(version)
    parser.add(octets)
    read = []
    while parser.canRead():
        frame = parser.get()
        if frame:  # not a heart-beat
            read.append((frame.command, frame.rawHeaders, frame.body))
    return read


def without_length(headers: Any) -> list[tuple[str, str]]:
    return [header for header in headers if header[0] != "content-length"]


class Stompest(unittest.TestCase):
    @given(st.data())
    @settings(deadline=None)
    def test_reads_what_we_write(self, data: st.DataObject) -> None:
        for version in ALL:
            ours = data.draw(st.lists(frames(version), max_size=3))
            read = stompest_reads(b"".join(encode(frame, DIALECTS[version]) for frame in ours), version)
            self.assertEqual(
                [(command, without_length(named), body) for command, named, body in read],
                [(frame.command, list(frame.headers), frame.body) for frame in ours],
            )

    @given(st.data())
    @settings(deadline=None)
    def test_writes_what_we_read(self, data: st.DataObject) -> None:
        for version in ALL:
            frame = data.draw(frames(version))
            theirs = StompFrame(frame.command, rawHeaders=list(frame.headers), body=frame.body, version=version)
            if b"\0" in frame.body:
                theirs.setContentLength()
            [read] = read_frames(bytes(theirs) + b"\n", version)
            self.assertEqual(
                (read.command, without_length(read.headers), read.body),
                (frame.command, list(frame.headers), frame.body),
            )

    def test_agrees_on_the_table(self) -> None:
        """Every row, but for those named above. stompest knows CRLF under 1.2 only, so it is asked then."""
        differently = set()
        for case, version in per_version():
            if not case.opening and len(case.octets) <= 4096 and (version == "1.2" or b"\r" not in case.octets):
                try:
                    read = stompest_reads(case.octets, version)
                except (StompError, ValueError):
                    read = None
                expected = [(each.command, list(each.headers), each.body) for each in case.frames]
                if read != (None if case.fault else expected):
                    differently.add(case.name)
        self.assertEqual(differently, KINDER | STRICTER)

    def test_a_session_of_it_with_one_of_ours(self) -> None:
        """CONNECT, SUBSCRIBE, a MESSAGE, ACK, UNSUBSCRIBE, DISCONNECT: each side takes what the other says."""
        for version in ALL:
            server, client = Server(), StompSession(version)
            said = server.hear(bytes(client.connect(login="a", passcode="b", host="localhost", versions=[version])))
            client.connected(self.their(said, version))
            self.assertEqual(client.version, version)
            named = {"id": "0", "ack": "client-individual"} if version != "1.0" else {"id": "0"}
            frame, token = client.subscribe("/a", named, receipt="r-1")
            self.assertEqual(client.receipt(self.their(server.hear(bytes(frame)), version)), "r-1")
            server.hub.publish("/a", Message("/a", b"x:\0y", "m-1", 1, (("link", "http://x/"),)))
            message = self.their(server.work(), version)
            self.assertEqual((client.message(message), message.body), (token, b"x:\0y"))
            if version != "1.0":
                frame = client.ack(message, receipt="r-2")
                self.assertEqual(client.receipt(self.their(server.hear(bytes(frame)), version)), "r-2")
            frame = client.unsubscribe(token, receipt="r-3")
            self.assertEqual(client.receipt(self.their(server.hear(bytes(frame)), version)), "r-3")
            said = server.hear(bytes(client.disconnect(receipt="r-4")))
            self.assertEqual(client.receipt(self.their(said, version)), "r-4")
            self.assertTrue(server.closed)

    def their(self, octets: bytes, version: str) -> StompFrame:
        parser = StompParser(version)
        parser.add(octets)
        return parser.get()

    def test_heart_beats(self) -> None:
        server = Server()
        frame = commands.stomp(versions=["1.2"], host="x", heartBeats=(20_000, 30_000))
        frame.version = "1.2"
        version, name, session, beats = commands.connected(
            self.their(server.hear(bytes(frame)), "1.2"), versions=["1.2"]
        )
        self.assertEqual((version, name, session, beats), ("1.2", "fanout", "s-1", (10_000, 10_000)))
        self.assertEqual(server.hear(bytes(commands.beat("1.2"))), b"")
        self.assertEqual(stompest_reads(server.session.beat(100, sent_at=0), "1.2"), [])

    @given(st.binary(max_size=60), st.sampled_from(LATER))
    @settings(deadline=None, max_examples=300)
    def test_what_both_take_for_frames_is_the_same(self, noise: bytes, version: str) -> None:
        octets = b"SEND\na:" + noise + b"\n\nx\0"
        decoder = Decoder(LIMITS)
        decoder.dialect = DIALECTS[version]
        decoder.receive(octets)
        try:
            ours = decoder.next_frame()
            theirs = stompest_reads(octets, version)
        except (RemoteProtocolError, StompError, ValueError, IndexError):
            return
        if ours is not None and theirs and b"\r" not in noise:
            self.assertEqual((ours.command, list(ours.headers), ours.body), theirs[0])


class Stomper(unittest.TestCase):
    def frames(self, octets: str, version: str) -> list[Frame]:
        return read_frames(octets.encode(), version)

    def test_its_frames(self) -> None:
        for version in ALL:
            for octets, expected in (
                (
                    stomper.subscribe("/a", "0"),
                    Frame("SUBSCRIBE", (("id", "0"), ("destination", "/a"), ("ack", "auto"))),
                ),
                (stomper.unsubscribe("0"), Frame("UNSUBSCRIBE", (("id", "0"),))),
                (stomper.begin("t"), Frame("BEGIN", (("transaction", "t"),))),
                (stomper.commit("t"), Frame("COMMIT", (("transaction", "t"),))),
                (stomper.abort("t"), Frame("ABORT", (("transaction", "t"),))),
                (stomper.ack("m", "0"), Frame("ACK", (("subscription", "0"), ("message-id", "m")))),
                (stomper.nack("m", "0"), Frame("NACK", (("subscription", "0"), ("message-id", "m")))),
            ):
                self.assertEqual(self.frames(octets, version), [expected], version)

    def test_its_send(self) -> None:
        for version in ALL:
            [frame] = self.frames(stomper.send("/a", "TEXT café"), version)
            self.assertEqual((frame.command, frame.get("destination")), ("SEND", "/a"))
            self.assertEqual(frame.body, "TEXT café".encode())

    def test_its_disconnect_has_no_blank_line(self) -> None:
        """F14."""
        for version in ALL:
            [frame] = self.frames(stomper.disconnect("77"), version)
            self.assertEqual((frame.command, frame.get("receipt")), ("DISCONNECT", "77"))

    def test_a_whole_session(self) -> None:
        server = Server()
        said = server.hear(stomper.connect("a", "b", "localhost").encode())
        version = server.session.dialect.version
        self.assertEqual(read_frames(said, version)[0].command, "CONNECTED")
        said = server.hear((stomper.subscribe("/a", "0") + stomper.send("/b", "x")).encode())
        self.assertEqual((said, [send.body for send in server.published]), (b"", [b"x"]))
        server.hub.publish("/a", Message("/a", b"SHOW x", "m-1", 1))
        message = stomper.unpack_frame(server.work().decode())
        self.assertEqual(
            (message["cmd"], message["body"], message["headers"]["subscription"]), ("MESSAGE", "SHOW x", "0")
        )
        said = server.hear(stomper.disconnect("77").encode())
        self.assertEqual(read_frames(said, version)[0].get("receipt-id"), "77")
        self.assertTrue(server.closed)

    def test_it_reads_our_messages(self) -> None:
        """As far as it goes: it knows no escapes."""
        message = Message("/a", b"TEXT hello", "m-1", 7, (("link", "l"),))
        for version in ALL:
            got = stomper.unpack_frame(MessageForm(DIALECTS[version], "/a", "0").encode(message, {}).decode())
            self.assertEqual((got["cmd"], got["body"]), ("MESSAGE", "TEXT hello"))
            expected = {"destination": "/a", "link": "l", "message-id": "m-1", "when": "7", "subscription": "0"}
            self.assertEqual({**got["headers"], **expected}, got["headers"])

    def test_a_line_end_in_a_header_is_its_own_fault(self) -> None:
        """It writes one as it stands; to us that is another header, which C4 and the application then drop."""
        server = opened("1.1")
        frame = stomper.Frame()
        frame.cmd, frame.headers, frame.body = "SEND", {"destination": "/a", "link": "l\nevil:1"}, "x"
        server.hear(frame.pack().encode())
        self.assertEqual(server.published[0].headers, (("destination", "/a"), ("link", "l"), ("evil", "1")))
