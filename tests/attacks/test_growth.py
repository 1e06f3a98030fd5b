"""Parsers of foreign octets do linear work: twice the octets take at most :data:`MOST_GROWTH` times as long.

Inputs come from a grammar: a beginning, one or two tokens in turn, repeated up to a length, and an end. Tokens are what
means something to the parser, and what almost does: an opened quotation, a word that begins a secret, a line that
continues the one before it. A parser that looks at the rest again for each token takes four times as long.

Work is measured as CPU time of this thread, and not as a count of lines or of byte codes: most of the work of a parser
is in one call of ``re``, ``bytes.find`` or ``json``, which a tracer sees as one step. CPU time does not count other
processes. What it does count are interrupts, and a cache that others have filled; they make it longer, never shorter.
So the shortest of several tries counts, and an input fails only if its growth is too large in every round. A quadratic
parser fails in all of them. The octets of a try are as many as one client can send at a time, or enough for some
milliseconds.
"""

from __future__ import annotations

import itertools
import re
import time
import unittest
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import structlog

from fanout.http import topic_resources
from fanout.process import logs
from tests.attacks.case import size
from tests.fuzz.targets import TARGETS

MOST_GROWTH = 2.5
ROUNDS = 12
"""How often an input is tried before its growth counts; most pass the first."""
ALLOWANCE = 0.0005
"""Seconds by which the longer input may always take longer: a collection of garbage, or a page fault."""


