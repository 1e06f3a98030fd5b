"""Checks of commands, receipts and errors under STOMP 1.1 and 1.2."""

from __future__ import annotations

from radiovis.conformance.check import CheckList
from radiovis.conformance.subject import CheckFailed, CheckSkipped, Subject, shown

CHECKS = CheckList()


@CHECKS.add("C1", "SUBSCRIBE without id or destination, or the same one twice, gets an ERROR, and the connection ends")
def _bad_subscribe(subject: Subject) -> None:
    for lines in (f"destination:{subject.topic()}", "id:1"):
        client = subject.radio("1.2")
        client.say(f"SUBSCRIBE {lines}")
        client.refused()
    client, topic = subject.radio("1.2"), subject.topic()
    client.subscribe(topic, "1")
    client.say(f"SUBSCRIBE id:1 destination:{topic}")
    client.refused()


@CHECKS.add("C2", "a client with two subscriptions to one topic gets two messages, each with the id of a subscription")
def _two_subscriptions(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.2")
    radio.subscribe(topic, "a")
    radio.subscribe(topic, "b")
    station.publish(topic, b"TEXT x")
    ids = sorted(radio.expect("MESSAGE").get("subscription") or "" for _ in "ab")
    if ids != ["a", "b"]:
        raise CheckFailed(f"the subscription headers of the two messages are {ids}, not a and b")


@CHECKS.add("C3", "after the RECEIPT of an UNSUBSCRIBE, no message is sent")
def _unsubscribe(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.2")
    radio.subscribe(topic, "1")
    radio.say("UNSUBSCRIBE id:1 receipt:7")
    radio.expect("RECEIPT", "receipt-id", "7")
    station.publish(topic, b"TEXT x")
    came = radio.quiet(subject.topic())
    if came:
        raise CheckFailed(f"it sent {shown(came[0])}")


@CHECKS.add("C3a", "UNSUBSCRIBE with an unknown id gets an ERROR")
def _unknown_unsubscribe(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.say("UNSUBSCRIBE id:nothing")
    client.expect("ERROR", "message")


@CHECKS.add("C4", "a publisher cannot set the headers subscription and ack of a MESSAGE")
def _forged_headers(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.2")
    radio.subscribe(topic, "mine")
    station.publish(topic, b"TEXT x", "subscription:EVIL", "ack:EVIL")
    message = radio.expect("MESSAGE")
    if "EVIL" in dict(message.headers).values() or message.get("subscription") != "mine":
        raise CheckFailed(f"it sent {shown(message)}")


@CHECKS.add("C5", "a MESSAGE has the destination of the SUBSCRIBE, a message-id and the subscription")
def _message_headers(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.2")
    radio.subscribe(topic, "1")
    station.publish(topic, b"TEXT x")
    message = radio.expect("MESSAGE", "message-id")
    if (message.get("destination"), message.get("subscription")) != (topic, "1"):
        raise CheckFailed(f"it sent {shown(message)}")


@CHECKS.add("C6", "ACK of a message that was not sent gets an ERROR")
def _unknown_ack(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.say("ACK id:nothing")
    client.expect("ERROR", "message")


@CHECKS.add("C6a", "a 1.2 client with ack:client-individual gets an ack header, and can use it")
def _ack(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.2")
    radio.subscribe(topic, "1", "ack:client-individual")
    station.publish(topic, b"TEXT x")
    ack = radio.expect("MESSAGE", "ack").get("ack")
    radio.say(f"ACK id:{ack} receipt:7")
    radio.expect("RECEIPT", "receipt-id", "7")


@CHECKS.add("C7", "a message in a transaction is published at COMMIT, and dropped at ABORT")
def _transactions(subject: Subject) -> None:
    station, radio, topic = subject.pair("1.2")
    radio.subscribe(topic, "1")
    for name, end in (("a", "ABORT"), ("b", "COMMIT")):
        station.say(f"BEGIN transaction:{name}")
        station.say(f"SEND destination:{topic} transaction:{name}", name.encode())
        if radio.quiet(subject.topic()):
            raise CheckFailed("the message was sent before the COMMIT")
        station.say(f"{end} transaction:{name} receipt:{name}")
        station.expect("RECEIPT", "receipt-id", name)
    body = radio.expect("MESSAGE").body
    if body != b"b":
        raise CheckFailed(f"it sent {body!r}, which belongs to an aborted transaction")


@CHECKS.add("C7a", "COMMIT of an unknown transaction, and BEGIN of an open one, get an ERROR")
def _bad_transactions(subject: Subject) -> None:
    for frames in (("COMMIT transaction:x",), ("BEGIN transaction:x", "BEGIN transaction:x")):
        client = subject.radio("1.2")
        for frame in frames:
            client.say(frame)
        client.expect("ERROR", "message")


@CHECKS.add("C8", "DISCONNECT gets its RECEIPT, and then the connection ends")
def _disconnect(subject: Subject) -> None:
    for version in ("1.0", "1.2"):
        client = subject.radio(version)
        client.say("DISCONNECT receipt:bye")
        client.expect("RECEIPT", "receipt-id", "bye")
        client.ends()


@CHECKS.add("C9", "an unknown command gets an ERROR, and the connection ends")
def _unknown_command(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.say("DANCE")
    client.refused()


@CHECKS.add("R1", "every frame gets its receipt, in the order of the frames")
def _receipts(subject: Subject) -> None:
    station, topic = subject.station(), subject.topic()
    station.send("".join(f"SEND\ndestination:{topic}\nreceipt:{n}\n\n{n}\0" for n in range(200)).encode())
    for number in range(200):
        station.expect("RECEIPT", "receipt-id", str(number))


@CHECKS.add("R2", "an ERROR has the receipt-id of the frame that caused it")
def _error_receipt(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.say("UNSUBSCRIBE id:nothing receipt:7")
    client.expect("ERROR", "receipt-id", "7")


@CHECKS.add("R3", "a client without a login cannot publish")
def _anonymous_send(subject: Subject) -> None:
    client = subject.connect()
    client.say(f"CONNECT accept-version:1.2 host:{subject.host}")
    client.expect("CONNECTED")
    client.say(f"SEND destination:{subject.topic()}", b"TEXT x")
    client.expect("ERROR", "message")


@CHECKS.add("T1", "a SEND before the client closes its side is published, and gets its receipt")
def _half_close(subject: Subject) -> None:
    if subject.server.tls or subject.server.path:
        raise CheckSkipped("only plain TCP has half-closed connections")
    station, radio, topic = subject.pair("1.2")
    radio.subscribe(topic)
    station.say(f"SEND destination:{topic} receipt:7", b"TEXT last words")
    station.half_close()
    station.expect("RECEIPT", "receipt-id", "7")
    radio.expect("MESSAGE")
