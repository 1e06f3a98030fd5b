"""Checks of what receivers in the field need: STOMP 1.0 as they use it, and the lessons of contract §5."""

from __future__ import annotations

import contextlib

from radiovis.conformance.check import CheckList
from radiovis.conformance.subject import CheckFailed, CheckSkipped, RawClient, Subject, shown

CHECKS = CheckList()
FLOOD_MESSAGES = 200
"""Messages published to a client that does not read. The original disconnects a client for which 250 messages wait."""
FLOOD_OCTETS = 60_000
"""Octets of each of these bodies. All of them have 12 MB, which is more than the buffers of the operating systems
between server and client: a server on Linux has 4 MiB. Each body is smaller than 64 KiB, the limit of some servers."""
STALL_SECONDS = 1.0
"""Seconds to wait for an ERROR after the flood. Meanwhile the server can deliver the messages that it has accepted."""
_LAST = b"TEXT last"
_SHOWN = 60


def _published_slide(subject: Subject, *headers: str) -> tuple[RawClient, str]:
    """A subscribed 1.0 radio and its topic. A slide was just published to the topic."""
    station, radio, topic = subject.pair()
    radio.subscribe(topic, "7")
    station.publish(topic, b"SHOW http://s/1.png", *headers)
    return radio, topic


@CHECKS.add("L1", "a frame is sent in one piece (otherwise Pure shows nothing)")
def _one_piece(subject: Subject) -> None:
    radio, _ = _published_slide(subject)
    radio.expect("MESSAGE")
    last = radio.reads[-1]
    if not last.lstrip(b"\n").startswith(b"MESSAGE\n"):
        raise CheckFailed(f"the last piece was only {last[:60]!r}")


@CHECKS.add("L1a", "a 1.0 radio gets no octet after the NUL")
def _nothing_behind(subject: Subject) -> None:
    radio, _ = _published_slide(subject)
    radio.expect("MESSAGE")
    if not radio.octets.endswith(b"\0"):
        raise CheckFailed(f"the frame ends with {bytes(radio.octets[-4:])!r}")


@CHECKS.add("L2", "a frame with blanks around the command, CR LF and a header without a colon is accepted (CasterPlay)")
def _casterplay(subject: Subject) -> None:
    client = subject.radio()
    client.send(
        f"\r\n  SUBSCRIBE  \r\ndestination:{subject.topic()}\r\nack\r\nid:1\r\nreceipt:7\r\n\r\n\0\r\n".encode()
    )
    client.expect("RECEIPT", "receipt-id", "7")


@CHECKS.add("L3", "if only * is registered, a radio on any frequency gets its messages with its own destination (Revo)")
def _any_frequency(subject: Subject) -> None:
    if not subject.any_frequency:
        raise CheckSkipped("needs a channel with * for its frequency: --any-frequency /topic/fm/4e1/4000/*/")
    station, radio, body = subject.station(), subject.radio(), b"SHOW http://s/any.png"
    asked = subject.any_frequency.replace("*", "10790") + "image"
    radio.subscribe(asked, "7", "x-ebu-nofastreply:yes")
    station.publish(subject.any_frequency + "image", body)
    message = radio.expect("MESSAGE", "destination", asked)
    if (message.get("subscription"), message.body) != ("7", body):
        raise CheckFailed(f"it sent {shown(message)}")


@CHECKS.add("L4", "destination is before link, and a frame has no CR (Samsung, FM-DX)")
def _order(subject: Subject) -> None:
    radio, _ = _published_slide(subject, "link:http://s/")
    message = radio.expect("MESSAGE", "link", "http://s/")
    names = [name for name, _ in message.headers]
    if names.index("destination") > names.index("link") or b"\r" in radio.octets:
        raise CheckFailed(f"it sent {shown(message)}")


@CHECKS.add("L5", "SUBSCRIBE with id and receipt, and UNSUBSCRIBE with id and destination, work (Qt client)")
def _qt(subject: Subject) -> None:
    """Does not use :meth:`Subject.pair`, because this check must fail if the server rewrites subscriptions."""
    station, radio, topic = subject.station(), subject.radio(), subject.topic()
    radio.subscribe(topic, "7")
    station.publish(topic, b"SHOW http://s/1.png")
    message = radio.expect("MESSAGE")
    if message.get("destination") != topic:
        raise CheckFailed(f"the Qt client drops a MESSAGE whose destination is not {topic}: {shown(message)}")
    if message.get("subscription") != "7":
        raise CheckFailed(f"instead of MESSAGE with subscription:7 it sent {shown(message)}")
    radio.say(f"UNSUBSCRIBE id:7 destination:{topic} receipt:8")
    radio.expect("RECEIPT", "receipt-id", "8")


