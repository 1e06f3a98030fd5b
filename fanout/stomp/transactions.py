"""BEGIN, COMMIT, ABORT: frames that wait to be processed together (stomp.md C7)."""

from __future__ import annotations

from fanout.stomp.codec import Frame, RemoteProtocolError
from fanout.stomp.limits import StompLimits

_TRANSACTION_WEIGHT = 700
"""Octets of memory of an open transaction besides its name and its frames: an object, a list, a place in a dictionary.
tracemalloc shows about 400."""


class _Transaction:
    """Frames that wait, how much memory they take, and since when it is open."""

    __slots__ = ("began_at", "frames", "weight")

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.frames: list[Frame] = []
        self.weight = 0


class Transactions:
    """The open transactions of one client, each a list of frames in the order they came.

    :ivar weight: octets of memory of all of them.
    """

    __slots__ = ("_limits", "_open", "weight")

    def __init__(self, limits: StompLimits) -> None:
        self._limits = limits
        self._open: dict[str, _Transaction] = {}
        self.weight = 0

    def begin(self, name: str, now: float) -> None:
        """Open one. :raises RemoteProtocolError: the name is taken, or too many are open."""
        if name in self._open:
            raise RemoteProtocolError("Transaction exists", "BEGIN names a transaction that is open already.")
        if len(self._open) >= self._limits.transactions:
            raise RemoteProtocolError(
                "Too many transactions", f"At most {self._limits.transactions} transactions may be open."
            )
        self._open[name] = _Transaction(now)
        self.weight += _weight(name)

    def hold(self, name: str, frame: Frame) -> None:
        """Keep a frame until COMMIT. :raises RemoteProtocolError: unknown name, or too much waits in it."""
        waiting = self._of(name)
        if len(waiting.frames) >= self._limits.transaction_actions:
            raise RemoteProtocolError(
                "Transaction too large", f"At most {self._limits.transaction_actions} frames may wait in a transaction."
            )
        weight = frame.weight
        if waiting.weight + weight > self._limits.transaction_bytes:
            raise RemoteProtocolError(
                "Transaction too large",
                f"The frames of a transaction may take at most {self._limits.transaction_bytes} octets of memory; "
                "each header takes some 200 more than it is long.",
            )
        waiting.frames.append(frame)
        waiting.weight += weight
        self.weight += weight

    def end(self, name: str) -> list[Frame]:
        """Close one and return what waited. :raises RemoteProtocolError: unknown name."""
        waiting = self._of(name)
        del self._open[name]
        self.weight -= waiting.weight + _weight(name)
        return waiting.frames

    @property
    def oldest(self) -> float | None:
        """When the one was opened that has been open for longest; None if none is."""
        return next((each.began_at for each in self._open.values()), None)

    def _of(self, name: str) -> _Transaction:
        try:
            return self._open[name]
        except KeyError:
            reason = "The frame names a transaction that is not open."
            raise RemoteProtocolError("Unknown transaction", reason) from None


def _weight(name: str) -> int:
    return _TRANSACTION_WEIGHT + Frame("", ((name, ""),)).weight
