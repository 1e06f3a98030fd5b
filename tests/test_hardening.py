"""Attacks by name, each with the memory it costs the node.

Most of what a single bad frame or request may do is tested in ``fanout/stomp_server/test_bad_input.py``,
``test_floods.py`` and ``acceptance/test_http_bad_input.py``. This file has the attacks that take many frames or
requests, and how much resident memory the node holds during the attack: its bound is beside each.
"""

from __future__ import annotations

import itertools
import re
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

from tests import services
from tests.fanout.stomp_server.bystander import MIB, BadInputCase, send
from tests.message_socket import MessageSocket, WebSocketRadio
from tests.radio import Frame, Radio
from tests.web import Raw, ask, poll_path

HEADERS = (b"link", b"trigger-time", b"message-id", b"content-type", b"x-anything", b"transaction-like", b"expires")
HEAD = "HTTP/1.1\r\nhost: x\r\n"
OVERLONG = {
    "slash in two octets": b"\xc0\xaf",
    "NUL in two octets": b"\xc0\x80",
    "LF in two octets": b"\xc0\x8a",
    "slash in three octets": b"\xe0\x80\xaf",
    "LF in four octets": b"\xf0\x80\x80\x8a",
    "a surrogate": b"\xed\xa0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "half a character": b"\xe2\x82",
}
_numbers = itertools.count(1)


class Attack(BadInputCase):
    """A node with all its servers, which has served one client of each, so that what it loads once is not counted."""

    settings: ClassVar[dict[str, Any]] = {"fanout.stomp.limits.CONNECT_SECONDS": 3}

    @classmethod
    def setUpClass(cls) -> None:
        quick = {"HTTP_POLL_TIMEOUT": 1, "fanout.http.limits.CATCH_UP_SECONDS": 0}
        cls.settings = {**quick, **cls.settings, "HTTP_PORT": services.free_port()}
        super().setUpClass()
        ask(cls.server.http, poll_path("/topic/id/tests._ebu.nowhere/topic1/warm/image"))
        MessageSocket.connect(cls.server.http, "/stomp", ["v12.stomp"]).close()

    @contextmanager
    def costs_at_most(self, mebibytes: float) -> Iterator[None]:
        """What the node's resident memory grows by until the end of the attack, its clients still there."""
        before = self.server.memory()
        yield
        grown = (self.server.memory() - before) / MIB
        self.assertLess(grown, mebibytes, f"{self.id()}: the node grew by {grown:.1f} MiB")

    def flood(self, radio: Radio, data: bytes) -> None:
        """Send as much as is taken: the node may hang up in the middle."""
        with suppress(ConnectionError, TimeoutError):
            radio.send(data)


class SlowLoris(Attack):
    def test_three_hundred_connects_that_never_end(self) -> None:
        """Each holds 16 KiB (CONNECT_BYTES) at most, for CONNECT_SECONDS at most; others connect meanwhile."""
        with self.costs_at_most(16):
            radios = [self.dial() for _ in range(300)]
            for number in range(10):
                for radio in radios:
                    self.flood(radio, b"CONNECT\n" if not number else b"x%d:" % number + b"y" * 1_000 + b"\n")
            self.radio(version="1.2").close()
        for radio in radios:
            self.assertTrue(radio.ends(20))

    def test_three_hundred_requests_that_never_end(self) -> None:
        with self.costs_at_most(16):
            requests = [Raw(self.server.http, f"GET / {HEAD}".encode()) for _ in range(300)]
            for raw in requests:
                self.addCleanup(raw.close)
                raw.send(b"x: " + 1_000 * b"y" + b"\r\n")
            self.assertEqual(ask(self.server.http, "/nothing").status, 404)

    def test_three_hundred_half_handshakes(self) -> None:
        """A WebSocket that stops before, and one that stops behind, the upgrade."""
        with self.costs_at_most(24):
            for _ in range(150):
                raw = Raw(self.server.http, b"GET /stomp HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n")
                self.addCleanup(raw.close)
                silent = MessageSocket.connect(self.server.http, "/stomp", ["v12.stomp"])
                self.addCleanup(silent.close)
            self.assertEqual(ask(self.server.http, "/nothing").status, 404)


