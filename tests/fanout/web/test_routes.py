from __future__ import annotations

from twisted.trial import unittest

from fanout.doors.http_endpoint import HttpError
from fanout.web.request import Request
from fanout.web.response import Response
from fanout.web.routes import Found, Route, Routes, every_method


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

    def test_rows_that_are_wrong(self) -> None:
        with self.assertRaises(ValueError):
            Route("/a")
        with self.assertRaises(ValueError):
            Route("/a", get=show)
