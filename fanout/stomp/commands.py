"""The commands of an open session: one function per command, and one table for each of the two kinds of clients.

A function returns the event that the caller must process, or None if the session could answer by itself. It raises
:class:`RemoteProtocolError` for an invalid frame; the session then sends the ERROR.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from fanout.hub.message import Publication
from fanout.stomp.codec import Frame, RemoteProtocolError
from fanout.stomp.dialect import Dialect
from fanout.stomp.events import Event, Publish, Subscribe, Unsubscribe
from fanout.stomp.limits import MAX_ID_BYTES, StompLimits
from fanout.stomp.server_frames import Answer, MessageForm
from fanout.stomp.subscriptions import ACK_MODES, Subscription, Subscriptions
from fanout.stomp.transactions import Transactions


class OpenSession(Protocol):
    """The part of a session that the commands use."""

    @property
    def limits(self) -> StompLimits:
        """The limits of the client."""
        ...

    @property
    def dialect(self) -> Dialect:
        """The dialect of the session's version."""
        ...

    @property
    def subscriptions(self) -> Subscriptions:
        """The subscriptions of the client."""
        ...

    @property
    def transactions(self) -> Transactions:
        """The open transactions of the client."""
        ...

    @property
    def heard_at(self) -> float:
        """The time in seconds when octets last came from the client."""
        ...

    @property
    def logged_in(self) -> bool:
        """Whether the client has connected with a login."""
        ...

    def spend(self, frames: int) -> None:
        """Reduce the allowance of the session, because the current frame takes the time of several.

        :param frames: by how many frames the allowance is reduced.
        """
        ...

    def expect(self, frame: Frame) -> Answer:
        """Append the answer to a frame to the queue of answers."""
        ...


Command = Callable[[OpenSession, Frame], Event | None]


# SUBSCRIBE and UNSUBSCRIBE


def _subscribe(session: OpenSession, frame: Frame) -> Event:
    """Process SUBSCRIBE. The same id may be used for several destinations: npm node-stomp 1.1 sends ``id:0`` with each
    SUBSCRIBE (stomp.md C1).
    """
    id_, destination = frame.get("id"), frame.get("destination") or ""
    if id_ is None:
        raise RemoteProtocolError("Missing id", "SUBSCRIBE needs an id header.")
    if any(each.destination == destination for each in session.subscriptions.with_id(id_)):
        raise RemoteProtocolError(
            "Duplicate id", "SUBSCRIBE names an id that is in use for this destination; UNSUBSCRIBE it first."
        )
    ack = frame.get("ack", "auto") or ""
    if ack not in ACK_MODES:
        raise RemoteProtocolError("Unknown ack mode", f"ack must be one of {', '.join(ACK_MODES)}.")
    return _new_subscription(session, frame, destination, id_, ack)


def _subscribe_10(session: OpenSession, frame: Frame) -> Event:
    """Process SUBSCRIBE of STOMP 1.0: the id is optional, the destination is stripped of blanks, and there are no
    acknowledgements (stomp.md §7).
    """
    return _new_subscription(session, frame, _destination_10(frame), frame.get("id") or None, "auto")


def _destination_10(frame: Frame) -> str:
    """The destination without surrounding blanks: QStomp and Python's stomper send one after the colon
    (stomp.md §7).
    """
    return (frame.get("destination") or "").strip()


def _new_subscription(session: OpenSession, frame: Frame, destination: str, id_: str | None, ack: str) -> Subscribe:
    if not destination:
        raise RemoteProtocolError("You need a destination to subscribe.")
    _check_destination(session, destination)
    if len((id_ or "").encode()) > MAX_ID_BYTES:
        raise RemoteProtocolError("id too long", f"The id of a subscription may have at most {MAX_ID_BYTES} octets.")
    if len(session.subscriptions) >= session.limits.subscriptions:
        raise RemoteProtocolError(
            "Too many subscriptions", f"A client may have at most {session.limits.subscriptions} subscriptions."
        )
    form = MessageForm(session.dialect, destination, id_, acknowledged=ack != "auto")
    subscription = Subscription(form, ack)
    session.subscriptions.add(subscription)
    return Subscribe(subscription, frame.headers, session.expect(frame))


def _unsubscribe(session: OpenSession, frame: Frame) -> Event:
    id_ = frame.get("id")
    if id_ is None:
        raise RemoteProtocolError("Missing id", "UNSUBSCRIBE needs an id header.")
    return _end_subscriptions(session, frame, session.subscriptions.with_id(id_), "Unknown ID")


def _unsubscribe_10(session: OpenSession, frame: Frame) -> Event:
    """Process UNSUBSCRIBE of STOMP 1.0, by destination or by id. If both are given, the destination counts.

    As in the original server, one UNSUBSCRIBE ends one subscription: if several have the same id, the latest.
    """
    destination, id_ = _destination_10(frame), frame.get("id")
    if destination:
        found = session.subscriptions.by_destination(destination, id_)
        return _end_subscriptions(session, frame, () if found is None else (found,), "Not subscribed")
    if not id_:
        raise RemoteProtocolError("No ID or channel")
    return _end_subscriptions(session, frame, session.subscriptions.with_id(id_)[-1:], "Unknown ID")


