"""A log API that does as a test says."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from radiovis.directory.interface import DirectoryError


class ScriptedStore:
    """A log API that keeps everything in a list, or fails as told.

    :ivar down: what it fails with; empty while it is well.
    :ivar refused: bodies it always refuses.
    :ivar hanging: while it is set, calls wait for it.
    :ivar most: the most ``add_log`` calls that were under way at a time.
    """

    def __init__(self) -> None:
        self.logs: list[bytes] = []
        self.topics: list[tuple[str, Sequence[tuple[str, str]], int]] = []
        self.down = ""
        self.refused: set[bytes] = set()
        self.hanging: Deferred[None] | None = None
        self.attempts = 0
        self.most = 0
        self.cleanups: list[int] = []
        self._under_way = 0

    async def add_log(self, topic: str, body: bytes, headers: Sequence[tuple[str, str]], timestamp: int) -> None:
        self.attempts += 1
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            if self.hanging is not None:
                await self.hanging
        finally:
            self._under_way -= 1
        if self.down or body in self.refused:
            raise DirectoryError(self.down or "add_log at host: HTTP status 500")
        self.logs.append(body)
        self.topics.append((topic, headers, timestamp))

    async def cleanup_logs(self, max_age: int) -> None:
        if self.down:
            raise DirectoryError(self.down)
        self.cleanups.append(max_age)
