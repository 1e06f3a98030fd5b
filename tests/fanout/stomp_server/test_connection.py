"""One client, between a wire in memory and a hub: what it is told, in which order, in how many writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred, succeed
from twisted.trial import unittest

from fanout.application.interface import Principal, ResolvedTopic
from fanout.hub.hub import Hub
from fanout.hub.message import Headers, Message, Publication
from fanout.hub.outbox import Flusher, OutboxSettings
from fanout.stomp.codec import Frame
from fanout.stomp_server.connection import Connection
from fanout.stomp_server.stomp_server import MANY, StompServer, StompServerSettings
from fanout.stomp_server.transports import connect
from tests.fanout.stomp.pair import read_frames


class Anything:
    """An application where all spellings of a destination are one topic, and everybody may publish."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def login(self, login: str, passcode: str, peer: object) -> Principal:
        return Principal(login, login)

    async def resolve(self, destination: str, headers: Headers) -> ResolvedTopic:
        return ResolvedTopic(destination.lower())

    async def recall(self, topic: str) -> None:
        return None

    async def admit(self, principal: Principal | None, sends: Sequence[Publication]) -> tuple[Message, ...]:
        return tuple(Message(send.destination, send.body, "id", 1, ()) for send in sends)

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        for message in messages:
            self.hub.publish(message.topic.lower(), message)
        return succeed(None)

    def receipt_headers(self, messages: Sequence[Message]) -> None:
        return None


class Transport:
    kind = "stomp"
    certificates = ()
    framing = None

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.finished = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        raise AssertionError("cut off")


class Client:
    """A client's side of a connection."""

    def __init__(self, door: StompServer, version: str, *destinations: str) -> None:
        self.version = version
        self.wire = Transport()
        self.connection: Connection = connect(door, self.wire, "192.0.2.1", 1)
        accept = "" if version == "1.0" else f"accept-version:{version}\n"
        self.say(f"CONNECT\n{accept}\n\0")
        for number, destination in enumerate(destinations):
            self.say(f"SUBSCRIBE\nid:{number}\ndestination:{destination}\n\n\0")

    def say(self, octets: str) -> None:
        self.connection.received(octets.encode())

    def frames(self) -> list[Frame]:
        """What was written since the last look."""
        octets, self.wire.writes[:] = b"".join(self.wire.writes), []
        return read_frames(octets, self.version)

    def told(self) -> list[tuple[str, bytes]]:
        return [(frame.command, frame.body) for frame in self.frames()]


class ConnectionCase(unittest.TestCase):
    def setUp(self) -> None:
        self.turns: list[Callable[[], None]] = []
        flusher = Flusher(lambda: 0.0, self.turns.append, lambda outbox, error: self.fail(str(error)))
        self.hub = Hub(lambda member, error: self.fail(str(error)), at_end_of_turn=flusher.first)
        self.door = StompServer(
            StompServerSettings(),
            "fanout",
            application=Anything(self.hub),  # type: ignore[arg-type]
            hub=self.hub,
            flusher=flusher,
            clock=lambda: 0.0,
            log=structlog.get_logger(),
            warn=lambda *_, **__: None,
        )

    def client(self, version: str, *destinations: str) -> Client:
        client = Client(self.door, version, *destinations)
        self.turn()
        client.frames()
        return client

    def turn(self) -> None:
        turns, self.turns[:] = list(self.turns), []
        for call in turns:
            call()

    def publish(self, topic: str, *bodies: bytes) -> None:
        for body in bodies:
            self.hub.publish(topic, Message(topic, body, "id", 1))


