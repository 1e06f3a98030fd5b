"""Attacks over STOMP, WebSocket and HTTP connections: memory of what is not complete, many frames, many connections."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from tests.attacks.case import STRANGER, AttackCase, size
from tests.message_socket import handshake
from tests.radio import Radio, frame
from tests.web import ask

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/attack/image"
SMALL_HEADERS = {f"h{number}": "v" for number in range(58)}  # as much memory as possible for each octet sent
FRAME = 261_000
"""Octets of a frame, just below MAX_FRAME_BYTES."""
SECONDS = 4.0
SAME = 10
"""Looks at a node's memory, 50 ms apart, in which it must not change to be taken for settled."""


def raw(address: tuple[str, int], source: str = "127.0.0.1") -> socket.socket:
    """A connected socket."""
    return socket.create_connection(address, 20, (source, 0))


def send(sender: socket.socket, octets: bytes) -> int:
    """Send what the server takes. :return: how many octets we tried to send."""
    with contextlib.suppress(OSError):
        sender.sendall(octets)
    return len(octets)


def message(payload: bytes, opcode: int = 2, announced: int | None = None) -> bytes:
    """A WebSocket frame of a client, masked with zeros. :param announced: its length, if more is to follow."""
    length = len(payload) if announced is None else announced
    if length < 126:
        return bytes((0x80 | opcode, 0x80 | length)) + bytes(4) + payload
    return bytes((0x80 | opcode, 0xFF)) + length.to_bytes(8, "big") + bytes(4) + payload


class ConnectionAttack(AttackCase):
    def sockets(self, count: int, address: tuple[str, int], source: str = "127.0.0.1") -> list[socket.socket]:
        """Connections that end with the test."""
        made = []
        for _ in range(count):
            made.append(raw(address, source))
            self.addCleanup(made[-1].close)
        return made

    def settle(self) -> None:
        """Wait until the node has read what was sent: its memory stays the same, or at most ten seconds."""
        until, same, before = time.monotonic() + 10, 0, 0
        pause = threading.Event()
        while same < SAME and time.monotonic() < until:
            pause.wait(0.05)
            memory = self.server.memory()
            same, before = (same + 1 if memory == before else 0), memory

    def websocket(self) -> socket.socket:
        """A WebSocket that speaks STOMP 1.2 and has connected anonymously."""
        [made] = self.sockets(1, self.server.http)
        made.sendall(handshake(Sec_WebSocket_Protocol="v12.stomp"))
        self.assertIn(b"101", made.recv(4096))
        made.sendall(message(frame("CONNECT", {"accept-version": "1.2", "host": "h"})))
        self.assertIn(b"CONNECTED", made.recv(4096))
        return made

    def for_a_while(self, does: Sequence[Callable[[], int]]) -> int:
        """Do each again and again, all at the same time. :return: the sum of what they return."""
        until = time.monotonic() + size(1, 10) * SECONDS / 4

        def repeat(do: Callable[[], int]) -> int:
            total = 0
            while time.monotonic() < until:
                total += do()
            return total

        with ThreadPoolExecutor(len(does)) as pool:
            return sum(pool.map(repeat, does))


class TestTransactions(ConnectionAttack):
    def octets(self, frames: int, transactions: int) -> bytes:
        """One transaction after the other."""
        held = frame("SEND", {"destination": TOPIC, "transaction": "{}", **SMALL_HEADERS}).decode()
        return b"".join(
            frame("BEGIN", {"transaction": f"t{number:02}"}) + held.replace("{}", f"t{number:02}").encode() * frames
            for number in range(transactions)
        )

    def test_anonymous_clients_hold_nothing(self) -> None:
        octets = self.octets(1_000, size(6, 16))
        with self.attack("open transactions, anonymous") as attack:
            radios = [self.radio(**{"accept-version": "1.2"}) for _ in range(12)]
            for radio in radios:
                radio.flood(octets)
                attack.sent += len(octets)
            self.settle()
        for radio in radios:
            self.assertIn(b"You cannot do that.", radio.rest())

    def test_stations_hold_so_much_together(self) -> None:
        """Each transaction is just below MAX_TRANSACTION_BYTES."""
        octets = self.octets(75, 16)
        with self.attack("open transactions, stations") as attack:
            radios = [self.radio("1.test", "test", **{"accept-version": "1.2"}) for _ in range(12)]
            for radio in radios:
                radio.flood(octets)
                attack.sent += len(octets)
            self.settle()

    def test_acknowledgements_hold_what_they_need(self) -> None:
        held = frame("ACK", {"id": "1", "transaction": "{}"}).decode()
        octets = b"".join(
            frame("BEGIN", {"transaction": f"t{number}"}) + held.replace("{}", f"t{number}").encode() * 1_000
            for number in range(size(4, 16))
        )
        with self.attack("open transactions of ACKs, anonymous") as attack:
            radios = [self.radio(**{"accept-version": "1.2"}) for _ in range(12)]
            for radio in radios:
                radio.flood(octets)
                attack.sent += len(octets)
            self.settle()


