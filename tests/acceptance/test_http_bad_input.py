"""Every bad input over HTTP: a clear 4xx, nothing leaked, and nobody else affected."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, ClassVar
from urllib.parse import urlencode

from tests import services
from tests.acceptance.case import NodeCase
from tests.radio import Radio
from tests.web import Answer, Raw, ask, basic, poll_path

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/innocent/image"
HEAD = "HTTP/1.1\r\nhost: x\r\n"


class BadInputCase(NodeCase):
    """A node with an innocent radio, which hears a slide after each test."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.settings = {"HTTP_POLL_TIMEOUT": 2, **cls.settings, "HTTP_PORT": services.free_port()}
        super().setUpClass()
        cls.publisher = Radio.connect(cls.server.address, "1.test", "test", version="1.2")
        cls.addClassCleanup(cls.publisher.close)

    publisher: ClassVar[Radio]

    def setUp(self) -> None:
        self.innocent = self.radio()
        self.innocent.subscribe(TOPIC, fast_reply=False)

    def tearDown(self) -> None:
        self.publisher.publish(TOPIC, b"SHOW http://a/1.png")
        self.assertEqual(self.innocent.expect("MESSAGE").body, b"SHOW http://a/1.png")
        self.assertEqual(ask(self.server.http, poll_path(TOPIC)).status, 200)
        super().tearDown()

    def ask(self, path: str, **options: Any) -> Answer:
        return ask(self.server.http, path, **options)

    def raw(self, data: str | bytes) -> Raw:
        raw = Raw(self.server.http, data.encode() if isinstance(data, str) else data)
        self.addCleanup(raw.close)
        return raw

    def assert_refused(self, answer: Answer, status: int) -> None:
        self.assertEqual((answer.status, answer.headers["content-type"]), (status, "application/json"), answer.body)
        self.assertEqual(sorted(answer.json), ["detail", "error"])
        for word in ("Traceback", "twisted", "/fanout/", "python"):
            self.assertNotIn(word, str(answer))


class Questions(BadInputCase):
    def test_topics_that_are_none(self) -> None:
        for topic in ("", "x", "/", "/topic", "/topic/", "/topic/x", "/topic//x", "/topic/fm/x", "topic/a/b", "/a/b/c"):
            self.assert_refused(self.ask(poll_path(topic)), 400)
        for topic in ("/topic/a b/c", "/topic/a/\0", "/topic/a/\n", "/topic/test/" + 2_000 * "x", "/topic/a/b/"):
            self.assert_refused(self.ask(poll_path(topic)), 400)
        for query in ("", "topic", "topic=%ff%fe", "Topic=/topic/a/b", "topic=/topic/a/b&last_id=1&last_id=2"):
            self.assert_refused(self.ask("/radiodns/vis/vis.json?" + query), 400)

    def test_a_thousand_topics(self) -> None:
        self.assert_refused(self.ask(poll_path(*(f"/topic/t/{number}" for number in range(100)))), 400)
        self.assert_refused(self.ask(poll_path(*(f"/topic/t/{number}" for number in range(1_000)))), 414)

    def test_callbacks_that_are_scripts(self) -> None:
        for callback in (
            "alert(1)//",
            "a;b",
            "a b",
            "1a",
            "a..b",
            ".a",
            "a.",
            "<script>",
            "a\u2028b",
            "a[0]",
            65 * "a",
        ):
            answer = self.ask(poll_path(TOPIC, callback=callback))
            self.assert_refused(answer, 400)
            self.assertNotIn(callback.encode(), answer.body)

    def test_last_ids_of_another_topic_or_of_nobody_get_the_newest(self) -> None:
        self.publisher.publish("/topic/id/tests._ebu.nowhere/topic1/other/image", b"SHOW 2", {"message-id": "other"})
        topic = self.topic()
        self.publisher.publish(topic, b"SHOW http://a/0.png")
        for last_id in ("other", "nobody's", 8_000 * "x", "\0\n", "%00", "\u2603"):
            answer = self.ask(poll_path(topic, last_id=last_id))
            self.assertEqual((answer.status, answer.json["body"]), (200, "SHOW http://a/0.png"), last_id)

    def test_paths_and_methods_that_are_not_there(self) -> None:
        for path in ("/x", "/radiodns", "/radiodns/vis/", "/slides/x.png", "/*"):
            self.assert_refused(self.ask(path), 404)
        for path in ("/..%2f..%2fetc/passwd", "/%00", "/%zz", "/static/%2e%2e/pages.py"):
            self.assert_refused(self.ask(path), 400)
        for method, path in (("POST", poll_path(TOPIC)), ("GET", "/services/1"), ("DELETE", "/comet")):
            self.assert_refused(self.ask(path, method=method), 405)
        self.assert_refused(self.ask("/comet", method="X"), 501)
        for service in ("", "fm/x", "a//b", "%ff/x", "a%0ab/c"):
            self.assert_refused(self.ask("/radiodns/push/1.0/" + service), 400)


