"""A STOMP frame, as read or about to be written."""

from __future__ import annotations

from typing import NamedTuple

Headers = tuple[tuple[str, str], ...]


class Frame(NamedTuple):
    """Command, headers in their order, body.

    :ivar headers: unescaped; a name may stand several times, and the first counts (stomp.md F5).
    :ivar body: octets.
    """

    command: str
    headers: Headers = ()
    body: bytes = b""

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a header (STOMP 1.2, "Repeated Header Entries")."""
        for key, value in self.headers:
            if key == name:
                return value
        return default