@CHECKS.add("L7", "a client that offers 1.0 and 1.1 with heart-beats gets 1.1 (FM-DX)")
def _fmdx(subject: Subject) -> None:
    client = subject.connect()
    login = " ".join(subject.credentials()) if subject.server.login else "login: passcode:"
    client.say(f"CONNECT accept-version:1.0,1.1 host:{subject.host} heart-beat:10000,10000 {login}")
    client.speak("1.1")
    client.expect("CONNECTED", "version", "1.1")


@CHECKS.add("L8", "a blank after the colon of a destination is ignored under 1.0 (BBC)")
def _blank_destination(subject: Subject) -> None:
    station, radio, topic = subject.pair()
    radio.send(f"SUBSCRIBE\ndestination: {topic} \nid:1\nreceipt:7\n\n\0".encode())
    radio.expect("RECEIPT", "receipt-id", "7")
    station.publish(topic, b"TEXT x")
    radio.expect("MESSAGE")


@CHECKS.add("L8a", "ACK and unknown commands are ignored under 1.0 (BBC)")
def _ignored(subject: Subject) -> None:
    client = subject.radio()
    client.say("ACK message-id:nothing")
    client.say("DANCE")
    client.subscribe(subject.topic())


@CHECKS.add("L10", "a client that did not read gets complete frames and finally the newest, or is disconnected (EBU)")
def _slow_reader(subject: Subject) -> str | None:
    """A server sends torn frames if it drops the rest of a write when a buffer is full (contract §2, fault 3)."""
    station, radio, topic = subject.pair()
    radio.subscribe(topic)
    _flood(station, topic)
    with contextlib.suppress(CheckFailed):  # The receipt may be delayed until the radio reads.
        subject.station().publish(topic, _LAST)
    for _ in range(FLOOD_MESSAGES + 1):
        found = radio.next_frame()
        if found is None:
            return "the server disconnects a client that does not read"
        if found.body == _LAST:
            return None
        if found.command != "MESSAGE" or found.body != _flooding(found.body[5:8]):
            raise CheckFailed(f"a frame is torn: its body has {len(found.body)} octets, with {_middle(found.body)!r}")
    raise CheckFailed("it sent more messages than were published")


def _flood(station: RawClient, topic: str) -> None:
    """Publish many messages; fewer if the server stops reading from the station because the radio does not read.

    :raises CheckSkipped: the server does not accept the messages.
    """
    with contextlib.suppress(TimeoutError):
        for number in range(FLOOD_MESSAGES):
            station.say(f"SEND destination:{topic}", _flooding(b"%03d" % number))
    with contextlib.suppress(CheckFailed):  # No frame is expected.
        answer = station.next_frame(STALL_SECONDS)
        refusal = shown(answer) if answer else "it closes the connection"
        raise CheckSkipped(f"it does not accept {FLOOD_MESSAGES} messages of {FLOOD_OCTETS} octets: {refusal}")


