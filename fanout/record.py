"""One line of the journal."""

from __future__ import annotations

from dataclasses import dataclass

Place = tuple[int, int]
"""Where a record stands in the journal's order: its timestamp and its number."""


@dataclass(frozen=True, slots=True)
class Record:
    """A message as it was heard.

    :ivar topic: the topic, opaque here.
    :ivar body: octets.
    :ivar headers: names and values in their order.
    :ivar timestamp: Unix time in whole seconds at which it was heard.
    :ivar serial: different for different messages, the same in copies of one; empty if there is none.
    :ivar number: rises with the order of arrival; the journal gives it.
    """

    topic: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    timestamp: int
    serial: str = ""
    number: int = 0

    @property
    def place(self) -> Place:
        """Where the next page goes on."""
        return self.timestamp, self.number
