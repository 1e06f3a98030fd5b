"""A resource of Twisted in a table, over real sockets."""

from __future__ import annotations

from fanout.doors.http_endpoint import Endpoint
from fanout.doors.http_request import HttpRequest
from fanout.web.mount import mount
from fanout.web.routes import Route
from tests.fanout.web import served


class Below(Endpoint):
    """Says what of the path is its own."""

    async def respond(self, request: HttpRequest) -> None:
        request.answer_json(200, [part.decode() for part in request.postpath or []])


class TestMount(served.ServedCase):
    def rows(self) -> list[Route]:
        return [*mount("/a/b", Below()), *mount("/", Below())]

    async def test_what_lies_below(self) -> None:
        for path, below in (
            ("/", []),
            ("/a/b", []),
            ("/a/b/", [""]),
            ("/a/b/c", ["c"]),
            ("/a/b/c%2Fd//e%20f?x=/y", ["c/d", "", "e f"]),
        ):
            answer = await self.ask(path)
            self.assertEqual((answer.status, answer.json), (200, below), path)
        for path in ("/a", "/a/", "/a/bc", "/b", "//"):
            self.assertEqual((await self.ask(path)).status, 404, path)

    async def test_methods_are_the_resources_affair(self) -> None:
        answer = await self.ask("/a/b", "POST", b"x")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, OPTIONS"))
        self.assertEqual((await self.ask("/a/b/c", "OPTIONS")).status, 204)
        self.assertEqual((await self.ask("/a/b", "HEAD")).status, 200)
