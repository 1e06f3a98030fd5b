"""Octets, the frames they are, and what is wrong with them: one table for the decoder's tests and the encoder's.

The rows follow stomp.md: F1 to F14 first, then the bad inputs.
"""

# ruff: noqa: E501, ISC001  (a row of the table is one line)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fanout.stomp.codec import Frame
from fanout.stomp.limits import StompLimits

LIMITS = StompLimits()
ALL = ("1.0", "1.1", "1.2")
LATER = ("1.1", "1.2")


@dataclass(frozen=True, slots=True)
class WireCase:
    """
    :ivar name: of the rule or the fault.
    :ivar versions: under which the row holds.
    :ivar octets: what is sent.
    :ivar frames: what is read.
    :ivar fault: the summary of the error behind the frames, if there is one.
    :ivar goes_on: whether the frame behind the fault can still be found (what a 1.0 client lives on).
    :ivar written: whether encoding the one frame gives these very octets, but for the LF behind the NUL.
    :ivar opening: whether this stands at the very beginning of a connection.
    :ivar refused_by: octets at which the fault must be found though more are announced; None: at the end.
    """

    name: str
    versions: tuple[str, ...]
    octets: bytes
    frames: tuple[Frame, ...] = ()
    fault: str | None = None
    goes_on: bool = False
    written: bool = False
    opening: bool = False
    refused_by: int | None = None


def frame(command: str, *headers: tuple[str, str], body: bytes = b"") -> Frame:
    return Frame(command, headers, body)


def send(*headers: tuple[str, str], body: bytes = b"") -> Frame:
    return frame("SEND", ("destination", "/a"), *headers, body=body)


def sized(body: bytes) -> Frame:
    return send(("content-length", str(len(body))), body=body)


SLIDE = b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe"

