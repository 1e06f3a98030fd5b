"""BEGIN, COMMIT, ABORT: frames that wait to be processed together (stomp.md C7)."""

from __future__ import annotations

from fanout.stomp.codec import Frame, RemoteProtocolError
from fanout.stomp.limits import StompLimits


class _Transaction:
    """Frames that wait, and about how many octets they take."""

    __slots__ = ("frames", "octets")

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.octets = 0


class Transactions:
    """The open transactions of one client, each a list of frames in the order they came."""

    __slots__ = ("_limits", "_open")

    def __init__(self, limits: StompLimits) -> None:
        self._limits = limits
        self._open: dict[str, _Transaction] = {}

    def begin(self, name: str) -> None:
        """Open one. :raises RemoteProtocolError: the name is taken, or too many are open."""
        if name in self._open:
            raise RemoteProtocolError("Transaction exists", "BEGIN names a transaction that is open already.")
        if len(self._open) >= self._limits.transactions:
            raise RemoteProtocolError(
                "Too many transactions", f"At most {self._limits.transactions} transactions may be open."
            )
        self._open[name] = _Transaction()

    def hold(self, name: str, frame: Frame) -> None:
        """Keep a frame until COMMIT. :raises RemoteProtocolError: unknown name, or too much waits in it."""
        waiting = self._of(name)
        if len(waiting.frames) >= self._limits.transaction_actions:
            raise RemoteProtocolError(
                "Transaction too large", f"At most {self._limits.transaction_actions} frames may wait in a transaction."
            )
        octets = _octets(frame)
        if waiting.octets + octets > self._limits.transaction_bytes:
            raise RemoteProtocolError(
                "Transaction too large", f"At most {self._limits.transaction_bytes} octets may wait in a transaction."
            )
        waiting.frames.append(frame)
        waiting.octets += octets

    def end(self, name: str) -> list[Frame]:
        """Close one and return what waited. :raises RemoteProtocolError: unknown name."""
        waiting = self._of(name)
        del self._open[name]
        return waiting.frames

    def _of(self, name: str) -> _Transaction:
        try:
            return self._open[name]
        except KeyError:
            reason = "The frame names a transaction that is not open."
            raise RemoteProtocolError("Unknown transaction", reason) from None


def _octets(frame: Frame) -> int:
    """Headers count too: a frame may be nothing else."""
    return len(frame.body) + sum(len(name) + len(value) for name, value in frame.headers)
