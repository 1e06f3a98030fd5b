"""Checks of frames (F: line ends, bodies, escapes), and of bad input (B).

Bad input must not harm a server. The server must answer with an ERROR or close the connection.
"""

from __future__ import annotations

from radiovis.conformance.check import CheckList
from radiovis.conformance.subject import CheckFailed, RawClient, Subject, shown

CHECKS = CheckList()


@CHECKS.add("F1", "line ends may be CR LF in every version (CasterPlay)")
def _crlf(subject: Subject) -> None:
    for version in ("1.0", "1.2"):
        client = subject.radio(version)
        client.send(f"SUBSCRIBE\r\nid:1\r\ndestination:{subject.topic()}\r\nreceipt:7\r\n\r\n\0".encode())
        client.expect("RECEIPT", "receipt-id", "7")


@CHECKS.add("F2", "line ends between frames are ignored (Pure)")
def _padding(subject: Subject) -> None:
    client = subject.radio()
    client.send(b"\n\r\n\n")
    client.subscribe(subject.topic())
    client.send(b"\n" * 10_000)
    client.subscribe(subject.topic(), "t")


@CHECKS.add("F3", "a body with content-length may contain NULs, and arrives complete")
def _nul_in_body(subject: Subject) -> None:
    _round_trip(subject, b"TEXT a\0b", "content-length:8")


@CHECKS.add("F3a", "an invalid or wrong content-length gets an ERROR, and the connection ends")
def _bad_length(subject: Subject) -> None:
    for length in ("abc", "-1", "2"):
        station = subject.station()
        station.say(f"SEND destination:{subject.topic()} content-length:{length}", b"TEXT x")
        station.refused()


@CHECKS.add("F4", "bodies are octets: CR and invalid UTF-8 arrive unchanged")
def _octets(subject: Subject) -> None:
    _round_trip(subject, b"TEXT a\r\nb\r\xff\xfe caf\xc3\xa9")


@CHECKS.add("F5", "the first of repeated headers counts")
def _repeated_header(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.2")
    radio.subscribe(topic, "1", f"destination:{subject.topic()}")
    station.publish(topic, b"TEXT x")
    radio.expect("MESSAGE", "destination", topic)


@CHECKS.add("F6", "a header without a colon is tolerated under 1.0 (CasterPlay)")
def _no_colon(subject: Subject) -> None:
    client = subject.radio()
    client.subscribe(subject.topic(), "1", "persistent")


@CHECKS.add("F6a", "a header without a colon gets an ERROR under 1.2")
def _no_colon_12(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.say(f"SUBSCRIBE id:1 destination:{subject.topic()} persistent")
    client.refused()


@CHECKS.add("F7", "a header that is not UTF-8 gets an ERROR")
def _no_utf8(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.send(b"SUBSCRIBE\nid:1\ndestination:/topic/\xff\xfe\n\n\0")
    client.refused()


@CHECKS.add("F8", "an unknown escape gets an ERROR, and the connection ends")
def _bad_escape(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.say(f"SUBSCRIBE id:a\\tb destination:{subject.topic()}")
    client.refused()


@CHECKS.add("F9", "the value of a header cannot add a header to a MESSAGE for a 1.0 radio")
def _no_smuggling(subject: Subject) -> None:
    station, radio, topic = subject.pair()
    radio.subscribe(topic)
    station.publish(topic, b"SHOW http://s/1.png", "link:http://s/\\nevil:1")
    if radio.expect("MESSAGE").get("evil") is not None:
        raise CheckFailed("the value became a header line of its own in the MESSAGE to the radio")


@CHECKS.add("F10", "a MESSAGE under 1.1 has a content-length")
def _content_length(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.1")
    radio.subscribe(topic)
    station.publish(topic, b"TEXT x")
    radio.expect("MESSAGE", "content-length", "6")


@CHECKS.add("F13", "a frame may arrive octet by octet")
def _octet_by_octet(subject: Subject) -> None:
    client = subject.radio()
    for octet in f"SUBSCRIBE\nid:1\ndestination:{subject.topic()}\nreceipt:7\n\n\0".encode():
        client.send(bytes([octet]))
    client.expect("RECEIPT", "receipt-id", "7")


@CHECKS.add("F14", "DISCONNECT without the blank line is accepted, because old clients send it")
def _short_disconnect(subject: Subject) -> None:
    client = subject.radio()
    client.send(b"DISCONNECT\nreceipt:77\n\0")
    client.expect("RECEIPT", "receipt-id", "77")
    client.ends()


def _round_trip(subject: Subject, body: bytes, *headers: str) -> None:
    station, radio, topic = subject.pair("1.2")
    radio.subscribe(topic)
    station.publish(topic, body, *headers)
    came = radio.expect("MESSAGE").body
    if came != body:
        raise CheckFailed(f"the published body was {body!r}, but the radio got {came!r}")


BAD_INPUT_CHECKS = CheckList()


def _given_up(client: RawClient) -> None:
    """Check that the next frame is an ERROR, or that the server closes the connection."""
    found = client.next_frame()
    if found is not None and found.command != "ERROR":
        raise CheckFailed(f"it sent {shown(found)}")


@BAD_INPUT_CHECKS.add("B1", "an HTTP request on the STOMP port gets an ERROR, or the connection ends")
def _http(subject: Subject) -> None:
    client = subject.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\0")
    _given_up(client)


@BAD_INPUT_CHECKS.add("B2", "an incomplete CONNECT of 1 MiB gets an ERROR, or the connection ends")
def _endless_connect(subject: Subject) -> None:
    client = subject.connect()
    client.send(b"CONNECT\nlogin:" + b"x" * 2**20)
    _given_up(client)


@BAD_INPUT_CHECKS.add("B3", "a header of 5 MiB, or 5,000 headers, get an ERROR, or the connection ends")
def _large_headers(subject: Subject) -> None:
    for lines in (b"a:" + b"x" * 5 * 2**20, b"a:1\n" * 5_000):
        client = subject.radio("1.2")
        client.send(b"SUBSCRIBE\n" + lines)
        _given_up(client)


@BAD_INPUT_CHECKS.add("B4", "a content-length of 2 GiB gets an ERROR before the body is sent, or the connection ends")
def _large_body(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.send(f"SEND\ndestination:{subject.topic()}\ncontent-length:2147483647\n\nx".encode())
    _given_up(client)


@BAD_INPUT_CHECKS.add("B5", "5,000 subscriptions of one client get an ERROR")
def _many_subscriptions(subject: Subject) -> None:
    client, topic = subject.radio("1.2"), subject.topic()
    client.send("".join(f"SUBSCRIBE\nid:{n}\ndestination:{topic}{n}\n\n\0" for n in range(5_000)).encode())
    client.expect("ERROR", "message")


@BAD_INPUT_CHECKS.add("B6", "a frame that only servers send, or a command in lower case, gets an ERROR")
def _wrong_commands(subject: Subject) -> None:
    for frame in ("MESSAGE", "CONNECTED version:1.2", "subscribe"):
        client = subject.radio("1.2")
        client.say(frame)
        client.expect("ERROR", "message")


@BAD_INPUT_CHECKS.add("B7", "a destination is not a pattern")
def _patterns(subject: Subject) -> None:
    (station, radio, _), topic = subject.pair("1.2"), subject.topic("text")
    radio.subscribe(topic[:-4] + ".*", "1")
    radio.subscribe(topic[:-4] + "#", "2")
    station.publish(topic, b"TEXT x")
    came = radio.quiet(subject.topic())
    if came:
        raise CheckFailed(f"it sent {shown(came[0])}")
