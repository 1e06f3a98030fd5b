"""WebSockets of a real node: what browsers' STOMP client does, what the EBU player sees, what nobody should send."""

from __future__ import annotations

import contextlib
import socket
import struct
import unittest
from typing import Any

import stomp

from tests.acceptance import stompjs
from tests.acceptance.case import NodeCase
from tests.acceptance.stompjs import StompJs
from tests.message_socket import SUBPROTOCOLS, MessageSocket, NotUpgraded, WebSocketRadio, handshake
from tests.radio import frame
from tests.services import free_port

CONNECT = frame("CONNECT", {"accept-version": "1.2", "host": "localhost"}).decode()
MASKED = 0x80
NO_MASK = b"\0\0\0\0"
MIB = 2**20


class WebSocketCase(NodeCase):
    """One node with HTTP."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.settings = {"HTTP_PORT": free_port(), **cls.settings}
        super().setUpClass()

    def open(self, path: str = "/stomp", subprotocols: tuple[str, ...] = (), **options: Any) -> MessageSocket:
        """A WebSocket on which nothing has been said."""
        socket = MessageSocket.connect(self.server.http, path, subprotocols, **options)
        self.addCleanup(socket.close)
        return socket

    def web_radio(self, version: str | None = None, **options: Any) -> WebSocketRadio:
        """An anonymous STOMP client over a WebSocket, connected."""
        radio = WebSocketRadio(self.server.http, **options)
        self.addCleanup(radio.close)
        radio.say("CONNECT", {"accept-version": version, "host": "localhost"} if version else {})
        radio.expect("CONNECTED")
        return radio

    def assert_nobody_else_minds(self) -> None:
        """A radio of each kind gets its slide."""
        topic = self.topic("innocent")
        radios = [self.radio(), self.web_radio()]
        for radio in radios:
            radio.subscribe(topic)
        self.station().publish(topic, b"SHOW http://s/innocent.png")
        self.assertEqual([radio.frame().body for radio in radios], [b"SHOW http://s/innocent.png"] * 2)


class StompPyRadio(stomp.ConnectionListener):  # type: ignore[misc]
    """stomp.py over TCP, which keeps what it hears."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.bodies: list[str] = []
        self.connection = stomp.Connection12([address])
        self.connection.set_listener("", self)
        self.subscribed = stomp.listener.WaitingListener("subscribed")
        self.connection.set_listener("subscribed", self.subscribed)
        self.connection.connect(wait=True)

    def subscribe(self, topic: str) -> None:
        self.connection.subscribe(topic, id="py", headers={"receipt": "subscribed"})
        self.subscribed.wait_on_receipt()

    def publish(self, topic: str, body: str) -> None:
        self.connection.send(topic, body)

    def on_message(self, frame: Any) -> None:
        self.bodies.append(frame.body)


