"""CONNECT and CONNECTED: what two sides agree on before anything else (stomp.md §1)."""

from __future__ import annotations

from dataclasses import dataclass

from fanout.stomp.dialect import DIALECTS, VERSIONS, Dialect, choose
from fanout.stomp.errors import RemoteProtocolError
from fanout.stomp.frame import Frame
from fanout.stomp.heartbeat import Heartbeat
from fanout.stomp.limits import SessionOptions

# The ERROR for a client that speaks no version of ours (N4). It is complete here because no version is agreed that
# would say how to write it.
UNSUPPORTED_VERSION = Frame(
    "ERROR",
    (("version", ",".join(VERSIONS)), ("content-type", "text/plain"), ("message", "Unsupported version")),
    f"This server speaks STOMP {', '.join(VERSIONS)}; accept-version names none of them.\n".encode(),
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a CONNECT frame led to."""

    connect: Frame
    dialect: Dialect
    heartbeat: Heartbeat


def version_of(connect: Frame) -> str | None:
    """The version to speak: 1.0 without ``accept-version`` (N2); None when there is no common one (N4)."""
    accepted = connect.get("accept-version")
    return "1.0" if accepted is None else choose(accepted)


def agree(connect: Frame, version: str, session_options: SessionOptions) -> Agreement:
    """Find what the client's wishes and our options have in common.

    :raises RemoteProtocolError: a malformed ``heart-beat``, or a host that is not served.
    """
    dialect = session_options.dialects[version]
    if dialect.lenient:
        return Agreement(connect, dialect, Heartbeat(send_every=session_options.idle_lf))
    host = connect.get("host")
    if session_options.hosts and host is not None and host not in session_options.hosts:
        raise RemoteProtocolError("Unknown host", "The host header names a virtual host that is not served here.")
    return Agreement(
        connect, dialect, Heartbeat.agree(connect.get("heart-beat", "0,0") or "", session_options.heartbeat)
    )


def connected(agreement: Agreement, session_id: str, session_options: SessionOptions) -> Frame:
    """The CONNECTED frame (N5); a plain ``CONNECT`` gets the original's, to the letter."""
    connect, dialect = agreement.connect, agreement.dialect
    headers = []
    for asked, answered in (("request-id", "response-id"), ("receipt", "receipt-id")):
        if (value := connect.get(asked)) is not None:
            headers.append((answered, value))
    headers.append(("session", session_id))
    if connect.get("accept-version") is not None:
        headers.append(("version", dialect.version))
    if not dialect.lenient:
        headers += [("server", session_options.server), ("heart-beat", ",".join(map(str, session_options.heartbeat)))]
    return Frame("CONNECTED", tuple(headers))


assert DIALECTS.keys() == set(VERSIONS)
