"""Topics as resources: read, awaited, streamed and published with any client of HTTP."""

from __future__ import annotations

from tests import services
from tests.acceptance.case import NodeCase
from tests.web import Answer, Events, Raw, ask, basic

LOGIN = basic("1.test", "test")


class ChannelsCase(NodeCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.settings = {"HTTP_POLL_TIMEOUT": 3, "HTTP_PORT": services.free_port(), "LOGIN_FAILURES": 100}
        super().setUpClass()

    def path(self, last: str = "image") -> str:
        return "/channels" + self.topic(last)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        return ask(self.server.http, path, method=method, body=body, **headers)

    def put(self, path: str, body: bytes, login: str = LOGIN, **headers: str) -> Answer:
        return self.ask(path, "PUT", body, authorization=login, **headers)


class TestReading(ChannelsCase):
    def test_the_last_value(self) -> None:
        self.assertEqual(self.ask(self.path()).status, 404)
        self.station().publish(self.topic(), b"SHOW http://a/1.png", {"message-id": "m1"})
        found = self.ask(self.path())
        self.assertEqual((found.status, found.body), (200, b"SHOW http://a/1.png"))
        self.assertEqual(found.headers["message-id"], "m1")
        self.assertEqual(found.headers["content-type"], "text/plain; charset=utf-8")
        self.assertEqual(found.headers["x-frame-options"], "DENY")
        self.assertIn("sandbox", found.headers["content-security-policy"])
        types = {each["name"]: each["type"] for each in self.ask("/channels").json}
        self.assertEqual(types[self.topic().removeprefix("/")], "text/plain; charset=utf-8")

    def test_what_has_no_type_or_none_that_is_one_is_text(self) -> None:
        self.station().publish(self.topic(), b"x", {"content-type": "nonsense, really"})
        self.assertEqual(self.ask(self.path()).headers["content-type"], "text/plain; charset=utf-8")
        self.assertEqual(self.ask(self.path(), accept="text/html").status, 406)

    def test_the_next_value_and_none(self) -> None:
        self.assertEqual(self.ask(self.path() + "?wait=0").status, 204)
        with Raw(self.server.http, f"GET {self.path()}?wait=300 HTTP/1.1\r\nhost: x\r\n\r\n".encode()) as raw:
            self.assertEqual(self.ask("/nothing").status, 404)  # which came after it
            self.station().publish(self.topic(), b"SHOW http://a/2.png")
            self.assertIn(b" 200 ", raw.until(b"SHOW http://a/2.png"))

    def test_nobody_waits_longer_than_a_poll(self) -> None:
        self.assertEqual(self.ask(self.path() + "?wait=300").status, 204)

    def test_a_stream(self) -> None:
        self.station().publish(self.topic(), b"1")
        events = Events(self.server.http, self.path(), accept="text/event-stream")
        self.addCleanup(events.close)
        self.assertEqual(events.next().data, 1)
        self.station().publish(self.topic(), b"2")
        self.assertEqual(events.next().data, 2)

    def test_what_is_no_topic(self) -> None:
        for name in ("x", "topic", "topic/x", "topic//x", "topic/a%20b/c", "topic/a/" + 2_000 * "x"):
            for method in ("GET", "PUT"):
                answer = self.ask(f"/channels/{name}", method, b"x" if method == "PUT" else None, authorization=LOGIN)
                self.assertEqual((answer.status, sorted(answer.json)), (400, ["detail", "error"]), name)


class TestPublishing(ChannelsCase):
    def test_a_station_on_its_own_topics(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic(), fast_reply=False)
        first = self.put(self.path(), b"SHOW http://a/1.png")
        self.assertEqual((first.status, first.headers["location"]), (201, self.path()))
        self.assertEqual(radio.expect("MESSAGE").body, b"SHOW http://a/1.png")
        second = self.ask(self.path(), "POST", b"SHOW http://a/2.png", authorization=LOGIN, content_type="text/plain")
        self.assertEqual((second.status, second.body), (204, b""))
        self.assertEqual(radio.expect("MESSAGE").body, b"SHOW http://a/2.png")
        found = self.ask(self.path())
        self.assertEqual(found.headers["message-id"], second.headers["message-id"])
        self.assertEqual(found.headers["content-type"], "text/plain")

    def test_and_nobody_else(self) -> None:
        for login, status in (("", 401), (basic("1.test", "wrong"), 401), ("Bearer x", 401)):
            headers = {"authorization": login} if login else {}
            answer = self.ask(self.path(), "PUT", b"x", **headers)
            self.assertEqual(answer.status, status, login)
            self.assertEqual(answer.headers["www-authenticate"], 'Basic realm="RadioVIS stations", charset="UTF-8"')
        self.assertEqual(self.put("/channels/topic/else/1/image", b"x").status, 403)
        self.assertEqual(self.put(self.path(), b"x", origin="http://elsewhere.example").status, 403)
        self.assertEqual(self.put(self.path(), b"x" * 20_000).status, 413)
        self.assertEqual(self.ask(self.path()).status, 404)

    def test_all_of_its_channels_at_once(self) -> None:
        answer = self.put("/channels/topic/*/everywhere", b"x")
        self.assertEqual(
            (answer.status, answer.headers["location"]),
            (201, "/channels/topic/id/tests._ebu.nowhere/topic1/everywhere"),
        )
        for number in (1, 2):
            self.assertEqual(self.ask(f"/channels/topic/id/tests._ebu.nowhere/topic{number}/everywhere").body, b"x")
        answer = self.put("/channels/topic/*/everywhere", b"x", basic("2.test", "test"))
        reason = "There is no topic on which this can be published."
        self.assertEqual((answer.status, answer.json["detail"]), (403, reason))

    def test_nothing_is_forgotten(self) -> None:
        answer = self.ask(self.path(), "DELETE", authorization=LOGIN)
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, POST, PUT, OPTIONS"))

    def test_scripts_of_other_sites_read_none_of_it(self) -> None:
        for answer in (self.ask("/channels"), self.ask(self.path(), "OPTIONS"), self.put(self.path(), b"x")):
            self.assertNotIn("access-control-allow-origin", answer.headers)