class HeaderBomb(Attack):
    def test_many_connections_with_as_many_and_as_long_headers_as_allowed(self) -> None:
        """What they sent is gone once it was read: links of 60 x 4,000 octets, on 50 connections, ten times."""
        bomb = send(b"".join(b"x%d:" % number + b"y" * 4_000 + b"\n" for number in range(60)))
        radios = [self.open("1.2") for _ in range(50)]
        with self.costs_at_most(24):
            for _ in range(10):
                for radio in radios:
                    self.flood(radio, bomb)
            for radio in radios:
                self.assertEqual(radio.so_far(), [])

    def test_escapes_that_grow_when_they_are_written(self) -> None:
        """One octet in, two out (stomp.md F9): for a hundred listeners it is encoded once."""
        topic = "/topic/id/tests._ebu.nowhere/topic1/escapes"
        listeners = [self.radio(version="1.2") for _ in range(100)]
        for each in listeners:
            each.subscribe(topic, id="1")
        with self.costs_at_most(16):
            self.publisher.publish(topic, b"x", {"link": ":" * 8_000})
            for each in listeners:
                self.assertEqual(each.expect("MESSAGE").get("link"), "\\c" * 8_000)


class Injection(Attack):
    """Into every header that is passed on to listeners, in every version on both sides."""

    def published(self, header: bytes, version: str | None, listener: Radio) -> Frame | None:
        topic = f"/topic/id/tests._ebu.nowhere/topic1/injected/{next(_numbers)}"
        listener.subscribe(topic, id=topic)
        with self.open(version) as station:
            station.send(send(header, destination=topic.encode()))
            with suppress(AssertionError, ConnectionError):
                station.so_far()
        self.publisher.publish(topic, b"the end")
        found = [each for each in listener.so_far() if each.command == "MESSAGE"]
        self.assertEqual(found[-1].body, b"the end")
        self.assertLessEqual(len(found), 2, found)
        return found[0] if len(found) == 2 else None

    def test_newlines_and_carriage_returns(self) -> None:
        for listening in (None, "1.1", "1.2"):
            listener = self.radio(version=listening)
            for name, version in itertools.product(HEADERS, ("1.1", "1.2")):
                with self.subTest(name=name, version=version, listening=listening):
                    got = self.published(name + b":a\\nevil\\c1\\n\\nSHOW\n", version, listener)
                    assert got is not None
                    self.assertEqual(got.body, b"ab")
                    self.assertNotIn("evil", got.names())

    def test_nuls(self) -> None:
        """A NUL ends the frame wherever it stands: what is behind it is another, broken, frame. 1.0 accepts the first,
        although its blank line is missing (contract §2, change 13).
        """
        listener = self.radio()
        for name, version in itertools.product(HEADERS, (None, "1.1", "1.2")):
            with self.subTest(name=name, version=version):
                got = self.published(name + b":a\0MESSAGE\nevil:1\n", version, listener)
                if version is None:
                    assert got is not None
                    self.assertEqual((got.body, "evil" in got.names()), (b"", False))
                else:
                    self.assertIsNone(got)

    def test_overlong_and_other_utf_8_that_is_none(self) -> None:
        listener = self.radio()
        for (attack, octets), version in itertools.product(OVERLONG.items(), (None, "1.1", "1.2")):
            with self.subTest(attack=attack, version=version):
                self.assertIsNone(self.published(b"link:a" + octets + b"evil\n", version, listener))

    def test_names_as_well_as_values(self) -> None:
        listener = self.radio(version="1.0")
        for version in ("1.1", "1.2"):
            got = self.published(b"a\\nevil\\c1:x\n", version, listener)
            assert got is not None
            self.assertNotIn("evil", got.names())
            self.assertEqual(got.body, b"ab")

    def test_bodies_reach_web_pages_as_data(self) -> None:
        topic = "/topic/id/tests._ebu.nowhere/topic1/script/text"
        self.publisher.publish(topic, b"TEXT </script><script>alert(1)</script>\xe2\x80\xa8", {"link": "javascript:x"})
        answer = ask(self.server.http, poll_path(topic, last_id="0", callback="c"))
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        self.assertTrue(answer.body.startswith(b"/**/c({"), answer.body)
        self.assertTrue(answer.body.isascii())


