"""What receivers in the field need: STOMP 1.0 as they use it, and the lessons of contract §5."""

from __future__ import annotations

from radiovis.conformance.check import CheckList
from radiovis.conformance.subject import CheckFailed, CheckSkipped, RawClient, Subject, shown

CHECKS = CheckList()


def _published_slide(subject: Subject, *headers: str) -> tuple[RawClient, str]:
    """A 1.0 radio, and its topic, to which a slide has just been published."""
    station, radio, topic = subject.station(), subject.radio(), subject.topic()
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
        raise CheckFailed(f"it ends with {radio.octets[-4:]!r}")


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
    radio, topic = _published_slide(subject)
    message = radio.expect("MESSAGE", "subscription", "7")
    if message.get("destination") != topic:
        raise CheckFailed(f"the Qt client drops it, as it is not called {topic}: {shown(message)}")
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
    station, radio, topic = subject.station(), subject.radio(), subject.topic()
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


@CHECKS.add("M1", "under 1.0 SUBSCRIBE needs no id, and UNSUBSCRIBE goes by destination")
def _by_destination(subject: Subject) -> None:
    station, radio, topic = subject.station(), subject.radio(), subject.topic()
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


@CHECKS.add("V1", "who subscribes gets what is on air at once")
def _fast_reply(subject: Subject) -> None:
    station, radio, topic = subject.station(), subject.radio("1.2"), subject.topic()
    station.publish(topic, b"SHOW http://s/on-air.png")
    radio.say(f"SUBSCRIBE destination:{topic} id:1")
    if radio.expect("MESSAGE").body != b"SHOW http://s/on-air.png":
        raise CheckFailed("something else came")


@CHECKS.add("V2", "but not with x-ebu-nofastreply:yes")
def _no_fast_reply(subject: Subject) -> None:
    station, radio, topic = subject.station(), subject.radio("1.2"), subject.topic()
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


@CHECKS.add("V5", "a station cannot publish to topics of others")
def _foreign_topic(subject: Subject) -> None:
    station = subject.station()
    station.say("SEND destination:/topic/somebody/else/image receipt:1", b"SHOW http://s/1.png")
    station.expect("ERROR", "message")
