"""What receivers in the field need: STOMP 1.0 as they use it, and the lessons of contract §5."""

from __future__ import annotations

import contextlib

from radiovis.conformance.check import CheckList
from radiovis.conformance.subject import CheckFailed, CheckSkipped, RawClient, Subject, shown

CHECKS = CheckList()
FLOOD_MESSAGES = 200
"""Published to a client that does not read. The original disconnects one for which 250 wait."""
FLOOD_OCTETS = 60_000
"""Of each of these bodies: in all 12 MB, more than the operating systems' buffers between server and client hold, which
are 4 MiB at a server on Linux. Each is below the 64 KiB that some servers take."""
STALL_SECONDS = 1.0
"""For servers that confirm a message before they hand it on."""
_LAST = b"TEXT last"
_SHOWN = 60


def _published_slide(subject: Subject, *headers: str) -> tuple[RawClient, str]:
    """A 1.0 radio, and its topic, to which a slide has just been published."""
    station, radio, topic = subject.pair()
    radio.subscribe(topic, "7")
    station.publish(topic, b"SHOW http://s/1.png", *headers)
    return radio, topic


@CHECKS.add("L1", "a frame comes in one piece (Pure shows nothing otherwise)")
def _one_piece(subject: Subject) -> None:
    radio, _ = _published_slide(subject)
    radio.expect("MESSAGE")
    last = radio.reads[-1]
    if not last.lstrip(b"\n").startswith(b"MESSAGE\n"):
        raise CheckFailed(f"the last read brought only {last[:60]!r}")


@CHECKS.add("L1a", "a 1.0 radio is sent no octet behind the NUL")
def _nothing_behind(subject: Subject) -> None:
    radio, _ = _published_slide(subject)
    radio.expect("MESSAGE")
    if not radio.octets.endswith(b"\0"):
        raise CheckFailed(f"it ends with {bytes(radio.octets[-4:])!r}")


@CHECKS.add("L2", "blanks round the command, CR LF and a header without a colon at once (CasterPlay)")
def _casterplay(subject: Subject) -> None:
    client = subject.radio()
    client.send(
        f"\r\n  SUBSCRIBE  \r\ndestination:{subject.topic()}\r\nack\r\nid:1\r\nreceipt:7\r\n\r\n\0\r\n".encode()
    )
    client.expect("RECEIPT", "receipt-id", "7")


@CHECKS.add("L3", "where only * is registered, a radio on any frequency gets it, by the name it asked for (Revo)")
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


@CHECKS.add("L4", "destination stands before link, and no CR is in a frame (Samsung, FM-DX)")
def _order(subject: Subject) -> None:
    radio, _ = _published_slide(subject, "link:http://s/")
    message = radio.expect("MESSAGE", "link", "http://s/")
    names = [name for name, _ in message.headers]
    if names.index("destination") > names.index("link") or b"\r" in radio.octets:
        raise CheckFailed(f"it sent {shown(message)}")


@CHECKS.add("L5", "SUBSCRIBE with id and receipt, and UNSUBSCRIBE with id and destination (Qt client)")
def _qt(subject: Subject) -> None:
    """Without :meth:`Subject.pair`: this is the check that fails if subscriptions are rewritten."""
    station, radio, topic = subject.station(), subject.radio(), subject.topic()
    radio.subscribe(topic, "7")
    station.publish(topic, b"SHOW http://s/1.png")
    message = radio.expect("MESSAGE")
    if message.get("destination") != topic:
        raise CheckFailed(f"the Qt client drops it, as it is not called {topic}: {shown(message)}")
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


@CHECKS.add("L8", "a blank behind the colon of a destination does not matter under 1.0 (BBC)")
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


@CHECKS.add("L10", "a client that does not read gets whole frames and at last the newest, or is disconnected (EBU)")
def _slow_reader(subject: Subject) -> str | None:
    """Torn frames come from a write whose rest is forgotten when the client's buffer is full (contract §2, fault 3)."""
    station, radio, topic = subject.pair()
    radio.subscribe(topic)
    _flood(station, topic)
    with contextlib.suppress(CheckFailed):  # Its receipt may have to wait until the radio reads.
        subject.station().publish(topic, _LAST)
    for _ in range(FLOOD_MESSAGES + 1):
        found = radio.next_frame()
        if found is None:
            return "the server disconnects such a client"
        if found.body == _LAST:
            return None
        if found.command != "MESSAGE" or found.body != _flooding(found.body[5:8]):
            raise CheckFailed(f"a frame is torn: {len(found.body)} octets of a body, as in {_middle(found.body)!r}")
    raise CheckFailed("it sent more messages than were published")


def _flood(station: RawClient, topic: str) -> None:
    """Publish a lot; less if the server stops reading because the radio does not read.

    :raises CheckSkipped: the server does not take it.
    """
    with contextlib.suppress(TimeoutError):
        for number in range(FLOOD_MESSAGES):
            station.say(f"SEND destination:{topic}", _flooding(b"%03d" % number))
    with contextlib.suppress(CheckFailed):  # It should say nothing.
        answer = station.next_frame(STALL_SECONDS)
        refusal = shown(answer) if answer else "it closes the connection"
        raise CheckSkipped(f"it does not take {FLOOD_MESSAGES} messages of {FLOOD_OCTETS} octets: {refusal}")


