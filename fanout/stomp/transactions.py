"""Transactions (BEGIN, COMMIT, ABORT): the frames of a transaction wait and are processed together (stomp.md C7)."""

from __future__ import annotations

from fanout.stomp.codec import Frame, RemoteProtocolError
from fanout.stomp.limits import StompLimits

_TRANSACTION_WEIGHT = 700
"""Octets of memory of an open transaction in addition to its name and frames: an object, a list, an entry of a
dictionary. tracemalloc shows about 400."""


class _Transaction:
    """An open transaction: its frames, their octets of memory, and the time of its BEGIN."""

    __slots__ = ("began_at", "frames", "weight")

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.frames: list[Frame] = []
        self.weight = 0


class Transactions:
    """The open transactions of one client. The frames of each have the order in which they came.

    :ivar weight: octets of memory of all open transactions.
    """

    __slots__ = ("_limits", "_open", "weight")

    def __init__(self, limits: StompLimits) -> None:
        self._limits = limits
        self._open: dict[str, _Transaction] = {}
        self.weight = 0

    def begin(self, name: str, now: float) -> None:
        """Open a transaction.

        :param name: the ``transaction`` header of BEGIN.
        :param now: the time of the BEGIN, in seconds.
        :raises RemoteProtocolError: when a transaction with this name is open, or too many transactions are open.
        """
        if name in self._open:
            raise RemoteProtocolError("Transaction exists", "BEGIN names a transaction that is open already.")
        if len(self._open) >= self._limits.transactions:
            raise RemoteProtocolError(
                "Too many transactions", f"At most {self._limits.transactions} transactions may be open."
            )
        self._open[name] = _Transaction(now)
        self.weight += _weight(name)

    def hold(self, name: str, frame: Frame) -> None:
        """Keep a frame until the COMMIT.

        :raises RemoteProtocolError: when no transaction with this name is open, or its frames are too many or too
            large.
        """
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
                "each header takes about 200 octets more than its text.",
            )
        waiting.frames.append(frame)
        waiting.weight += weight
        self.weight += weight

    def end(self, name: str) -> list[Frame]:
        """Close a transaction and return its frames.

        :raises RemoteProtocolError: when no transaction with this name is open.
        """
        waiting = self._of(name)
        del self._open[name]
        self.weight -= waiting.weight + _weight(name)
        return waiting.frames

    @property
    def oldest(self) -> float | None:
        """The time in seconds when the oldest open transaction was opened; None if no transaction is open."""
        return next((each.began_at for each in self._open.values()), None)

    def _of(self, name: str) -> _Transaction:
        try:
            return self._open[name]
        except KeyError:
            reason = "The frame names a transaction that is not open."
            raise RemoteProtocolError("Unknown transaction", reason) from None


def _weight(name: str) -> int:
    return _TRANSACTION_WEIGHT + Frame("", ((name, ""),)).weight
