"""``python -m webserver`` and the cookbook, as processes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Mapping
from pathlib import Path

from tests.web import Events, Raw, ask
from webserver.cli import main
from webserver.site_config import page

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "site"
DOCS = ROOT / "docs" / "web.md"
SECONDS = 60.0  # as in tests/processes.py: two busy cores have been seen to need thirty


class Process:
    """A server; its address is what it logs."""

    def __init__(self, *arguments: str, folder: Path = ROOT, **variables: str) -> None:
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        command = [sys.executable, "-m", *arguments]
        self._process = subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True)
        self._ready = threading.Event()
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(SECONDS):
            self._process.kill()
            raise AssertionError("it is not ready:\n" + "".join(self._said))
        found = re.search(r'"address": "([\d.]+):(\d+)"', "".join(self._said))
        assert found is not None, "".join(self._said)
        self.address = (found.group(1), int(found.group(2)))

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line)
            if "web.ready" in line:
                self._ready.set()
        self._process.stderr.close()

    def hang_up(self, event: str) -> None:
        """A SIGHUP; returns when this event is logged."""
        self._process.send_signal(signal.SIGHUP)
        self._wait_for(event)

    def ask_to_end(self, event: str) -> None:
        """A SIGTERM; returns when this event is logged."""
        self._process.send_signal(signal.SIGTERM)
        self._wait_for(event)

    def _wait_for(self, event: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.said(event):
            if time.monotonic() > deadline:
                raise AssertionError(f"no {event}:\n" + "".join(self._said))
            time.sleep(0.01)

    def said(self, event: str) -> str:
        """The line of an event; empty if there is none yet."""
        return next((line for line in list(self._said) if event in line), "")

    def exit_code(self) -> int:
        """Of a process that was asked to end. All it logged is known then."""
        code = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def end(self) -> int:
        """:return: the exit code after a SIGTERM."""
        self._process.send_signal(signal.SIGTERM)
        return self.exit_code()

    def kill(self) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self.exit_code()


def lasting(headers: Mapping[str, str]) -> dict[str, str]:
    """Without those of the moment, and of how the body is framed, which HEAD does not have (RFC 9110, 9.3.2)."""
    return {name.lower(): headers[name] for name in headers if name.lower() not in ("date", "transfer-encoding")}


class TestSite(unittest.TestCase):
    """The example, with a free port and error pages."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory()
        home = Path(cls.temporary.name)
        for name in ("public", "guestbook.py"):
            (home / name).symlink_to(EXAMPLE / name)
        (home / "uploads").mkdir()
        (home / "gone.html").write_text("<h1>Gone fishing</h1>")
        text = (EXAMPLE / "SITE.toml").read_text().replace("port = 8000", 'port = 0\naccess_log = "access.log"')
        (home / "SITE.toml").write_text(text + '\n[errors]\n404 = "gone.html"\n')
        cls.home = home
        cls.process = Process("webserver", str(home / "SITE.toml"))
        cls.address = cls.process.address

    @classmethod
    def tearDownClass(cls) -> None:
        code = cls.process.end()
        cls.temporary.cleanup()
        if code:
            raise AssertionError(f"it ended with {code}")

    def test_all_parts_answer(self) -> None:
        self.assertIn(b"<h1>Temperature</h1>", ask(self.address, "/").body)
        self.assertIn(b'<p style="color: green">Welcome, anna.</p>', ask(self.address, "/guests/anna").body)
        self.assertEqual(ask(self.address, "/uploads/x.html", method="PUT", body=b"<script>").status, 201)
        answer = ask(self.address, "/uploads/x.html")
        self.assertEqual(answer.body, b"<script>")
        self.assertIn("sandbox", answer.headers["content-security-policy"])
        self.assertIn(b"x.html", ask(self.address, "/uploads/").body)
        self.assertEqual(ask(self.address, "/channels/temperature", method="PUT", body=b"21.5").status, 201)
        with Events(self.address, "/channels/temperature", accept="text/event-stream") as events:
            self.assertEqual(events.next().data, 21.5)

    def test_head_has_the_headers_of_get(self) -> None:
        ask(self.address, "/channels/head", method="PUT", body=b"1", content_type="text/plain")
        (self.home / "uploads" / "head.txt").write_bytes(b"1" * 100_000)
        for path in (
            "/",
            "/index.html",
            "/uploads",
            "/uploads/",
            "/uploads/head.txt",
            "/uploads/%2e",
            "/guests/anna",
            "/channels",
            "/channels/head",
            "/channels/of-nothing",
            "/nowhere",
        ):
            head, got = ask(self.address, path, method="HEAD"), ask(self.address, path)
            self.assertEqual((head.status, head.body), (got.status, b""), path)
            self.assertEqual(lasting(head.headers), lasting(got.headers), path)
        head = ask(self.address, "/channels/head", method="HEAD", accept="text/event-stream")
        with Events(self.address, "/channels/head", accept="text/event-stream") as events:
            got_headers = dict(line.split(": ", 1) for line in events.headers.splitlines()[1:] if line)
        self.assertEqual(lasting(head.headers), lasting(got_headers))

    def test_error_pages_and_the_access_log(self) -> None:
        answer = ask(self.address, "/nowhere", user_agent="curious")
        self.assertEqual((answer.status, answer.body), (404, b"<h1>Gone fishing</h1>"))
        line = self.logged("/nowhere ")
        self.assertTrue(line.startswith("127.0.0.1 - - ["), line)
        self.assertTrue(line.endswith('"GET /nowhere HTTP/1.1" 404 21 "-" "curious"'), line)

    def logged(self, path: str) -> str:
        """The line of an answer. It is written when the answer ends, which its client may notice before."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            log = self.home / "access.log"
            lines = log.read_text().splitlines() if log.exists() else []
            found = [line for line in lines if path in line]
            if found:
                return found[-1]
            ask(self.address, "/")  # which is logged, too
        raise AssertionError(f"no line with {path} in {lines}")

    def test_the_access_log_has_the_size_of_each_kind_of_answer(self) -> None:
        large = b"x" * 3_000_000
        (self.home / "uploads" / "large").write_bytes(large)
        for path, method, status, octets in (
            ("/uploads/large", "GET", 200, len(large)),
            ("/guests/size", "GET", 200, len(b'<p style="color: green">Welcome, size.</p>\n')),
            ("/guests/head", "HEAD", 200, "-"),
            ("/channels/of-no-size", "PUT", 201, "-"),
        ):
            ask(self.address, path, method=method, body=b"1" if method == "PUT" else None)
            self.assertIn(f'"{method} {path} HTTP/1.1" {status} {octets} "-"', self.logged(path))
        ask(self.address, "/uploads/large?part", range="bytes=0-9")
        self.assertIn('"GET /uploads/large HTTP/1.1" 206 10 "-"', self.logged("206 10"))
        with Events(self.address, "/channels/stream", accept="text/event-stream") as events:
            ask(self.address, "/channels/stream", method="PUT", body=b"21.5")
            event = events.next()
        octets = len(f"retry: 3000\n\nid: {event.id}\nevent: message\ndata: 21.5\n\n")
        self.assertIn(f'"GET /channels/stream HTTP/1.1" 200 {octets} "-"', self.logged("GET /channels/stream "))

    def test_the_access_log_has_a_download_that_was_given_up(self) -> None:
        (self.home / "uploads" / "given-up").write_bytes(b"x" * 30_000_000)
        with Raw(self.address, b"GET /uploads/given-up HTTP/1.1\r\nhost: localhost\r\n\r\n") as raw:
            raw.until(b"xxxx")
        sent = int(self.logged("/given-up").split()[9])
        self.assertGreater(sent, 0)
        self.assertLess(sent, 30_000_000)

    def test_a_sighup_opens_the_access_log_anew(self) -> None:
        self.logged("/")
        log, moved = self.home / "access.log", self.home / "access.log.moved"
        log.rename(moved)
        self.process.hang_up("access_log.reopened")
        ask(self.address, "/after-the-move")
        self.logged("/after-the-move")
        self.assertNotIn("/after-the-move", moved.read_text())


class TestWithoutFile(unittest.TestCase):
    """A folder, or an application, on the command line."""

    def serve(self, *arguments: str, folder: Path = ROOT, **variables: str) -> Process:
        process = Process("webserver", *arguments, "--port", "0", folder=folder, **variables)
        self.addCleanup(process.kill)
        return process

    def folder(self, **files: str) -> Path:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        for name, content in files.items():
            (Path(temporary.name) / name).write_text(content)
        return Path(temporary.name)

    def test_a_folder(self) -> None:
        folder = self.folder(**{"a b.txt": "hello", ".hidden": "no"})
        server = self.serve(str(folder))
        self.assertEqual(ask(server.address, "/a%20b.txt").body, b"hello")
        listing = ask(server.address, "/").body.partition(b"<main")[2]
        self.assertEqual((b"a b.txt" in listing, b"hidden" in listing), (True, False))
        self.assertEqual(ask(server.address, "/.hidden").status, 404)
        self.assertEqual(server.end(), 0)

    def test_the_folder_that_it_is_started_in(self) -> None:
        server = self.serve(".", folder=self.folder(**{"index.html": "<h1>Here</h1>"}))
        self.assertEqual(ask(server.address, "/").body, b"<h1>Here</h1>")

    def test_an_application_of_the_working_folder(self) -> None:
        text = "def app(environ, start):\n    start('200 OK', [])\n    return [environ['PATH_INFO'].encode()]\n"
        server = self.serve("shop:app", folder=self.folder(**{"shop.py": text}))
        self.assertEqual(ask(server.address, "/a/b").body, b"/a/b")

    def test_the_commands_of_the_documentation(self) -> None:
        found = re.findall(
            r"^(?:PYTHONPATH=(\S+) )?python -m webserver (\S+) --port 800\d$", DOCS.read_text(), re.MULTILINE
        )
        self.assertEqual(len(found), 2)
        for path, given in found:
            server = self.serve(given, PYTHONPATH=f"{ROOT}:{ROOT / path}")
            self.assertEqual(ask(server.address, "/").status, 200, given)

    def test_what_is_neither(self) -> None:
        for given, words in (
            (["nowhere"], "nowhere is not a site file, not a folder, and not a WSGI application"),
            (["nowhere.toml"], "cannot read nowhere.toml: No such file"),
            (["no_such_module_here:app"], "no_such_module_here cannot be imported"),
            (["json:nothing"], "json has no application named nothing"),
            ([str(EXAMPLE / "public"), "--port", "65536"], "--port: input should be less than or equal to 65535"),
        ):
            with contextlib.redirect_stderr(io.StringIO()) as said:
                self.assertEqual(main([*given, "--check"]), 2, given)
            self.assertIn(words, said.getvalue())
            self.assertEqual(len(said.getvalue().splitlines()), 1)


class TestFile(unittest.TestCase):
    """Site files that are wrong: one line each, no traceback, exit code 2."""

    def run_it(self, text: str, *flags: str, **files: str) -> tuple[int, str]:
        with tempfile.TemporaryDirectory() as home:
            (Path(home) / "folder").mkdir()
            for name, content in files.items():
                (Path(home) / name).write_text(content)
            path = Path(home) / "SITE.toml"
            path.write_text(text)
            with contextlib.redirect_stderr(io.StringIO()) as said:
                code = main([str(path), *flags])
        return code, said.getvalue()

    def test_everything_wrong_at_once(self) -> None:
        code, said = self.run_it(
            "[server]\nprot = 1\n[limits]\nbody_bytes = -1\n[[files]]\nfoldr = 'x'\n"
            "[[uploads]]\nat = 'up'\nfolder = 'f'\n[topcis]\n"
        )
        self.assertEqual(code, 2)
        for words in (
            "server, prot: no such key; did you mean port?",
            "limits, body_bytes: input should be greater than or equal to 0",
            "files 1, foldr: no such key; did you mean folder?",
            "files 1, folder: field required",
            "uploads 1, at: invalid value. URL path of the folder, such as /uploads.",
            "topcis: no such key; did you mean topics?",
        ):
            self.assertIn(words, said)
        self.assertEqual(len(said.splitlines()), 6, said)

    def test_what_is_not_there(self) -> None:
        for text, words in (
            ("[[files]]\nfolder = 'nowhere'\n", "nowhere is not a folder"),
            ("[[wsgi]]\napplication = 'no_such_module_here:app'\n", "no_such_module_here cannot be imported"),
            ("[[wsgi]]\n", "either an application or a table"),
            ("[[wsgi]]\ntable = 'urls.ini'\n", "cannot read urls.ini: No such file"),
            ("[server]\nport = 0\n", "nothing to serve"),
            ("[[files]]\nfolder = 'folder'\n[errors]\n200 = 'x'\n", "200 is not the status of an error"),
            ("[server\n", "SITE.toml: "),
            ("[server]\naccess_log = 'nowhere/log'\n[topics]\n", "cannot write nowhere/log: its folder is missing"),
        ):
            code, said = self.run_it(text, "--check")
            self.assertEqual((code, words in said, len(said.splitlines())), (2, True, 1), said)

    def test_two_parts_at_one_place(self) -> None:
        code, said = self.run_it(
            "[topics]\nat = '/a'\n[[uploads]]\nfolder = 'folder'\nat = '/a/b'\n[[files]]\nfolder = 'folder'\n"
            "[[files]]\nfolder = 'folder'\nat = '/a'\n[[files]]\nfolder = 'folder'\nat = '/a/b'\n"
            "[[wsgi]]\napplication = 'x:y'\n",
            "--check",
        )
        self.assertEqual(code, 2)
        lines = [line.partition(".toml: ")[2] for line in said.splitlines()]
        self.assertEqual(
            lines,
            [
                "files 1, at: wsgi 1 is the whole site already; each needs its own place",
                "files 2, at: topics is at /a already; each needs its own place",
                "files 3, at: uploads 1 is at /a/b already; each needs its own place",
            ],
        )

    def test_parts_at_one_place_that_do_not_answer_the_same(self) -> None:
        text = "[[uploads]]\nfolder = 'folder'\nreadable = false\n[[files]]\nfolder = 'folder'\nat = '/uploads'\n"
        self.assertEqual(self.run_it(text, "--check"), (0, ""))

    def test_a_table_of_applications_twice(self) -> None:
        code, said = self.run_it("[error_404]\nimport_path = 'a'\n[error_404]\nimport_path = 'a'\n", "--check")
        self.assertEqual((code, len(said.splitlines())), (2, 1), said)
        self.assertIn("Cannot declare ('error_404',) twice (at line 3", said)
        code, said = self.run_it("[error_404]\nimport_path = 'a'\n", "--check")
        self.assertEqual(code, 2)
        self.assertIn("error_404: no such key", said)

    def test_a_module_that_raises(self) -> None:
        for name, text, words in (
            ("raises", "import json\n\njson.loads('{')\n", ("JSONDecodeError: Expecting property name", "line 3)")),
            ("asks", "import os\nos.environ['NOT_SET_HERE']\n", ("KeyError: 'NOT_SET_HERE'", "line 2)")),
            ("typo", "def a(:\n", ("SyntaxError: invalid syntax", "line 1)")),
            ("leaves", "import sys\nsys.exit(0)\n", ("SystemExit: 0", "line 2)")),
            ("two_lines", "raise ValueError('one\\ntwo')\n", ("ValueError: one two", "line 1)")),
        ):
            site = f"[[wsgi]]\napplication = 'broken_{name}:app'\npython_path = ['.']\n"
            code, said = self.run_it(site, "--check", **{f"broken_{name}.py": text})
            self.assertEqual((code, len(said.splitlines())), (2, 1), said)
            for each in (f"broken_{name} cannot be imported: ", f"broken_{name}.py", *words):
                self.assertIn(each, said)

    def test_one_that_is_right(self) -> None:
        self.assertEqual(self.run_it("[[files]]\nfolder = 'folder'\n", "--check"), (0, ""))

    def test_a_port_that_is_taken(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as site:
                site.write(f"[server]\nport = {port}\n[topics]\n")
                site.flush()
                command = [sys.executable, "-m", "webserver", site.name]
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"cannot listen on 127.0.0.1:{port}", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_every_key_is_in_the_documentation(self) -> None:
        written = (ROOT / "docs" / "web-settings.md").read_text()
        self.assertEqual(page() + "\n", written, 'run "make settings"')


class TestCookbook(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.process = Process("examples.web_cookbook", "0")
        cls.address = cls.process.address

    @classmethod
    def tearDownClass(cls) -> None:
        cls.process.end()

    def test_hello(self) -> None:
        self.assertEqual(ask(self.address, "/hello/w%C3%B6rld").body.decode(), "Hello wörld!\n")

    def test_echo(self) -> None:
        told = ask(self.address, "/echo?a=1", method="POST", body=b"x" * 5_000, x_a="b").json
        self.assertEqual((told["method"], told["path"], told["octets"]), ("POST", "/echo", 5_000))
        self.assertEqual(told["headers"]["x-a"], "b")

    def test_a_counter_is_a_topic(self) -> None:
        self.assertEqual([ask(self.address, "/counter/a").body for _ in range(3)], [b"1\n", b"2\n", b"3\n"])
        self.assertEqual(ask(self.address, "/channels/counter/a").body, b"3")
        ask(self.address, "/channels/counter/a", method="PUT", body=b"41")
        self.assertEqual(ask(self.address, "/counter/a").body, b"42\n")
        self.assertIn("counter/a", json.dumps(ask(self.address, "/channels").json))
