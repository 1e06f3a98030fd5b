from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from fanout.stomp import codec
from fanout.stomp.codec import Decoder, Frame, RemoteProtocolError, encode
from fanout.stomp.dialect import DIALECTS
from tests.fanout.stomp.wire_cases import ALL, CASES, FRAMES, LIMITS, WireCase, per_version

_SHORT = 400  # octets up to which a row is split in two everywhere
_LONG = 4096  # octets above which a row is fed in larger pieces
_READ = 65536  # octets one read from a socket brings


def decoder(version: str, *, opening: bool = False) -> Decoder:
    made = Decoder(LIMITS, opening=opening)
    made.dialect = DIALECTS[version]
    return made


def pieces(octets: bytes, size: int) -> Iterable[bytes]:
    return (octets[index : index + size] for index in range(0, len(octets), size))


def read(reader: Decoder, parts: Iterable[bytes]) -> tuple[list[Frame], RemoteProtocolError | None, int]:
    """What a decoder makes of these pieces: the frames, the first error, and how many octets that took."""
    frames: list[Frame] = []
    octets = 0
    for part in parts:
        reader.receive(part)
        octets += len(part)
        try:
            while (frame := reader.next_frame()) is not None:
                frames.append(frame)
        except RemoteProtocolError as error:
            return frames, error, octets
    return frames, None, octets


def read_on(reader: Decoder, parts: Iterable[bytes]) -> tuple[list[Frame], list[str]]:
    """As a 1.0 session does: the frames, and the faults between them."""
    frames: list[Frame] = []
    faults: list[str] = []
    for part in parts:
        reader.receive(part)
        while True:
            try:
                frame = reader.next_frame()
            except RemoteProtocolError as error:
                faults.append(error.summary)
                continue
            if frame is None:
                break
            frames.append(frame)
    return frames, faults


class TheTable(unittest.TestCase):
    def check(self, case: WireCase, version: str, parts: Iterable[bytes], piece: int) -> None:
        frames, error, octets = read(decoder(version, opening=case.opening), parts)
        said = f"{case.name} under {version} in pieces of {piece}"
        self.assertTrue(tuple(frames) == case.frames, f"{said}: {str(frames)[:500]}")
        self.assertEqual(error and error.summary, case.fault, said)
        if error is not None:
            self.assertEqual(error.boundary_known, case.goes_on, said)
            self.assertNotEqual(error.detail, "", said)
        if case.refused_by is not None:
            self.assertLess(octets, case.refused_by + piece, said)

    def test_has_every_row_but_once(self) -> None:
        rows = [(case.name, version) for case, version in per_version()]
        self.assertEqual(sorted({row for row in rows if rows.count(row) > 1}), [])

    def test_as_the_network_delivers_it(self) -> None:
        for case, version in per_version():
            self.check(case, version, pieces(case.octets, _READ), _READ)

    def test_octet_by_octet(self) -> None:
        for case, version in per_version():
            if len(case.octets) <= _LONG:
                self.check(case, version, pieces(case.octets, 1), 1)

    def test_long_ones_in_small_pieces(self) -> None:
        for case, version in per_version():
            if len(case.octets) > _LONG:
                self.check(case, version, pieces(case.octets, 999), 999)

    def test_split_in_two_anywhere(self) -> None:
        for case, version in per_version():
            if len(case.octets) <= _SHORT:
                for at in range(1, len(case.octets)):
                    self.check(case, version, (case.octets[:at], case.octets[at:]), len(case.octets))

    def test_with_crlf(self) -> None:
        """F1: the head of every frame may end its lines with CRLF."""
        for case, version in per_version():
            head, blank_line, body = case.octets.partition(b"\n\n")
            whole = len(case.frames) == 1 and case.fault is None and bool(blank_line)
            if whole and len(case.octets) <= _LONG and not case.opening and b"\r" not in head:
                octets = head.lstrip(b"\n").replace(b"\n", b"\r\n") + b"\r\n\r\n" + body
                self.assertEqual(tuple(read(decoder(version), [octets])[0]), case.frames, case.name)

    def test_what_is_written(self) -> None:
        for case in FRAMES:
            for version in case.versions if case.written else ():
                wrote = encode(case.frames[0], DIALECTS[version])
                self.assertEqual(wrote.removesuffix(b"\n"), case.octets, f"{case.name} under {version}")

    def test_all_rows_of_one_version_behind_each_other(self) -> None:
        """Pipelined frames do not disturb each other."""
        for version in ALL:
            rows = [
                case for case in FRAMES if version in case.versions and not case.opening and case.name != "unfinished"
            ]
            frames, error, _ = read(decoder(version), pieces(b"".join(case.octets for case in rows), 7))
            self.assertIsNone(error)
            self.assertEqual(frames, [frame for case in rows for frame in case.frames])