class StompJsTests(WebSocketCase):
    """The STOMP client of browsers, in a JavaScript engine."""

    settings = {"HEARTBEAT_MS": "1000,1000"}  # noqa: RUF012

    @classmethod
    def setUpClass(cls) -> None:
        if reason := stompjs.missing():
            raise unittest.SkipTest(reason)
        super().setUpClass()

    def page(self, version: str = "1.2", **options: object) -> StompJs:
        page = StompJs()
        self.addCleanup(page.close)
        seen = page.connect(self.server.http, version=version, **options)
        self.assertEqual(seen["version"], version)
        self.assertEqual(seen["protocol"], f"v{version[:1]}{version[2:]}.stomp")
        return page

    def hear_each_other(self, version: str) -> None:
        topic = self.topic()
        page, radio = self.page(version), self.radio(version=version)
        python = StompPyRadio(self.server.address)
        self.addCleanup(python.connection.disconnect)
        publisher = self.page(version, login="1.test", passcode="test")
        for each in (page, radio, python):
            each.subscribe(topic)
        publisher.publish(topic, "TEXT café".encode(), link="http://s/?a=1:2")
        self.station().publish(topic, b"SHOW http://s/1.png")
        self.assertEqual([page.hear(), page.hear()], [(topic, "TEXT café".encode()), (topic, b"SHOW http://s/1.png")])
        heard = radio.frames(2)
        self.assertEqual([each.body for each in heard], ["TEXT café".encode(), b"SHOW http://s/1.png"])
        link = "http://s/?a=1:2" if version == "1.0" else "http\\c//s/?a=1\\c2"
        self.assertEqual(heard[0].get("link"), link)
        page.unsubscribe()
        publisher.publish(topic, b"TEXT unheard")
        page.subscribe(topic, id="2")
        self.assertEqual(page.hear(), (topic, b"TEXT unheard"))  # once: as the last message, at the new subscription
        page.tell("disconnect")
        page.expect("closed", code=1000)
        python.connection.disconnect(receipt="bye")
        self.assertEqual(python.bodies[:2], ["TEXT café", "SHOW http://s/1.png"])

    def test_1_0(self) -> None:
        self.hear_each_other("1.0")

    def test_1_1(self) -> None:
        self.hear_each_other("1.1")

    def test_1_2(self) -> None:
        self.hear_each_other("1.2")

    def test_a_body_with_nul_and_octets_that_are_no_text_in_both_directions(self) -> None:
        body = bytes(range(256)) + b"\0\0"
        for binary in (False, True):
            topic = self.topic(f"binary-{binary}")
            page = self.page(binary=binary)
            page.subscribe(topic)
            self.page(binary=binary, login="1.test", passcode="test").publish(topic, body)
            self.assertEqual(page.hear(), (topic, body))
            self.station(version="1.2").publish(topic, b"TEXT and on", {})
            self.assertEqual(page.hear(), (topic, b"TEXT and on"))

    def test_heart_beats_go_both_ways(self) -> None:
        page = self.page(beat=[1000, 1000])
        for _ in range(3):
            page.expect("beat")
        page.subscribe(self.topic())  # it beats too, or it would have been cut off after two of its intervals

    def test_a_wrong_password_is_an_error_frame_and_a_close(self) -> None:
        page = StompJs()
        self.addCleanup(page.close)
        host, port = self.server.http
        page.tell("connect", url=f"ws://{host}:{port}/stomp", version="1.2", login="1.test", passcode="wrong")
        self.assertEqual(page.expect("error")["headers"]["message"], "Wrong credentials")
        page.expect("closed")


