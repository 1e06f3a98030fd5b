"""Topics as resources, over real sockets."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.http.response import HttpError
from fanout.http.routing import Route
from fanout.http.topic_resources import Topics, choose, parse
from tests.fanout.http import served
from tests.web import Events, Raw, basic
from webserver.serving import LocalTopics

HOST = b"host: x\r\n"


class TopicsCase(served.ServedCase):
    def rows(self) -> list[Route]:
        return Topics(self.topics.pending, longest_wait=5).routes()

    async def pending(self, count: int = 1) -> None:
        """So many clients are held."""
        while len(self.topics.pending.pending) < count:
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.01, turn.callback, None)
            await turn


class Values(TopicsCase):
    async def test_from_the_first_value_to_none(self) -> None:
        self.assertEqual((await self.ask("/channels/a/b")).status, 404)
        first = await self.ask("/channels/a/b", "PUT", "ä".encode(), content_type="text/plain; charset=utf-8")
        self.assertEqual((first.status, first.headers["location"]), (201, "/channels/a/b"))
        second = await self.ask("/channels/a/b", "POST", b"\x00\xff")
        self.assertEqual((second.status, second.body), (204, b""))
        self.assertNotEqual(first.headers["message-id"], second.headers["message-id"])
        value = await self.ask("/channels/a/b")
        self.assertEqual((value.status, value.body), (200, b"\x00\xff"))
        self.assertEqual(value.headers["content-type"], "application/octet-stream")
        self.assertEqual(value.headers["message-id"], second.headers["message-id"])
        self.assertIn("sandbox", value.headers["content-security-policy"])
        self.assertEqual((await self.ask("/channels/a/b", "DELETE")).status, 204)
        self.assertEqual((await self.ask("/channels/a/b", "DELETE")).status, 404)
        self.assertEqual((await self.ask("/channels/a/b")).status, 404)
        self.assertEqual((await self.ask("/channels/a/b", "PUT", b"")).status, 201)

    async def test_the_list(self) -> None:
        self.assertEqual((await self.ask("/channels")).json, [])
        self.topics.say("b/<c>", b"1")
        self.topics.say("ä", b"2", "application/json")
        found = (await self.ask("/channels")).json
        self.assertEqual([each["name"] for each in found], ["b/<c>", "ä"])
        self.assertEqual([each["type"] for each in found], ["text/plain; charset=utf-8", "application/json"])
        page = await self.ask("/channels", accept="text/html")
        self.assertIn(b'<a href="/channels/b/%3Cc%3E">b/&lt;c&gt;</a>', page.body)
        self.assertEqual((await self.ask("/channels", accept="nonsense")).status, 406)

    async def test_accept_of_a_value(self) -> None:
        self.topics.say("a", b"1", "application/json")
        self.assertEqual((await self.ask("/channels/a", accept="application/*")).status, 200)
        for accept in ("nonsense", "text/html", "application/json;q=0", "\xff"):
            self.assertEqual((await self.ask("/channels/a", accept=accept)).status, 406, accept)

    async def test_names(self) -> None:
        self.assertEqual((await self.ask("/channels/a%2Fb%20c", "PUT", b"1")).headers["location"], "/channels/a/b%20c")
        self.assertEqual((await self.ask("/channels/a/b%20c")).body, b"1")
        for path, status in (("/channels/", 404), ("/channels/" + "x" * 1_025, 404), ("/channels/%2e%2e/x", 400)):
            self.assertEqual((await self.ask(path, "PUT", b"1")).status, status, path)
        answer = await self.ask("/channels", "PUT", b"1")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, OPTIONS"))
        answer = await self.ask("/channels/a", "PATCH", b"1")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, POST, PUT, DELETE, OPTIONS"))

    async def test_a_page_of_another_site_changes_nothing(self) -> None:
        for method in ("PUT", "POST", "DELETE"):
            answer = await self.ask("/channels/a", method, b"1", origin="http://elsewhere.example")
            self.assertEqual(answer.status, 403, method)
        host = f"{self.address[0]}:{self.address[1]}"
        self.assertEqual((await self.ask("/channels/a", "PUT", b"1", origin=f"http://{host}")).status, 201)


class Untyped(TopicsCase):
    def rows(self) -> list[Route]:
        return Topics(self.topics.pending, untyped="text/csv").routes()

    async def test_the_type_of_values_whose_publisher_names_none(self) -> None:
        first = await self.ask("/channels/a", "PUT", b"1,2")
        await self.ask("/channels/a", "PUT", b"3,4")
        await self.ask("/channels/b", "PUT", b"{}", content_type="application/json")
        for path in ("/channels/a", f"/channels/a?wait=5&last_id={first.headers['message-id']}"):
            self.assertEqual((await self.ask(path)).headers["content-type"], "text/csv", path)
        self.assertEqual((await self.ask("/channels/a", accept="application/octet-stream")).status, 406)
        listed = (await self.ask("/channels")).json
        self.assertEqual([each["type"] for each in listed], ["text/csv", "application/json"])


class Waiting(TopicsCase):
    async def test_the_next_value(self) -> None:
        self.topics.say("a", b"old")
        waiting = self.ask("/channels/a?wait=5")
        await self.pending()
        self.topics.say("b", b"of another topic")
        self.topics.say("a", b"new")
        answer = await waiting
        self.assertEqual((answer.status, answer.body), (200, b"new"))

    async def test_what_followed(self) -> None:
        ids = [(await self.ask("/channels/a", "PUT", b"%d" % number)).headers["message-id"] for number in range(3)]
        for last_id, body in zip(ids, (b"1", b"2"), strict=False):
            self.assertEqual((await self.ask(f"/channels/a?wait=5&last_id={last_id}")).body, body)
        waiting = self.ask(f"/channels/a?wait=5&last_id={ids[2]}")
        await self.pending()
        self.topics.say("a", b"3")
        self.assertEqual((await waiting).body, b"3")

    async def test_nothing_new(self) -> None:
        begun = time.monotonic()
        answer = await self.ask("/channels/a?wait=0.5")
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertGreaterEqual(time.monotonic() - begun, 0.5)
        self.assertEqual((await self.ask("/channels/a?wait=0")).status, 204)
        self.assertEqual(len(self.topics.pending.pending), 0)

    async def test_the_server_ends(self) -> None:
        waiting = self.ask("/channels/a?wait=5")
        await self.pending()
        self.topics.stop()
        answer = await waiting
        self.assertEqual((answer.status, answer.headers["connection"]), (204, "close"))
        self.assertEqual((await self.ask("/channels/a", "PUT", b"1")).status, 503)

    async def test_what_is_no_time(self) -> None:
        for wait in ("x", "-1", "nan", "1&wait=2"):
            self.assertEqual((await self.ask(f"/channels/a?wait={wait}")).status, 400, wait)

    async def test_head_is_not_held(self) -> None:
        self.assertEqual((await self.ask("/channels/a?wait=5", "HEAD")).status, 200)

    async def test_one_who_vanished_and_one_who_stayed(self) -> None:
        gone = Raw(self.address, b"GET /channels/a?wait=5 HTTP/1.1\r\n" + HOST + b"\r\n")
        staying = self.ask("/channels/a?wait=5")
        await self.pending(2)
        gone.close()
        self.topics.say("a", b"new")
        self.assertEqual((await staying).body, b"new")
        self.assertEqual(len(self.topics.pending.pending), 0)

    async def test_all_who_wait_get_it(self) -> None:
        waiting = [self.ask("/channels/a?wait=5") for _ in range(8)]
        await self.pending(8)
        self.topics.say("a", b"new")
        self.assertEqual([answer.body for answer in await gatherResults(waiting)], [b"new"] * 8)


class Streaming(TopicsCase):
    async def test_the_last_value_and_all_that_follow(self) -> None:
        self.topics.say("a", b"one\ntwo\r\nthree")
        raw = Raw(self.address, b"GET /channels/a HTTP/1.1\r\naccept: text/event-stream\r\n" + HOST + b"\r\n")
        self.addCleanup(raw.close)
        head = await deferToThread(raw.until, b"\r\n\r\n")
        self.assertIn(b"content-type: text/event-stream", head.lower())
        event = await deferToThread(raw.until, b"\n\n\r\n")
        if b"data" not in event:
            event = await deferToThread(raw.until, b"\n\n\r\n")
        self.assertIn(b"event: message\ndata: one\ndata: two\ndata: three\n\n", event)
        self.topics.say("a", b"four")
        self.assertIn(b"data: four\n\n", await deferToThread(raw.until, b"\n\n\r\n"))

    async def test_who_comes_back(self) -> None:
        ids = [(await self.ask("/channels/a", "PUT", b"%d" % number)).headers["message-id"] for number in range(3)]
        events = await deferToThread(
            Events, self.address, "/channels/a", accept="text/event-stream", last_event_id=ids[0]
        )
        self.addCleanup(events.close)
        self.assertEqual([(await deferToThread(events.next)).data for _ in range(2)], [1, 2])

    async def test_head_and_a_topic_without_a_value(self) -> None:
        answer = await self.ask("/channels/a", "HEAD", accept="text/event-stream")
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "text/event-stream"))
        events = await deferToThread(Events, self.address, "/channels/a", accept="text/event-stream")
        self.addCleanup(events.close)
        self.topics.say("a", b"7")
        self.assertEqual((await deferToThread(events.next)).data, 7)


class Guarded(TopicsCase):
    def local_topics(self) -> LocalTopics:
        return LocalTopics(reactor, "s3cret-token")

    async def test_only_who_knows_the_token_writes(self) -> None:
        for method in ("PUT", "POST", "DELETE"):
            answer = await self.ask("/channels/a", method, b"1")
            self.assertEqual(answer.status, 401, method)
            self.assertIn("Basic", answer.headers["www-authenticate"])
            self.assertEqual((await self.ask("/channels/a", method, b"1", authorization=basic("x", "no"))).status, 401)
        known = basic("anybody", "s3cret-token")
        self.assertEqual((await self.ask("/channels/a", "PUT", b"1", authorization=known)).status, 201)
        self.assertEqual((await self.ask("/channels/a")).body, b"1")
        self.assertEqual((await self.ask("/channels/a", "DELETE", authorization=known)).status, 204)


class ForReading(TopicsCase):
    def rows(self) -> list[Route]:
        return Topics(self.topics.pending, "/t", read_only=True).routes()

    async def test_nobody_writes(self) -> None:
        self.topics.say("a", b"1")
        self.assertEqual((await self.ask("/t/a")).body, b"1")
        for method in ("PUT", "POST", "DELETE"):
            self.assertEqual((await self.ask("/t/a", method, b"1")).status, 405)


class Full(TopicsCase):
    def local_topics(self) -> LocalTopics:
        return LocalTopics(reactor, topics=3, listeners=1)

    async def test_the_oldest_topic_goes(self) -> None:
        for name in "abcd":
            self.topics.say(name, b"1")
        self.assertEqual([each["name"] for each in (await self.ask("/channels")).json], ["b", "c", "d"])

    async def test_no_more_listeners_than_there_is_room_for(self) -> None:
        self.topics.say("a", b"1")
        waiting = self.ask("/channels/a?wait=5")
        await self.pending()
        self.assertEqual((await self.ask("/channels/a?wait=5")).status, 503)
        self.assertEqual((await self.ask("/channels/a")).body, b"1")
        self.topics.say("a", b"2")
        self.assertEqual((await waiting).body, b"2")


OFFERED = ("text/plain; charset=utf-8", "application/json", "text/html")
NAMES = ["text", "application", "image", "*"]
RANGES = st.builds(
    lambda kind, sub, q: (f"{kind}/{sub}", q),
    st.sampled_from(NAMES),
    st.sampled_from(["html", "json", "*"]),
    st.integers(0, 1000),
)


class Choosing(unittest.TestCase):
    def check(self, accept: str | None, chosen: str | None) -> None:
        if chosen is None:
            with self.assertRaises(HttpError, msg=accept) as caught:
                choose(accept, OFFERED)
            self.assertEqual(caught.exception.status, 406)
        else:
            self.assertEqual(choose(accept, OFFERED).partition(";")[0], chosen, accept)

    def test_the_highest_weight_and_then_our_order(self) -> None:
        for accept, chosen in (
            (None, "text/plain"),
            ("", "text/plain"),
            ("*/*", "text/plain"),
            ("application/json", "application/json"),
            ("text/html, application/json", "application/json"),
            ("text/html;q=0.9, application/json;q=0.8", "text/html"),
            ("text/html;q=0.5,*/*;q=0.1", "text/html"),
            ("text/*", "text/plain"),
            ("text/*;q=0.5, text/html", "text/html"),
            ("TEXT/HTML", "text/html"),
            ("text/html ; q=0.3 ,\tapplication/json ; q=0.4", "application/json"),
            ("image/png, */*;q=0.2", "text/plain"),
            ('text/html;title="a, b;q=0", application/json;q=0.1', "application/json"),
            ("text/plain;charset=utf-8", "text/plain"),
            (", ,text/html,,", "text/html"),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", "text/html"),
            ("application/json;q=1.000;ext=1", "application/json"),
        ):
            self.check(accept, chosen)

    def test_the_most_precise_range_counts(self) -> None:
        self.check("*/*, text/plain;q=0", "application/json")
        self.check("text/*;q=0, */*;q=0.1", "application/json")
        self.check("application/json;q=0, text/plain;q=0, text/html;q=0, */*", None)

    def test_nonsense_and_what_we_have_not(self) -> None:
        for accept in (
            "nonsense",
            "image/png",
            "text/html;q=0",
            "text/html;q=2",
            "text/html;q=x",
            "text/html;q=0.1234",
            "*/html",
            "text/",
            "/html",
            "text/html html",
            ";;;",
            '"text/html"',
            'text/html;a="',
            "\x00\xff",
        ):
            self.check(accept, None)

    @given(st.text())
    def test_anything_is_understood_or_refused(self, accept: str) -> None:
        parse(accept)
        try:
            self.assertIn(choose(accept, OFFERED), OFFERED)
        except HttpError as error:
            self.assertEqual(error.status, 406)

    @given(st.lists(RANGES, min_size=1, unique_by=lambda each: each[0]))
    def test_as_the_rule_says(self, ranges: list[tuple[str, int]]) -> None:
        """RFC 9110, 12.5.1, once more and slowly: by name, by kind, by anything."""
        weights = {name: q for name, q in ranges if not (name.startswith("*") and name != "*/*")}
        accept = ", ".join(f"{name};q={q / 1000:.3f}" for name, q in ranges)
        plain = [each.partition(";")[0] for each in OFFERED]
        wanted = [weights.get(each, weights.get(each.split("/")[0] + "/*", weights.get("*/*", 0))) for each in plain]
        self.check(accept, plain[wanted.index(max(wanted))] if max(wanted) else None)