class BehindAFault(unittest.TestCase):
    """stomp.md §8: a 1.0 client goes on where the boundary is known."""

    def test_the_next_frame_is_found(self) -> None:
        after = b"ABORT\na:1\n\n\0"
        for case in CASES:
            if case.goes_on and not case.opening:
                for size in (1, len(case.octets) + len(after)):
                    frames, faults = read_on(decoder(case.versions[0]), pieces(case.octets + b"\n" + after, size))
                    self.assertEqual(frames[-1], Frame("ABORT", (("a", "1"),)), case.name)
                    self.assertEqual(faults[0], case.fault, case.name)

    def test_the_error_names_the_frame(self) -> None:
        _, error, _ = read(decoder("1.2"), [b"SEND\nreceipt:7\na:\\t\n\n\0"])
        assert error is not None
        self.assertEqual((error.command, error.receipt), ("SEND", "7"))

    def test_the_error_of_a_length_names_the_receipt(self) -> None:
        for fault in (b"x", b"999999999", b"1"):
            _, error, _ = read(decoder("1.2"), [b"SEND\ncontent-length:" + fault + b"\nreceipt:7\n\nabc\0"])
            assert error is not None
            self.assertEqual((error.command, error.receipt), ("SEND", "7"))


class Splits(unittest.TestCase):
    """F13: however the network cuts the octets, the frames are the same."""

    @given(st.data())
    @settings(deadline=None)
    def test_anywhere(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(ALL))
        octets = data.draw(
            st.lists(
                st.sampled_from([case.octets for case in CASES if len(case.octets) <= _LONG and not case.opening]),
                max_size=5,
            ).map(b"".join)
        )
        self.compare(data, version, octets)

    @given(st.data())
    @settings(deadline=None)
    def test_noise(self, data: st.DataObject) -> None:
        """Octets that mean something, in no order: never anything but a frame or a protocol error."""
        parts = [b"\r", b"\n", b"\0", b":", b"\\", b"n", b"SEND", b"content-length:", b"2", b"\xff", b"\xc3\xa9", b" "]
        octets = data.draw(st.lists(st.sampled_from(parts) | st.binary(max_size=3), max_size=60).map(b"".join))
        self.compare(data, data.draw(st.sampled_from(ALL)), octets)

    def compare(self, data: st.DataObject, version: str, octets: bytes) -> None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=8)))
        parts = [octets[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
        opening = data.draw(st.booleans())
        expected, fault, _ = read(decoder(version, opening=opening), [octets])
        frames, error, _ = read(decoder(version, opening=opening), parts)
        self.assertEqual(frames, expected)
        # Which of several faults is named depends on what had come; that there is one does not.
        self.assertEqual(error is None, fault is None)


# What each version can carry (F8, F9): a name, and a value. NUL has no escape anywhere, and 1.0 has none at all.
def text(without: str, **more: Any) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters=without), **more)


CARRIED = {
    "1.0": st.tuples(text("\0\r\n:"), text("\0\r\n")),
    "1.1": st.tuples(text("\0\r", min_size=1), text("\0\r")),
    "1.2": st.tuples(text("\0", min_size=1), text("\0")),
}
HOSTILE = st.text(st.sampled_from("a:\\\n\r\0cnrt é\ud800\u2028")) | st.text()