class StompOverWebSocketTests(WebSocketCase):
    """What a STOMP client may do over a WebSocket, seen on the wire."""

    def test_the_highest_offered_subprotocol_is_chosen(self) -> None:
        for offered, chosen in (
            (SUBPROTOCOLS, "v12.stomp"),
            (("v10.stomp", "V11.Stomp"), "v11.stomp"),
            (("soap", "v10.stomp", "wamp"), "v10.stomp"),
            ((), None),
        ):
            self.assertEqual(self.open(subprotocols=offered).subprotocol, chosen)

    def test_a_client_that_offers_only_others_is_told_which_there_are(self) -> None:
        with self.assertRaises(NotUpgraded) as refused:
            self.open(subprotocols=("soap", "mqtt"))
        self.assertEqual(refused.exception.status, 400)
        self.assertIn(b"v12.stomp, v11.stomp, v10.stomp", refused.exception.body)

    def test_a_frame_in_pieces_and_frames_in_one_message(self) -> None:
        topic = self.topic()
        socket = self.open()
        for octet in CONNECT:
            socket.say(octet)
        self.assertTrue(str(socket.message()).startswith("CONNECTED\n"))
        subscribe = frame("SUBSCRIBE", {"destination": topic, "id": "a", "receipt": "1"}).decode()
        again = frame("SUBSCRIBE", {"destination": topic, "id": "b", "receipt": "2"}).decode()
        socket.say(subscribe + "\n" + again[:20], finished=False)
        socket.say(again[20:30], finished=False)
        socket.say(again[30:])
        receipts = str(socket.message())
        while "receipt-id:2" not in receipts:
            receipts += str(socket.message())
        self.assertIn("receipt-id:1", receipts)

    def test_messages_that_come_together_are_a_message_each(self) -> None:
        socket = self.open()
        socket.say(CONNECT)
        socket.message()
        topics = [self.topic("image"), self.topic("text")]
        for number, topic in enumerate(topics):
            socket.say(frame("SUBSCRIBE", {"destination": topic, "id": str(number), "receipt": "r"}).decode())
            self.assertIn("RECEIPT", str(socket.message()))
        station = self.station()
        station.send(b"".join(frame("SEND", {"destination": topic}, b"SHOW x") for topic in topics))
        for topic in topics:
            message = str(socket.message())
            self.assertTrue(message.startswith(f"MESSAGE\ndestination:{topic}\n"), message)
            self.assertTrue(message.endswith("\n\nSHOW x\0\n"), message)

    def test_who_speaks_text_gets_text_except_what_is_none(self) -> None:
        topic = self.topic()
        text, octets = self.web_radio("1.2"), self.web_radio("1.2", binary=True)
        for radio in (text, octets):
            radio.subscribe(topic)
        station = self.station(version="1.2")
        station.publish(topic, "TEXT é".encode())
        station.publish(topic, b"TEXT \xe9")
        self.assertEqual([type(text.socket.message()) for _ in range(2)], [str, bytes])
        self.assertEqual([type(octets.socket.message()) for _ in range(2)], [bytes, bytes])

    def test_receipts_and_errors_are_those_of_tcp(self) -> None:
        radio = self.web_radio("1.1")
        radio.say("SEND", {"destination": self.topic(), "receipt": "7"}, b"SHOW x")
        error = radio.frame()
        self.assertEqual((error.command, error.get("receipt-id")), ("ERROR", "7"))
        self.assertEqual(radio.socket.closed(), 1000)

    def test_a_client_that_leaves_in_order_is_answered(self) -> None:
        radio = self.web_radio()
        radio.socket.leave(3001)
        self.assertEqual(radio.socket.closed(), 3001)

    def test_frames_right_behind_the_handshake_are_not_lost(self) -> None:
        payload = CONNECT.encode()
        with socket.create_connection(self.server.http, 20) as hasty:
            hasty.sendall(handshake() + bytes([0x81, MASKED | len(payload)]) + NO_MASK + payload)
            answer = b""
            while b"CONNECTED" not in answer:
                came = hasty.recv(65536)
                self.assertTrue(came, answer)
                answer += came


class IdleWebSocketTests(WebSocketCase):
    RADIOS = 400

    def test_a_radio_or_a_player_costs_a_few_kib(self) -> None:
        for path in ("/stomp", "/topic/test/1"):
            self.connect(path, 50)  # what the first ones cost is for all
            before = self.server.memory()
            self.connect(path, self.RADIOS)
            self.assertLess(self.server.memory() - before, self.RADIOS * 16 * 1024, path)

    def connect(self, path: str, count: int) -> None:
        for _ in range(count):
            if path == "/stomp":
                self.web_radio("1.2").subscribe("/topic/test/1/image")
            else:
                self.assertIn("HELLO", str(self.open(path).message()))