def _flooding(number: bytes) -> bytes:
    """A body that shows where a piece of it comes from."""
    return b"TEXT " + (number + b",") * (FLOOD_OCTETS // 4)


def _middle(body: bytes) -> bytes:
    """Where the first other frame begins in a torn body; the end of it if there is none."""
    place = body.find(b"MESSAGE")
    return body[-_SHOWN:] if place < 0 else body[max(0, place - _SHOWN // 2) : place + _SHOWN // 2]


@CHECKS.add("M1", "under 1.0 SUBSCRIBE needs no id, and UNSUBSCRIBE goes by destination")
def _by_destination(subject: Subject) -> None:
    station, radio, topic = subject.pair()
    radio.say(f"SUBSCRIBE destination:{topic} receipt:1")
    radio.expect("RECEIPT", "receipt-id", "1")
    station.publish(topic, b"TEXT one")
    radio.expect("MESSAGE", "destination", topic)
    radio.say(f"UNSUBSCRIBE destination:{topic} receipt:2")
    radio.expect("RECEIPT", "receipt-id", "2")


@CHECKS.add("M2", "under 1.0 an ERROR leaves the connection open: clients rely on it")
def _error_stays_open(subject: Subject) -> None:
    client = subject.radio()
    client.say("SUBSCRIBE")
    client.expect("ERROR", "message")
    client.subscribe(subject.topic())


@CHECKS.add("M3", "a refused UNSUBSCRIBE gets one ERROR, not two (EBU)")
def _one_error(subject: Subject) -> None:
    """Contract §2, fault 14. No ERROR at all, and an ERROR after which the connection ends, are STOMP 1.0 too."""
    for lines in ("", " id:nothing", f" destination:{subject.topic()}"):
        client = subject.radio()
        client.say(f"UNSUBSCRIBE{lines}")
        came, _ = client.until_done(subject.topic())
        errors = [found for found in came if found.command == "ERROR"]
        if len(errors) > 1:
            raise CheckFailed(f"for UNSUBSCRIBE{lines} it sent {' and '.join(map(shown, errors))}")


@CHECKS.add("V1", "who subscribes gets what is on air at once")
def _fast_reply(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.2")
    station.publish(topic, b"SHOW http://s/on-air.png")
    radio.say(f"SUBSCRIBE destination:{topic} id:1")
    if radio.expect("MESSAGE").body != b"SHOW http://s/on-air.png":
        raise CheckFailed("something else came")


@CHECKS.add("V2", "but not with x-ebu-nofastreply:yes")
def _no_fast_reply(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.2")
    station.publish(topic, b"SHOW http://s/on-air.png")
    radio.subscribe(topic, "1", "x-ebu-nofastreply:yes")
    came = radio.quiet(subject.topic())
    if came:
        raise CheckFailed(f"it sent {shown(came[0])}")


@CHECKS.add("V3", "link, trigger-time and the headers of categories reach the radio")
def _forwarded(subject: Subject) -> None:
    sent = ("link:http://s/", "trigger-time:NOW", "SlideId:7", "CategoryId:3", "CategoryTitle:News")
    radio, _ = _published_slide(subject, *sent)
    message = radio.expect("MESSAGE")
    lost = [header for header in sent if message.get(header.partition(":")[0]) != header.partition(":")[2]]
    if lost:
        raise CheckFailed(f"without {', '.join(lost)}")


@CHECKS.add("V4", "a publisher's other headers do not: their effect on a radio is unknown")
def _not_forwarded(subject: Subject) -> None:
    radio, _ = _published_slide(subject, "x-anything:1", "priority:9")
    message = radio.expect("MESSAGE")
    if message.get("x-anything") is not None:
        raise CheckFailed(f"it sent {shown(message)}")


@CHECKS.add("V5", "a station cannot publish to topics of others, and is told so")
def _foreign_topic(subject: Subject) -> str | None:
    """Whether it was published is seen by a radio, as far as the server lets one listen there.

    A RECEIPT may come before the ERROR: under 1.0 it only says that the frame has arrived (contract §1.4).
    """
    (station, radio, own), other = subject.pair("1.2"), subject.foreign_topic()
    if not _listens(radio, other):
        radio = subject.radio("1.2")
    radio.subscribe(own, "own")
    station.say(f"SEND destination:{other} receipt:1", b"SHOW http://s/foreign.png")
    answers, ended = station.until_done(subject.topic())
    subject.station().publish(own, b"TEXT own")  # What was published before it has come when this comes.
    found = radio.expect("MESSAGE")
    if found.body != b"TEXT own":
        raise CheckFailed(f"it was published: {shown(found)}")
    if ended or any(answer.command == "ERROR" for answer in answers):
        return None
    if station.version == "1.0":
        return "the publisher is not told, which STOMP 1.0 allows"
    raise CheckFailed(f"the publisher is not told, but sent {' and '.join(map(shown, answers)) or 'nothing'}")


def _listens(radio: RawClient, topic: str) -> bool:
    """Whether the server takes a subscription to this topic. If not, it may have closed the connection."""
    radio.say(f"SUBSCRIBE destination:{topic} id:other receipt:other")
    answer = radio.next_frame()
    return answer is not None and answer.command == "RECEIPT"
