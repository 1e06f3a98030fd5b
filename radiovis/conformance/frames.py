"""Frames: line ends, bodies, escapes."""

from __future__ import annotations

from radiovis.conformance.check import CheckList
from radiovis.conformance.raw_client import CheckFailed
from radiovis.conformance.subject import Subject

CHECKS = CheckList()


@CHECKS.add("F1", "line ends may be CR LF in every version (CasterPlay)")
def _crlf(subject: Subject) -> None:
    for version in ("1.0", "1.2"):
        client = subject.radio(version)
        client.send(f"SUBSCRIBE\r\nid:1\r\ndestination:{subject.topic()}\r\nreceipt:7\r\n\r\n\0".encode())
        client.expect("RECEIPT", "receipt-id", "7")


@CHECKS.add("F2", "line ends between frames are nothing (Pure)")
def _padding(subject: Subject) -> None:
    client = subject.radio()
    client.send(b"\n\r\n\n")
    client.subscribe(subject.topic())
    client.send(b"\n" * 10_000)
    client.subscribe(subject.topic(), "t")


@CHECKS.add("F3", "with content-length a body may hold NULs, and arrives whole")
def _nul_in_body(subject: Subject) -> None:
    _round_trip(subject, b"TEXT a\0b", "content-length:8")


@CHECKS.add("F3a", "a content-length that is wrong or no number gets an ERROR, and the end")
def _bad_length(subject: Subject) -> None:
    for length in ("abc", "-1", "2"):
        station = subject.station()
        station.say(f"SEND destination:{subject.topic()} content-length:{length}", b"TEXT x")
        station.refused()


@CHECKS.add("F4", "bodies are octets: CR and what is no UTF-8 arrive unchanged")
def _octets(subject: Subject) -> None:
    _round_trip(subject, b"TEXT a\r\nb\r\xff\xfe caf\xc3\xa9")


@CHECKS.add("F5", "of a repeated header the first counts")
def _repeated_header(subject: Subject) -> None:
    station, radio, topic = subject.station(), subject.radio("1.2"), subject.topic()
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


@CHECKS.add("F7", "a header that is no UTF-8 gets an ERROR")
def _no_utf8(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.send(b"SUBSCRIBE\nid:1\ndestination:/topic/\xff\xfe\n\n\0")
    client.refused()


@CHECKS.add("F8", "an unknown escape gets an ERROR, and the end")
def _bad_escape(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.say(f"SUBSCRIBE id:a\\tb destination:{subject.topic()}")
    client.refused()


@CHECKS.add("F9", "a header cannot be smuggled to a 1.0 radio in another one's value")
def _no_smuggling(subject: Subject) -> None:
    station, radio, topic = subject.station(), subject.radio(), subject.topic()
    radio.subscribe(topic)
    station.publish(topic, b"SHOW http://s/1.png", "link:http://s/\\nevil:1")
    if radio.expect("MESSAGE").get("evil") is not None:
        raise CheckFailed("the radio was sent a header line of its own")


@CHECKS.add("F10", "a MESSAGE to 1.1 and 1.2 has a content-length")
def _content_length(subject: Subject) -> None:
    station, radio, topic = subject.station(), subject.radio("1.1"), subject.topic()
    radio.subscribe(topic)
    station.publish(topic, b"TEXT x")
    radio.expect("MESSAGE", "content-length", "6")


@CHECKS.add("F13", "a frame may arrive octet by octet")
def _octet_by_octet(subject: Subject) -> None:
    client = subject.radio()
    for octet in f"SUBSCRIBE\nid:1\ndestination:{subject.topic()}\nreceipt:7\n\n\0".encode():
        client.send(bytes([octet]))
    client.expect("RECEIPT", "receipt-id", "7")


@CHECKS.add("F14", "DISCONNECT without the blank line is understood: old clients send it")
def _short_disconnect(subject: Subject) -> None:
    client = subject.radio()
    client.send(b"DISCONNECT\nreceipt:77\n\0")
    client.expect("RECEIPT", "receipt-id", "77")
    client.ends()


def _round_trip(subject: Subject, body: bytes, *headers: str) -> None:
    station, radio, topic = subject.station(), subject.radio("1.2"), subject.topic()
    radio.subscribe(topic)
    station.publish(topic, body, *headers)
    came = radio.expect("MESSAGE").body
    if came != body:
        raise CheckFailed(f"sent {body!r}, got {came!r}")