class BadWebSocketTests(WebSocketCase):
    """Each ends the connection with the code RFC 6455 has for it, and nobody else notices."""

    settings = {"WEBSOCKET_MESSAGE_BYTES": 65_536, "LINGER_SECONDS": 0.1}  # noqa: RUF012

    def tearDown(self) -> None:
        self.assert_nobody_else_minds()
        super().tearDown()

    def test_an_unmasked_frame(self) -> None:
        socket = self.open()
        socket.raw.sendall(b"\x81\x05hello")
        self.assertEqual(socket.closed(), 1002)

    def test_a_message_over_the_limit_at_once_and_in_fragments(self) -> None:
        whole, pieces = self.web_radio().socket, self.web_radio().socket
        with contextlib.suppress(ConnectionError):
            whole.say("\n" * 65_537)
        self.assertEqual(whole.closed(), 1009)
        with contextlib.suppress(ConnectionError):
            for _ in range(66):
                pieces.say("\n" * 1_000, finished=False)
        self.assertEqual(pieces.closed(), 1009)

    def test_a_length_nobody_has_memory_for(self) -> None:
        before = self.server.memory()
        sockets = [self.web_radio().socket for _ in range(20)]
        for each in sockets:
            each.raw.sendall(bytes([0x82, MASKED | 127]) + struct.pack("!Q", 2**62) + NO_MASK + b"\n" * 1_000)
        for each in sockets:
            each.raw.sendall(b"\n" * 66_000)
            self.assertEqual(each.closed(), 1009)
        self.assertLess(self.server.memory() - before, 8 * MIB)

    def test_a_stomp_frame_over_its_limit_is_a_stomp_error(self) -> None:
        radio = self.web_radio("1.2")
        with contextlib.suppress(ConnectionError):
            radio.send(b"SEND\ndestination:" + b"x" * 20_000)
        self.assertEqual(radio.frame().command, "ERROR")
        self.assertEqual(radio.socket.closed(), 1000)

    def test_text_that_is_not_utf_8(self) -> None:
        socket = self.open()
        socket.raw.sendall(bytes([0x81, MASKED | 4]) + NO_MASK + b"a\xff\xfeb")
        self.assertEqual(socket.closed(), 1007)

    def test_frames_no_version_of_the_protocol_has(self) -> None:
        for octets in (
            bytes([0x83, MASKED]) + NO_MASK,  # a reserved opcode
            bytes([0xC1, MASKED]) + NO_MASK,  # a reserved bit
            bytes([0x80, MASKED | 1]) + NO_MASK + b"x",  # a continuation of nothing
            bytes([0x09, MASKED]) + NO_MASK,  # a ping in fragments
            bytes([0x89, MASKED | 126, 0, 126]) + NO_MASK,  # a ping that is too long
            bytes([0x88, MASKED | 1]) + NO_MASK + b"x",  # half a close code
            bytes([0x88, MASKED | 2]) + NO_MASK + struct.pack("!H", 1005),  # a code nobody may send
        ):
            broken = self.open()
            broken.raw.sendall(octets)
            self.assertEqual(broken.closed(), 1002, octets)

    def test_a_flood_of_pings_is_no_flood_of_pongs(self) -> None:
        radio = self.web_radio()
        ping = bytes([0x89, MASKED | 4]) + NO_MASK
        radio.socket.raw.sendall(b"".join(ping + struct.pack("!I", number) for number in range(20_000)))
        radio.subscribe(self.topic())
        self.assertEqual(radio.socket.pongs[-1], struct.pack("!I", 19_999))
        self.assertLess(len(radio.socket.pongs), 2_000)

    def test_pings_from_a_client_that_does_not_read_cost_no_memory(self) -> None:
        radio = self.web_radio(receive_buffer=4_096)
        before = self.server.memory()
        pings = (bytes([0x89, MASKED | 125]) + NO_MASK + b"p" * 125) * 500
        radio.socket.raw.settimeout(1)
        with contextlib.suppress(TimeoutError):  # the server stops reading, or answers a few of them for ever
            for _ in range(300):
                radio.socket.raw.sendall(pings)
        self.assertLess(self.server.memory() - before, 8 * MIB)

    def test_five_thousand_tiny_frames(self) -> None:
        radio = self.web_radio()
        radio.socket.raw.sendall((bytes([0x81, MASKED | 1]) + NO_MASK + b"\n") * 5_000)
        radio.socket.raw.sendall((bytes([0x01, MASKED]) + NO_MASK) + (bytes([0x00, MASKED]) + NO_MASK) * 5_000)
        radio.socket.raw.sendall(bytes([0x80, MASKED]) + NO_MASK)
        radio.subscribe(self.topic())

    def test_a_client_that_shuts_down_its_side_and_one_that_vanishes(self) -> None:
        topic = self.topic()
        files = self.server.open_files()
        half, reset = self.web_radio(), self.web_radio()
        for radio in (half, reset):
            radio.subscribe(topic)
        half.half_close()
        self.assertIsNone(half.socket.closed())
        reset.close()
        self.station().publish(topic, b"SHOW x")
        self.assert_nobody_else_minds()
        self.doCleanups()
        for _ in range(1_000):  # the case's radios are closing; a leak would not go away
            if self.server.open_files() <= files:
                return
            self.radio().close()
        self.fail(f"{self.server.open_files()} files are open, after {files}")

    def test_handshakes_that_are_none(self) -> None:
        for headers, status in (
            ({"Upgrade": ""}, 426),
            ({"Connection": "close"}, 426),
            ({"Sec_WebSocket_Version": "8"}, 426),
            ({"Sec_WebSocket_Key": ""}, 400),
            ({"Sec_WebSocket_Key": "short"}, 400),
            ({"Sec_WebSocket_Key": "\xff"}, 400),
            ({"Sec_WebSocket_Protocol": "\xff\xfe, \x7f"}, 400),
            ({"Sec_WebSocket_Protocol": ", ,x" * 1_000}, 400),
        ):
            with self.assertRaises(NotUpgraded) as refused:
                MessageSocket.connect(self.server.http, **{"Sec_WebSocket_Key": "overridden", **headers})
            self.assertEqual(refused.exception.status, status, headers)
            self.assertIn(b'"detail"', refused.exception.body)