class WritingAndReading(unittest.TestCase):
    @given(st.data())
    @settings(deadline=None)
    def test_gives_the_same_frame(self, data: st.DataObject) -> None:
        for version, headers in CARRIED.items():
            named = headers.filter(lambda header: header[0] != "content-length")
            frame = Frame("MESSAGE", tuple(data.draw(st.lists(named, max_size=4))), data.draw(st.binary(max_size=20)))
            [got], error, _ = read(decoder(version), [encode(frame, DIALECTS[version])])
            self.assertIsNone(error)
            added = () if version == "1.0" and b"\0" not in frame.body else (("content-length", str(len(frame.body))),)
            self.assertEqual(got, Frame("MESSAGE", frame.headers + added, frame.body))

    @given(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=4), st.binary(max_size=20), st.sampled_from(ALL))
    @settings(deadline=None)
    def test_whatever_a_header_holds_it_stays_one_header(
        self, headers: list[tuple[str, str]], body: bytes, version: str
    ) -> None:
        """F9: nobody can inject a header, or a frame, through us."""
        for command in ("MESSAGE", "ERROR", "CONNECTED"):
            sent = Frame(command, (("first", "1"), *(("x" + name, value) for name, value in headers)), body)
            if command == "CONNECTED":
                sent = Frame(command, sent.headers)
            frames, error, _ = read(decoder(version), [encode(sent, DIALECTS[version])])
            self.assertIsNone(error)
            [got] = frames
            self.assertEqual((got.command, got.body), (command, sent.body))
            added = len([name for name, _ in got.headers if name == "content-length"])
            self.assertEqual(len(got.headers), len(sent.headers) + added)

    def test_the_attacks_by_name(self) -> None:
        written = {
            "a\nevil:1": {"1.0": b"link:a evil:1\n", "1.1": b"link:a\\nevil\\c1\n", "1.2": b"link:a\\nevil\\c1\n"},
            "a\r\nevil:1": {
                "1.0": b"link:a  evil:1\n",
                "1.1": b"link:a \\nevil\\c1\n",
                "1.2": b"link:a\\r\\nevil\\c1\n",
            },
            "a\0MESSAGE": dict.fromkeys(ALL, b"link:a MESSAGE\n"),
            "\\": {"1.0": b"link:\\\n", "1.1": b"link:\\\\\n", "1.2": b"link:\\\\\n"},
        }
        for value, versions in written.items():
            for version, line in versions.items():
                octets = encode(Frame("MESSAGE", (("link", value),)), DIALECTS[version])
                self.assertIn(b"MESSAGE\n" + line, octets)

    def test_a_colon_in_a_name(self) -> None:
        written = {"1.0": b"a b:1\n", "1.1": b"a\\cb:1\n", "1.2": b"a\\cb:1\n"}
        for version, line in written.items():
            self.assertIn(b"BEGIN\n" + line, encode(Frame("BEGIN", (("a:b", "1"),)), DIALECTS[version]))

    def test_content_length(self) -> None:
        """F10: always from 1.1 on; to 1.0 only when the body holds a NUL."""
        for version, plain, binary in (("1.0", False, True), ("1.1", True, True), ("1.2", True, True)):
            self.assertEqual(b"content-length:2\n" in encode(Frame("MESSAGE", (), b"ab"), DIALECTS[version]), plain)
            self.assertEqual(b"content-length:2\n" in encode(Frame("MESSAGE", (), b"a\0"), DIALECTS[version]), binary)

    def test_no_content_length_where_no_body_belongs(self) -> None:
        for version in ALL:
            self.assertNotIn(b"content-length", encode(Frame("RECEIPT", (("receipt-id", "1"),)), DIALECTS[version]))

    def test_the_end_of_a_frame(self) -> None:
        """F12a, and the setting TRAILING_LF."""
        ends = {
            "auto": {"1.0": b"\n\0", "1.1": b"\n\0\n", "1.2": b"\n\0\n"},
            "on": dict.fromkeys(ALL, b"\n\0\n"),
            "off": dict.fromkeys(ALL, b"\n\0"),
        }
        for setting, versions in ends.items():
            for version, end in versions.items():
                dialect = DIALECTS[version].with_trailing_lf(setting)
                self.assertEqual(encode(Frame("RECEIPT"), dialect), b"RECEIPT\n" + end)


class Work:
    """Counts the octets a decoder looks at."""

    def __init__(self) -> None:
        self.octets = 0

    def counting(self, pattern: Any) -> Any:
        def counted(method: Callable[..., Any]) -> Callable[..., Any]:
            def search(buffer: bytearray, start: int) -> Any:
                match = method(buffer, start)
                self.octets += (match.end() if match else len(buffer)) - start
                return match

            return search

        return mock.Mock(search=counted(pattern.search), match=counted(pattern.match))


