"""A station as people read it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FREQUENCY = re.compile(r"[0-9]{5}")
_SYSTEMS = {"fm": "FM", "dab": "DAB", "drm": "DRM", "amss": "AMSS", "hd": "HD Radio", "id": "Internet"}


@dataclass(frozen=True, slots=True)
class Station:
    """One channel on the wall.

    :ivar topic: its topics without the last part, with the slash; the hub's spelling.
    :ivar given_name: the directory's; empty where it has none.
    """

    topic: str
    given_name: str = ""

    @property
    def service(self) -> str:
        """The service identifier: the topic without ``/topic/``, as it stands in the address of the page."""
        return self.topic.removeprefix("/topic/").rstrip("/")

    @property
    def name(self) -> str:
        """What to call it."""
        return self.given_name or self.resolved

    @property
    def resolved(self) -> str:
        """Where to find it on a dial: ``FM 95.80 MHz``, or as much as the topic says."""
        parts = self.service.split("/")
        system = _SYSTEMS.get(parts[0])
        if system is None:
            return self.service
        if parts[0] != "fm" or len(parts) < 4:
            return " ".join([system, *parts[1:]])
        if _FREQUENCY.fullmatch(parts[3]):  # in units of 10 kHz (TS 103 270, 5.1.1.2)
            return f"FM {int(parts[3]) / 100:.2f} MHz"
        return f"FM, any frequency ({parts[1]} {parts[2]})"
