"""Which handler answers which method at which path."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from fanout.http.response import HttpError, Response
from fanout.http.routing import BadPath, Found, Pattern, Request, Route, Routes, every_method, split, subtree

# A segment as one may be written, without what makes a path none.
SEGMENT = st.text(st.characters(codec="utf-8", min_codepoint=0x20, exclude_characters="/\\\x7f"), min_size=1).filter(
    lambda text: text not in (".", "..")
)


class Splitting(unittest.TestCase):
    def test_each_segment_is_decoded_by_itself(self) -> None:
        self.assertEqual(split(b"/"), [""])
        self.assertEqual(split(b"/a/b%20c//"), ["a", "b c", "", ""])
        self.assertEqual(split(b"/a%2fb/%25"), ["a/b", "%"])
        self.assertEqual(split("/ö".encode()), ["ö"])

    def test_what_is_no_path(self) -> None:
        for path in (b"", b"*", b"a/b", b"/%", b"/%4", b"/%zz", b"/%ff", b"/\xff", b"/%00", b"/a%0Ab", b"/%7f"):
            with self.assertRaises(BadPath, msg=path):
                split(path)

    def test_nothing_climbs(self) -> None:
        for climber in ("..", ".", "%2e%2e", "%2E.", "a%2f..", "..%2fa", "..%5ca", "a%5C..", "a%2f%2e%2e%2fb"):
            for path in (f"/{climber}", f"/a/{climber}/b", f"/{climber}/"):
                with self.assertRaises(BadPath, msg=path):
                    split(path.encode())

    def test_what_is_encoded_twice_is_decoded_once(self) -> None:
        self.assertEqual(split(b"/%252e%252e"), ["%2e%2e"])

    @given(st.lists(SEGMENT, min_size=1))
    def test_what_was_quoted_comes_back(self, segments: list[str]) -> None:
        self.assertEqual(split(("/" + "/".join(quote(each, safe="") for each in segments)).encode()), segments)

    @given(st.binary())
    def test_anything_is_a_path_without_climbers_or_none(self, octets: bytes) -> None:
        try:
            segments = split(b"/" + octets)
        except BadPath:
            return
        self.assertFalse({".", ".."} & set("/".join(segments).replace("\\", "/").split("/")))
        self.assertNotIn("\0", "".join(segments))


class Matching(unittest.TestCase):
    def match(self, pattern: str, path: str) -> dict[str, str] | None:
        found = Pattern(pattern).match(split(path.encode()))
        return None if found is None else dict(found)

    def test_whole_segments(self) -> None:
        self.assertEqual(self.match("/static", "/static"), {})
        for path in ("/staticx", "/static/", "/static/x", "/", "/Static"):
            self.assertIsNone(self.match("/static", path), path)
        self.assertEqual(self.match("/", "/"), {})

    def test_a_name_is_one_whole_segment(self) -> None:
        self.assertEqual(self.match("/a/{name}/c", "/a/b/c"), {"name": "b"})
        for path in ("/a//c", "/a/c", "/a/b/b/c", "/a/b/c/", "/a/x%2Fy/c"):
            self.assertIsNone(self.match("/a/{name}/c", path), path)

    def test_the_rest(self) -> None:
        for path, rest in (("/x/", ""), ("/x/a", "a"), ("/x/a/b/", "a/b/"), ("/x//a", "/a"), ("/x/a%2Fb", "a/b")):
            self.assertEqual(self.match("/x/{rest:path}", path), {"rest": rest}, path)
        for path in ("/x", "/xy/a", "/"):
            self.assertIsNone(self.match("/x/{rest:path}", path), path)
        self.assertEqual(self.match("/{rest:path}", "/"), {"rest": ""})
        self.assertEqual(self.match("/{a}/{rest:path}", "/1/2/3"), {"a": "1", "rest": "2/3"})

    def test_patterns_that_nothing_could_match(self) -> None:
        for pattern in ("", "x", "/{a", "/a}", "/x{a}", "/{A}", "/{a:path}/b", "/{a}/{a}", "/{a:int}", "/{}"):
            with self.assertRaises(ValueError, msg=pattern):
                Pattern(pattern)

    @given(st.lists(SEGMENT, min_size=1))
    def test_parameters_make_the_path_again(self, segments: list[str]) -> None:
        names = [f"p{number}" for number in range(len(segments))]
        pattern = Pattern("/" + "/".join(f"{{{name}}}" for name in names))
        self.assertEqual(pattern.match(segments), dict(zip(names, segments, strict=True)))
        self.assertEqual(Pattern("/{all:path}").match(segments), {"all": "/".join(segments)})


def show(request: Request) -> Response:
    return Response.text("show")


def change(request: Request) -> Response:
    return Response.text("change")


class Table(unittest.TestCase):
    def find(self, routes: Routes, method: str, path: str) -> Found:
        return routes.find(method, path.encode())

    def refusal(self, routes: Routes, method: str, path: str) -> HttpError:
        with self.assertRaises(HttpError) as caught:
            self.find(routes, method, path)
        return caught.exception

    def test_the_first_row_that_fits_answers(self) -> None:
        routes = Routes([Route("/{name}", GET=show), Route("/a", GET=change, PUT=change)])
        found = self.find(routes, "GET", "/a")
        self.assertIs(found.handler, show)
        self.assertEqual(found.parameters, {"name": "a"})
        self.assertIs(self.find(routes, "PUT", "/a").handler, change)

    def test_head_and_options_are_derived(self) -> None:
        routes = Routes([Route("/a", GET=show, PUT=change)])
        self.assertIs(self.find(routes, "HEAD", "/a").handler, show)
        options = self.find(routes, "OPTIONS", "/a")
        self.assertIsNone(options.handler)
        self.assertEqual(options.methods, ["GET", "HEAD", "PUT", "OPTIONS"])

    def test_head_and_options_of_a_row(self) -> None:
        routes = Routes([Route("/a", GET=show, HEAD=change, OPTIONS=change), Route("/b", POST=show)])
        self.assertIs(self.find(routes, "HEAD", "/a").handler, change)
        self.assertIs(self.find(routes, "OPTIONS", "/a").handler, change)
        self.assertEqual(self.refusal(routes, "HEAD", "/b").status, 405)

    def test_refusals(self) -> None:
        routes = Routes([Route("/a", GET=show), Route("/{x}", DELETE=change), Route("/b", PURGE=change)])
        self.assertEqual(self.refusal(routes, "GET", "/a/b").status, 404)
        self.assertEqual(self.refusal(routes, "GET", "/a/../b").status, 400)
        wrong = self.refusal(routes, "PUT", "/a")
        self.assertEqual((wrong.status, wrong.headers["Allow"]), (405, "GET, HEAD, DELETE, OPTIONS"))
        for method in ("BREW", "get", "TRACE", "CONNECT"):
            self.assertEqual(self.refusal(routes, method, "/nowhere").status, 501)
        self.assertIs(self.find(routes, "PURGE", "/b").handler, change)

    def test_every_method(self) -> None:
        routes = Routes([every_method("/app/{rest:path}", show)])
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            self.assertIs(self.find(routes, method, "/app/x").handler, show)

    def test_the_longest_prefix_hides_what_is_above_it(self) -> None:
        application = [every_method("/{path:path}", show)]
        routes = Routes(
            [*application, Route("/a/{path:path}", GET=show), Route("/a/b/{path:path}", PUT=change)], by_prefix=True
        )
        self.assertEqual(routes.find("GET", b"/a/x").parameters, {"path": "x"})
        self.assertEqual(routes.find("PUT", b"/a/b/x").parameters, {"path": "x"})
        self.assertEqual(routes.find("PUT", b"/ab/x").parameters, {"path": "ab/x"})
        for method, path, status in (
            ("PUT", "/a/x", 405),
            ("GET", "/a/b/x", 405),
            ("PROPFIND", "/a/x", 501),
            ("GET", "/a/%FF", 400),
            ("GET", "/a/../x", 400),
        ):
            self.assertEqual(self.refusal(routes, method, path).status, status, path)
        self.assertEqual(routes.find("PROPFIND", b"/x/../%FF").parameters, {"path": "x/../\udcff"})
        self.assertEqual(Routes(application).find("PUT", b"/a/x").parameters, {"path": "a/x"})

    def test_rows_that_are_wrong(self) -> None:
        with self.assertRaises(ValueError):
            Route("/a")
        with self.assertRaises(ValueError):
            Route("/a", get=show)

    def test_a_subtree_is_a_path_and_all_below_it(self) -> None:
        routes = Routes(subtree("/a", GET=show))
        self.assertEqual(self.find(routes, "GET", "/a").parameters, {})
        self.assertEqual(self.find(routes, "GET", "/a/").parameters, {"rest": ""})
        self.assertEqual(self.find(routes, "GET", "/a/b/c").parameters, {"rest": "b/c"})
        self.assertEqual(self.refusal(routes, "GET", "/ab").status, 404)
