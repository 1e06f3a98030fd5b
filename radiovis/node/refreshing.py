"""What a node does when the stations change: subscriptions move, the wall hangs anew."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from fanout.application.observer import Report
from fanout.hub.hub import Hub
from radiovis.directory.interface import DirectoryError
from radiovis.http.wall import Wall
from radiovis.topic_resolution import TopicResolver


class Refreshing:
    """Keeps a node's topics as the directory has them."""

    def __init__(self, resolver: TopicResolver, wall: Wall, report: Report) -> None:
        self._resolver = resolver
        self._wall = wall
        self._report = report

    def refresh(self) -> None:
        """Read the registered topics anew. The directory says itself when it is down."""
        refreshed = Deferred.fromCoroutine(self._refresh())
        refreshed.addErrback(lambda failure: failure.trap(DirectoryError))
        refreshed.addErrback(self._report, "tuning.failed")

    async def _refresh(self) -> None:
        await self._resolver.refresh()
        await self._wall.refresh()


def resolve_again(hub: Hub, resolver: TopicResolver, log: Any) -> None:
    """Move live subscriptions to where they belong now (contract §2, change 1). For ``changed`` of a tuning."""
    for cohort in hub.cohorts():
        topic = resolver.resolve_again(cohort.form.destination)
        if topic != cohort.topic:
            log.info("subscription.moved", destination=cohort.form.destination, clients=len(cohort.members))
            hub.move(cohort, topic)
