"""What must not harm a server: each gets an ERROR or the end, at once, and others are served as before."""

from __future__ import annotations

from radiovis.conformance.check import Checks
from radiovis.conformance.subject import Subject
from radiovis.conformance.wire import Failed, Wire, shown

CHECKS = Checks()


def _given_up(wire: Wire) -> None:
    """An ERROR or nothing, and the end."""
    try:
        found = wire.frame()
    except Failed as failed:
        if "closed the connection" in str(failed):
            return
        raise
    if found.command != "ERROR":
        raise Failed(f"it sent {shown(found)}")


@CHECKS.add("B1", "an HTTP request on the port")
def _http(subject: Subject) -> None:
    wire = subject.wire()
    wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\0")
    _given_up(wire)


@CHECKS.add("B2", "1 MiB before the CONNECT is complete")
def _endless_connect(subject: Subject) -> None:
    wire = subject.wire()
    wire.send(b"CONNECT\nlogin:" + b"x" * 2**20)
    _given_up(wire)


@CHECKS.add("B3", "a header of 5 MiB, and 5,000 headers")
def _large_headers(subject: Subject) -> None:
    for lines in (b"a:" + b"x" * 5 * 2**20, b"a:1\n" * 5_000):
        wire = subject.radio("1.2")
        wire.send(b"SUBSCRIBE\n" + lines)
        _given_up(wire)


@CHECKS.add("B4", "a body of 2 GiB, as its content-length says, before it is sent")
def _large_body(subject: Subject) -> None:
    wire = subject.radio("1.2")
    wire.send(f"SEND\ndestination:{subject.topic()}\ncontent-length:2147483647\n\nx".encode())
    _given_up(wire)


@CHECKS.add("B5", "5,000 subscriptions of one client")
def _many_subscriptions(subject: Subject) -> None:
    wire, topic = subject.radio("1.2"), subject.topic()
    wire.send("".join(f"SUBSCRIBE\nid:{n}\ndestination:{topic}{n}\n\n\0" for n in range(5_000)).encode())
    wire.expect("ERROR", "message")


@CHECKS.add("B6", "frames only servers send, and commands in small letters")
def _wrong_commands(subject: Subject) -> None:
    for frame in ("MESSAGE", "CONNECTED version:1.2", "subscribe"):
        wire = subject.radio("1.2")
        wire.say(frame)
        wire.expect("ERROR", "message")


@CHECKS.add("B7", "a selector is never evaluated, and a topic never a pattern")
def _patterns(subject: Subject) -> None:
    station, radio, topic = subject.station(), subject.radio("1.2"), subject.topic("text")
    radio.subscribe(topic[:-4] + ".*", "1")
    radio.subscribe(topic[:-4] + "#", "2")
    station.publish(topic, b"TEXT x")
    came = radio.quiet(subject.topic())
    if came:
        raise Failed(f"it sent {shown(came[0])}")