class TestIdleTransaction(ConnectionAttack):
    settings: ClassVar[Mapping[str, Any]] = {"fanout.stomp.limits.TRANSACTION_SECONDS": 0.5}

    def test_is_not_kept_for_ever(self) -> None:
        begun = frame("BEGIN", {"transaction": "t"})
        with self.attack("idle transactions") as attack:
            radios = [self.radio(**{"accept-version": "1.2"}) for _ in range(20)]
            for radio in radios:
                radio.send(begun)
                attack.sent += len(begun)
            for radio in radios:
                self.assertEqual(radio.expect("ERROR").get("message"), "Transaction too old")


class TestUnfinishedInput(ConnectionAttack):
    def test_frames(self) -> None:
        begun = frame("CONNECT") + b"SEND\ndestination:" + TOPIC.encode() + b"\n\n" + b"x" * FRAME
        with self.attack("unfinished frames, 261 kB") as attack:
            for each in self.sockets(size(600, 1_000), self.server.address):
                attack.sent += send(each, begun)
            self.settle()

    def test_heads_of_frames(self) -> None:
        """The headers are objects while their frame's body is missing."""
        begun = frame("CONNECT") + frame("SEND", {"content-length": "9", **SMALL_HEADERS})[:-1]
        with self.attack("unfinished frames, 58 headers") as attack:
            for each in self.sockets(size(1_000, 2_000), self.server.address):
                attack.sent += send(each, begun)
            self.settle()

    def test_websocket_messages(self) -> None:
        begun = message(b"SEND\ndestination:" + TOPIC.encode() + b"\n\n" + b"x" * FRAME, announced=1_000_000)
        with self.attack("unfinished WebSocket messages") as attack:
            for _ in range(size(100, 600)):
                attack.sent += send(self.websocket(), begun)
            self.settle()

    def test_heads_of_requests(self) -> None:
        begun = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"x%02d: v\r\n" % n for n in range(90))
        long = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(
            b"x%d: %s\r\n" % (n, b"v" * 15_000) for n in range(4)
        )
        with self.attack("unfinished request heads") as attack:
            for number, each in enumerate(self.sockets(size(1_000, 2_000), self.server.http)):
                attack.sent += send(each, long if number % 2 else begun)
            self.settle()


class TestClientsThatLeave(ConnectionAttack):
    """What a client did not complete is freed when its connection ends."""

    def rounds(self, name: str, address: tuple[str, int], begun: bytes) -> None:
        """Connect, send this and disconnect, again and again."""
        with self.attack(name) as attack:
            for _ in range(size(20, 50)):
                clients = [raw(address) for _ in range(100)]
                for client in clients:
                    attack.sent += send(client, begun)
                for client in clients:
                    client.close()
                self.assertTrue(self.is_freed(), f"input of clients that are gone: {self.input_bytes()} octets")
        self.assertLess(attack.growth, 10_000_000, str(attack))

    def input_bytes(self) -> int:
        """The memory of incomplete input, as the node counts it."""
        page = ask(self.server.admin, "/metrics").body.decode()
        [value] = re.findall(r"^fanout_input_bytes (\S+)$", page, re.MULTILINE)
        return int(float(value))

    def is_freed(self) -> bool:
        """Whether the node has freed all of it, within some time."""
        until = time.monotonic() + 20
        while octets := self.input_bytes():
            if time.monotonic() > until:
                break
        return not octets

    def test_a_frame(self) -> None:
        body = b"SEND\ndestination:" + TOPIC.encode() + b"\n\n" + b"x" * 1_000
        self.rounds("gone within a frame", self.server.address, frame("CONNECT") + body)

    def test_a_transaction(self) -> None:
        begun = frame("BEGIN", {"transaction": "t"}) + frame("ACK", {"id": "1", "transaction": "t"})
        connect = frame("CONNECT", {"accept-version": "1.2"})
        self.rounds("gone within a transaction", self.server.address, connect + begun)

    def test_a_websocket_message(self) -> None:
        begun = message(b"CONNECT\naccept-version:1.2\n", announced=1_000)
        opened = handshake(Sec_WebSocket_Protocol="v12.stomp")
        self.rounds("gone within a WebSocket message", self.server.http, opened + begun)

    def test_a_body(self) -> None:
        head = b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\nx: %b\r\n\r\n" % bytes(b"x" * 15_000)
        self.rounds("gone within a body", self.server.http, head)


