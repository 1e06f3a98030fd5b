"""HEAD and OPTIONS: what monitoring software, caches and browsers ask besides GET."""

from __future__ import annotations

import unittest

from tests import services
from tests.acceptance.case import NodeCase
from tests.processes import Server
from tests.web import Address, Answer, Events, Raw, ask, basic, poll_path

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/head/image"
SERVICE = "id/tests._ebu.nowhere/topic1/head"
SLOW = 60  # s, for a poll: longer than the client here waits for an answer


class MethodsCase(NodeCase):
    """A node with all its listeners, on which a slide and a text are on air."""

    @classmethod
    def setUpClass(cls) -> None:
        ports = {"HTTP_PORT": services.free_port(), "ADMIN_PORT": services.free_port()}
        cls.settings = {"HTTP_POLL_TIMEOUT": SLOW, **ports}
        super().setUpClass()

    def setUp(self) -> None:
        self.station().publish(TOPIC, b"SHOW http://a/1.png", {"message-id": "1"})

    def ask(self, path: str, method: str) -> Answer:
        return ask(self.server.http, path, method=method)


class TestHead(MethodsCase):
    def test_it_is_get_without_the_body(self) -> None:
        for listener, path in (
            (self.server.http, "/"),
            (self.server.http, f"/service/{SERVICE}"),
            (self.server.http, "/static/pages.css"),
            (self.server.admin, "/"),
            (self.server.admin, "/api/topics"),
        ):
            with self.subTest(path=path):
                self._assert_get_without_body(listener, path)

    def _assert_get_without_body(self, listener: Address, path: str) -> None:
        head, got = ask(listener, path, method="HEAD"), ask(listener, path)
        self.assertEqual((head.status, head.body), (200, b""))
        for name in ("content-type", "content-length", "content-security-policy"):
            self.assertEqual(head.headers[name], got.headers[name], name)

    def test_errors_are_those_of_get(self) -> None:
        for path, status in (
            ("/nothing", 404),
            (poll_path("nothing"), 400),
            (poll_path(TOPIC, callback="alert(1)//"), 400),
            ("/comet", 400),
            ("/radiodns/push/1.0/a//b", 400),
            ("/events/a//b", 400),
            ("/service/id/tests._ebu.nowhere/topic1/nobody", 404),
        ):
            with self.subTest(path=path):
                head = self.ask(path, "HEAD")
                self.assertEqual((head.status, head.body), (status, b""))
                self.assertEqual(self.ask(path, "GET").status, status)

    def test_a_poll_is_not_held_nor_a_stream_begun(self) -> None:
        for path, kind in (
            (poll_path(TOPIC), "application/json"),
            (poll_path(TOPIC, last_id="1"), "application/json"),
            (poll_path("/topic/id/tests._ebu.nowhere/topic1/silent/image"), "application/json"),
            (poll_path(TOPIC, callback="show"), "text/javascript"),
            (f"/comet?topic={TOPIC}&last_id=1", "text/plain; charset=utf-8"),
            (f"/radiodns/push/1.0/{SERVICE}", "text/event-stream"),
            ("/events", "text/event-stream"),
            (f"/events/{SERVICE}", "text/event-stream"),
        ):
            with self.subTest(path=path):
                head = self.ask(path, "HEAD")
                self.assertEqual((head.status, head.headers["content-type"], head.body), (200, kind, b""))
                self.assertEqual(head.headers["access-control-allow-origin"], "*")
                self.assertEqual(head.headers["cache-control"], "no-store")
        clients = ask(self.server.admin, "/api/overview").json["clients"]["by_protocol"]
        self.assertEqual([each for each in clients if each["protocol"] in ("poll", "sse")], [])

    def test_the_connection_serves_the_next_request(self) -> None:
        """Nothing of a body may be left on it: the next answer would begin there."""
        head = f"HEAD /radiodns/push/1.0/{SERVICE} HTTP/1.1\r\nhost: x\r\n\r\n"
        options = "OPTIONS /comet HTTP/1.1\r\nhost: x\r\n\r\n"
        with Raw(
            self.server.http, f"{head}{options}GET {poll_path(TOPIC)} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        ) as raw:
            first, second = raw.until(b"\r\n\r\n"), raw.until(b"\r\n\r\n")
            third, body = raw.until(b"\r\n\r\n"), raw.until(b"}}\n")
        statuses = [each.split(b"\r\n")[0] for each in (first, second, third)]
        self.assertEqual(statuses, [b"HTTP/1.1 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 200 OK"])
        self.assertTrue(body.startswith(b'{"body"'), body)

    def test_publishing_has_none(self) -> None:
        answer = self.ask("/services/1", "HEAD")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "POST, OPTIONS"))