@dataclass(frozen=True)
class Grammar:
    """Inputs for one target of ``tests/fuzz/targets.py``.

    :ivar octets: of the shorter input; the longer one has twice as many.
    """

    tokens: tuple[bytes, ...]
    begin: bytes = b""
    end: bytes = b""
    octets: int = 8_000

    def inputs(self, short: bool) -> Iterator[tuple[bytes, ...]]:
        """Each token by itself, and each two of them in turn; in the short form neighbours only."""
        yield from ((token,) for token in self.tokens)
        pairs: Iterable[tuple[bytes, ...]] = itertools.permutations(self.tokens, 2)
        yield from itertools.pairwise(self.tokens) if short else pairs

    def write(self, tokens: tuple[bytes, ...], octets: int) -> bytes:
        """About so many octets."""
        unit = b"".join(tokens)
        return self.begin + unit * max(1, (octets - len(self.begin) - len(self.end)) // len(unit)) + self.end


_SECRETS = (
    b"token",
    b"token=",
    b"password: ",
    b'secret="',
    b"secret='",
    b" ",
    b"x://",
    b":",
    b"@",
    b"basic ",
    b"\\",
    b"\n",
)
_HEADER_LINES = (
    b"x: y\r\n",
    b"a",
    b":",
    b"x:\r\n",
    b" \r\n",
    b"\t",
    b"\r\n",
    b"\n",
    b"cookie: a=b; ",
    b"content-length: 1\r\n",
)
_JSON = (b"[", b'{"a":', b'"', b'\\u0041"', b"1", b"[],", b'"a",', b"\\", b" ", b'["/topic/a/", 1],', b"1e")

GRAMMARS = {
    "codec": (
        Grammar(
            (b"a:b\n", b":", b"\\c", b"\\", b"\n", b"\0", b"\r\n", b"SEND\n\n\0", b"x"), b"\2\0SEND\n", octets=60_000
        ),
        Grammar((b"a:b\r\n", b"content-length:5\n", b"\r", b"receipt:1\n"), b"\2\0SEND\n", b"\n\0", octets=30_000),
    ),
    "session": (
        Grammar((b"BEGIN\ntransaction:1\n\n\0", b"\n", b"ABORT\ntransaction:1\n\n\0", b"x"), b"\2", octets=20_000),
        Grammar((b"SUBSCRIBE\nid:1\ndestination:/a\n\n\0", b"UNSUBSCRIBE\nid:1\n\n\0"), b"\2", octets=20_000),
    ),
    "http": (
        Grammar((b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n", b"\r\n", b"x", b"\0\r\n"), octets=30_000),
        Grammar(
            (b"/", b"%2f", b"..", b"?", b"&", b"=", b"a=b;", b"*"),
            b"GET /",
            b" HTTP/1.1\r\nhost: x\r\n\r\n",
            octets=7_000,
        ),
    ),
    "http_headers": (
        Grammar(_HEADER_LINES, end=b"\r\n\r\n", octets=30_000),
        Grammar(
            (b"1\r\nx\r\n", b"1;a=b\r\nx\r\n", b"1;", b"0\r\n", b"a: b\r\n"),
            b"transfer-encoding: chunked\r\n\r\n",
            octets=30_000,
        ),
        Grammar((b"\r\n", b"x\r\n", b"x"), b"\0\r\n", octets=100_000),
    ),
    "byte_ranges": (
        Grammar((b"0-1,", b"-,", b"9", b" ", b"bytes=", b"0-", b"-1", b"; ", b"Sun, "), b"bytes=", octets=2_400),
    ),
    "vis_query": (Grammar((b"topic=/topic/a/b&", b"&", b";", b"%2f", b"+", b"=", b"a=b&", b"/"), b"topic=/topic/a/"),),
    "accept": (
        Grammar(
            (b'"', b'\\"', b"\\", b",", b"a/b", b";", b"q=", b'a="b"', b" ", b"*/*", b"/"), b'a/b;a="', octets=30_000
        ),
    ),
    "proxy": (
        Grammar((b"1.", b" ", b"1", b":", b"\r\n", b"TCP4 "), b"\1PROXY TCP4 ", octets=30_000),
        Grammar((b"\0", b"\r\n", b"a"), b"\1\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", octets=30_000),
    ),
    "websocket": (
        Grammar(
            (
                b"\x81\x80\0\0\0\0",  # an empty message
                b"\x01\x80\0\0\0\0",  # the first part of one
                b"\x80\x80\0\0\0\0",  # its last part
                b"\0\x81\0\0\0\0x",  # a part between
                b"\x89\x80\0\0\0\0",  # a Ping
                b"\xc1\x80\0\0\0\0",  # compressed, which was not agreed
                b"x",
            ),
            b"\1",
            octets=20_000,
        ),
    ),
    "stations": (
        Grammar((b"[[station]]\n", b'a = "x"\n', b"a.", b"[", b"#", b"{a=", b"\n"), octets=10_000),
        Grammar(
            (b'"""x""",', b"'''x''',", b'"x",', b"#", b"\\", b'"', b"[[", b" "), b'a = ["x",', b"]\n", octets=10_000
        ),
    ),
    "site": (
        Grammar((b"[[files]]\n", b'a = "x"\n', b"[", b"{a=", b'"""x""",', b"#", b"\n", b'"'), b"a = [", octets=10_000),
    ),
    "plugit": (
        Grammar(_JSON, b'{"list": [', b"]}", octets=30_000),
        Grammar((b'["/topic/a/", 1],', b'"/topic/a/",', b'["x"],'), b'{"list": [', b"[]]}", octets=30_000),
        Grammar((b"a", b" ", b"/"), b'{"gcc": "', b'"}', octets=60_000),
    ),
    "publish": (
        Grammar(_JSON, b'{"text": ', b"}", octets=16_000),
        Grammar((b"text=a&", b"&", b"=", b"%41", b"%", b"+", b"image=http://", b";"), octets=16_000),
    ),
    "datagram": (Grammar(_JSON, b'["a", ', b"]", octets=16_000),),
    "log": (Grammar(_SECRETS, octets=16_000),),
    "topic": (Grammar((b"/", b"/topic/fm/ch", b"a", b"*/", b".", b"/FM/"), b"/topic/fm/ch/", octets=16_000),),
    "path": (Grammar((b"/", b"a", b"%2f", b"%", b".", b"..%2f", b"\\", b"\xc3\xa9"), b"a/", octets=2_000),),
    "last_id": (Grammar((b"%", b"%41", b"%ff", b"a", b"-", b"\xff"), octets=16_000),),
    "slide": (Grammar((b"/", b":", b"@", b"[", b"]", b"?", b"#", b"a.", b"%", b"\xff"), b"http://", octets=16_000),),
    "form": (
        Grammar(
            (b"\r\n", b"--b", b"\r\n--b\r\n", b"a: b\r\n", b"-", b"\r", b"x"),
            b"--b\r\n",
            b"\r\n--b--\r\n",
            octets=30_000,
        ),
        Grammar(
            (b"x", b"\r\n--", b"\r\n--b\r\n\r\n", b"\r\n-"),
            b'--b\r\ncontent-disposition: form-data; name="f"; filename="a"\r\n\r\n',
            b"\r\n--b--\r\n",
            octets=60_000,
        ),
    ),
    "content_type": (Grammar((b";", b'a="', b'"', b"\\", b"a=b;", b" ", b"=", b'\\"'), b'a/b; c="', octets=7_000),),
    "amqp": (Grammar((b"\0", b"\1aS\0\0\0\1b", b"\xff", b"A\0\0\0\0"), b"\x20\0\0\0\x40\0", octets=16_000),),
    "picture": (
        Grammar(
            (b"\xff\xc4\0\2", b"\xff", b"\xff\xd0", b"\0", b"\xff\xe0\0\3x"), b"\xff\xd8\xff\xe0\0\2", octets=20_000
        ),
        Grammar((b"\0\0\0\0tEXt\0\0\0\0", b"\0\0\0\1zTXtx\0\0\0\0"), b"\x89PNG\r\n\x1a\n", octets=20_000),
    ),
}


def work(target: str, data: bytes) -> float:
    """Seconds of CPU time for these octets, the shortest of two."""
    run = TARGETS[target][0]
    taken = []
    for _ in range(2):
        began = time.thread_time()
        run(data)
        taken.append(time.thread_time() - began)
    return min(taken)


class TestGrowth(unittest.TestCase):
    def setUp(self) -> None:
        before = structlog.get_config()
        structlog.configure(processors=[_drop], cache_logger_on_first_use=False)
        self.addCleanup(structlog.configure, **before)

    def check(self, target: str) -> None:
        for grammar in GRAMMARS[target]:
            for tokens in grammar.inputs(short=size(1, 0) == 1):
                with self.subTest(target, tokens=tokens):
                    self._check(target, grammar, tokens)

    def _check(self, target: str, grammar: Grammar, tokens: tuple[bytes, ...]) -> None:
        short, long = (grammar.write(tokens, octets) for octets in (grammar.octets, 2 * grammar.octets))
        least, most = [], []
        for _ in range(ROUNDS):
            least.append(work(target, short))
            most.append(work(target, long))
            if min(most) <= MOST_GROWTH * min(least) + ALLOWANCE:
                return
        self.fail(f"{len(short)} octets take {min(least):.4f} s, {len(long)} octets {min(most):.4f} s: {long[:80]!r}…")

    def test_every_parser_has_a_grammar(self) -> None:
        self.assertEqual(TARGETS.keys() - GRAMMARS.keys(), {"opening", "vis_answer", "address"})  # of limited length

    def test_a_quadratic_parser_is_found(self) -> None:
        """The Accept header as it was read at first."""
        pattern = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
        grammar = Grammar((b'\\"',), b'"', octets=4_000)
        parsers: dict[str, Any] = {"first": (pattern.findall, [])}
        with mock.patch.dict(TARGETS, parsers), self.assertRaisesRegex(AssertionError, "octets take"):
            self._check("first", grammar, grammar.tokens)

    def test_accept_within_no_limit(self) -> None:
        with mock.patch.object(topic_resources, "ACCEPT_CHARACTERS", 1_000_000):
            self.check("accept")

    def test_log_within_no_limit(self) -> None:
        with mock.patch.object(logs, "LONGEST", 1_000_000):
            self.check("log")


def _drop(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent


def _check_of(target: str) -> None:
    def check(self: TestGrowth) -> None:
        self.check(target)

    check.__name__ = f"test_{target}"
    setattr(TestGrowth, check.__name__, check)


for _target in GRAMMARS:
    _check_of(_target)