def _flooding(number: bytes) -> bytes:
    """A body in which each piece shows the number of the message."""
    return b"TEXT " + (number + b",") * (FLOOD_OCTETS // 4)


def _middle(body: bytes) -> bytes:
    """The place in a torn body where another frame begins; the end of the body if it has no other frame."""
    place = body.find(b"MESSAGE")
    return body[-_SHOWN:] if place < 0 else body[max(0, place - _SHOWN // 2) : place + _SHOWN // 2]


@CHECKS.add("M1", "under 1.0 SUBSCRIBE needs no id, and UNSUBSCRIBE may name the destination instead")
def _by_destination(subject: Subject) -> None:
    station, radio, topic = subject.pair()
    radio.say(f"SUBSCRIBE destination:{topic} receipt:1")
    radio.expect("RECEIPT", "receipt-id", "1")
    station.publish(topic, b"TEXT one")
    radio.expect("MESSAGE", "destination", topic)
    radio.say(f"UNSUBSCRIBE destination:{topic} receipt:2")
    radio.expect("RECEIPT", "receipt-id", "2")


@CHECKS.add("M2", "under 1.0 the connection stays open after an ERROR, because clients rely on it")
def _error_stays_open(subject: Subject) -> None:
    client = subject.radio()
    client.say("SUBSCRIBE")
    client.expect("ERROR", "message")
    client.subscribe(subject.topic())


@CHECKS.add("M3", "a refused UNSUBSCRIBE gets one ERROR, not two (EBU)")
def _one_error(subject: Subject) -> None:
    """See contract §2, fault 14. STOMP 1.0 also allows no ERROR, and an ERROR after which the connection ends."""
    for lines in ("", " id:nothing", f" destination:{subject.topic()}"):
        client = subject.radio()
        client.say(f"UNSUBSCRIBE{lines}")
        came, _ = client.until_done(subject.topic())
        errors = [found for found in came if found.command == "ERROR"]
        if len(errors) > 1:
            raise CheckFailed(f"for UNSUBSCRIBE{lines} it sent {' and '.join(map(shown, errors))}")


@CHECKS.add("V1", "a new subscriber gets the last message at once")
def _fast_reply(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.2")
    station.publish(topic, b"SHOW http://s/on-air.png")
    radio.say(f"SUBSCRIBE destination:{topic} id:1")
    if radio.expect("MESSAGE").body != b"SHOW http://s/on-air.png":
        raise CheckFailed("it sent another message")


@CHECKS.add("V2", "a new subscriber with x-ebu-nofastreply:yes does not get the last message")
def _no_fast_reply(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.2")
    station.publish(topic, b"SHOW http://s/on-air.png")
    radio.subscribe(topic, "1", "x-ebu-nofastreply:yes")
    came = radio.quiet(subject.topic())
    if came:
        raise CheckFailed(f"it sent {shown(came[0])}")


@CHECKS.add("V3", "the headers link, trigger-time, SlideId, CategoryId and CategoryTitle are forwarded to radios")
def _forwarded(subject: Subject) -> None:
    sent = ("link:http://s/", "trigger-time:NOW", "SlideId:7", "CategoryId:3", "CategoryTitle:News")
    radio, _ = _published_slide(subject, *sent)
    message = radio.expect("MESSAGE")
    lost = [header for header in sent if message.get(header.partition(":")[0]) != header.partition(":")[2]]
    if lost:
        raise CheckFailed(f"the MESSAGE lacks {', '.join(lost)}")


@CHECKS.add("V4", "other headers of a publisher are not forwarded, because their effect on a radio is unknown")
def _not_forwarded(subject: Subject) -> None:
    radio, _ = _published_slide(subject, "x-anything:1", "priority:9")
    message = radio.expect("MESSAGE")
    if message.get("x-anything") is not None:
        raise CheckFailed(f"it sent {shown(message)}")


@CHECKS.add("V5", "a station cannot publish to topics of other stations, and gets an ERROR")
def _foreign_topic(subject: Subject) -> str | None:
    """A radio checks that nothing was published, if the server accepts its subscription to the foreign topic.

    A RECEIPT may come before the ERROR. Under 1.0 it only says that the frame has arrived (contract §1.4).
    """
    (station, radio, own), other = subject.pair("1.2"), subject.foreign_topic()
    if not _listens(radio, other):
        radio = subject.radio("1.2")
    radio.subscribe(own, "own")
    station.say(f"SEND destination:{other} receipt:1", b"SHOW http://s/foreign.png")
    answers, ended = station.until_done(subject.topic())
    subject.station().publish(own, b"TEXT own")  # Earlier messages arrive before this one.
    found = radio.expect("MESSAGE")
    if found.body != b"TEXT own":
        raise CheckFailed(f"the message was published: {shown(found)}")
    if ended or any(answer.command == "ERROR" for answer in answers):
        return None
    if station.version == "1.0":
        return "the publisher gets no ERROR, which STOMP 1.0 allows"
    raise CheckFailed(f"the publisher gets no ERROR, but {' and '.join(map(shown, answers)) or 'nothing'}")


def _listens(radio: RawClient, topic: str) -> bool:
    """Whether the server accepts a subscription to this topic. If not, it may have closed the connection."""
    radio.say(f"SUBSCRIBE destination:{topic} id:other receipt:other")
    answer = radio.next_frame()
    return answer is not None and answer.command == "RECEIPT"