class TestManyFrames(ConnectionAttack):
    def subscriber(self) -> Radio:
        """An anonymous client with 255 subscriptions."""
        radio = self.radio(**{"accept-version": "1.2"})
        radio.send(b"".join(self.subscribe(number) for number in range(255)))
        self.assertEqual(radio.so_far(), [])
        return radio

    @staticmethod
    def subscribe(number: int) -> bytes:
        lines = {"id": str(number), "destination": f"/topic/id/nobody/{number}", "x-ebu-nofastreply": "yes"}
        return frame("SUBSCRIBE", lines)

    def test_subscribe_and_unsubscribe(self) -> None:
        radios = [self.subscriber() for _ in range(10)]
        octets = (frame("UNSUBSCRIBE", {"id": "7"}) + self.subscribe(7)) * 500
        with self.attack("SUBSCRIBE and UNSUBSCRIBE, 255 held") as attack:
            attack.sent = self.for_a_while([lambda radio=radio: self.say(radio, octets) for radio in radios])  # type: ignore[misc]

    def test_commands_without_an_answer(self) -> None:
        radios = [self.radio(**{"accept-version": "1.2"}) for _ in range(10)]
        octets = (frame("BEGIN", {"transaction": "t"}) + frame("ABORT", {"transaction": "t"})) * 500
        with self.attack("BEGIN and ABORT") as attack:
            attack.sent = self.for_a_while([lambda radio=radio: self.say(radio, octets) for radio in radios])  # type: ignore[misc]

    def test_unknown_commands(self) -> None:
        radios = [self.radio() for _ in range(10)]
        octets = b"NONE\n\n\0" * 5_000
        with self.attack("unknown commands, 1.0") as attack:
            attack.sent = self.for_a_while([lambda radio=radio: self.say(radio, octets) for radio in radios])  # type: ignore[misc]

    def test_line_ends(self) -> None:
        radios = [self.radio() for _ in range(10)]
        octets = b"\n" * 100_000
        with self.attack("line ends") as attack:
            attack.sent = self.for_a_while([lambda radio=radio: self.say(radio, octets) for radio in radios])  # type: ignore[misc]

    def test_pings_over_websocket(self) -> None:
        sockets = [self.websocket() for _ in range(10)]
        octets = message(b"", opcode=9) * 10_000
        with self.attack("WebSocket Pings") as attack:
            attack.sent = self.for_a_while([lambda each=each: send(each, octets) for each in sockets])  # type: ignore[misc]

    def test_tiny_messages_over_websocket(self) -> None:
        sockets = [self.websocket() for _ in range(10)]
        octets = message(b"\n") * 10_000
        with self.attack("WebSocket messages of one octet") as attack:
            attack.sent = self.for_a_while([lambda each=each: send(each, octets) for each in sockets])  # type: ignore[misc]

    def test_clients_with_many_subscriptions_leave_together(self) -> None:
        radios = [self.subscriber() for _ in range(size(20, 100))]
        with self.attack("255 subscriptions each, and gone") as attack:
            began = threading.Event()
            for radio in radios:
                radio.close()
            began.wait(size(1, 3))
            attack.sent = len(radios) * 255 * 80

    def say(self, radio: Radio, octets: bytes) -> int:
        radio.flood(octets)
        return len(octets)


class TestFullNode(ConnectionAttack):
    settings: ClassVar[Mapping[str, Any]] = {"MAX_CONNECTIONS": 200, "CONNECT_RATE": 0}

    def test_one_address_takes_all_places(self) -> None:
        with self.attack("one address takes all places") as attack:
            silent = self.sockets(300, self.server.address, STRANGER)
            for each in silent:
                attack.sent += send(each, frame("CONNECT", {"accept-version": "1.2"}))
            for _ in range(20):
                self.radio()
                with raw(self.server.http) as client:
                    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    self.assertIn(b"HTTP/1.1", client.recv(100))


