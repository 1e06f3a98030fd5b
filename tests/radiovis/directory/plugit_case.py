"""A small PlugIt over real HTTP, and a directory that asks it."""

from __future__ import annotations

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.web.client import Agent

from radiovis.directory import plugit_http
from radiovis.directory.interface import DirectoryError
from radiovis.directory.plugit import PlugIt
from radiovis.directory.plugit_http import PlugItCalls
from radiovis.settings import Settings
from tests.radiovis.directory.plugit_server import SECRET, RunningPlugIt

ROCK, DAB = "/topic/fm/4e1/4000/09580/", "/topic/dab/4e1/4fff/4001/0/"


class PlugItCase:
    """Mixed into the cases. Not a TestCase itself: it would run as an empty test."""

    def setUp(self) -> None:
        self.server = RunningPlugIt(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.stop()))
        self.api = self.server.api
        self.plugit = self.directory()
        self.patch(plugit_http, "FIRST_PAUSE", 0.0)
        self.patch(plugit_http, "LONGEST_PAUSE", 0.0)

    def directory(self, url: str | None = None, **changes: object) -> PlugIt:
        settings = Settings(RADIODNS_API_URL=url or self.server.url, **changes)  # type: ignore[arg-type]
        return PlugIt(PlugItCalls(HTTPClient(Agent(reactor)), settings, reactor), settings)

    async def fails(self, asked: Deferred[object] | object) -> str:
        try:
            answer = await asked  # type: ignore[misc]
        except DirectoryError as error:
            self.assertNotIn(SECRET, str(error))
            return str(error)
        raise self.failureException(f"it did not fail, but gave {answer!r}")