class CountedBuffer(bytearray):
    """A buffer that tells how much of it is searched and moved."""

    work: Work

    def find(self, sub: Any, start: Any = 0, *end: Any) -> int:
        found = super().find(sub, start, *end)
        self.work.octets += (found if found >= 0 else len(self)) - start
        return found

    def rfind(self, sub: Any, start: Any = 0, *end: Any) -> int:
        self.work.octets += len(self) - start
        return super().rfind(sub, start, *end)

    def index(self, sub: Any, start: Any = 0, *end: Any) -> int:
        found = super().index(sub, start, *end)
        self.work.octets += found - start
        return found

    def count(self, sub: Any, start: Any = 0, *end: Any) -> int:
        self.work.octets += len(self) - start
        return super().count(sub, start, *end)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self.work.octets += len(self)  # what is left is moved


class LinearWork(unittest.TestCase):
    """F13: counted, not timed."""

    def work(self, octets: bytes, size: int, *, opening: bool = False, version: str = "1.2") -> tuple[int, Decoder]:
        work = Work()
        reader = decoder(version, opening=opening)
        reader._buffer = CountedBuffer()
        reader._buffer.work = work
        with (
            mock.patch.object(codec, "_PADDING", work.counting(codec._PADDING)),
            mock.patch.object(codec, "_HEAD_END", work.counting(codec._HEAD_END)),
        ):
            read_on(reader, pieces(octets, size))
        self.assertIsInstance(reader._buffer, CountedBuffer)
        return work.octets, reader

    def test_octet_by_octet_costs_little_more_than_at_once(self) -> None:
        rows = {
            "head": b"SEND\n" + b"".join(b"header-%d:%s\n" % (n, b"x" * 500) for n in range(60)) + b"\n\0",
            "body": b"SEND\n\n" + b"x" * 30_000 + b"\0",
            "announced body": b"SEND\ncontent-length:30000\n\n" + b"x" * 30_000 + b"\0",
            "line ends": b"\n" * 30_000,
            "small frames": b"BEGIN\ntransaction:1\n\n\0\n" * 1200,
            "a lost frame": b"SEND\na:\xff\n\n" + b"x" * 30_000 + b"\0",
        }
        for name, octets in rows.items():
            spent, reader = self.work(octets, 1, version="1.0")
            self.assertLess(spent, 8 * len(octets), name)
            self.assertEqual(len(reader._buffer), 0, name)

    def test_many_frames_in_one_read(self) -> None:
        octets = b"BEGIN\ntransaction:1\n\n\0\n" * 20_000
        spent, _ = self.work(octets, len(octets))
        self.assertLess(spent, 3 * len(octets))

    def test_2_000_000_line_ends(self) -> None:
        spent, reader = self.work(b"\n" * 2_000_000, _READ)
        self.assertLess(spent, 3 * 2_000_000)
        self.assertFalse(reader.in_frame)
        self.assertEqual(len(reader._buffer), 0)

    def test_a_slow_connect(self) -> None:
        octets = b"CONNECT\n" + b"".join(b"h%d:%s\n" % (n, b"x" * 250) for n in range(60)) + b"\n\0"
        spent, _ = self.work(octets, 1, opening=True)
        self.assertLess(spent, 8 * len(octets))

    def test_a_slow_connect_behind_a_long_first_line(self) -> None:
        octets = b"CONNECT" + b" " * 8000 + b"\n" + b"x" * 8000
        spent, _ = self.work(octets, 1, opening=True)
        self.assertLess(spent, 8 * len(octets))


class BoundedMemory(unittest.TestCase):
    def test_nothing_above_the_frame_limit_is_kept(self) -> None:
        """The rows that announce or send too much: the decoder has taken one read more than the limit at most."""
        for case, version in per_version():
            if case.refused_by is not None:
                reader = decoder(version, opening=case.opening)
                read(reader, pieces(case.octets, 999))
                self.assertLess(len(reader._buffer), case.refused_by + 999, case.name)

    def test_read_frames_are_dropped(self) -> None:
        reader = decoder("1.2")
        frame = b"SEND\ndestination:/a\n\n" + b"x" * 1000 + b"\0"
        read(reader, [frame] * 1000)
        self.assertEqual(len(reader._buffer), 0)

    def test_in_frame_tells_padding_from_a_frame(self) -> None:
        reader = decoder("1.2")
        for octets, expected in ((b"\n\r\n", False), (b"B", True), (b"EGIN\n\n", True), (b"\0", False), (b"\n", False)):
            read(reader, [octets])
            self.assertEqual(reader.in_frame, expected, octets)