class TestClientsThatDoNotRead(ConnectionAttack):
    """What waits for them counts wherever it waits: in outboxes, or in transports."""

    settings: ClassVar[Mapping[str, Any]] = {"OUTBOX_TOTAL_BYTES": 16_777_216}

    def deaf(self, count: int, subscribe: Callable[[int], bytes]) -> None:
        """So many anonymous subscribers that read nothing but the RECEIPT."""
        connect = frame("CONNECT", {"accept-version": "1.2"})
        self.ask(count, self.server.address, lambda number: connect + subscribe(number), b"RECEIPT")

    def ask(self, count: int, address: tuple[str, int], say: Callable[[int], bytes], answer: bytes) -> None:
        """So many clients that read nothing behind this answer. The kernel keeps little for them, as it does for
        clients that are far away.
        """
        made = []
        for number in range(count):
            each = socket.socket()
            self.addCleanup(each.close)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            each.bind((STRANGER, 0))
            each.settimeout(20)
            each.connect(address)
            each.sendall(say(number))
            made.append(each)
        for each in made:
            octets = b""
            while answer not in octets:
                octets += each.recv(4096)

    @staticmethod
    def subscribe(id: str) -> bytes:
        return frame("SUBSCRIBE", {"destination": TOPIC, "id": id, "receipt": "r", "x-ebu-nofastreply": "yes"})

    def publish(self, count: int, body: bytes) -> int:
        """So many messages of a station. :return: their octets."""
        station = self.radio("1.test", "test")
        for _ in range(count):
            station.publish(TOPIC, body)
        threading.Event().wait(size(0.1, 3))
        return count * len(body)

    def test_one_large_message(self) -> None:
        self.deaf(size(600, 4_000), lambda _: self.subscribe("0"))
        with self.attack("large messages to clients that do not read") as attack:
            attack.sent = self.publish(2, b"x" * FRAME)
        self.assertLess(attack.growth, 50_000_000, str(attack))

    def test_one_large_message_to_each_with_an_id_of_its_own(self) -> None:
        """A frame of its own for each client: they share nothing."""
        self.deaf(size(600, 4_000), lambda number: self.subscribe(str(number)))
        with self.attack("the same, each with an id of its own") as attack:
            attack.sent = self.publish(2, b"x" * FRAME)
        self.assertLess(attack.growth, 50_000_000, str(attack))

    def test_many_small_messages(self) -> None:
        """A transport that takes them one by one holds as much as one that took them all at once."""
        self.deaf(size(900, 4_000), lambda number: self.subscribe(str(number)))
        with self.attack("small messages to clients that do not read") as attack:
            attack.sent = self.publish(size(14, 100), b"x" * 8_000)
        self.assertLess(attack.growth, size(30_000_000, 70_000_000), str(attack))

    def test_event_streams(self) -> None:
        """Their transports must not hold more, before anyone knows, than those of other clients."""
        channel = TOPIC.removeprefix("/topic/").removesuffix("/image")
        request = f"GET /radiodns/push/1.0/{channel} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
        self.ask(size(900, 4_000), self.server.http, lambda _: request, b"retry")
        with self.attack("event streams that do not read") as attack:
            attack.sent = self.publish(size(14, 100), b"SHOW http://x.test/" + b"x" * 4_000)
        self.assertLess(attack.growth, size(30_000_000, 70_000_000), str(attack))


class TestTopicsHeardTwice(ConnectionAttack):
    """Several subscriptions of a 1.0 client to one topic are one: the node has to know what it has sent."""

    settings: ClassVar[Mapping[str, Any]] = {
        "MAX_LAST_MESSAGES_BYTES": 262_144,
        "radiovis.publish_rights.PUBLISH_OCTETS": 1_000_000_000,
    }

    def test_large_messages_on_many_topics(self) -> None:
        station = self.radio("1.test", "test")
        with self.attack("large messages on topics heard twice") as attack:
            for radio in range(size(3, 10)):
                topics = [f"{TOPIC}/{radio}/{number}" for number in range(127)]
                listener = self.radio()
                listener.send(b"".join(self.twice(topic) for topic in topics))
                self.assertEqual(listener.so_far(), [])
                attack.sent += self.publish(station, listener, topics)
        self.assertLess(attack.growth, 50_000_000, str(attack))

    def twice(self, topic: str) -> bytes:
        return b"".join(
            frame("SUBSCRIBE", {"id": id, "destination": topic, "x-ebu-nofastreply": "yes"})
            for id in ("a" + topic, topic)
        )

    def publish(self, station: Radio, listener: Radio, topics: Sequence[str]) -> int:
        """A message on each topic, which the listener gets once."""
        for topic in topics:
            station.send(frame("SEND", {"destination": topic}, b"x" * FRAME))
            self.assertEqual(listener.expect("MESSAGE").get("destination"), topic)
        return len(topics) * FRAME