FRAMES = (
    WireCase("F1 plain", ALL, b"SUBSCRIBE\nid:0\n\n\0", (frame("SUBSCRIBE", ("id", "0")),), written=True),
    WireCase("F1 no headers", ALL, b"DISCONNECT\n\n\0", (frame("DISCONNECT"),), written=True),
    WireCase("F1 CRLF", ALL, b"SEND\r\ndestination:/a\r\n\r\nx\0", (send(body=b"x"),)),
    WireCase("F1 CRLF and LF mixed", ALL, b"SEND\ndestination:/a\r\n\nx\0", (send(body=b"x"),)),
    WireCase("F1 LF then CRLF", ALL, b"SEND\r\ndestination:/a\n\r\nx\0", (send(body=b"x"),)),
    WireCase("F1 blanks around the command", ALL, b" SEND \t\ndestination:/a\n\nx\0", (send(body=b"x"),)),
    WireCase("F2 line ends between frames", ALL, b"\n\r\n\nBEGIN\n\n\0\n\r\n\nABORT\n\n\0\n", (frame("BEGIN"), frame("ABORT"))),
    WireCase("F2 NULs between frames", ALL, b"\0\0BEGIN\n\n\0\0\0ABORT\n\n\0\0", (frame("BEGIN"), frame("ABORT"))),
    WireCase("F2 nothing between frames", ALL, b"BEGIN\n\n\0ABORT\n\n\0", (frame("BEGIN"), frame("ABORT"))),
    WireCase("F3 NUL in the body", ALL, b"SEND\ndestination:/a\ncontent-length:3\n\na\0b\0", (sized(b"a\0b"),)),
    WireCase("F3 body of nothing", ALL, b"SEND\ndestination:/a\ncontent-length:0\n\n\0", (sized(b""),)),
    WireCase("F3 up to the first NUL", ALL, b"SEND\ndestination:/a\n\na\nb\n\n\0", (send(body=b"a\nb\n\n"),)),
    WireCase("F3 zeros before the length", ALL, b"SEND\ndestination:/a\ncontent-length:002\n\nab\0", (send(("content-length", "002"), body=b"ab"),)),
    WireCase("F4 octets stay", ALL, b"SEND\ndestination:/a\ncontent-length:12\n\n" + SLIDE + b"\0", (sized(SLIDE),)),
    WireCase("F4 CR in a body", ALL, b"SEND\ndestination:/a\n\na\r\nb\r\0", (send(body=b"a\r\nb\r"),)),
    WireCase("F4 blank line in a body", ALL, b"SEND\ndestination:/a\n\n\n\nx\0", (send(body=b"\n\nx"),)),
    WireCase("F5 all of a repeated header", ALL, b"SEND\na:1\na:2\n\n\0", (frame("SEND", ("a", "1"), ("a", "2")),)),
    WireCase("F5 the first length counts", ALL, b"SEND\ncontent-length:2\ncontent-length:9\n\nab\0", (frame("SEND", ("content-length", "2"), ("content-length", "9"), body=b"ab"),)),
    WireCase("F6 no colon", ("1.0",), b"SEND\nfoo\n\n\0", (frame("SEND", ("foo", "")),)),
    WireCase("F6 no name", ("1.0",), b"SEND\n:foo\n\n\0", (frame("SEND", ("", "foo")),), written=True),
    WireCase("F6 colons in a value", ALL, b"SEND\nlink:http://x:1/\n\n\0", (frame("SEND", ("link", "http://x:1/")),)),
    WireCase("F6 empty value", ALL, b"BEGIN\na:\n\n\0", (frame("BEGIN", ("a", "")),), written=True),
    WireCase("F6 blanks stay", ALL, b"BEGIN\na: 1 \n\n\0", (frame("BEGIN", ("a", " 1 ")),), written=True),
    WireCase("F7 UTF-8", ALL, "BEGIN\ncafé:日本 📻\n\n\0".encode(), (frame("BEGIN", ("café", "日本 📻")),), written=True),
    WireCase("F7 case of names", ALL, b"BEGIN\nA:1\na:2\n\n\0", (frame("BEGIN", ("A", "1"), ("a", "2")),), written=True),
    WireCase("F7 other line ends are none", ALL, "BEGIN\na:\x0b\x0c\x1c\x85\u2028b\n\n\0".encode(), (frame("BEGIN", ("a", "\x0b\x0c\x1c\x85\u2028b")),), written=True),
    WireCase("F8 no escapes", ("1.0",), rb"BEGIN" b"\n" rb"a:\n\c\\\r\t\x" b"\n\n\0", (frame("BEGIN", ("a", r"\n\c\\\r\t\x")),), written=True),
    WireCase("F8 escapes", LATER, rb"BEGIN" b"\n" rb"a\cb:\n\c\\" b"\n\n\0", (frame("BEGIN", ("a:b", "\n:\\")),), written=True),
    WireCase("F8 escaped backslash before n", LATER, rb"BEGIN" b"\n" rb"a:\\n" b"\n\n\0", (frame("BEGIN", ("a", "\\n")),), written=True),
    WireCase(r"F8 \r", ("1.2",), rb"BEGIN" b"\n" rb"a:\r\n" b"\n\n\0", (frame("BEGIN", ("a", "\r\n")),), written=True),
    WireCase("F8 CONNECTED is not escaped", ALL, rb"CONNECTED" b"\n" rb"a:\n:\t" b"\n\n\0", (frame("CONNECTED", ("a", r"\n:\t")),), written=True),
    WireCase("F10 length written from 1.1 on", LATER, b"MESSAGE\na:1\ncontent-length:1\n\nx\0", (frame("MESSAGE", ("a", "1"), ("content-length", "1"), body=b"x"),)),
    WireCase("F11 body where none belongs", ALL, b"BEGIN\ntransaction:1\n\nx\0ABORT\n\n\0", (frame("BEGIN", ("transaction", "1"), body=b"x"), frame("ABORT"))),
    WireCase("F14 DISCONNECT without blank line", ALL, b"DISCONNECT\nreceipt:77\n\0", (frame("DISCONNECT", ("receipt", "77")),)),
    WireCase("F14 with CRLF", ALL, b"DISCONNECT\r\nreceipt:77\r\n\0", (frame("DISCONNECT", ("receipt", "77")),)),
    WireCase("F14 without line end", ALL, b"DISCONNECT\nreceipt:77\0", (frame("DISCONNECT", ("receipt", "77")),)),
    WireCase("F14 no blank line", ("1.0",), b"SUBSCRIBE\ndestination:/a\n\0SEND\ndestination:/a\0TEST\0", (frame("SUBSCRIBE", ("destination", "/a")), send(), frame("TEST"))),
    WireCase("F14 no blank line, with CRLF", ("1.0",), b"SUBSCRIBE\r\ndestination:/a\r\n\0BEGIN\r\n\0", (frame("SUBSCRIBE", ("destination", "/a")), frame("BEGIN"))),
    WireCase("F14 no blank line and a length", ("1.0",), b"SEND\ncontent-length:3\n\0BEGIN\n\n\0", (frame("SEND", ("content-length", "3")), frame("BEGIN"))),
    WireCase("F14 CONNECT without blank line", ("1.0",), b"CONNECT\nlogin:a\n\0", (frame("CONNECT", ("login", "a")),), opening=True),
    WireCase("F14 CONNECT and nothing else", ("1.0",), b"CONNECT\0", (frame("CONNECT"),), opening=True),
    WireCase("F14 nothing but the command", ALL, b"DISCONNECT\0BEGIN\n\n\0", (frame("DISCONNECT"), frame("BEGIN"))),
    WireCase("unfinished", ALL, b"BEGIN\n\n\0SEND\ndestination:/a\n\nabc", (frame("BEGIN"),)),
    WireCase("CONNECT", ALL, b"CONNECT\nlogin:a\n\n\0", (frame("CONNECT", ("login", "a")),), opening=True, written=True),
    WireCase("STOMP", ALL, b"\n\n STOMP\r\nlogin:a\r\n\r\n\0", (frame("STOMP", ("login", "a")),), opening=True),
    WireCase("N7 CONNECT is not escaped", ALL, rb"CONNECT" b"\n" rb"passcode:a\nb\t:\c" b"\n\n\0", (frame("CONNECT", ("passcode", r"a\nb\t:\c")),), opening=True, written=True),
)  # fmt: skip