def _end_subscriptions(
    session: OpenSession, frame: Frame, subscriptions: Sequence[Subscription], otherwise: str
) -> Unsubscribe:
    if not subscriptions:
        raise RemoteProtocolError(otherwise, "UNSUBSCRIBE names no subscription of this connection.")
    ended = tuple(subscriptions)
    session.spend(len(ended) - 1)
    for each in ended:
        session.subscriptions.remove(each)
    return Unsubscribe(ended, session.expect(frame))


# SEND, ACK, NACK

_ACK_HEADERS = frozenset({"id", "message-id", "subscription", "transaction", "receipt"})


def _send(session: OpenSession, frame: Frame) -> Event | None:
    _check_destination(session, frame.get("destination") or "")
    if frame.get("transaction") is not None and not session.logged_in:
        raise RemoteProtocolError("You cannot do that.", "A SEND in a transaction needs a login.")
    if _held(session, frame):
        return None
    return Publish((_sent(frame),), session.expect(frame))


def _send_10(session: OpenSession, frame: Frame) -> Event:
    """Process SEND of STOMP 1.0. A ``transaction`` header is ignored, because the original had no transactions."""
    destination = _destination_10(frame)
    _check_destination(session, destination)
    return Publish((Publication(destination, frame.headers, frame.body),), session.expect(frame))


def _ack(session: OpenSession, frame: Frame) -> None:
    """Process ACK or NACK. Messages of topics are never redelivered, so both only remove the message from those that
    wait for an ACK (stomp.md C6).

    A frame that waits for a COMMIT keeps only the headers of an ACK. An anonymous client could otherwise fill the
    memory with other headers.
    """
    headers = tuple(header for header in frame.headers if header[0] in _ACK_HEADERS)
    if not _held(session, frame._replace(headers=headers, body=b"")):
        _strike_off(session, frame)
        session.expect(frame).done()


def _strike_off(session: OpenSession, frame: Frame) -> None:
    if session.dialect.version == "1.2":
        known = session.subscriptions.acknowledge(frame.get("id") or "")
    else:
        named = session.subscriptions.with_id(frame.get("subscription") or "")
        known = any(each.acknowledge(frame.get("message-id") or "") for each in named)
    if not known:
        raise RemoteProtocolError("Unknown message", f"{frame.command} names no message that waits for an ACK.")


def _sent(frame: Frame) -> Publication:
    return Publication(frame.get("destination") or "", frame.headers, frame.body)


def _check_destination(session: OpenSession, destination: str) -> None:
    if len(destination.encode()) > session.limits.destination_bytes:
        raise RemoteProtocolError(
            "Destination too long", f"A destination may have at most {session.limits.destination_bytes} octets."
        )


# Transactions


def _held(session: OpenSession, frame: Frame) -> bool:
    """Keep the frame if it belongs to a transaction. Its RECEIPT is sent immediately, because a client may wait for it
    before it commits.

    :return: whether the frame now waits for a COMMIT.
    """
    name = frame.get("transaction")
    if name is None:
        return False
    session.transactions.hold(name, frame)
    session.expect(frame).done()
    return True


def _begin(session: OpenSession, frame: Frame) -> None:
    session.transactions.begin(_transaction(frame), session.heard_at)
    session.expect(frame).done()


def _abort(session: OpenSession, frame: Frame) -> None:
    session.transactions.end(_transaction(frame))
    session.expect(frame).done()


def _commit(session: OpenSession, frame: Frame) -> Event:
    waiting = session.transactions.end(_transaction(frame))
    session.spend(len(waiting))
    for each in waiting:
        if each.command != "SEND":
            _strike_off(session, each)
    return Publish(tuple(_sent(each) for each in waiting if each.command == "SEND"), session.expect(frame))


def _transaction(frame: Frame) -> str:
    name = frame.get("transaction")
    if not name:
        raise RemoteProtocolError("Missing transaction", f"{frame.command} needs a transaction header.")
    return name


# The rest


def _disconnect(session: OpenSession, frame: Frame) -> None:
    """Process DISCONNECT. Earlier frames are answered first (stomp.md C8); open transactions end with the
    session (C7).
    """
    session.expect(frame).finish()


def _connect_again(_session: OpenSession, _frame: Frame) -> None:
    raise RemoteProtocolError("Already connected", "A client may send only one CONNECT frame per connection.")


def unknown(session: OpenSession, frame: Frame) -> None:
    """Process an unknown command: the answer is an ERROR (C9); STOMP 1.0 ignores the frame."""
    if not session.dialect.lenient:
        raise RemoteProtocolError("Unknown command", "The command is not one that a STOMP client sends.")
    session.expect(frame).done()


COMMANDS: Mapping[str, Command] = {
    "SUBSCRIBE": _subscribe,
    "UNSUBSCRIBE": _unsubscribe,
    "SEND": _send,
    "ACK": _ack,
    "NACK": _ack,
    "BEGIN": _begin,
    "COMMIT": _commit,
    "ABORT": _abort,
    "DISCONNECT": _disconnect,
    "CONNECT": _connect_again,
    "STOMP": _connect_again,
}

COMMANDS_10: Mapping[str, Command] = {
    "SUBSCRIBE": _subscribe_10,
    "UNSUBSCRIBE": _unsubscribe_10,
    "SEND": _send_10,
    "DISCONNECT": _disconnect,
}