class ATurn(ConnectionCase):
    def test_one_write_for_all_messages_of_all_its_topics(self) -> None:
        radios = [self.client("1.2", "/image", "/text") for _ in range(3)]
        self.publish("/image", b"1", b"2")
        self.publish("/text", b"3")
        self.turn()
        self.assertEqual([len(radio.wire.writes) for radio in radios], [1, 1, 1])
        self.assertEqual([body for _, body in radios[0].told()], [b"1", b"2", b"3"])

    def test_a_receipt_comes_behind_the_messages_of_before(self) -> None:
        leaving, _ = self.client("1.2", "/t"), self.client("1.2", "/t")
        self.publish("/t", b"1")
        leaving.say("UNSUBSCRIBE\nid:0\nreceipt:r\n\n\0")
        self.publish("/t", b"2")
        self.turn()
        self.assertEqual(leaving.told(), [("MESSAGE", b"1"), ("RECEIPT", b"")])

    def test_who_publishes_and_listens_is_told_in_order(self) -> None:
        station, _ = self.client("1.2", "/t"), self.client("1.2", "/t")
        station.say("SEND\ndestination:/t\nreceipt:r\n\n1\0DISCONNECT\nreceipt:d\n\n\0")
        self.turn()
        self.assertEqual([command for command, _ in station.told()], ["MESSAGE", "RECEIPT", "RECEIPT"])
        self.assertTrue(station.wire.finished)

    def test_under_10_the_receipt_comes_before_the_publishers_own_message(self) -> None:
        """Also for SENDs that come in one piece (contract §2, change 13)."""
        station, _ = self.client("1.0", "/t"), self.client("1.0", "/t")
        station.say("SEND\ndestination: /t\nreceipt:r\n\n1\0SEND\ndestination: /t\nreceipt:s\n\n2\0")
        self.turn()
        told = [("RECEIPT", b""), ("MESSAGE", b"1"), ("RECEIPT", b""), ("MESSAGE", b"2")]
        self.assertEqual(station.told(), told)

    def test_messages_of_two_topics_under_one_id_are_acknowledged(self) -> None:
        """npm node-stomp 1.1.0 has one id for all its subscriptions (contract §2, change 14)."""
        for version, id_ in (("1.1", "message-id:id\nsubscription:0"), ("1.2", "id:0/id")):
            client, topics = self.client(version), (f"/a/{version}", f"/b/{version}")
            for topic in topics:
                client.say(f"SUBSCRIBE\nid:0\ndestination:{topic}\nack:client-individual\n\n\0")
                self.publish(topic, b"x")
            self.turn()
            self.assertEqual(client.told(), [("MESSAGE", b"x")] * 2)
            for _ in range(2):
                client.say(f"ACK\n{id_}\nreceipt:r\n\n\0")
                self.turn()
                self.assertEqual(client.told(), [("RECEIPT", b"")])
            client.say("UNSUBSCRIBE\nid:0\nreceipt:r\n\n\0")
            for topic in topics:
                self.publish(topic, b"y")
            self.turn()
            self.assertEqual(client.told(), [("RECEIPT", b"")])

    def test_who_subscribes_in_the_middle_sees_each_message_once(self) -> None:
        for _ in range(2):
            self.client("1.2", "/t")
        self.publish("/t", b"1")
        late = Client(self.door, "1.2", "/t")
        self.publish("/t", b"2")
        self.turn()
        self.assertEqual([body for command, body in late.told() if command == "MESSAGE"], [b"1", b"2"])

    def test_the_slow_may_skip_what_the_others_get(self) -> None:
        slow, quick = self.client("1.2", "/t"), self.client("1.2", "/t")
        self.door.flusher.settings = OutboxSettings.model_construct(OUTBOX_BYTES=350)
        slow.connection.full()
        self.publish("/t", b"1" * 80)
        self.turn()
        self.publish("/t", b"2" * 80, b"2" * 80)
        self.turn()
        self.assertEqual((slow.wire.writes, len(quick.told())), ([], 3))
        slow.connection.drained()
        self.assertEqual(slow.told(), [("MESSAGE", b"2" * 80)])

    def test_a_piece_beyond_the_limit_is_offered_one_by_one(self) -> None:
        radio, _ = self.client("1.2", "/t"), self.client("1.2", "/t")
        self.door.flusher.settings = OutboxSettings.model_construct(OUTBOX_BYTES=250)
        self.publish("/t", b"1" * 80, b"2" * 80, b"3" * 80)
        self.turn()
        self.assertEqual(radio.told(), [("MESSAGE", b"3" * 80)])

    def test_what_is_to_be_acknowledged_is_counted_one_by_one(self) -> None:
        client = self.client("1.2")
        other = self.client("1.2")
        for each in (client, other):
            each.say("SUBSCRIBE\nid:0\ndestination:/t\nack:client-individual\n\n\0")
        self.publish("/t", b"1")
        self.turn()
        acks = [frame.get("ack") for frame in client.frames() if frame.command == "MESSAGE"]
        client.say("".join(f"ACK\nid:{ack}\nreceipt:{ack}\n\n\0" for ack in acks))
        self.turn()
        self.assertEqual(client.told(), [("RECEIPT", b"")])