class SlowWebSocketTests(WebSocketCase):
    """A client that does not read, beside one that does."""

    settings = {"OUTBOX_BYTES": 65_536, "HISTORY_BYTES": 65_536}  # noqa: RUF012
    MESSAGES = 1_500
    BODY = b"SHOW http://s/" + b"x" * 20_000

    def test_it_costs_bounded_memory_gets_no_torn_frame_and_the_newest_slide(self) -> None:
        for path in ("/stomp", self.topic("")[:-1]):
            topic = self.topic()
            slow, quick = self.slow_client(path, topic), self.radio()
            quick.subscribe(topic, fast_reply=False)
            station = self.station(version="1.2")
            station.publish(topic, self.BODY)
            quick.frame()
            before = self.server.memory()
            for number in range(self.MESSAGES):
                station.publish(topic, self.BODY + b"%d" % number)
                self.assertTrue(quick.frame().body.endswith(b"%d" % number))
            self.assertLess(self.server.memory() - before, 8 * MIB)
            last = b"%d" % (self.MESSAGES - 1)
            count = 0
            message = b""
            while not message.rstrip(b"\0\n").endswith(b"x" + last):
                message = _octets(slow.message())
                self.assertIn(b"\n\n" + self.BODY, message)
                count += 1
            self.assertLess(count, self.MESSAGES // 2)

    def slow_client(self, path: str, topic: str) -> MessageSocket:
        socket = self.open(path, receive_buffer=16_384)
        if path == "/stomp":
            socket.say(CONNECT)
            socket.message()
            socket.say(frame("SUBSCRIBE", {"destination": topic, "id": "1", "receipt": "r"}).decode())
        self.assertTrue(str(socket.message()).startswith(("RECEIPT", "RADIOVISWEBSOCKET:HELLO")))
        return socket


class SilentWebSocketTests(WebSocketCase):
    """Pings, and who does not answer them."""

    settings = {"WEBSOCKET_PING_SECONDS": 0.1, "WEBSOCKET_PONG_SECONDS": 1}  # noqa: RUF012

    def test_who_answers_stays_and_who_does_not_goes(self) -> None:
        for path in ("/stomp", "/topic/test/1"):
            alive, dead = self.open(path), self.open(path)
            if path == "/stomp":
                for socket in (alive, dead):
                    socket.say(CONNECT)
                    socket.message()
            dead.answers_pings = False
            while alive.pings < 4:
                self.assertTrue(alive.read())
            self.assertIsNone(dead.closed())
            self.assertEqual(dead.pings, 1)


class OriginTests(WebSocketCase):
    settings = {"WEBSOCKET_ORIGINS": "https://www.example.org, https://player.example.org"}  # noqa: RUF012

    def test_only_the_pages_named_may_connect_and_whatever_is_no_page(self) -> None:
        self.open(Origin="https://player.example.org")
        self.open()
        for origin in ("https://evil.example", "null", "http://www.example.org"):
            with self.assertRaises(NotUpgraded) as refused:
                self.open(Origin=origin)
            self.assertEqual(refused.exception.status, 403)


class PlayerTests(WebSocketCase):
    """radiovis-html5player: it opens a channel's path, and only listens."""

    HELLO = "RADIOVISWEBSOCKET:HELLO\0"

    def channel(self) -> str:
        return self.topic("")[:-1]

    def test_hello_then_the_last_messages_then_what_comes(self) -> None:
        channel = self.channel()
        station = self.station()
        station.publish(f"{channel}/text", "TEXT Grüezi\nmitenand".encode(), {"link": "http://s/"})
        player = self.open(channel)
        self.assertEqual(player.message(), self.HELLO)
        head, _, body = str(player.message()).partition("\n\n")
        self.assertEqual(body, "TEXT Grüezi\nmitenand")  # no NUL behind it
        lines = head.split("\n")
        self.assertEqual(lines[:3], ["MESSAGE", f"destination:{channel}/text", "link:http://s/"])
        station.publish(f"{channel}/image", b"SHOW http://s/1.png")
        station.publish(f"{channel}/elsewhere", b"SHOW http://s/2.png")
        station.publish(f"{channel}/image", b"SHOW http://s/3.png")
        self.assertTrue(str(player.message()).endswith("\n\nSHOW http://s/1.png"))
        self.assertTrue(str(player.message()).endswith("\n\nSHOW http://s/3.png"))

    def test_it_keeps_the_spelling_of_its_page(self) -> None:
        player = self.open("/topic/fm/ch/4000/09580")
        self.assertEqual(player.message(), self.HELLO)
        self.station(3).publish("/topic/fm/4e1/4000/09580/image", b"SHOW http://s/fm.png")
        self.assertIn("\ndestination:/topic/fm/ch/4000/09580/image\n", str(player.message()))

    def test_octets_that_are_no_text_are_replaced(self) -> None:
        player = self.open(self.channel())
        player.message()
        self.station(version="1.2").publish(f"{self.channel()}/text", b"TEXT \xe9.")
        self.assertTrue(str(player.message()).endswith("TEXT \ufffd."))

    def test_whoever_says_something_is_told_off_in_the_words_of_the_original(self) -> None:
        player = self.open(self.channel())
        player.message()
        player.say("hello")
        self.assertEqual(player.message(), "RADIOVISWEBSOCKET:ERROR:Unexcepted message\0")
        self.assertEqual(player.closed(), 1000)

    def test_what_can_be_no_station_has_no_vis(self) -> None:
        player = self.open("/topic/fm/4e1")
        self.assertEqual(player.message(), "RADIOVISWEBSOCKET:NOVIS\0")
        self.assertEqual(player.closed(), 1000)

    def test_paths_that_are_no_channel(self) -> None:
        for path, status in (
            ("/topic", 400),
            ("/topic/", 400),
            ("/topic/x%0ay", 400),
            ("/topic/%ff", 400),
            ("/topic/" + "x" * 1_100, 414),
        ):
            with self.assertRaises(NotUpgraded) as refused:
                self.open(path)
            self.assertEqual(refused.exception.status, status, path)

    def test_players_are_let_go_when_they_leave(self) -> None:
        files = self.server.open_files()
        for _ in range(50):
            player = self.open(self.channel())
            player.message()
            player.leave()
            self.assertEqual(player.closed(), 1000)
        self.assertLessEqual(self.server.open_files(), files + 5)


class ShutdownTests(unittest.TestCase):
    def test_everybody_is_told(self) -> None:
        class Case(WebSocketCase):
            def runTest(self) -> None:
                stomp_radio, player = self.web_radio("1.2"), self.open("/topic/test/1")
                player.message()
                self.server.terminate()
                self.assertEqual(stomp_radio.frame().get("message"), "Server shutting down")
                self.assertEqual(stomp_radio.socket.closed(), 1001)
                self.assertEqual(player.closed(), 1001)

        Case.setUpClass()
        try:
            case = Case()
            case.runTest()
        finally:
            case.doCleanups()
            Case.server.close()


def _octets(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message
