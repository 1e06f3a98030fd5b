"""Who broke the protocol: the peer, or we."""

from __future__ import annotations


class LocalProtocolError(Exception):
    """We called the session in a way its state does not allow: a bug of ours, never the client's fault."""


class RemoteProtocolError(Exception):
    """The peer broke STOMP, or one of our limits.

    :ivar summary: a few words, for the ERROR frame's ``message`` header.
    :ivar detail: one or two sentences for its body: what was wrong and what to do.
    :ivar frame: the first line and the receipt of the frame at fault, as far as they were read.
    :ivar boundary_known: whether the end of the frame at fault is still known, so that a 1.0 client may go on
        (an ERROR leaves a 1.0 connection open).
    """

    def __init__(
        self,
        summary: str,
        detail: str = "",
        *,
        command: str = "",
        receipt: str | None = None,
        boundary_known: bool = False,
    ) -> None:
        super().__init__(summary)
        self.summary = summary
        self.detail = detail or summary
        self.command = command
        self.receipt = receipt
        self.boundary_known = boundary_known
