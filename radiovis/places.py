"""Where a node listens for clients."""

from __future__ import annotations

from dataclasses import dataclass

from radiovis.settings import Settings

_TEST_IP, _TEST_PORT = "127.0.0.1", 61424  # contract §1.12


@dataclass(frozen=True, slots=True)
class Place:
    """An address to listen on.

    :ivar port: 0 for a free one.
    """

    ip: str
    port: int


def stomp_place(settings: Settings, *, fake: bool) -> Place:
    """For STOMP. :param fake: ``--test`` mode, which has a port of its own."""
    if fake and settings.source_of("STOMP_PORT") == "default":
        return Place(_TEST_IP, _TEST_PORT)
    return Place(settings.STOMP_IP, settings.STOMP_PORT)


def http_place(settings: Settings, *, fake: bool) -> Place | None:
    """For HTTP, if there is to be any. Test suites start many nodes on one machine: with ``--test`` there is HTTP only
    where it is asked for.
    """
    if not settings.HTTP_PORT or (fake and settings.source_of("HTTP_PORT") == "default"):
        return None
    return Place(settings.HTTP_IP, settings.HTTP_PORT)