class Requests(BadInputCase):
    settings: ClassVar[dict[str, Any]] = {"fanout.http.limits.REQUEST_SECONDS": 2, "HTTP_POLL_TIMEOUT": 8}

    def test_what_is_no_request(self) -> None:
        for data in (
            b"\x16\x03\x01\x02\x00\x01\xfc\r\n",
            b"GET\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"CONNECT\0\r\n\r\n",
        ):
            self.assertTrue(self.raw(data).to_the_end().startswith(b"HTTP/1.1 400 "), data)

    def test_requests_that_are_too_long(self) -> None:
        self.assertIn(b" 414 ", self.raw(b"GET /" + 20_000 * b"a").until(b"\r\n"))
        self.assertIn(b" 431 ", self.raw(f"GET / {HEAD}x: {20_000 * 'a'}").until(b"\r\n"))
        for much in (80 * f"x: {900 * 'a'}\r\n", 100 * "x: a\r\n"):
            self.assertIn(b" 431 ", self.raw(f"GET / {HEAD}{much}\r\n").until(b"\r\n"))

    def test_headers_that_are_no_utf_8(self) -> None:
        for request, status in (
            ("GET /radiodns/push/1.0/fm/4e1/ffff/99999", 200),
            ("POST /services/1", 401),
        ):
            raw = self.raw(f"{request} {HEAD}".encode() + b"last-event-id: \xff\r\nauthorization: \xff\r\n\r\n")
            self.assertIn(b" %d " % status, raw.until(b"\r\n"))

    def test_two_lengths_or_a_wrong_one(self) -> None:
        for headers in (
            "content-length: 3\r\ncontent-length: 4",
            "content-length: 3\r\ntransfer-encoding: chunked",
            "content-length: -1",
            "content-length: x",
        ):
            answer = self.raw(f"POST /services/1 {HEAD}{headers}\r\n\r\nabc").to_the_end()
            self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), headers)
            self.assertEqual(answer.count(b"HTTP/1.1 4"), 1, headers)

    def test_a_body_of_ten_megabytes_is_refused_and_not_kept(self) -> None:
        before = self.server.memory()
        head = f"POST /services/1 {HEAD}authorization: {basic('1.test', 'test')}\r\n"
        announced = self.raw(f"{head}content-length: 10485760\r\n\r\n")
        self.assertIn(b" 413 ", announced.until(b"\r\n"))
        self.assertTrue(announced.to_the_end().endswith(b"}\n"))
        chunked = self.raw(f"{head}transfer-encoding: chunked\r\n\r\n")
        self._pour(chunked, b"2000\r\n" + 0x2000 * b"x" + b"\r\n")
        self.assertIn(b" 413 ", chunked.until(b"\r\n"))
        self.assertLess(self.server.memory() - before, 5_000_000)

    def _pour(self, raw: Raw, chunk: bytes) -> None:
        """Ten megabytes, or as much as is taken: the answer must come through all the same."""
        for _ in range(10_485_760 // len(chunk)):
            try:
                raw.send(chunk)
            except (BrokenPipeError, ConnectionResetError):
                return

    def test_a_large_body_is_refused_before_it_is_asked_for(self) -> None:
        request = f"POST /services/1 {HEAD}expect: 100-continue\r\ncontent-length: 99999\r\n\r\n"
        self.assertTrue(self.raw(request).to_the_end().startswith(b"HTTP/1.1 413 "))

    def test_a_request_that_drips_in_has_its_time(self) -> None:
        raw = self.raw("GET /")
        started = time.monotonic()
        with self.assertRaises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < started + 20:
                raw.send(b"a")
                self.publisher.publish("/topic/id/tests._ebu.nowhere/topic1/beat/text", b"TEXT x")
        self.assertTrue(1.5 < time.monotonic() - started < 10)

    def test_a_connection_without_a_request_is_closed(self) -> None:
        self.assertIn(self._end(self.raw(b"")), (b"", None))

    def _end(self, raw: Raw) -> bytes | None:
        try:
            return raw.to_the_end()
        except ConnectionResetError:
            return None

    def test_a_held_poll_is_not_closed_by_that_and_its_client_may_go_half_way(self) -> None:
        topic = self.topic()
        whole = self.raw(f"GET {poll_path(topic)} {HEAD}\r\n")
        half = self.raw(f"GET {poll_path(topic)} {HEAD}\r\n")
        half.half_close()
        gone = self.raw(f"GET {poll_path(topic)} {HEAD}\r\n")
        gone.close()
        started = time.monotonic()
        while time.monotonic() < started + 3:
            self.ask("/nothing")
        self.publisher.publish(topic, b"SHOW http://a/1.png")
        self.assertIn(b"SHOW http://a/1.png", whole.until(b"}}"))

    def test_requests_sent_ahead_of_a_held_poll_take_no_memory(self) -> None:
        before = self.server.memory()
        raw = self.raw(f"GET {poll_path(self.topic())} {HEAD}\r\n")
        raw.socket.settimeout(1)
        request = f"GET /nothing {HEAD}x: {1_000 * 'x'}\r\n\r\n".encode()
        with self.assertRaises(TimeoutError):
            for _ in range(20_000):
                raw.send(request)
        self.assertLess(self.server.memory() - before, 5_000_000)


class Logins(BadInputCase):
    settings: ClassVar[dict[str, Any]] = {
        "LOGIN_FAILURES": 3,
        "fanout.application.login_throttle.PAUSE_SECONDS": 0.5,
        "fanout.application.login_throttle.QUEUE_SECONDS": 3,
    }

    def post(self, password: str) -> Answer:
        return self.ask(
            "/services/1",
            method="POST",
            body=b"text=x",
            content_type="application/x-www-form-urlencoded",
            authorization=basic("1.test", password),
        )

    def test_a_wrong_password_ten_times_is_slowed_and_listeners_are_not(self) -> None:
        started = time.monotonic()
        with ThreadPoolExecutor(20) as threads:
            for _ in range(3):
                self.assert_refused(self.post("wrong"), 401)
            answers = list(threads.map(self.post, ["guess"] * 17))
            self.assertGreater(time.monotonic() - started, 2.5)
        self.assertEqual({answer.status for answer in answers}, {401, 429})
        self.assertLess(sum(answer.status == 401 for answer in answers), 9)
        self.assertNotIn("guess", self.server.text)
        listening = time.monotonic()
        self.publisher.publish(TOPIC, b"SHOW http://a/1.png")
        self.innocent.expect("MESSAGE")
        self.radio().subscribe(TOPIC)
        self.assertLess(time.monotonic() - listening, 0.5)
        guesser = self.dial()
        for _ in range(20):
            guesser.say("CONNECT", {"login": "1.test", "passcode": "wrong"})
            guesser = self.dial()
        self.assert_slow_by_stomp()

    def assert_slow_by_stomp(self) -> None:
        """The same address waits at the other server too, or is refused there."""
        started = time.monotonic()
        station = self.dial()
        station.say("CONNECT", {"login": "1.test", "passcode": "test"})
        found = station.frame()
        waited = time.monotonic() - started
        self.assertTrue(waited > 0.4 or found.get("message") == "Too many failed logins", (waited, found))


class Crowds(BadInputCase):
    settings: ClassVar[dict[str, Any]] = {"HTTP_MAX_LISTENERS": 20, "MAX_CONNECTIONS_PER_ADDRESS": 60}

    def test_more_listeners_than_places(self) -> None:
        with ExitStack() as streams:
            for number in range(20):
                raw = streams.enter_context(
                    Raw(self.server.http, f"GET /radiodns/push/1.0/a/{number} {HEAD}\r\n".encode())
                )
                raw.until(b"retry: 3000")
            answer = self.ask(poll_path("/topic/id/tests._ebu.nowhere/topic1/x/image"))
            self.assert_refused(answer, 503)
            self.assertIn("retry-after", answer.headers)
        while self.ask("/radiodns/vis/vis.json?" + urlencode({"topic": TOPIC})).status == 503:
            pass  # until the node has noticed that they are gone; the next test's requests would be refused

    def test_more_connections_than_one_address_may_have_over_all_servers(self) -> None:
        with ExitStack() as held:
            for _ in range(100):
                held.enter_context(Raw(self.server.http))
            self.server.wait_for("client.turned_away")
            radio = self.dial()
            self.assertTrue(radio.ends())
        while not self._admitted():
            pass  # until the node has noticed that they are gone

    def _admitted(self) -> bool:
        try:
            return self.ask("/nothing").status == 404
        except OSError:
            return False
