"""What docs/http.md shows is what a node answers: every ``$ curl …`` of it is run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import unittest
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from twisted.internet.task import Clock

from fanout.http.routing import Route
from radiovis.admin.api import NodeApi
from radiovis.admin.journal_search import JournalApi
from radiovis.admin.listener import Admin, AdminPorts
from radiovis.http.pages import admin_pages
from radiovis.http.routes import PublicSite
from radiovis.settings import Settings
from tests import services
from tests.processes import ROOT, Server
from tests.radiovis.http import site

PAGE = ROOT / "docs" / "http.md"
SECONDS = 20  # for one answer; the longest is the poll that times out
_EXAMPLE = re.compile(r"^\$ (curl .+)\n((?:.+\n)+?)(?=\n|\$ curl|```)", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A command, and how its answer begins: the status line, then headers, in any order."""

    command: str
    head: tuple[str, ...]


def examples() -> list[Example]:
    """All of them, in the order of the page: what one publishes another reads."""
    found = _EXAMPLE.findall(PAGE.read_text())
    return [Example(command, tuple(head.splitlines())) for command, head in found]


def answer_head(command: list[str]) -> list[str]:
    """The lines of an answer up to the empty one. A stream has no end, so it is left then."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
    ) as curl:
        assert curl.stdout is not None
        lines = []
        for line in curl.stdout:
            if not line.strip():
                break
            lines.append(line.strip())
        curl.kill()
    return lines


@unittest.skipUnless(shutil.which("curl"), "curl is not installed")
class TestExamples(unittest.TestCase):
    """A node with the stations of ``make demo``."""

    server: ClassVar[Server]

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(
            STANDALONE=True,
            STATIONS_FILE=ROOT / "demo" / "stations.toml",
            SLIDES_DIR=ROOT / "demo" / "slides",
            HTTP_PORT=services.free_port(),
            ADMIN_PORT=services.free_port(),
            HTTP_POLL_TIMEOUT=1,
            # curl says nothing of a WebSocket on which nothing is said, until it is closed.
            **{"fanout.stomp.limits.CONNECT_SECONDS": 1},
        )
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    def test_every_answer_is_as_shown(self) -> None:
        found = examples()
        self.assertGreater(len(found), 30)
        self.assertEqual(len(found), PAGE.read_text().count("$ curl "), "an example without an answer")
        for example in found:
            with self.subTest(command=example.command):
                self._assert_as_shown(example)
        self.assertEqual(self.server.faults, [])

    def _assert_as_shown(self, example: Example) -> None:
        head = answer_head(self._here(example.command))
        self.assertEqual(head[:1], [example.head[0]])
        headers = {_name_and_value(line) for line in head[1:]}
        self.assertLessEqual({_name_and_value(line) for line in example.head[1:]}, headers)

    def _here(self, command: str) -> list[str]:
        """The command with this node's ports, without a progress meter, and with an end."""
        for shown, real in (("127.0.0.1:8080", self.server.http), ("127.0.0.1:8081", self.server.admin)):
            command = command.replace(f"'http://{shown}/", "'http://{}:{}/".format(*real))
        return [*shlex.split(command), "--silent", "--max-time", str(SECONDS)]


class TestRoutes(site.SiteCase):
    """Whoever adds an address describes it."""

    def setUp(self) -> None:
        super().setUp()
        page = PAGE.read_text()
        self.public, _, self.admin = page.partition("\n## For operators\n")

    def assert_described(self, page: str, path: str) -> None:
        self.assertRegex(page, rf"`(GET |POST )?/{re.escape(path)}(`|/?<)|`/{re.escape(path)}/`", path)

    def test_of_the_public_site(self) -> None:
        nothing: Any = object()  # a handler that nobody asks
        websockets = {"/stomp": nothing, "/topic": nothing}
        settings = Settings(SLIDES_DIR=str(ROOT / "demo" / "slides"))
        paths = _paths(PublicSite(self.house.requests, settings, self.wall, websockets).routes.rows)
        self.assertIn("radiodns/vis/vis.json", paths)
        for path in paths:
            self.assert_described(self.public, path)

    def test_of_the_operators_listener(self) -> None:
        nothing: Any = object()  # routes are made of it, and nobody asks them
        routes = Admin(Clock(), Settings(), AdminPorts.of(Settings()), "server.py", []).routes
        more = [*admin_pages(), *NodeApi(nothing).routes(), *JournalApi(nothing, nothing).routes()]
        paths = _paths([*routes, *more])
        self.assertIn("api/journal", paths)
        for path in paths:
            self.assert_described(self.admin, path)


def _paths(rows: Sequence[Route]) -> set[str]:
    """Of all rows, without what lies below them; a file counts as its folder."""
    paths = (row.pattern.text.partition("/{")[0].removeprefix("/") for row in rows)
    return {path.rpartition("/")[0] if path.endswith(".css") else path for path in paths}


def _name_and_value(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip()
