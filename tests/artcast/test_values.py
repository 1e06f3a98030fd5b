"""Every line of the contract about how values are waited for and answered, over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
from pathlib import Path

from tests.artcast.site_case import SiteCase
from tests.web import Raw, ask


class Values(SiteCase):
    FORMS = (
        (42, b"42", b"42"),
        (0.1, b"0.1", b"0.1"),
        (-3, b"-3", b"-3"),
        ([1, 2.5, 3], b"[1, 2.5, 3]", b"[1, 2.5, 3]"),
        ("bare", b"bare", b'"bare"'),
        ("Zürich €", "Zürich €".encode(), b'"Z\\u00fcrich \\u20ac"'),
        ("", b"", b'""'),
        (True, b"true", b"true"),
        (None, b"null", b"null"),
        ({"a": ["é"]}, b'{"a": ["\\u00e9"]}', b'{"a": ["\\u00e9"]}'),
    )

    def test_as_text_strings_are_bare_and_everything_else_is_json(self) -> None:
        for value, text, _ in self.FORMS:
            found = self.value(value, "text/plain")
            self.assertEqual((found.status, found.body), (200, text))
            charset = "; charset=utf-8" if isinstance(value, str) else ""
            self.assertEqual(found.headers["content-type"], "text/plain" + charset)

    def test_as_json_it_is_ascii(self) -> None:
        for value, _, json in self.FORMS:
            found = self.value(value, "application/json")
            self.assertEqual((found.status, found.body), (200, json))
            self.assertEqual(found.headers["content-type"], "application/json")

    def test_the_form_is_negotiated_and_text_is_the_favourite(self) -> None:
        for accept, kind in (
            ("*/*", "text/plain"),
            ("", "text/plain"),
            ("text/*", "text/plain"),
            ("application/*", "application/json"),
            ("application/json, text/plain", "text/plain"),
            ("text/plain;q=0.5,application/json", "application/json"),
            (" application/json ; q=1.0 ,\ttext/plain ; q=0.2", "application/json"),
            ("application/json;q=0.9, text/*;q=0.1, text/html;q=0", "application/json"),
            ("image/png, */*;q=0.1", "text/plain"),
        ):
            self.assertEqual(self.value(1, accept).headers["content-type"], kind, accept)

    def test_an_accept_that_names_nothing_of_ours_is_406(self) -> None:
        for accept in (
            "image/png",
            "nonsense",
            ";;;",
            "text",
            "/",
            "text/plain;q=0",
            "*/plain",
            "\x7f",
            "q=1",
            ",,,",
            'text/plain;a="b,c"',
        ):
            for path in ("/artcasts/some/key", "/artcasts"):
                self.assertEqual(self.get(path, accept).status, 406, accept)

    def test_headers(self) -> None:
        headers = self.value(1).headers
        self.assertEqual(headers["access-control-allow-origin"], "*")
        self.assertEqual(headers["vary"], "Accept")
        self.assertEqual(headers["cache-control"], "no-store")
        for absent in ("etag", "last-modified", "link"):
            self.assertNotIn(absent, headers)

    def test_the_licence_is_a_link(self) -> None:
        self.server.register("licensed", license={"uri": "https://example.org/by 4>", "title": 'A "B"\\'})
        self.assertEqual(
            self.value(1, key="licensed").headers["link"],
            '<https://example.org/by%204%3E>; rel="license"; title="A \\"B\\"\\\\"',
        )
        self.server.register("licensed", license={"uri": "https://example.org/", "title": "Lizenz für\r\nCookie: a"})
        link = self.value(1, key="licensed").headers["link"]
        self.assertIn("title*=UTF-8''Lizenz%20f%C3%BCr%0D%0A", link)
        self.server.register("licensed", license=None)
        self.assertNotIn("link", self.value(1, key="licensed").headers)

    def test_http_1_0_is_answered_as_such_and_closed(self) -> None:
        with self.asking("old", version="1.0") as client:
            self.server.send("old", 7)
            found = client.answer()
            self.assertEqual((found.headers["version"], found.body), ("HTTP/1.0", b"7"))
            self.assertEqual(client.to_the_end(), b"")

    def test_connections_of_1_1_stay_open(self) -> None:
        with self.asking("open") as client:
            for value in (b"1", b"2"):
                self.server.send("open", int(value))
                found = client.answer()
                self.assertEqual((found.headers["version"], found.body), ("HTTP/1.1", value))
                client.ask()
                client.held()

    def test_head_is_not_held(self) -> None:
        found = self.get("/artcasts/head", "application/json", "HEAD")
        self.assertEqual((found.status, found.headers["content-type"]), (200, "application/json"))


class Waiting(SiteCase):
    def test_the_last_value_is_no_answer_the_next_one_is(self) -> None:
        self.server.send("next", "old")
        with self.asking("next") as client:
            self.server.send("next", "new")
            self.assertEqual(client.answer().body, b"new")

    def test_everybody_gets_a_datum_once(self) -> None:
        with contextlib.ExitStack() as all_:
            clients = [all_.enter_context(self.asking("once", form)) for form in ("text/plain", "application/json") * 3]
            self.server.send("once", "a")
            self.server.send("once", "b")
            self.assertEqual([each.answer().body for each in clients], [b"a", b'"a"'] * 3)
            for each in clients:
                each.ask()
            clients[-1].held()
            self.server.send("once", "c")
            self.assertEqual([each.answer().body for each in clients], [b"c", b'"c"'] * 3)

    def test_keys_are_independent(self) -> None:
        with self.asking("key/1") as one, self.asking("key/2") as two:
            self.server.send("key/2", 2)
            self.assertEqual(two.answer().body, b"2")
            self.server.send("key/1", 1)
            self.assertEqual(one.answer().body, b"1")

    def test_who_re_asks_in_time_hears_all_in_order(self) -> None:
        with self.asking("order") as client:
            heard = []
            for number in range(20):
                self.server.send("order", number)
                heard.append(int(client.answer().body))
                client.ask()
                client.held()
        self.assertEqual(heard, list(range(20)))

    def test_a_vanished_client_disturbs_nobody(self) -> None:
        with self.asking("gone") as stays, self.asking("gone") as rude, self.asking("gone") as polite:
            rude.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            rude.close()  # with a reset
            polite.close()
            stays.held()
            self.server.send("gone", 1)
            self.assertEqual(stays.answer().body, b"1")
        self.assertEqual(self.server.faults, [])

    def test_tcp_asks_whether_a_client_that_waits_is_still_there(self) -> None:
        with self.asking("vanished") as client:
            timer, expires = _kernel_timer(self.server.client[1], client.socket.getsockname()[1])
        self.assertEqual(timer, "02")  # keepalive
        self.assertLessEqual(expires, 60 * 100)

    def test_requests_in_a_row_are_answered_in_their_order(self) -> None:
        with self.asking("row") as client:
            client.ask()
            client.held()
            self.server.send("row", 1)
            self.assertEqual(client.answer().body, b"1")
            client.held()
            self.server.send("row", 2)
            self.assertEqual(client.answer().body, b"2")

    def logged(self) -> list[str]:
        """The lines of the access log. The server is asked once more, so that all answers until now are there."""
        ask(self.server.client, "/marker")
        lines = (self.server.folder / "access.log").read_text().splitlines()
        return [each for each in lines if "/marker" not in each]

    def test_the_access_log_has_a_line_when_a_poll_is_answered(self) -> None:
        path = "/artcasts/logged?secret=1"
        connection = http.client.HTTPConnection(*self.server.client, timeout=20)
        self.addCleanup(connection.close)
        connection.request("GET", path, headers={"user-agent": "Radio", "referer": "http://a/"})
        ask(self.server.client, "/artcasts")
        ask(self.server.client, "/artcasts")
        self.assertFalse(any("/artcasts/logged" in each for each in self.logged()))
        self.server.send("logged", 1)
        connection.getresponse().read()
        ask(self.server.client, "/artcasts")
        (line,) = [each for each in self.logged() if "/artcasts/logged" in each]
        self.assertRegex(
            line,
            r"^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
            + re.escape('"GET /artcasts/logged HTTP/1.1" 200 - "http://a/" "Radio"'),
        )

    def test_the_access_log_has_what_is_refused_before_it_is_a_request(self) -> None:
        host = b"host: x\r\nuser-agent: Odd\r\n"
        for octets, line in (
            (b"nonsense\r\n\r\n", '"-" 400 - "-" "-"'),
            (b"GET /" + b"a" * 20_000, '"-" 414 - "-" "-"'),
            (b"GET /odd HTTP/1.1\r\n" + host + b"x y: 1\r\n\r\n", '"GET /odd HTTP/1.1" 400 - "-" "Odd"'),
            (b"GET /odd?secret HTTP/1.1\r\n" + host + b"x: 1\r\n" * 101, '"GET /odd HTTP/1.1" 431 - "-" "Odd"'),
            (
                b"GET /odd HTTP/1.1\r\n" + host + b"content-length: 9999999\r\n\r\n",
                '"GET /odd HTTP/1.1" 413 - "-" "Odd"',
            ),
        ):
            known = self.logged()
            with Raw(self.server.client, octets) as raw:
                self.assertRegex(raw.to_the_end(), rb"^HTTP/1\.1 4\d\d ")
            (new,) = self.logged()[len(known) :]
            self.assertTrue(new.endswith(line), new)

    def test_what_is_refused_later_on_a_connection_is_logged_once_and_by_itself(self) -> None:
        known = self.logged()
        with Raw(self.server.client, b"GET /artcasts HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n") as raw:
            raw.to_the_end()
        first, second = self.logged()[len(known) :]
        self.assertIn('"GET /artcasts HTTP/1.1" 200 ', first)
        self.assertTrue(second.endswith('"-" 400 - "-" "-"'), second)


def _kernel_timer(here: int, there: int) -> tuple[str, int]:
    """What timer the kernel runs for a connection, and in how many hundredths of a second it is due (proc(5))."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if [int(each.rpartition(":")[2], 16) for each in fields[1:3]] == [here, there]:
            timer, _, expires = fields[5].partition(":")
            return timer, int(expires, 16)
    raise AssertionError("the kernel knows no such connection")
