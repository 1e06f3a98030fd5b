"""Each kind of answer, and each kind of bad request, as octets."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from fanout.http.auth import OperatorAuth
from fanout.http.response import NO_CONTENT, ErrorPages, HttpError, Response, json_page
from fanout.http.routing import Request, Route, subtree
from tests.fanout.http import served
from tests.web import Raw
from webserver.site_config import SiteLimits

HOST = b"host: x\r\n"


def hello(request: Request) -> Response:
    return Response.text(f"Hello {request.parameters['name']}\n", headers=(("x-a", "1"), ("x-a", "2")))


def pieces(request: Request) -> Response:
    return Response(iter([b"one ", b"", b"two"]))


async def later(request: Request) -> Response:
    async def made() -> AsyncIterator[bytes]:
        for number in range(3):
            await deferLater(reactor, 0, lambda: None)
            yield b"%d" % number

    await deferLater(reactor, 0, lambda: None)
    return Response(made())


def large(request: Request) -> Response:
    return Response(b"x" * 10_000 for _ in range(1_000))


async def echo(request: Request) -> Response:
    return Response(b"".join([chunk async for chunk in request.chunks(1_000)]), 201)


def as_file(request: Request) -> Response:
    return Response(request.body.readline())


def facts(request: Request) -> Response:
    return Response.json(
        [request.method, request.version, request.path, request.address, request.query("q"), request.header("x-b")]
    )


def below(request: Request) -> Response:
    return Response.json(request.segments[2:])


def broken(request: Request) -> Response:
    raise ValueError("the secret reason")


def half(request: Request) -> Response:
    def made() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("in the middle")

    return Response(made())


def wrong(request: Request) -> Response:
    return "text"  # type: ignore[return-value]


def paid(request: Request) -> Response:
    raise HttpError(402, "It costs <much>.", X_Price="9")


class Answers(served.ServedCase):
    def rows(self) -> list[Route]:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        leaf = Path(folder.name) / "leaf"
        leaf.write_bytes(b"leaf")
        return [
            Route("/hello/{name}", GET=hello, public=True),
            Route("/pieces", GET=pieces),
            Route("/later", GET=later),
            Route("/large", GET=large),
            Route("/echo", POST=echo, PUT=echo),
            Route("/file", POST=as_file),
            Route("/facts", GET=facts),
            Route("/nothing", GET=lambda request: NO_CONTENT),
            Route("/away", GET=lambda request: Response.redirect("/hello/x")),
            Route("/leaf", GET=lambda request: Response(leaf, headers=(("x-a", "1"),))),
            *subtree("/a/b", GET=below),
        ]

    async def test_octets_have_their_length(self) -> None:
        answer = await self.ask("/hello/J%C3%BCrgen")
        self.assertEqual((answer.status, answer.body.decode()), (200, "Hello Jürgen\n"))
        self.assertEqual(answer.headers["content-length"], "14")
        self.assertEqual(answer.headers["content-type"], "text/plain; charset=utf-8")
        self.assertEqual(answer.headers["access-control-allow-origin"], "*")
        raw = await self.whole(b"GET /hello/x HTTP/1.0\r\n\r\n")
        self.assertEqual(raw.lower().count(b"x-a: "), 2)

    async def test_pieces_come_in_chunks(self) -> None:
        raw = await self.talk(lambda raw: raw.until(b"0\r\n\r\n"), b"GET /pieces HTTP/1.1\r\n" + HOST + b"\r\n")
        self.assertIn(b"transfer-encoding: chunked", raw.lower())
        self.assertTrue(raw.endswith(b"\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"), raw)
        self.assertEqual((await self.ask("/later")).body, b"012")

    async def test_pieces_end_with_the_connection_for_1_0(self) -> None:
        raw = await self.whole(b"GET /pieces HTTP/1.0\r\n\r\n")
        self.assertTrue(raw.startswith(b"HTTP/1.0 200 OK\r\n"), raw)
        self.assertNotIn(b"chunked", raw.lower())
        self.assertTrue(raw.endswith(b"\r\n\r\none two"), raw)

    async def test_more_than_any_buffer_holds(self) -> None:
        self.assertEqual(len((await self.ask("/large")).body), 10_000_000)

    async def test_head_has_the_headers_of_get(self) -> None:
        answer = await self.ask("/hello/x", "HEAD")
        self.assertEqual((answer.status, answer.headers["content-length"], answer.body), (200, "8", b""))
        raw = await self.whole(b"HEAD /pieces HTTP/1.1\r\nconnection: close\r\n" + HOST + b"\r\n")
        self.assertTrue(raw.endswith(b"\r\n\r\n"), raw)
        self.assertEqual(raw.count(b"\r\n\r\n"), 1)

    async def test_options_and_what_is_not_allowed(self) -> None:
        answer = await self.ask("/echo", "OPTIONS")
        self.assertEqual((answer.status, answer.headers["allow"]), (204, "POST, PUT, OPTIONS"))
        self.assertEqual((await self.ask("/hello/x", "OPTIONS")).headers["access-control-allow-methods"], "GET, HEAD")
        answer = await self.ask("/hello/x", "PUT", b"")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, OPTIONS"))
        self.assertEqual(answer.headers["access-control-allow-origin"], "*")
        self.assertNotIn("access-control-allow-origin", (await self.ask("/echo", "GET")).headers)
        self.assertEqual((await self.ask("/hello/x", "BREW")).status, 501)
        self.assertEqual((await self.ask("/hello")).status, 404)

    async def test_bodies_as_chunks_and_as_a_file(self) -> None:
        body = bytes(range(256)) * 1_000
        answer = await self.ask("/echo", "POST", body)
        self.assertEqual((answer.status, answer.body), (201, body))
        self.assertEqual((await self.ask("/file", "POST", b"line\nline\n")).body, b"line\n")
        chunked = b"POST /echo HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n" + HOST
        raw = await self.whole(chunked + b"\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\ntrailer: 1\r\n\r\n")
        self.assertTrue(raw.endswith(b"abcde"), raw)

    async def test_what_a_handler_is_told(self) -> None:
        answer = await self.ask("/facts?q=a%20b", x_b="1")
        self.assertEqual(answer.json, ["GET", "HTTP/1.1", "/facts", "127.0.0.1", "a b", "1"])
        raw = await self.whole(b"GET http://x/facts HTTP/1.0\r\n\r\n")
        self.assertIn(b'"/facts"', raw)
        self.assertEqual((await self.ask("/facts?q=1&q=2")).status, 400)

    async def test_nothing_and_redirects(self) -> None:
        answer = await self.ask("/nothing")
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertNotIn("content-type", answer.headers)
        self.assertNotIn("content-length", answer.headers)
        answer = await self.ask("/away")
        self.assertEqual((answer.status, answer.headers["location"]), (302, "/hello/x"))

    async def test_a_file(self) -> None:
        answer = await self.ask("/leaf")
        self.assertEqual((answer.body, answer.headers["content-length"], answer.headers["x-a"]), (b"leaf", "4", "1"))
        answer = await self.ask("/leaf", range="bytes=1-2")
        self.assertEqual((answer.status, answer.body), (206, b"ea"))
        answer = await self.ask("/leaf", "HEAD")
        self.assertEqual((answer.status, answer.headers["content-length"], answer.body), (200, "4", b""))

    async def test_what_lies_below_a_path(self) -> None:
        for path, rest in (
            ("/a/b", []),
            ("/a/b/", [""]),
            ("/a/b/c", ["c"]),
            ("/a/b/c%2Fd//e%20f?x=/y", ["c/d", "", "e f"]),
        ):
            answer = await self.ask(path)
            self.assertEqual((answer.status, answer.json), (200, rest), path)
        for path in ("/a", "/a/", "/a/bc", "/b", "//"):
            self.assertEqual((await self.ask(path)).status, 404, path)
        answer = await self.ask("/a/b", "POST", b"x")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, OPTIONS"))
        self.assertEqual((await self.ask("/a/b/c", "OPTIONS")).status, 204)
        self.assertEqual((await self.ask("/a/b", "HEAD")).status, 200)

    async def test_requests_one_behind_the_other_are_answered_in_order(self) -> None:
        """RFC 9112, 9.3.2: also where the first answer takes longer."""
        paths = [b"/later", b"/hello/a", b"/pieces", b"/hello/b"]
        requests = [b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" for path in paths]
        requests[-1] = requests[-1].replace(HOST, HOST + b"connection: close\r\n")
        raw = await self.whole(b"".join(requests))
        places = [raw.index(body) for body in (b"1\r\n2\r\n", b"Hello a", b"4\r\none ", b"Hello b")]
        self.assertEqual(places, sorted(places))
        self.assertEqual(raw.count(b"HTTP/1.1 200 OK"), 4)


class Errors(served.ServedCase):
    pages = ErrorPages({404: lambda error: Response.html("<h1>Gone fishing</h1>"), 402: json_page})

    def rows(self) -> list[Route]:
        return [
            Route("/broken", GET=broken),
            Route("/half", GET=half),
            Route("/wrong", GET=wrong),
            Route("/paid", GET=paid),
            Route("/number", GET=lambda request: Response(5)),  # type: ignore[arg-type]
            Route("/str", GET=lambda request: Response("text")),  # type: ignore[arg-type]
        ]

    async def test_a_handler_that_raises(self) -> None:
        for path in ("/broken", "/wrong", "/number", "/str"):
            with self.assertLogs("fanout.http.dispatch", "ERROR") as logged:
                answer = await self.ask(path)
            self.assertEqual(answer.status, 500, path)
            self.assertNotIn(b"secret", answer.body)
            self.assertIn("Traceback", "".join(logged.output) + "Traceback" * (path != "/broken"))
        await self.assert_lives()

    async def test_a_handler_that_raises_in_the_middle(self) -> None:
        with self.assertLogs("fanout.http.dispatch", "ERROR"), self.assertRaises(ConnectionError):
            await self.whole(b"GET /half HTTP/1.0\r\n\r\n")
        await self.assert_lives()

    async def test_pages(self) -> None:
        answer = await self.ask("/nowhere")
        self.assertEqual((answer.status, answer.body), (404, b"<h1>Gone fishing</h1>"))
        answer = await self.ask("/paid")
        self.assertEqual(
            (answer.status, answer.json["detail"], answer.headers["x-price"]), (402, "It costs <much>.", "9")
        )
        answer = await self.ask("/paid", "DELETE")
        self.assertIn(b"<h1>405 Method Not Allowed</h1>", answer.body)


class BadRequests(served.ServedCase):
    limits = SiteLimits(body_bytes=1_000, request_seconds=1)
    pages = ErrorPages({413: lambda error: Response.html("too much"), 400: lambda error: Response.html("what?")})

    def rows(self) -> list[Route]:
        return [Route("/", GET=facts, POST=echo), Route("/{name}", GET=hello)]

    async def refused(self, data: bytes, status: int) -> bytes:
        """The answer has this status, and the connection is closed."""
        raw = await self.whole(data)
        self.assertTrue(raw.startswith(b"HTTP/1.1 %d " % status), raw)
        return raw

    async def test_lengths_that_are_wrong(self) -> None:
        for headers in (
            b"content-length: 3\r\ntransfer-encoding: chunked\r\n",
            b"transfer-encoding: chunked\r\ncontent-length: 3\r\n",
            b"content-length: -1\r\n",
            b"content-length: +1\r\n",
            b"content-length: 1_0\r\n",
            b"content-length: 3, 3\r\n",
            b"content-length: 3\r\ncontent-length: 3\r\n",
            b"content-length: \r\n",
            b"transfer-encoding: gzip\r\n",
            b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ):
            raw = await self.refused(b"POST / HTTP/1.1\r\n" + HOST + headers + b"\r\nabc", 400)
            self.assertTrue(raw.endswith(b"what?"), raw)
            self.assertIn(b"connection: close", raw.lower())
        chunked = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n" + HOST + b"\r\n"
        for chunk in (b"x\r\n", b"-1\r\na\r\n", b"3\r\nabcd\r\n"):
            await self.refused(chunked + chunk, 400)
        await self.assert_lives()

    async def test_hosts_that_are_missing_or_too_many(self) -> None:
        await self.refused(b"GET / HTTP/1.1\r\n\r\n", 400)
        await self.refused(b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400)
        self.assertTrue((await self.whole(b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.0 200 "))

    async def test_what_is_no_request(self) -> None:
        for data in (
            b"GET /\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET / FTP/1.1\r\n\r\n",
            b"\x16\x03\x01\r\n",
            b"GET / x HTTP/1.1\r\n",
        ):
            await self.refused(data, 400)

    async def test_too_much(self) -> None:
        await self.refused(b"GET /" + b"a" * 20_000, 414)
        await self.refused(b"GET / HTTP/1.1\r\nx: " + b"a" * 20_000, 431)
        await self.refused(b"GET / HTTP/1.1\r\n" + b"x: a\r\n" * 101 + b"\r\n", 431)
        raw = await self.refused(b"POST / HTTP/1.1\r\ncontent-length: 1001\r\n" + HOST + b"\r\n", 413)
        self.assertTrue(raw.endswith(b"too much"), raw)
        chunked = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n" + HOST + b"\r\n"
        await self.refused(chunked + b"3e9\r\n" + b"a" * 1_001, 413)
        name = b"a" * 16_000
        self.assertIn(b"Hello " + name, await self.whole(b"GET /" + name + b" HTTP/1.0\r\n\r\n"))

    async def test_a_body_is_asked_for(self) -> None:
        def wait_for_it(raw: Raw) -> bytes:
            self.assertEqual(raw.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n")
            raw.send(b"abc")
            return raw.until(b"abc")

        head = b"POST / HTTP/1.1\r\ncontent-length: %d\r\nexpect: 100-continue\r\n" + HOST + b"\r\n"
        self.assertIn(b"HTTP/1.1 201 Created", await self.talk(wait_for_it, head % 3))
        await self.refused(head % 1_001, 413)

    async def test_who_says_nothing_more_is_let_go(self) -> None:
        for data in (b"", b"GET", b"POST / HTTP/1.1\r\ncontent-length: 3\r\n" + HOST + b"\r\nab"):
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(await self.whole(data), b"")
        answered = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
        with contextlib.suppress(ConnectionResetError):
            self.assertIn(b" 200 OK", await self.whole(answered))

    async def test_two_dots(self) -> None:
        for path in (b"/..", b"/../etc/passwd", b"/%2e%2e/x", b"/%2E./x", b"/a%2f..%2fb", b"/..%5cx", b"/%ff", b"/%00"):
            raw = await self.whole(b"GET " + path + b" HTTP/1.0\r\n\r\n")
            self.assertTrue(raw.startswith(b"HTTP/1.0 400 "), path)


class Leaving(served.ServedCase):
    """A client that goes while a handler waits."""

    def rows(self) -> list[Route]:
        self.waiting: Deferred[None] = Deferred(lambda _: None)
        self.asked: Deferred[None] = Deferred()
        self.left: Deferred[str] = Deferred()
        return [
            Route("/wait", GET=self.wait),
            Route("/stream", GET=self.stream),
            Route("/endless", GET=self.endless),
            Route("/all", GET=self.to_the_end),
        ]

    async def wait(self, request: Request) -> Response:
        self.asked.callback(None)
        try:
            await self.waiting
        except CancelledError:
            self.left.callback("handler")
            raise
        return NO_CONTENT

    def stream(self, request: Request) -> Response:
        async def made() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                self.asked.callback(None)
                await self.waiting
            finally:
                self.left.callback("body")

        return Response(made())

    def endless(self, request: Request) -> Response:
        async def made() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 65_536
            finally:
                self.left.callback("body that nobody reads")

        self.asked.callback(None)
        return Response(made())

    async def to_the_end(self, request: Request) -> Response:
        request.run_to_end()
        self.asked.callback(None)
        await self.waiting
        self.left.callback("end")
        return NO_CONTENT

    async def leave(self, path: bytes, told: str) -> None:
        raw = Raw(self.address, b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        await self.asked
        raw.close()
        self.assertEqual(await self.left, told)
        await self.assert_lives()

    async def test_the_handler_is_cancelled(self) -> None:
        await self.leave(b"/wait", "handler")

    async def test_the_body_is_closed(self) -> None:
        await self.leave(b"/stream", "body")

    async def test_a_body_that_waits_for_its_client_is_closed(self) -> None:
        await self.leave(b"/endless", "body that nobody reads")

    async def test_a_handler_that_says_so_goes_on(self) -> None:
        raw = Raw(self.address, b"GET /all HTTP/1.1\r\n" + HOST + b"\r\n")
        await self.asked
        raw.close()
        await self.assert_lives()
        self.waiting.callback(None)
        self.assertEqual(await self.left, "end")


class Failing(served.ServedCase):
    """A handler that fails when nobody is there any more."""

    def rows(self) -> list[Route]:
        self.asked: Deferred[None] = Deferred()
        self.logged: Deferred[None] = Deferred()
        return [Route("/wait", GET=self.wait)]

    async def wait(self, request: Request) -> Response:
        self.asked.callback(None)
        try:
            await Deferred()
        finally:
            reactor.callLater(0, self.logged.callback, None)
            raise ValueError("of its own")

    async def test_it_is_in_the_log(self) -> None:
        raw = Raw(self.address, b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        await self.asked
        with self.assertLogs("fanout.http.dispatch", "ERROR"):
            raw.close()
            await self.logged


class BodyFiles(served.ServedCase):
    """A large body lies on disk, and is gone with its request."""

    def rows(self) -> list[Route]:
        self.files: list[IO[bytes]] = []
        return [Route("/", POST=self.keep)]

    def keep(self, request: Request) -> Response:
        self.files.append(request.body)
        return NO_CONTENT

    async def test_it_is_closed_with_its_request(self) -> None:
        await self.ask("/", "POST", b"x" * 200_000)
        self.assertTrue(self.files[0].closed)


class BeforeTheBody(served.ServedCase):
    """What is known before a body is read is enough to refuse it."""

    def rows(self) -> list[Route]:
        self.read: list[bytes] = []
        return [Route("/", before=self.before, POST=self.keep, GET=hello)]

    def before(self, request: Request) -> None:
        if request.header("authorization") is None or request.query("wrong"):
            raise HttpError(401, "This needs a login.", WWW_Authenticate="Basic")

    def keep(self, request: Request) -> Response:
        self.read.append(request.body.read())
        return NO_CONTENT

    async def refused(self, head: bytes) -> bytes:
        """The answer to a request whose body does not come."""
        return await self.whole(head + b" HTTP/1.1\r\n" + HOST + b"content-length: 9\r\nexpect: 100-continue\r\n\r\n")

    async def test_it_is_refused_before_it_is_sent(self) -> None:
        answer = await self.refused(b"POST /")
        self.assertTrue(answer.startswith(b"HTTP/1.1 401 "), answer)
        self.assertIn(b"\r\nWWW-Authenticate: Basic\r\n", answer)
        self.assertIn(b"This needs a login.", answer)

    async def test_so_are_wrong_paths_and_methods(self) -> None:
        self.assertTrue((await self.refused(b"POST /nothing")).startswith(b"HTTP/1.1 404 "))
        answer = await self.refused(b"PUT /")
        self.assertTrue(answer.startswith(b"HTTP/1.1 405 "), answer)
        self.assertIn(b"\r\nAllow: ", answer)

    async def test_one_that_may_be_sent_arrives(self) -> None:
        self.assertEqual((await self.ask("/", "POST", b"body", authorization="x")).status, 204)
        self.assertEqual(self.read, [b"body"])

    async def test_all_bodies_together_are_bounded(self) -> None:
        self.patch(self.site.bodies, "limit", 100_000)
        self.assertEqual((await self.ask("/", "POST", b"x" * 40_000, authorization="x")).status, 204)
        answer = await self.ask("/", "POST", b"x" * 60_000, authorization="x")
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "10"))
        self.assertEqual((self.site.bodies.used, self.site.bodies.refused), (0, 1))


class Operators(served.ServedCase):
    """A site that asks for a token, with one route that is open to everybody."""

    auth = OperatorAuth("0123456789abcdef", "operators")

    def rows(self) -> list[Route]:
        return [
            Route("/open", GET=facts, POST=facts, without_auth=True),
            Route("/secret", GET=facts, PUT=facts),
        ]

    async def test_a_client_without_the_token_learns_nothing_of_the_table(self) -> None:
        self.assertEqual((await self.ask("/open")).status, 200)
        self.assertEqual((await self.ask("/open", "POST")).status, 200)
        for path in ("/secret", "/nothing", "/secret/x"):
            answer = await self.ask(path)
            self.assertEqual((answer.status, "operators" in answer.headers["www-authenticate"]), (401, True), path)
            for method in ("PUT", "DELETE"):
                answer = await self.ask(path, method)
                self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, OPTIONS"), path)

    async def test_a_client_with_the_token_may_ask_for_everything(self) -> None:
        token = "Bearer 0123456789abcdef"
        self.assertEqual((await self.ask("/secret", authorization=token)).status, 200)
        self.assertEqual((await self.ask("/secret", "PUT", authorization=token)).status, 200)
        self.assertEqual((await self.ask("/nothing", authorization=token)).status, 404)

    async def test_probes_may_leave_out_the_host(self) -> None:
        raw = await self.whole(b"GET /open HTTP/1.1\r\nconnection: close\r\n\r\n")
        self.assertTrue(raw.startswith(b"HTTP/1.1 200 "), raw)
