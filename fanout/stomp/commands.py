"""What each frame of an open session does: one function per command, and one table per kind of client.

A function returns the event the caller must act on, or None when the session could answer by itself. It raises
:class:`RemoteProtocolError` for a frame that asks for something wrong; its ERROR is then written by the session.
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
    """What the commands need of their session."""

    @property
    def limits(self) -> StompLimits:
        """What the client may cost."""
        ...

    @property
    def dialect(self) -> Dialect:
        """The version spoken."""
        ...

    @property
    def subscriptions(self) -> Subscriptions:
        """What the client listens to."""
        ...

    @property
    def transactions(self) -> Transactions:
        """What waits for a COMMIT."""
        ...

    @property
    def heard_at(self) -> float:
        """When octets last came."""
        ...

    @property
    def logged_in(self) -> bool:
        """Whether the client has shown credentials."""
        ...

    def spend(self, frames: int) -> None:
        """This frame takes as long as so many more."""
        ...

    def expect(self, frame: Frame) -> Answer:
        """A place in the line of answers."""
        ...


Command = Callable[[OpenSession, Frame], Event | None]


# SUBSCRIBE and UNSUBSCRIBE


def _subscribe(session: OpenSession, frame: Frame) -> Event:
    """An id may be used again for another destination: npm node-stomp 1.1 sends ``id:0`` with each (stomp.md C1)."""
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
    """No id needed, the destination trimmed, acknowledgements unknown (stomp.md §7)."""
    return _new_subscription(session, frame, _destination_10(frame), frame.get("id") or None, "auto")


def _destination_10(frame: Frame) -> str:
    """Without blanks around it: QStomp and Python's stomper write one behind the colon (stomp.md §7)."""
    return (frame.get("destination") or "").strip()


def _new_subscription(session: OpenSession, frame: Frame, destination: str, id_: str | None, ack: str) -> Subscribe:
    if not destination:
        raise RemoteProtocolError("You need a destination to subscribe.")
    _check_destination(session, destination)
    if len((id_ or "").encode()) > MAX_ID_BYTES:
        raise RemoteProtocolError("id too long", f"The id of a subscription may have {MAX_ID_BYTES} octets.")
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
    """By destination, or by id; with both the destination decides. One ERROR when refused.

    One UNSUBSCRIBE ends one subscription, as in the original: of several with one id the latest.
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
    """At once: the original knew no transactions."""
    destination = _destination_10(frame)
    _check_destination(session, destination)
    return Publish((Publication(destination, frame.headers, frame.body),), session.expect(frame))


def _ack(session: OpenSession, frame: Frame) -> None:
    """ACK or NACK. A topic is not sent again, so both only strike the message off (stomp.md C6).

    What waits for a COMMIT is stripped of other headers, whose memory an anonymous client could fill with anything.
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
        raise RemoteProtocolError("Unknown message", f"{frame.command} names no delivered message that waits for one.")


def _sent(frame: Frame) -> Publication:
    return Publication(frame.get("destination") or "", frame.headers, frame.body)


def _check_destination(session: OpenSession, destination: str) -> None:
    if len(destination.encode()) > session.limits.destination_bytes:
        raise RemoteProtocolError(
            "Destination too long", f"A destination may have at most {session.limits.destination_bytes} octets."
        )


# Transactions


def _held(session: OpenSession, frame: Frame) -> bool:
    """Whether the frame waits for a COMMIT. Its own RECEIPT says just that: a client may want it before it commits."""
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
    """What came before is answered first (stomp.md C8); open transactions end with the session (C7)."""
    session.expect(frame).finish()


def _connect_again(_session: OpenSession, _frame: Frame) -> None:
    raise RemoteProtocolError("Already connected", "A connection takes one CONNECT frame.")


def unknown(session: OpenSession, frame: Frame) -> None:
    """A command that stands in no table: an ERROR (C9), but nothing under 1.0."""
    if not session.dialect.lenient:
        raise RemoteProtocolError("Unknown command", "The command is none that a STOMP client sends.")
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
