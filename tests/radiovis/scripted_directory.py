"""A directory for unit tests: what it knows, when it answers and when it fails are for the test to say."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from radiovis.directory.interface import Channel, Default, DirectoryError


class ScriptedDirectory:
    """A :class:`~radiovis.directory.interface.Directory`.

    :ivar asked: every question so far, as ``method argument``.
    :ivar down: every question fails.
    :ivar failing: the methods that fail.
    :ivar held: unless None, questions for a country wait here until :meth:`release`.
    """

    def __init__(self) -> None:
        self.passcodes = {"1.rock": "secret"}
        self.stations: dict[str, tuple[str, ...]] = {}
        self.countries: dict[str, str] = {}
        self.registered: list[Channel] = []
        self.asked: list[str] = []
        self.down = False
        self.failing: set[str] = set()
        self.held: list[Deferred[None]] | None = None

    def hold(self) -> None:
        """Keep those waiting who ask for a country."""
        self.held = []

    def release(self) -> None:
        """Answer all who wait, and those to come."""
        held, self.held = self.held or [], None
        for waiting in held:
            waiting.callback(None)

    def _ask(self, question: str) -> None:
        self.asked.append(question)
        if self.down or question.partition(" ")[0] in self.failing:
            raise DirectoryError("down, as the test says")

    async def check_auth(self, login: str, passcode: str, address: str) -> bool:
        self._ask(f"check_auth {login} {address}")
        return self.passcodes.get(login) == passcode

    async def channels(self, station: str) -> tuple[str, ...]:
        self._ask(f"channels {station}")
        return self.stations.get(station, ())

    async def gcc(self, country: str) -> str | None:
        if self.held is not None:
            waiting: Deferred[None] = Deferred()
            self.held.append(waiting)
            await waiting
        self._ask(f"gcc {country}")
        return self.countries.get(country)

    async def topics(self) -> tuple[Channel, ...]:
        self._ask("topics")
        return tuple(self.registered)

    async def default(self, channel: int) -> Default | None:
        self._ask(f"default {channel}")
        return None