HEADER = "Malformed header"
FRAME = "Malformed frame"
LENGTH = "Malformed content-length"
OPENING = "Expected CONNECT"
TOO_LARGE = "Frame too large"
TOO_LONG = "Header too long"
TOO_MANY = "Too many headers"

FAULTS = (
    WireCase("bare CR in a value", ("1.2",), b"SEND\na:x\ry\n\n\0", fault=HEADER),
    WireCase("bare CR in a value, deleted as the original did", ("1.0",), b"SEND\na:x\ry\n\n\0", (frame("SEND", ("a", "xy")),)),
    WireCase(r"\t", LATER, rb"SEND" b"\n" rb"a:\t" b"\n\n\0", fault=HEADER),
    WireCase(r"\t in a name", LATER, rb"SEND" b"\n" rb"\ta:1" b"\n\n\0", fault=HEADER),
    WireCase("backslash at the end", LATER, b"SEND\na:\\\n\n\0", fault=HEADER),
    WireCase(r"\r under 1.1", ("1.1",), rb"SEND" b"\n" rb"a:\r" b"\n\n\0", fault=HEADER),
    WireCase(r"\C", LATER, rb"SEND" b"\n" rb"a:\C" b"\n\n\0", fault=HEADER),
    WireCase("F6 no colon", LATER, b"SEND\nfoo\n\n\0", fault=HEADER),
    WireCase("F6 no name", LATER, b"SEND\n:foo\n\n\0", fault=HEADER),
    WireCase("F14 NUL inside the headers", ("1.0",), b"SEND\na:1\0b:2\n\n\0", (frame("SEND", ("a", "1")), frame("b:2"))),
    WireCase("NUL inside the headers", LATER, b"BEGIN\ntransaction:1\n\n\0SEND\na:1\0b:2\n\n\0", (frame("BEGIN", ("transaction", "1")),), FRAME, goes_on=True),
    WireCase("CONNECT with versions and without blank line", ALL, b"CONNECT\naccept-version:1.0\n\0", fault=FRAME, goes_on=True, opening=True),
    WireCase("no blank line", LATER, b"SEND\ndestination:/a\n\0", fault=FRAME, goes_on=True),
    WireCase("ff fe", ALL, b"SEND\na:\xff\xfe\n\nbody\0", fault=HEADER, goes_on=True),
    WireCase("ff fe, and a body whose NULs are not its end", ALL, b"SEND\na:\xff\xfe\ncontent-length:3\n\na\0b\0", fault=HEADER),
    WireCase("overlong UTF-8", ALL, b"SEND\na:\xc0\xaf\n\n\0", fault=HEADER, goes_on=True),
    WireCase("UTF-8 of a surrogate", ALL, b"SEND\na:\xed\xa0\x80\n\n\0", fault=HEADER, goes_on=True),
    WireCase("UTF-8 cut short", ALL, b"SEND\na:\xe6\x97\n\n\0", fault=HEADER, goes_on=True),
    WireCase("command that is not UTF-8", ALL, b"\xff\n\n\0", fault=HEADER, goes_on=True),
    WireCase("lower-case command is a frame", ALL, b"send\ndestination:/a\n\n\0", (frame("send", ("destination", "/a")),)),
    WireCase("command line of 2 KiB is a frame", ALL, b"A" * 2048 + b"\n\n\0", (frame("A" * 2048),)),
    WireCase("command line of 9 KiB", ALL, b"A" * 9216 + b"\n\n\0", fault=TOO_LONG, refused_by=8193),
    WireCase("64 headers are allowed", ALL, b"SEND\n" + b"a:1\n" * 64 + b"\n\0", (Frame("SEND", (("a", "1"),) * 64),)),
    WireCase("65 headers", ALL, b"SEND\n" + b"a:1\n" * 65 + b"\n\0", fault=TOO_MANY),
    WireCase("1,000 headers", ALL, b"SEND\n" + b"a:1\n" * 1000 + b"\n\0", fault=TOO_MANY, refused_by=5 + 65 * 4),
    WireCase("1,000 headers without end", ALL, b"SEND\n" + b"a:1\n" * 1000, fault=TOO_MANY, refused_by=5 + 65 * 4),
    WireCase("header of 8 KiB is allowed", ALL, b"SEND\na:" + b"x" * 8190 + b"\n\n\0", (frame("SEND", ("a", "x" * 8190)),)),
    WireCase("header of 8 KiB and one octet", ALL, b"SEND\na:" + b"x" * 8191 + b"\n\n\0", fault=TOO_LONG),
    WireCase("header of 64 KiB", ALL, b"SEND\na:" + b"x" * 65536 + b"\n\n\0", fault=TOO_LONG, refused_by=5 + 8193),
    WireCase("header of 5 MiB", ALL, b"SEND\na:" + b"x" * 5 * 2**20 + b"\n\n\0", fault=TOO_LONG, refused_by=5 + 8193),
    WireCase("header of 5 MiB without end", ALL, b"SEND\na:" + b"x" * 5 * 2**20, fault=TOO_LONG, refused_by=5 + 8193),
    WireCase("large headers together too large", ALL, b"SEND\n" + (b"a:" + b"x" * 8000 + b"\n") * 40, fault=TOO_LARGE, refused_by=262_145),
    WireCase("body of 8 MiB, announced", ALL, b"SEND\ncontent-length:8388608\n\n", fault=TOO_LARGE),
    WireCase("body of 8 MiB, not announced", ALL, b"SEND\n\n" + b"x" * 8 * 2**20 + b"\0", fault=TOO_LARGE, refused_by=262_145),
    WireCase("largest body", ALL, b"SEND\n\n" + b"x" * 262_138 + b"\0", (Frame("SEND", (), b"x" * 262_138),)),
    WireCase("largest body and one octet", ALL, b"SEND\n\n" + b"x" * 262_139 + b"\0", fault=TOO_LARGE),
    WireCase("content-length too short", ALL, b"SEND\ncontent-length:2\n\nabc\0", fault=FRAME),
    WireCase("content-length right, no NUL", ALL, b"SEND\ncontent-length:3\n\nabc\n\0", fault=FRAME),
    WireCase("content-length too long, then silence", ALL, b"SEND\ncontent-length:4\n\nab\0"),
    WireCase("content-length 2147483647", ALL, b"SEND\ncontent-length:2147483647\n\n", fault=TOO_LARGE),
    WireCase("content-length 4294967295", ALL, b"SEND\ncontent-length:4294967295\n\n", fault=TOO_LARGE),
    WireCase("content-length in blanks", ("1.0",), b"SEND\ncontent-length: 2 \n\nab\0", (frame("SEND", ("content-length", " 2 "), body=b"ab"),)),
    WireCase("content-length in blanks", LATER, b"SEND\ncontent-length: 2 \n\nab\0", fault=LENGTH),
    *(
        WireCase(f"content-length {wrong!r}", ALL, f"SEND\ncontent-length:{wrong}\n\nab\0".encode(), fault=LENGTH)
        for wrong in ("-1", "abc", "+2", "0x2", "2.0", "", "0_2", "\u0662", "2,2", "2 2", "1" * 20)
    ),
    WireCase("2,000,000 line ends", ALL, b"\n" * 2_000_000 + b"BEGIN\n\n\0", (frame("BEGIN"),)),
    WireCase("SEND before CONNECT", ALL, b"SEND\ndestination:/a\n\nx\0", fault=OPENING, opening=True, refused_by=5),
    WireCase("CONNECTED before CONNECT", ALL, b"CONNECTED\n\n\0", fault=OPENING, opening=True),
    WireCase("lower-case connect", ALL, b"connect\n\n\0", fault=OPENING, opening=True),
    WireCase("empty frame", ALL, b"a:1\n\n\0", fault=OPENING, opening=True),
    WireCase("HTTP GET", ALL, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", fault=OPENING, opening=True, refused_by=16),
    WireCase("TLS ClientHello", ALL, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", fault=OPENING, opening=True, refused_by=5),
    WireCase("SSH", ALL, b"SSH-2.0-OpenSSH_9.2\r\n", fault=OPENING, opening=True, refused_by=21),
    WireCase("1 MiB before CONNECT", ALL, b"x" * 2**20, fault=TOO_LONG, opening=True, refused_by=8193),
    WireCase("CONNECT of 1 MiB", ALL, b"CONNECT\n\n" + b"x" * 2**20, fault=TOO_LARGE, opening=True, refused_by=16_385),
    WireCase("half a CONNECT of 200 kB", ALL, b"CONNECT\n" + (b"a:" + b"x" * 4000 + b"\n") * 50, fault=TOO_LARGE, opening=True, refused_by=16_385),
    WireCase("CONNECT announces 20 kB", ALL, b"CONNECT\ncontent-length:20000\n\n", fault=TOO_LARGE, opening=True),
    WireCase("1 MiB of line ends before CONNECT", ALL, b"\n" * 2**20, fault=OPENING, opening=True, refused_by=16_385),
)  # fmt: skip

CASES = FRAMES + FAULTS


def per_version() -> Iterator[tuple[WireCase, str]]:
    """Every row with every version it holds for."""
    for case in CASES:
        for version in case.versions:
            yield case, version
