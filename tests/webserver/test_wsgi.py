"""WSGI applications behind a mount, over real sockets."""

from __future__ import annotations

import json
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import flask
from twisted.internet import reactor

from fanout.http.response import Response
from fanout.http.routing import Route
from tests.fanout.http import served
from tests.web import Raw
from webserver.site_config import SiteLimits
from webserver.wsgi import TableError, Wsgi, WsgiTable, one

HOST = b"host: x\r\n"
StartResponse = Callable[..., Any]


def tell(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Answers with its environ, and the body."""
    known = {name: value for name, value in environ.items() if isinstance(value, str | bool | list)}
    known["body"] = environ["wsgi.input"].read(10_000).decode()
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("X-A", "1"), ("X-A", "2"), ("X-Name", "J\xc3\xb6")]
    )
    return [json.dumps(known).encode()]


def shop() -> flask.Flask:
    """An application as people write it; it knows nothing of us."""
    app = flask.Flask("shop")
    app.secret_key = "not so secret"

    @app.get("/hello/<name>")
    def hello(name: str) -> str:
        return f"Hello {name}, from {flask.url_for('basket')}"

    @app.route("/basket", methods=["GET", "POST"])
    def basket() -> Any:
        if flask.request.method == "POST":
            flask.session["thing"] = flask.request.form["thing"]
            return flask.redirect(flask.url_for("basket"))
        return {"thing": flask.session.get("thing")}

    @app.post("/file")
    def file() -> str:
        return str(len(flask.request.files["f"].read()))

    @app.get("/stream")
    def stream() -> flask.Response:
        lines = (f"{number}\n" for number in range(1_000))
        return flask.Response(lines, mimetype="text/plain", headers={"Cache-Control": "max-age=60"})

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("of its own")

    return app


class Mounted(served.ServedCase):
    seconds = 30.0
    limits = SiteLimits(body_bytes=1_000_000)

    def application(self) -> Callable[..., Any]:
        return tell

    def rows(self) -> list[Route]:
        self.wsgi = Wsgi(reactor, one(self.application(), {"colour": "green"}), "/app", threads=2, seconds=self.seconds)
        self.addCleanup(self.wsgi.stop)
        return [*self.wsgi.routes(), Route("/static/{path:path}", GET=lambda _: Response.text("static"))]


class Environ(Mounted):
    def application(self) -> Callable[..., Any]:
        return validator(tell)  # the standard library's own check of both sides

    async def test_what_it_is_told(self) -> None:
        answer = await self.ask("/app/a%20b/%C3%B6?q=%20", "POST", b"body", x_b="1", content_type="text/plain")
        told = answer.json
        expected = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "/app",
            "PATH_INFO": "/a b/\xc3\xb6",
            "QUERY_STRING": "q=%20",
            "REQUEST_URI": "/app/a%20b/%C3%B6?q=%20",
            "NON_QUERY_URI": "/app/a%20b/%C3%B6",
            "CONTENT_TYPE": "text/plain",
            "CONTENT_LENGTH": "4",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self.address[1]),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_X_B": "1",
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "kp.colour": "green",
            "body": "body",
        }
        self.assertEqual({name: told.get(name) for name in expected}, expected)
        self.assertNotIn("PATH", told)

    async def test_the_place_itself(self) -> None:
        for path, info in (("/app", ""), ("/app/", "/")):
            told = (await self.ask(path)).json
            self.assertEqual((told["SCRIPT_NAME"], told["PATH_INFO"]), ("/app", info))
        self.assertEqual((await self.ask("/apple")).status, 404)

    async def test_a_header_that_is_no_utf_8(self) -> None:
        raw = await self.whole(b"GET /app/ HTTP/1.1\r\nconnection: close\r\nx-name: J\xf6\r\n" + HOST + b"\r\n")
        self.assertIn(b'"HTTP_X_NAME": "J\\u00f6"', raw)

    async def test_a_chunked_body_and_false_friends(self) -> None:
        head = b"PUT /app/x HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\nproxy: evil\r\nx_b: evil\r\n"
        raw = await self.whole(head + HOST + b"\r\n3\r\nabc\r\n0\r\n\r\n")
        told = json.loads(raw[raw.index(b"{") : raw.rindex(b"}") + 1])
        self.assertEqual((told["CONTENT_LENGTH"], told["body"]), ("3", "abc"))
        self.assertEqual({"HTTP_PROXY", "HTTP_X_B"} & set(told), set())
        self.assertEqual(raw.lower().count(b"\r\nx-a: "), 2)
        self.assertIn("\r\nX-Name: Jö\r\n".encode(), raw)


class Anything(Mounted):
    """What a server does not look at, and hands on."""

    async def test_any_method(self) -> None:
        """WebDAV, for one (RFC 4918); the longest registered one; one that nobody knows."""
        for method in ("PROPFIND", "MKCOL", "LOCK", "UPDATEREDIRECTREF", "TRACE", "get", "X-mine!"):
            told = (await self.ask("/app/x", method, b"body")).json
            self.assertEqual((told["REQUEST_METHOD"], told["body"]), (method, "body"))
        self.assertEqual((await self.ask("/app/x", "M" * 65)).status, 501)
        for method in ("(", "G{T"):
            self.assertEqual((await self.ask("/app/x", method)).status, 400, method)
        self.assertEqual((await self.ask("/apple", "PROPFIND")).status, 501)
        self.assertEqual((await self.ask("/static/x", "PROPFIND")).status, 501)

    async def test_any_path(self) -> None:
        """PEP 3333, "Unicode Issues": a character is an octet, whichever."""
        for path, info in (
            ("/app/%FF", "/\xff"),
            ("/app/%C3%B6%FF", "/\xc3\xb6\xff"),
            ("/app/a/../b", "/a/../b"),
            ("/app/..", "/.."),
            ("/app/%2e%2E/%2F", "/..//"),
            ("/app/a%00%0a", "/a\0\n"),
            ("/%61pp/x", "/x"),
        ):
            told = (await self.ask(path)).json
            named = [told[name] for name in ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI")]
            self.assertEqual(named, ["/app", info, path])
        for path in ("/app/%zz", "/%FF", "/static/%FF", "/static/../app/x", "/app%2F..%2F"):
            self.assertEqual((await self.ask(path)).status, 400, path)


class Unchanged(Mounted):
    """A Flask application, as it is."""

    def application(self) -> Callable[..., Any]:
        return shop()

    async def test_pages_forms_cookies_and_redirects(self) -> None:
        self.assertEqual((await self.ask("/app/hello/J%C3%BCrgen")).body.decode(), "Hello Jürgen, from /app/basket")
        form = "application/x-www-form-urlencoded"
        answer = await self.ask("/app/basket", "POST", b"thing=tea", content_type=form)
        self.assertEqual((answer.status, answer.headers["location"]), (302, "/app/basket"))
        cookie = answer.headers["set-cookie"].partition(";")[0]
        self.assertEqual((await self.ask("/app/basket", cookie=cookie)).json, {"thing": "tea"})

    async def test_files(self) -> None:
        body = (
            b'--b\r\ncontent-disposition: form-data; name="f"; filename="x"\r\n\r\n' + b"x" * 300_000 + b"\r\n--b--\r\n"
        )
        answer = await self.ask("/app/file", "POST", body, content_type="multipart/form-data; boundary=b")
        self.assertEqual(answer.body, b"300000")

    async def test_methods(self) -> None:
        self.assertEqual((await self.ask("/app/nowhere")).status, 404)
        self.assertEqual((await self.ask("/app/basket", "DELETE")).status, 405)
        answer = await self.ask("/app/basket", "HEAD")
        self.assertEqual((answer.status, answer.body, answer.headers["content-type"]), (200, b"", "application/json"))
        self.assertIn("POST", (await self.ask("/app/basket", "OPTIONS")).headers["allow"])

    async def test_head_has_the_headers_of_get(self) -> None:
        for path in ("hello/x", "stream", "basket", "nowhere", "static/nothing"):
            head, got = await self.ask(f"/app/{path}", "HEAD"), await self.ask(f"/app/{path}")
            for answer in (head, got):
                for name in ("date", "transfer-encoding"):
                    answer.headers.pop(name, None)
            self.assertEqual((head.status, head.headers, head.body), (got.status, got.headers, b""))

    async def test_methods_that_the_server_does_not_know(self) -> None:
        answer = await self.ask("/app/basket", "PROPFIND", b"<propfind/>")
        self.assertEqual((answer.status, answer.headers["allow"].count("POST")), (405, 1))

    async def test_streams(self) -> None:
        answer = await self.ask("/app/stream")
        self.assertEqual(answer.body.split(), [b"%d" % number for number in range(1_000)])
        self.assertEqual(answer.headers["transfer-encoding"], "chunked")

    async def test_an_error_of_its_own(self) -> None:
        self.assertEqual((await self.ask("/app/broken")).status, 500)
        self.assertEqual((await self.ask("/app/hello/x")).status, 200)


class Wrong(Mounted):
    """What an application should not do."""

    seconds = 0.5

    def application(self) -> Callable[..., Any]:
        self.hold = threading.Event()
        self.closed = threading.Event()
        self.addCleanup(self.hold.set)
        return self.misbehave

    def misbehave(self, environ: dict[str, Any], start_response: StartResponse) -> Any:
        ways = {
            "/raises": self.raises,
            "/says-nothing": lambda start: [b"x"],
            "/twice": self.twice,
            "/hop": lambda start: start("200 OK", [("Connection", "close")]) and [],
            "/text": lambda start: start("200 OK", []) and ["text"],
            "/reset": self.reset,
            "/hangs": lambda start: self.hold.wait() and [],
            "/stalls": self.stalls,
            "/breaks": self.breaks,
            "/longer": lambda start: start("200 OK", [("Content-Length", "3")]) and [b"ab", b"cd"],
            "/shorter": lambda start: start("200 OK", [("Content-Length", "5")]) and [b"ab", b"cd"],
            "/endless": self.endless,
            "/fine": lambda start: start("204 No Content", []) and [],
        }
        return ways[environ["PATH_INFO"]](start_response)

    def raises(self, start: StartResponse) -> list[bytes]:
        raise ValueError("the secret reason")

    def twice(self, start: StartResponse) -> list[bytes]:
        start("200 OK", [])
        start("200 OK", [])
        return []

    def reset(self, start: StartResponse) -> list[bytes]:
        raise ConnectionResetError("of a database")

    def stalls(self, start: StartResponse) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"a piece"
        self.hold.wait()

    def breaks(self, start: StartResponse) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"a piece"
        raise ValueError("in the middle")

    def endless(self, start: StartResponse) -> Iterator[bytes]:
        start("200 OK", [])
        try:
            while True:
                yield b"x" * 10_000
        finally:
            self.closed.set()

    async def test_what_gets_an_error_page(self) -> None:
        for path in ("raises", "says-nothing", "twice", "hop", "text", "reset"):
            with self.assertLogs("fanout.http.dispatch", "ERROR") as logged:
                answer = await self.ask(f"/app/{path}")
            self.assertEqual(answer.status, 500, path)
            self.assertIn(b"<h1>500 Internal Server Error</h1>", answer.body)
            self.assertNotIn(b"secret", answer.body)
            self.assertIn("Traceback", "".join(logged.output))
        self.assertEqual((await self.ask("/app/fine")).status, 204)

    async def test_one_that_never_answers(self) -> None:
        self.assertEqual((await self.ask("/app/hangs")).status, 504)
        self.assertEqual((await self.ask("/app/fine")).status, 204)
        self.assertEqual((await self.ask("/app/hangs")).status, 504)
        await self.assert_lives()
        self.assertEqual((await self.ask("/app/fine")).status, 504)  # both threads are gone
        self.hold.set()

    async def test_one_that_stalls_or_breaks_in_the_middle(self) -> None:
        for path in (b"stalls", b"breaks", b"longer", b"shorter"):
            with self.assertLogs("fanout.http.dispatch", "ERROR"), self.assertRaises(ConnectionError):
                await self.whole(b"GET /app/" + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        self.hold.set()
        self.assertEqual((await self.ask("/app/fine")).status, 204)

    async def test_a_client_that_goes_ends_it(self) -> None:
        raw = Raw(self.address, b"GET /app/endless HTTP/1.1\r\n" + HOST + b"\r\n")
        await self.talk(lambda _: raw.until(b"xxxx"))
        raw.close()
        self.assertTrue(await self.talk(lambda _: self.closed.wait(20)))


class Table(served.ServedCase):
    text = """
[error_404]
import_path = web_face_tell
app_object = nothing

[one]
regex = (first|1)
import_path = web_face_tell
colour = red

[two]
regex = f.*
import_path = web_face_tell
app_object = other

[root]
import_path = web_face_tell

"""

    def rows(self) -> list[Route]:
        module = types.ModuleType("web_face_tell")
        module.__dict__.update(application=tell, other=_named("other"), nothing=_named("nothing"))
        sys.modules["web_face_tell"] = module
        self.addCleanup(sys.modules.pop, "web_face_tell")
        table = WsgiTable(self.text, {"colour": "green", "size": "3"})
        self.wsgi = Wsgi(reactor, table, threads=2)
        self.addCleanup(self.wsgi.stop)
        return self.wsgi.routes()

    async def test_the_first_segment_chooses(self) -> None:
        told = (await self.ask("/first/x/y")).json
        names = ("SCRIPT_NAME", "PATH_INFO", "kp.colour", "kp.size")
        self.assertEqual([told[name] for name in names], ["/first", "/x/y", "red", "3"])
        told = (await self.ask("/")).json
        self.assertEqual([told[name] for name in names], ["", "/", "green", "3"])
        self.assertEqual((await self.ask("/1")).json["PATH_INFO"], "")
        self.assertEqual((await self.ask("/firsty")).body, b"other")
        for path in ("/11", "/nowhere/x", "//first"):
            self.assertEqual((await self.ask(path)).body, b"nothing", path)

    def test_tables_that_are_wrong(self) -> None:
        last = "[error_404]\nimport_path = web_face_tell\n"
        for text, word in (
            ("", "error_404"),
            ("[a]\nregex = a\nimport_path = web_face_tell\n", "error_404"),
            (last + last, "Line 3: there is a section [error_404] already"),
            (last + "import_path = x\n", "Line 3: [error_404] has import_path already"),
            (last + "what is this\n", "Line 3: this is neither"),
            ("[a]\nregex = (\nimport_path = web_face_tell\n" + last, "regular expression"),
            ("[a]\nimport_path = web_face_tell\n" + last, "regex"),
            ("[a]\nregex = a\n" + last, "import_path"),
            ("[a]\nregex = a\nimport_path = no_such_module_here\n" + last, "cannot be imported"),
            ("[a]\nregex = a\nimport_path = web_face_tell\napp_object = none\n" + last, "no application named none"),
            ("regex = a\n", "Line 1: a section such as [error_404] must begin before this line"),
            ("[root]\nregex = a\nimport_path = web_face_tell\n" + last, "must not have a regex"),
        ):
            with self.assertRaises(TableError, msg=text) as caught:
                WsgiTable(text)
            self.assertIn(word, str(caught.exception))


def _named(name: str) -> Callable[..., Any]:
    def application(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [name.encode()]

    return application