class TwoSpellings(ConnectionCase):
    """A 1.0 radio that asks for one topic in two ways gets one copy of each message (contract §1.7)."""

    def given(self, *others: str) -> Client:
        radio = self.client("1.0", "/Topic", "/topic", "/other")
        for destination in others:
            self.client("1.0", destination)
        return radio

    def heard(self, radio: Client) -> list[bytes]:
        self.turn()
        return [body for _, body in radio.told()]

    def test_alone_in_both(self) -> None:
        radio = self.given()
        self.publish("/topic", b"1", b"2")
        self.assertEqual(self.heard(radio), [b"1", b"2"])

    def test_among_others_in_both(self) -> None:
        radio = self.given("/Topic", "/topic")
        self.publish("/topic", b"1", b"2")
        self.publish("/other", b"3")
        self.publish("/topic", b"4")
        self.assertEqual(sorted(self.heard(radio)), [b"1", b"2", b"3", b"4"])

    def test_among_others_in_one(self) -> None:
        for spelling in ("/Topic", "/topic"):
            radio = self.given(spelling)
            self.publish("/topic", b"1", b"2")
            self.publish("/other", b"3")
            self.assertEqual(sorted(self.heard(radio)), [b"1", b"2", b"3"], spelling)

    def test_one_of_the_two_is_handed_out_early(self) -> None:
        radio = self.given("/Topic", "/topic")
        self.publish("/topic", b"1")
        self.client("1.0", "/Topic")
        self.publish("/topic", b"2")
        self.assertEqual(self.heard(radio), [b"1", b"2"])


class ManyGo(ConnectionCase):
    def logged(self) -> list[dict[str, object]]:
        """By one look of the door."""
        with capture_logs() as logs:
            self.door.tick()
        return [{name: event[name] for name in ("event", "clients", "left")} for event in logs]

    def test_many_that_vanish_at_once_are_one_line(self) -> None:
        crowd = [self.client("1.2", "/a") for _ in range(MANY + 5)]
        for client in crowd[5:]:
            client.connection.gone()
        self.assertEqual(self.logged(), [{"event": "clients.vanished", "clients": MANY, "left": 5}])
        self.assertEqual(self.logged(), [])

    def test_fewer_are_none(self) -> None:
        for _ in range(MANY - 1):
            self.client("1.2", "/a").connection.gone()
        self.assertEqual(self.logged(), [])
        self.client("1.2", "/a").connection.gone()
        self.assertEqual(self.logged(), [])

    def test_who_says_goodbye_or_is_sent_away_has_not_vanished(self) -> None:
        for number in range(2 * MANY):
            client = self.client("1.2", "/a")
            if number % 2:
                client.say("DISCONNECT\n\n\0")
            else:
                client.connection.close("Shutting down")
            self.assertTrue(client.wire.finished)
            client.connection.gone()
        self.assertEqual(self.logged(), [])
