"""Every line of the contract about HTTP, over real sockets."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import re
import socket
import time
import unittest
from collections.abc import Iterator
from pathlib import Path

from tests.artcast.server import ArtcastServer, Asking
from tests.web import Answer, Raw, ask

HTML = "text/html"
CC0 = {"uri": "https://example.org/cc0", "title": "CC0"}


class _Case(unittest.TestCase):
    server: ArtcastServer

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = ArtcastServer(TEMPLATES="templates")
        templates = cls.server.folder / "templates"
        (templates / "art").mkdir(parents=True)
        (templates / "art" / "clock.html").write_text("<p>the clock of {{ key }}</p>")
        (cls.server.folder / "secret.html").write_text("secret")
        cls.server.start()
        cls.addClassCleanup(cls.server.close)

    def get(self, path: str, accept: str | None = None, method: str = "GET") -> Answer:
        headers = {} if accept is None else {"accept": accept}
        return ask(self.server.client, path, method=method, **headers)

    @contextlib.contextmanager
    def asking(self, key: str, accept: str = "*/*", version: str = "1.1") -> Iterator[Asking]:
        with Asking(self.server.client, key, accept, version) as client:
            yield client.held()

    def value(self, value: object, accept: str = "*/*", key: str = "some/key") -> Answer:
        """The answer to a client that waited for this value."""
        with self.asking(key, accept) as client:
            self.server.send(key, value)
            return client.answer()


class ListOfKeys(_Case):
    def test_the_root_leads_there(self) -> None:
        found = self.get("/")
        self.assertEqual((found.status, found.headers["location"]), (302, "/artcasts"))

    def test_json_is_the_answer_to_who_says_nothing_or_takes_anything(self) -> None:
        for accept in (None, "*/*", "", "application/json", "application/*;q=0.5, image/png"):
            found = self.get("/artcasts", accept)
            self.assertEqual((found.status, found.headers["content-type"]), (200, "application/json"), accept)
            self.assertEqual(found.headers["vary"], "Accept")
            self.assertNotIn("etag", found.headers)

    def test_keys_are_sorted_and_have_what_is_known_of_them(self) -> None:
        self.server.register("list/b", description="B", provenance="here", license=CC0)
        self.server.register("list/a", description="A", provenance="there", license=None)
        self.server.send("list/c", 1)
        self.wait_for_key("list/c")
        found = [each for each in self.server.listed() if each["key"].startswith("list/")]
        self.assertEqual(
            found,
            [
                {"key": "list/a", "description": "A", "provenance": "there", "license": None},
                {"key": "list/b", "description": "B", "provenance": "here", "license": CC0},
                {"key": "list/c"},
            ],
        )
        keys = [each["key"] for each in self.server.listed()]
        self.assertEqual(keys, sorted(keys))

    def test_registrations_are_merged(self) -> None:
        self.server.register("merge", description="A", provenance="there", license=None)
        self.server.register("merge", description="B")
        self.server.send("merged", 1)
        self.wait_for_key("merged")
        found = next(each for each in self.server.listed() if each["key"] == "merge")
        self.assertEqual(found, {"key": "merge", "description": "B", "provenance": "there", "license": None})

    def wait_for_key(self, key: str) -> None:
        deadline = time.monotonic() + 20
        while key not in {each["key"] for each in self.server.listed()}:
            self.assertLess(time.monotonic(), deadline, key)

    def test_the_page_is_html_and_escapes_what_sources_say(self) -> None:
        license_ = {"uri": "javascript:alert(1)", "title": "<i>"}
        self.server.register("<b>", description="<script>alert(1)</script>", license=license_)
        self.wait_for_key("<b>")
        found = self.get("/artcasts", HTML)
        self.assertEqual((found.status, found.headers["content-type"]), (200, "text/html; charset=utf-8"))
        page = found.body.decode()
        self.assertIn("&lt;script&gt;alert(1)", page)
        self.assertIn('href="/artcasts/%3Cb%3E"', page)
        self.assertNotIn("javascript:", page)
        self.assertIn("default-src 'none'", found.headers["content-security-policy"])

    def test_nothing_else_is_there(self) -> None:
        for path in ("/nothing", "/artcastsx", "/artcast", "/artcasts.json", "/content", "/content/nothing"):
            self.assertEqual(self.get(path).status, 404, path)

    def test_other_methods(self) -> None:
        for path in ("/", "/artcasts", "/artcasts/some/key", "/content/artcast.css"):
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                found = self.get(path, method=method)
                self.assertEqual((found.status, "GET" in found.headers["allow"]), (405, True), (path, method))


class Values(_Case):
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


class Keys(_Case):
    def test_a_key_is_the_rest_of_the_path_decoded_and_without_the_query(self) -> None:
        for path, key in (
            ("a/b/c", "a/b/c"),
            ("a%2Fb", "a/b"),
            ("", ""),
            ("Z%C3%BCrich%20%3F", "Zürich ?"),
            ("a+b", "a+b"),
            ("a?value=1&key=b", "a"),
            ("//double/", "//double/"),
        ):
            with self.asking(path) as client:
                self.server.send(key, "here")
                self.assertEqual(client.answer().body, b"here", path)

    def test_only_exactly_this_key(self) -> None:
        with self.asking("exact") as client:
            for other in ("exact/", "Exact", "exac", "exact1", ""):
                self.server.send(other, "wrong")
            self.server.send("exact", "right")
            self.assertEqual(client.answer().body, b"right")

    def test_the_page_comes_at_once(self) -> None:
        for path in ("test/tick", "", "%3Cb%3E"):
            found = self.get("/artcasts/" + path, "text/html,application/xhtml+xml,*/*;q=0.8")
            self.assertEqual((found.status, found.headers["content-type"]), (200, "text/html; charset=utf-8"), path)
            self.assertEqual(found.headers["vary"], "Accept")
        self.assertIn(b'data-key="&lt;b&gt;"', found.body)

    def test_a_template_named_after_the_key_wins(self) -> None:
        found = self.get("/artcasts/art/clock", HTML)
        self.assertEqual(found.body, b"<p>the clock of art/clock</p>")

    def test_no_template_is_outside_its_folder(self) -> None:
        for path in (
            "../secret",
            "%2e%2e/secret",
            "..%2fsecret",
            "%2E%2E%2Fsecret",
            "art/../../secret",
            "art%2f..%2f..%2fsecret",
            "..%5csecret",
            "%252e%252e/secret",
            "%2fetc%2fpasswd",
            "/" + str(self.server.folder / "secret"),
            "%c0%ae%c0%ae/secret",
            "a%00",
        ):
            found = self.get("/artcasts/" + path, HTML)
            self.assertIn(found.status, (200, 400), path)
            self.assertNotIn(b"<p>secret", found.body)
            self.assertNotEqual(found.body, b"secret", path)

    def test_content_is_one_folder_and_no_other(self) -> None:
        for path in (
            "../pages.py",
            "%2e%2e/pages.py",
            "..%2fpages.py",
            "%2e%2e%2ftemplates%2fkey.html",
            "",
            ".",
            "%00",
        ):
            self.assertIn(self.get("/content/" + path).status, (400, 404), path)

    def test_content_has_a_date_and_is_not_sent_twice(self) -> None:
        for name, kind in (("artcast.css", "text/css"), ("key.js", "javascript"), ("keys.js", "javascript")):
            found = self.get(f"/content/{name}")
            self.assertEqual(found.status, 200)
            self.assertIn(kind, found.headers["content-type"])
            self.assertIsNotNone(email.utils.parsedate_to_datetime(found.headers["last-modified"]))
            again = ask(self.server.client, f"/content/{name}", if_modified_since=found.headers["last-modified"])
            self.assertEqual((again.status, again.body), (304, b""))

    def test_pages_need_nobody_else(self) -> None:
        for folder in ("static", "templates"):
            for file in (Path(__file__).parents[2] / "artcast" / "pages" / folder).iterdir():
                self.assertNotRegex(file.read_text(), r"(?i)jquery|(src|href|url|import)\s*[=(]?\s*[\"']?https?://")


class Waiting(_Case):
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


class Options(unittest.TestCase):
    def test_another_origin_or_none(self) -> None:
        for origin, expected in (("https://example.org", "https://example.org"), ("", None)):
            with ArtcastServer("--access-control-allow-origin", origin) as server:
                self.assertEqual(ask(server.client, "/artcasts").headers.get("access-control-allow-origin"), expected)
                with Asking(server.client, "key") as client:
                    client.held()
                    server.send("key", 1)
                    self.assertEqual(client.answer().headers.get("access-control-allow-origin"), expected)

    def test_too_many_polls_are_told_so_and_those_who_wait_are_let_go_at_the_end(self) -> None:
        with ArtcastServer(MAX_POLLS=2) as server, Asking(server.client, "a") as one, Asking(server.client, "a") as two:
            one.held()
            self.assertEqual(ask(server.client, "/artcasts/a").status, 503)
            one.close()
            server.ask_to_end()
            self.assertEqual(two.answer().status, 503)
            self.assertEqual(server.exit_code(), 0)


def _kernel_timer(here: int, there: int) -> tuple[str, int]:
    """What timer the kernel runs for a connection, and in how many hundredths of a second it is due (proc(5))."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if [int(each.rpartition(":")[2], 16) for each in fields[1:3]] == [here, there]:
            timer, _, expires = fields[5].partition(":")
            return timer, int(expires, 16)
    raise AssertionError("the kernel knows no such connection")
