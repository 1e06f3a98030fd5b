"""What the tests of Artcast's site have in common: a server, and clients that ask it."""

from __future__ import annotations

import contextlib
import unittest
from collections.abc import Iterator

from tests.artcast.server import ArtcastServer, Asking
from tests.web import Answer, ask


class SiteCase(unittest.TestCase):
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