class TestOptions(MethodsCase):
    def test_scripts_of_other_sites_may_read_what_is_public(self) -> None:
        for path in ("/radiodns/vis/vis.json", "/comet", f"/radiodns/push/1.0/{SERVICE}", "/events", "/static/wall.js"):
            with self.subTest(path=path):
                answer = self.ask(path, "OPTIONS")
                self.assertEqual((answer.status, answer.body), (204, b""))
                self.assertEqual(answer.headers["allow"], "GET, HEAD, OPTIONS")
                self.assertEqual(answer.headers["access-control-allow-origin"], "*")
                self.assertEqual(answer.headers["access-control-allow-methods"], "GET, HEAD")
                self.assertIn("Last-Event-ID", answer.headers["access-control-allow-headers"])
                self.assertNotIn("content-length", answer.headers)  # RFC 9110, 8.6
                self.assertNotIn("content-type", answer.headers)

    def test_and_nothing_else(self) -> None:
        for path, methods in (("/services/1", "POST, OPTIONS"), ("/", "GET, HEAD, OPTIONS")):
            with self.subTest(path=path):
                answer = self.ask(path, "OPTIONS")
                self.assertEqual((answer.status, answer.headers["allow"]), (204, methods))
                self.assertEqual([name for name in answer.headers if name.startswith("access-control")], [])

    def test_other_methods_are_told_which_there_are(self) -> None:
        answer = self.ask(poll_path(TOPIC), "DELETE")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, OPTIONS"))


class TestHeadersOfEveryAnswer(MethodsCase):
    """What docs/http.md promises for each answer, errors included."""

    def assert_headers(self, answer: Answer, kept: bool = False) -> None:
        headers = answer.headers
        self.assertIn("content-security-policy", headers)
        self.assertEqual(headers["x-content-type-options"], "nosniff")
        self.assertEqual(headers["referrer-policy"], "no-referrer")
        self.assertEqual(headers["x-frame-options"], "DENY")
        self.assertEqual(headers.get("cache-control") == "no-store", not kept, headers)

    def test_of_reading(self) -> None:
        for path in (
            poll_path(TOPIC),
            poll_path(TOPIC, callback="show"),
            poll_path("nothing"),
            f"/comet?topic={TOPIC}",
            "/channels",
            f"/channels{TOPIC}",
            f"/channels{TOPIC}?wait=0",
            "/channels/topic/nothing/at/all",
            "/",
            f"/service/{SERVICE}",
            "/service/a/b",
            "/stomp",
            "/nothing",
            "/static/nothing.js",
            "/" + "x" * 20_000,
        ):
            for method in ("GET", "HEAD", "OPTIONS"):
                with self.subTest(path=path, method=method):
                    self.assert_headers(self.ask(path, method))
        self.assert_headers(ask(self.server.http, "/channels", accept="text/html"))
        self.assert_headers(ask(self.server.http, "*", method="OPTIONS"))

    def test_of_publishing(self) -> None:
        login, path = basic("1.test", "test"), f"/channels{TOPIC}"
        for method, each in (("PUT", path), ("POST", f"{path}/new"), ("DELETE", path)):
            self.assert_headers(ask(self.server.http, each, method=method, body=b"SHOW x", authorization=login))
        form = {"content_type": "application/x-www-form-urlencoded", "authorization": login}
        for body in (b"text=x", b"nothing=x"):
            self.assert_headers(ask(self.server.http, "/services/1", method="POST", body=body, **form))
        self.assert_headers(ask(self.server.http, "/services/1", method="POST", body=b"text=x"))

    def test_of_files(self) -> None:
        self.assert_headers(ask(self.server.http, "/static/wall.js"), kept=True)

    def test_of_streams(self) -> None:
        for path in (f"/radiodns/push/1.0/{SERVICE}", "/events", f"/events/{SERVICE}"):
            with Events(self.server.http, path) as stream:
                self.assertIn("\r\ncache-control: no-store\r\n", stream.headers)
                self.assertIn("\r\nx-frame-options: deny\r\n", stream.headers)


class TestHeadOfAJournal(unittest.TestCase):
    def test_nothing_is_exported(self) -> None:
        with Server("--test", STANDALONE=True, ADMIN_PORT=services.free_port()) as server:
            for _ in range(3):  # there are places for two exports
                head = ask(server.admin, "/journal.csv", method="HEAD")
                self.assertEqual((head.status, head.headers["content-type"]), (200, "text/csv; charset=utf-8"))
                self.assertEqual(head.body, b"")
            self.assertEqual(ask(server.admin, "/journal.csv?from=x", method="HEAD").status, 400)