class LiesAboutLength(Attack):
    def test_a_hundred_promises_that_are_not_kept(self) -> None:
        """Nothing is set aside for what is only announced."""
        with self.costs_at_most(8):
            for _ in range(100):
                self.open("1.2").send(
                    b"SEND\ndestination:/topic/id/tests._ebu.nowhere/topic1/bad\ncontent-length:262000\n\nx"
                )
            self.assertEqual(self.radio(version="1.2").so_far(), [])

    def test_a_frame_hidden_in_a_body_stays_a_body(self) -> None:
        listener = self.radio()
        listener.subscribe("/topic/id/tests._ebu.nowhere/topic1/hidden")
        inner = send(b"", b"smuggled", b"/topic/id/tests._ebu.nowhere/topic1/hidden")
        with self.open("1.2") as station:
            station.send(
                send(b"content-length:%d\n" % len(inner), inner, b"/topic/id/tests._ebu.nowhere/topic1/elsewhere")
            )
            self.assertEqual(station.so_far(), [])
        self.publisher.publish("/topic/id/tests._ebu.nowhere/topic1/hidden", b"the end")
        self.assertEqual([each.body for each in listener.so_far()], [b"the end"])


class Floods(Attack):
    settings: ClassVar[dict[str, Any]] = {
        "fanout.application.login_throttle.PAUSE_SECONDS": 0.2,
        "fanout.application.login_throttle.QUEUE_SECONDS": 1,
    }

    def test_subscriptions_of_many_clients_that_come_again_and_again(self) -> None:
        """What a client subscribed to is gone with it: the tenth round costs what the first one did."""
        self.subscribe_all(0)
        with self.costs_at_most(12):
            for turn in range(1, 10):
                self.subscribe_all(turn)

    def subscribe_all(self, turn: int) -> None:
        for client in range(10):
            with self.radio(version="1.2") as radio:
                for number in range(250):
                    topic = f"/topic/flood/{turn}-{client}-{number}"
                    radio.say("SUBSCRIBE", {"id": str(number), "destination": topic, "x-ebu-nofastreply": "yes"})
                self.assertEqual(radio.so_far(), [])

    def test_a_storm_of_wrong_logins_does_not_touch_listeners(self) -> None:
        listener = self.radio()
        listener.subscribe("/topic/id/tests._ebu.nowhere/topic1/storm")
        with self.costs_at_most(16):
            guessers = [self.dial() for _ in range(200)]
            for number, guesser in enumerate(guessers):
                guesser.say("CONNECT", {"login": f"1.test{number % 3}", "passcode": "guess"})
            self.publisher.publish("/topic/id/tests._ebu.nowhere/topic1/storm", b"TEXT a")
            self.assertEqual(listener.expect("MESSAGE").body, b"TEXT a")
            for guesser in guessers:
                self.assertIn(b"ERROR", guesser.rest(60))
        self.assertNotIn("guess", self.server.text)

    def test_a_thousand_connections_without_a_word(self) -> None:
        """Opened and closed: nothing stays, neither memory nor files."""
        files = self.server.open_files()
        with self.costs_at_most(8):
            for _ in range(1_000):
                socket.create_connection(self.server.address, 10).close()
            self.assert_soon(lambda: self.server.open_files() <= files)

    def test_pings_and_empty_pieces_over_a_websocket(self) -> None:
        flooder = WebSocketRadio(self.server.http)
        self.addCleanup(flooder.close)
        with self.costs_at_most(8):
            for _ in range(5_000):
                flooder.socket.ping(b"x" * 100)
                flooder.socket.say("", finished=False)
            flooder.socket.say("CONNECT\n\n\0")
            flooder.expect("CONNECTED")


