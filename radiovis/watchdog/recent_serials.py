"""Which entries were kept lately, so that a message delivered twice is kept once."""

from __future__ import annotations

from collections import OrderedDict

from fanout.bus.serial import SERIAL

SIZE = 10_000
"""Serials remembered. A message is delivered again when it was not acknowledged: of the last few hundred at most."""


def own_serial(serial: str) -> str:
    """A serial of ours, or nothing: devices use the AMQP property in their own ways, and may repeat themselves."""
    return serial if SERIAL.fullmatch(serial) else ""


class RecentSerials:
    """The serials seen lately.

    Exactly those, unlike :class:`fanout.bus.serial.Seen`: an entry that was refused comes again after later ones.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._serials: OrderedDict[str, None] = OrderedDict()

    def add(self, serial: str) -> None:
        """Remember a serial, if it is one of ours."""
        if own_serial(serial):
            self._serials[serial] = None
            if len(self._serials) > self._size:
                self._serials.popitem(last=False)

    def __contains__(self, serial: str) -> bool:
        return serial in self._serials
