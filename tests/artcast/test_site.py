"""Every line of the contract about HTTP, over real sockets; for values see ``test_values``."""

from __future__ import annotations

import email.utils
import time
import unittest
from pathlib import Path

from tests.artcast.server import ArtcastServer, Asking
from tests.artcast.site_case import SiteCase
from tests.web import ask

HTML = "text/html"
CC0 = {"uri": "https://example.org/cc0", "title": "CC0"}


class ListOfKeys(SiteCase):
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


class Keys(SiteCase):
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
            for file in (Path(__file__).parents[2] / "artcast" / folder).iterdir():
                self.assertNotRegex(file.read_text(), r"(?i)jquery|(src|href|url|import)\s*[=(]?\s*[\"']?https?://")


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
