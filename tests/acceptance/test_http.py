"""RadioVIS over HTTP, as a receiver, a page and a publisher see it."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import unittest
from typing import Any, ClassVar
from urllib.parse import urlencode

from tests import services
from tests.acceptance.case import NodeCase
from tests.processes import Server
from tests.radio import Radio
from tests.web import Answer, Events, Raw, ask, basic, poll_path


class HttpCase(NodeCase):
    """A node that speaks HTTP too, and a station that publishes on it by STOMP."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.settings = {"HTTP_POLL_TIMEOUT": 2, **cls.settings, "HTTP_PORT": services.free_port()}
        super().setUpClass()
        cls.publisher = Radio.connect(cls.server.address, "1.test", "test", version="1.2")
        cls.addClassCleanup(cls.publisher.close)

    publisher: ClassVar[Radio]

    def publish(self, topic: str, body: str, message_id: str, **headers: str) -> None:
        """Published, and heard by the node."""
        escaped = {name.replace("_", "-"): value.replace(":", "\\c") for name, value in headers.items()}
        self.publisher.publish(topic, body.encode(), {"message-id": message_id, **escaped})

    def ask(self, path: str, **options: Any) -> Answer:
        return ask(self.server.http, path, **options)

    def curl(self, path: str, *options: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        url = "http://{}:{}{}".format(*self.server.http, path)
        form = "\n%{http_code} %{content_type}"
        done = subprocess.run(["curl", "-sS", "-m", "20", "-w", form, *options, url], capture_output=True, check=True)
        body, _, rest = done.stdout.rpartition(b"\n")
        status, _, kind = rest.decode().partition(" ")
        return int(status), kind, body

    def assert_refused(self, answer: Answer, status: int) -> None:
        """An error as JSON, with words for people."""
        self.assertEqual((answer.status, answer.headers["content-type"]), (status, "application/json"), answer.body)
        self.assertEqual(sorted(answer.json), ["detail", "error"])


class TestVisJson(HttpCase):
    def test_curl_gets_the_newest_slide_at_once(self) -> None:
        topic = self.topic()
        self.publish(topic, "SHOW http://a/old.png", "n1")
        self.publish(topic, "SHOW http://a/1.png", "n2", link="http://a/", trigger_time="2026-12-24T18:00:00Z")
        status, kind, body = self.curl(poll_path(topic))
        self.assertEqual((status, kind), (200, "application/json"))
        headers = {
            "RadioVIS-Message-ID": "n2",
            "RadioVIS-Destination": topic,
            "RadioVIS-Trigger-Time": "2026-12-24T18:00:00Z",
            "RadioVIS-Link": "http://a/",
        }
        self.assertEqual(json.loads(body), {"body": "SHOW http://a/1.png", "headers": headers})

    def test_curl_waits_for_a_slide_and_gets_it(self) -> None:
        topic = self.topic()
        answers: list[tuple[int, str, bytes]] = []
        thread = threading.Thread(target=lambda: answers.append(self.curl(poll_path(topic), "-m", "20")))
        thread.start()
        number = 0
        while thread.is_alive() and number < 200:
            self.publish(topic, "SHOW http://a/1.png", f"w{number}")
            thread.join(0.1)
            number += 1
        self.assertEqual(json.loads(answers[0][2])["body"], "SHOW http://a/1.png")

    def test_a_held_poll_is_answered_by_the_next_message(self) -> None:
        topic = self.topic()
        self.publish(topic, "SHOW http://a/1.png", "h1")
        with Raw(
            self.server.http, f"GET {poll_path(topic, last_id='h1')} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        ) as radio:
            self.ask(poll_path(topic))  # The poll was there first, and by now it is held.
            self.publish(topic, "SHOW http://a/2.png", "h2")
            self.assertIn(b"200 OK", radio.until(b"\r\n\r\n"))
            self.assertIn(b'"RadioVIS-Message-ID": "h2"', radio.until(b"}}"))

    def test_nothing_new_is_a_408_in_time_and_the_connection_stays(self) -> None:
        topic = self.topic()
        self.publish(topic, "TEXT x", "t1")
        request = f"GET {poll_path(topic, last_id='t1')} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        with Raw(self.server.http, request) as radio:
            started = time.monotonic()
            self.assertIn(b"HTTP/1.1 408 ", radio.until(b"\r\n\r\n"))
            self.assertTrue(1.9 < time.monotonic() - started < 8)
            radio.until(b"}\n")
            self.publish(topic, "TEXT y", "t2")
            radio.send(request)
            self.assertIn(b"HTTP/1.1 200 ", radio.until(b"\r\n\r\n"))

    def test_several_topics_are_an_array_and_nothing_between_two_polls_is_lost(self) -> None:
        image, text = self.topic("image"), self.topic("text")
        for number in range(3):
            self.publish(image, f"SHOW http://a/{number}.png", f"i{number}")
            self.publish(text, f"TEXT {number}", f"t{number}")
        newest = self.ask(poll_path(image, text)).json
        self.assertEqual([each["headers"]["RadioVIS-Message-ID"] for each in newest], ["i2", "t2"])
        followed = self.ask(poll_path(image, text, last_id="i0")).json
        found = [each["headers"]["RadioVIS-Message-ID"] for each in followed]
        self.assertEqual(found, ["t0", "i1", "t1", "i2", "t2"])
        self.assertIsInstance(self.ask(poll_path(image, self.topic("none"))).json, list)

    def test_the_own_spelling_of_a_country_comes_back(self) -> None:
        station = Radio.connect(self.server.address, "3.test", "test", version="1.2")
        self.addCleanup(station.close)
        destination = "/topic/fm/4e1/ffff/99999/image"
        station.publish(destination, b"SHOW http://a/1.png")
        answer = self.ask(poll_path("/topic/fm/ch/ffff/99999/image")).json
        self.assertEqual(answer["headers"]["RadioVIS-Destination"], "/topic/fm/ch/ffff/99999/image")
        self.assertEqual(answer["headers"]["RadioVIS-Trigger-Time"], "NOW")

    def test_json_p(self) -> None:
        topic = self.topic()
        self.publish(topic, "TEXT </script>\u2028", "p1")
        answer = self.ask(poll_path(topic, callback="radio.show"))
        self.assertEqual(answer.headers["content-type"], "text/javascript")
        self.assertTrue(answer.body.startswith(b"/**/radio.show({") and answer.body.endswith(b"});\n"), answer.body)
        self.assertNotIn("\u2028".encode(), answer.body)

    def test_pages_of_other_sites_may_read_it(self) -> None:
        topic = self.topic()
        self.publish(topic, "TEXT x", "c1")
        answer = self.ask(poll_path(topic), origin="http://player.example")
        self.assertEqual(answer.headers["access-control-allow-origin"], "*")
        allowed = self.ask("/radiodns/push/1.0/fm/4e1/ffff/99999", method="OPTIONS", origin="http://player.example")
        self.assertIn("Last-Event-ID", allowed.headers["access-control-allow-headers"])

    def test_every_answer_has_the_security_headers(self) -> None:
        for path in ("/nothing", poll_path("wrong"), "/services/1", "/" + 20_000 * "a"):
            headers = self.ask(path).headers
            self.assertEqual(headers["x-content-type-options"], "nosniff", path)
            self.assertIn("frame-ancestors", headers["content-security-policy"], path)
            self.assertNotIn("unsafe", headers["content-security-policy"], path)
            self.assertNotIn("twisted", str(headers).lower(), path)

    def test_comet_is_plain_text_with_the_rest_in_headers(self) -> None:
        topic = self.topic("text")
        self.publish(topic, "TEXT caf\u00e9", "m1", link="http://a/")
        self.publish(topic, "TEXT 2", "m2")
        answer = self.ask("/comet?" + urlencode({"topic": topic, "last_id": "m1"}))
        self.assertEqual((answer.status, answer.body), (200, b"TEXT 2"))
        self.assertEqual(answer.headers["radiovis-message-id"], "m2")
        self.assertEqual(answer.headers["radiovis-destination"], topic)


class TestPush(HttpCase):
    settings: ClassVar[dict[str, Any]] = {"fanout.http.limits.COMMENT_SECONDS": 1}

    def listen(self, **headers: str) -> Events:
        service = self.topic("").removeprefix("/topic/").rstrip("/")
        events = Events(self.server.http, f"/radiodns/push/1.0/{service}", **headers)
        self.addCleanup(events.close)
        return events

    def test_the_last_ones_at_once_then_what_is_said(self) -> None:
        self.publish(self.topic("image"), "SHOW http://a/0.png", "e0")
        self.publish(self.topic("image"), "SHOW http://a/1.png", "e1", link="http://a/")
        self.publish(self.topic("text"), "TEXT caf\u00e9: <b>\u2028", "e2")
        events = self.listen()
        self.assertIn("text/event-stream", events.headers)
        self.assertIn("access-control-allow-origin: *", events.headers)
        image, text = events.next(), events.next()
        self.assertEqual(
            (image.name, image.data, image.id), ("image", {"src": "http://a/1.png", "link": "http://a/"}, "e1")
        )
        self.assertEqual((text.name, text.data), ("text", {"body": "caf\u00e9: <b>\u2028"}))
        self.publish(self.topic("image"), "SHOW http://a/2.png", "e3")
        self.assertEqual(events.next().data, {"src": "http://a/2.png"})

    def test_who_comes_back_gets_what_he_missed_and_nothing_else(self) -> None:
        for number in range(5):
            self.publish(self.topic("text"), f"TEXT {number}", f"b{number}")
        events = self.listen(last_event_id="b2")
        self.assertEqual([events.next().id for _ in range(2)], ["b3", "b4"])
        self.publish(self.topic("image"), "SHOW http://a/5.png", "b5")
        self.assertEqual(events.next().id, "b5")

    def test_an_id_with_line_breaks_makes_no_events_of_its_own(self) -> None:
        self.publish(self.topic("text"), "TEXT x", "1")
        wild = "a\\nevent: image\\ndata: {}\\n\\n%"  # Escaped as STOMP 1.2 does it.
        frame = f"SEND\ndestination:{self.topic('text')}\nmessage-id:{wild}\nreceipt:r\n\nTEXT y\0"
        self.publisher.send(frame.encode())
        self.publisher.expect("RECEIPT")
        found = self.listen().next()
        self.assertEqual((found.name, found.data["body"]), ("text", "y"))
        again = self.listen(last_event_id=found.id)
        self.publish(self.topic("text"), "TEXT z", "3")
        self.assertEqual(again.next().data["body"], "z")

    def test_comments_in_silence(self) -> None:
        events = self.listen()
        events.comment()
        events.comment()

    def test_a_client_that_reads_nothing_costs_its_bound_and_hears_the_newest_when_it_reads(self) -> None:
        slow = self.listen()
        before = self.server.memory()
        text = 60_000 * "x"
        for number in range(300):  # 18 MB, of which the kernel's buffers take about a third
            self.publish(self.topic("text"), f"TEXT {number} {text}", f"s{number}")
        self.assertLess(self.server.memory() - before, 80_000_000)
        numbers: list[int] = []
        while 299 not in numbers:
            numbers.append(int(slow.next().data["body"].split()[0]))
        self.assertEqual(numbers, sorted(numbers))
        self.assertLess(len(numbers), 300)

    def test_clients_that_left_are_forgotten(self) -> None:
        before = self.server.open_files()
        for _ in range(20):
            self.listen().close()
        deadline = time.monotonic() + 20
        while self.server.open_files() > before and time.monotonic() < deadline:
            self.publish(self.topic("text"), "TEXT x", "x")
        self.assertLessEqual(self.server.open_files(), before)


class TestPublishing(HttpCase):
    def post(self, body: bytes, kind: str = "application/json", station: str = "1", **headers: str) -> Answer:
        given = {"authorization": basic("1.test", "test"), **headers}
        return self.ask(f"/services/{station}", method="POST", body=body, content_type=kind, **given)

    def test_a_form_reaches_radios_of_stomp_and_of_http(self) -> None:
        channel = "/topic/id/tests._ebu.nowhere/topic1/"
        radio = self.radio()
        radio.subscribe(channel + "image", id="0", fast_reply=False)
        form = {"image": "http://a/1.png", "text": "caf\u00e9", "link": "http://a/", "channel": channel}
        answer = self.post(urlencode(form).encode(), "application/x-www-form-urlencoded")
        self.assertEqual(answer.status, 202, answer.body)
        self.assertEqual([each["topic"] for each in answer.json["messages"]], [channel + "text", channel + "image"])
        heard = radio.expect("MESSAGE")
        self.assertEqual((heard.body, heard.get("link")), (b"SHOW http://a/1.png", "http://a/"))
        self.assertEqual(heard.get("message-id"), answer.json["messages"][1]["message-id"])
        self.assertEqual(heard.get("trigger-time"), "NOW")
        self.assertEqual(self.ask(poll_path(channel + "text")).json["body"], "TEXT caf\u00e9")

    def test_json_without_channel_goes_to_all_channels(self) -> None:
        body = {"text": "to all", "trigger-time": "2026-12-24T18:00:00+01:00"}
        answer = self.post(json.dumps(body).encode(), station="1.test")
        topics = [each["topic"] for each in answer.json["messages"]]
        self.assertEqual(
            topics, ["/topic/id/tests._ebu.nowhere/topic1/text", "/topic/id/tests._ebu.nowhere/topic2/text"]
        )
        self.assertEqual(len({each["message-id"] for each in answer.json["messages"]}), 1)
        headers = self.ask(poll_path("/topic/id/tests._ebu.nowhere/topic2/text")).json["headers"]
        self.assertEqual(headers["RadioVIS-Trigger-Time"], "2026-12-24T18:00:00+01:00")

    def test_curl_with_expect_100_continue(self) -> None:
        status, _, _ = self.curl("/services/1", "-u", "1.test:test", "-d", "text=x", "-H", "Expect: 100-continue")
        self.assertEqual(status, 202)

    def test_of_other_stations_nothing(self) -> None:
        self.assert_refused(self.post(b'{"text": "x"}', station="3"), 403)
        self.assert_refused(self.post(b'{"text": "x", "channel": "/topic/fm/4e1/ffff/99999/"}'), 403)

    def test_without_login(self) -> None:
        for given in ("", "Basic", "Basic !", "Basic eA==", "Bearer x", basic("1.test", "wrong")):
            answer = self.post(b'{"text": "x"}', authorization=given)
            self.assert_refused(answer, 401)
            self.assertTrue(answer.headers["www-authenticate"].startswith("Basic "))
            self.assertNotIn("access-control-allow-origin", answer.headers)

    def test_what_cannot_be_published_is_refused_with_the_reason(self) -> None:
        cases: list[Any] = [
            {},
            {"text": ""},
            {"image": "javascript:alert(1)"},
            {"image": "ftp://a/1.png"},
            {"image": "/1.png"},
            {"image": "http://a/" + 600 * "x"},
            {"image": "http://a/ SHOW"},
            {"image": "http://[/"},
            {"text": "x", "link": "javascript:alert(1)"},
            {"text": 129 * "x"},
            {"text": "a\nb"},
            {"text": "\ud800"},
            {"text": ["a", "b"]},
            {"text": 5},
            {"text": {"a": 1}},
            {"text": "x", "trigger-time": "tomorrow"},
            {"text": "x", "channel": "topic"},
            {"text": "x", "channel": [1]},
            {"text": "x", "colour": "red"},
            [],
            "text",
        ]
        for case in cases:
            self.assert_refused(self.post(json.dumps(case).encode()), 400)
        for body in (b"{", b"\xff", b"[" * 10_000, b"null", b"", b"1"):
            self.assert_refused(self.post(body), 400)
        for body in (b"text=%ff", b"text", b"text=a&text=b", b""):
            self.assert_refused(self.post(body, "application/x-www-form-urlencoded"), 400)
        self.assert_refused(self.post(b"x", "multipart/form-data; boundary=x"), 415)


class TestWithoutBroker(unittest.TestCase):
    def test_503_when_the_broker_does_not_take_it_in_time(self) -> None:
        settings = {
            "RABBITMQ_PORT": services.free_port(),
            "fanout.bus.broker_settings.MAX_AGE_SECONDS": 1.0,
            "HTTP_PORT": services.free_port(),
        }
        with Server("--test", **settings) as server:
            form = {"content_type": "application/x-www-form-urlencoded", "authorization": basic("1.test", "test")}
            answer = ask(server.http, "/services/1", method="POST", body=b"text=x", **form)
            self.assertEqual((answer.status, answer.headers["content-type"]), (503, "application/json"))
            self.assertIn("retry-after", answer.headers)
            self.assertTrue(answer.json["detail"].startswith("Not published: "))
            self.assertEqual(ask(server.http, "/nothing").status, 404)

    def test_no_http_unless_it_is_asked_for_in_test_mode(self) -> None:
        with Server("--test", RABBITMQ_LOOPBACK=True, HTTP_PORT=None) as server:
            self.assertNotIn("http", server.wait_for("server.ready"))
