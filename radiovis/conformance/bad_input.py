"""Input that must not harm a server: it answers at once with an ERROR or closes the connection."""

from __future__ import annotations

from radiovis.conformance.check import CheckList
from radiovis.conformance.raw_client import CheckFailed, RawClient, shown
from radiovis.conformance.subject import Subject

BAD_INPUT_CHECKS = CheckList()


def _given_up(client: RawClient) -> None:
    """The server sends an ERROR or nothing, and closes the connection."""
    try:
        found = client.frame()
    except CheckFailed as failed:
        if "closed the connection" in str(failed):
            return
        raise
    if found.command != "ERROR":
        raise CheckFailed(f"it sent {shown(found)}")


@BAD_INPUT_CHECKS.add("B1", "an HTTP request on the port")
def _http(subject: Subject) -> None:
    client = subject.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\0")
    _given_up(client)


@BAD_INPUT_CHECKS.add("B2", "1 MiB before the CONNECT is complete")
def _endless_connect(subject: Subject) -> None:
    client = subject.connect()
    client.send(b"CONNECT\nlogin:" + b"x" * 2**20)
    _given_up(client)


@BAD_INPUT_CHECKS.add("B3", "a header of 5 MiB, and 5,000 headers")
def _large_headers(subject: Subject) -> None:
    for lines in (b"a:" + b"x" * 5 * 2**20, b"a:1\n" * 5_000):
        client = subject.radio("1.2")
        client.send(b"SUBSCRIBE\n" + lines)
        _given_up(client)


@BAD_INPUT_CHECKS.add("B4", "a body of 2 GiB, as its content-length says, before it is sent")
def _large_body(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.send(f"SEND\ndestination:{subject.topic()}\ncontent-length:2147483647\n\nx".encode())
    _given_up(client)


@BAD_INPUT_CHECKS.add("B5", "5,000 subscriptions of one client")
def _many_subscriptions(subject: Subject) -> None:
    client, topic = subject.radio("1.2"), subject.topic()
    client.send("".join(f"SUBSCRIBE\nid:{n}\ndestination:{topic}{n}\n\n\0" for n in range(5_000)).encode())
    client.expect("ERROR", "message")


@BAD_INPUT_CHECKS.add("B6", "frames only servers send, and commands in small letters")
def _wrong_commands(subject: Subject) -> None:
    for frame in ("MESSAGE", "CONNECTED version:1.2", "subscribe"):
        client = subject.radio("1.2")
        client.say(frame)
        client.expect("ERROR", "message")


@BAD_INPUT_CHECKS.add("B7", "a selector is never evaluated, and a topic never a pattern")
def _patterns(subject: Subject) -> None:
    station, radio, topic = subject.station(), subject.radio("1.2"), subject.topic("text")
    radio.subscribe(topic[:-4] + ".*", "1")
    radio.subscribe(topic[:-4] + "#", "2")
    station.publish(topic, b"TEXT x")
    came = radio.quiet(subject.topic())
    if came:
        raise CheckFailed(f"it sent {shown(came[0])}")