class Smuggling(Attack):
    """Two parsers that see different requests in the same octets: ours must refuse what others may read otherwise."""

    settings: ClassVar[dict[str, Any]] = {"fanout.http.limits.REQUEST_SECONDS": 2}

    def refused(self, request: str) -> None:
        with Raw(self.server.http, request.encode("latin-1")) as raw:
            answer = raw.to_the_end()
        self.assertTrue(answer.startswith(b"HTTP/1.1 4"), (request, answer))
        self.assertNotIn(b"SMUGGLED", answer)
        self.assertEqual(len(re.findall(rb"HTTP/1\.1 \d", answer)), 1, (request, answer))

    def test_lengths_that_another_server_might_read_otherwise(self) -> None:
        inner = "GET /SMUGGLED HTTP/1.1\r\nhost: x\r\n\r\n"
        for headers in (
            "transfer-encoding: chunked\r\ncontent-length: 4",
            "content-length: 4\r\ncontent-length: 99",
            "content-length: 4, 99",
            "content-length: +4",
            "content-length: 0x4",
            "content-length : 4",
            "transfer-encoding: xchunked",
            "transfer-encoding: chunked, identity",
            "transfer-encoding: chunked\r\ntransfer-encoding: x",
            "transfer-encoding:\x0bchunked",
            "transfer-encoding: \x00chunked",
        ):
            with self.subTest(headers=headers):
                self.refused(f"POST /services/1 {HEAD}{headers}\r\n\r\n0\r\n\r\n{inner}")

    def test_chunks_that_are_none(self) -> None:
        for size in ("-1", "0x3", "3 ", "+3", "zz", ""):
            with self.subTest(size=size):
                self.refused(f"POST /services/1 {HEAD}transfer-encoding: chunked\r\n\r\n{size}\r\nabc\r\n0\r\n\r\n")

    def test_a_chunk_as_large_as_the_world_is_waited_for_and_cut_off(self) -> None:
        head = f"{HEAD}authorization: Basic {b64encode(b'1.test:test').decode()}\r\n"  # otherwise it is a 401
        request = f"POST /services/1 {head}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n"
        with Raw(self.server.http, request.encode()) as raw, self.costs_at_most(2):
            self.assertRaises(ConnectionResetError, raw.to_the_end)

    def test_request_lines_that_are_none(self) -> None:
        for line in (
            "GET /x",
            "GET  /nothing HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET /x HTTP/1.1\rx: y",
            "GET /x HTTP/9.9",
        ):
            with self.subTest(line=line):
                self.refused(f"{line}\r\nhost: x\r\n\r\n")

    def test_stomp_at_the_http_port(self) -> None:
        for octets in ("CONNECT\n\n\0", "SEND\ndestination:/topic/id/tests._ebu.nowhere/topic1/bad\n\nx\0", "\0\0\0\0"):
            with Raw(self.server.http, octets.encode()) as raw, suppress(ConnectionResetError):
                self.assertNotIn(b"CONNECTED", raw.to_the_end())


class JsonP(Attack):
    """Somebody's script in our answer: Rosetta Flash, UTF-7, and names that are more than names."""

    def test_callbacks(self) -> None:
        topic = "/topic/id/tests._ebu.nowhere/topic1/jsonp/image"
        self.publisher.publish(topic, b"SHOW http://a/1.png")
        for callback in (
            "CWSMIKI0hCD0Up0IZUnnnnnnnn" * 4,
            "+ADw-script+AD4-",
            "a%0d%0aSet-Cookie:x",
            "a\r\nx: y",
            "constructor[0]",
            "a`b`",
            "a\\u0028",
            "\u212a",
            "a,b",
            "\ufeffa",
        ):
            with self.subTest(callback=callback):
                answer = ask(self.server.http, poll_path(topic, last_id="0", callback=callback))
                self.assertEqual((answer.status, answer.headers["content-type"]), (400, "application/json"))
                self.assertNotIn("set-cookie", answer.headers)
        answer = ask(self.server.http, poll_path(topic, last_id="0", callback="CWSMIKI0hCD0Up0IZUnnnnnnnn"))
        self.assertTrue(answer.body.startswith(b"/**/"), "not the first octets of a Flash film")
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
