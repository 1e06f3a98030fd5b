"""Other people's STOMP clients against a real node: each publishes, subscribes, and hears what it published."""

from __future__ import annotations

import contextlib
import queue
import socket
from typing import Any

import stomp
import stomper
from stomp.connect import StompConnection11, StompConnection12
from stomp.utils import Frame
from stomper import stomp_10
from stomper.stompbuffer import StompBuffer
from stompest.config import StompConfig
from stompest.protocol import StompParser
from stompest.sync import Stomp

from tests.acceptance.case import NodeCase

SECONDS = 10


class Heard(stomp.ConnectionListener):  # type: ignore[misc]  # stomp.py has no types.
    """What stomp.py tells."""

    def __init__(self) -> None:
        self.frames: queue.Queue[tuple[str, Frame]] = queue.Queue()

    def on_message(self, frame: Frame) -> None:
        self.frames.put(("MESSAGE", frame))

    def on_receipt(self, frame: Frame) -> None:
        self.frames.put(("RECEIPT", frame))

    def on_error(self, frame: Frame) -> None:
        self.frames.put(("ERROR", frame))

    def next(self) -> tuple[str, Frame]:
        return self.frames.get(timeout=SECONDS)


def hang_up(connection: StompConnection11) -> None:
    """The node closes a connection behind an ERROR, and stomp.py may learn of it between its check and its frame."""
    with contextlib.suppress(OSError, stomp.exception.NotConnectedException):
        connection.disconnect()


class StompPy(NodeCase):
    """stomp.py, which most Python programs use."""

    def connect(self, kind: Any, login: str | None = "1.test", passcode: str | None = "test") -> tuple[Any, Heard]:
        connection = kind([self.server.address], heartbeats=(5000, 5000), auto_decode=False, reconnect_attempts_max=1)
        heard = Heard()
        connection.set_listener("heard", heard)
        connection.connect(login, passcode, wait=True)
        self.addCleanup(hang_up, connection)
        return connection, heard

    def test_publish_and_subscribe(self) -> None:
        for kind in (StompConnection11, StompConnection12):
            with self.subTest(kind=kind):
                connection, heard = self.connect(kind)
                connection.subscribe(self.topic(kind.__name__), id="7", ack="auto")
                connection.send(
                    self.topic(kind.__name__), "TEXT café", headers={"link": "http://s:80/a\\b"}, receipt="1"
                )
                came = dict([heard.next(), heard.next()])
                self.assertEqual(came["MESSAGE"].body, "TEXT café".encode())
                self.assertEqual(came["MESSAGE"].headers["link"], "http://s:80/a\\b")
                self.assertEqual(came["MESSAGE"].headers["subscription"], "7")
                self.assertEqual(came["RECEIPT"].headers["receipt-id"], "1")

    def test_acknowledgements(self) -> None:
        connection, heard = self.connect(StompConnection12)
        connection.subscribe(self.topic(), id="7", ack="client-individual")
        connection.send(self.topic(), "TEXT a")
        _, message = heard.next()
        connection.ack(message.headers["ack"], receipt="2")
        command, receipt = heard.next()
        self.assertEqual((command, receipt.headers["receipt-id"]), ("RECEIPT", "2"))

    def test_a_transaction(self) -> None:
        connection, heard = self.connect(StompConnection12)
        connection.subscribe(self.topic(), id="7")
        transaction = connection.begin()
        connection.send(self.topic(), "TEXT a", transaction=transaction)
        connection.commit(transaction)
        self.assertEqual(heard.next()[1].body, b"TEXT a")

    def test_an_error_is_understood(self) -> None:
        connection, heard = self.connect(StompConnection12, None, None)
        connection.send(self.topic(), "TEXT forbidden")
        command, error = heard.next()
        self.assertEqual((command, error.headers["message"]), ("ERROR", "You cannot do that."))


class Stompest(NodeCase):
    """stompest, the strictest reader of the specification among them."""

    def test_every_version(self) -> None:
        host, port = self.server.address
        for version in ("1.0", "1.1", "1.2"):
            with self.subTest(version=version):
                client = Stomp(StompConfig(f"tcp://{host}:{port}", "1.test", "test", version=version))
                client.connect(versions=[version], host="vis", heartBeats=(0, 0) if version != "1.0" else None)
                self.assertEqual(client.session.version, version)
                token = client.subscribe(self.topic(version), {"id": "7", "ack": "auto"}, receipt="s")
                self.assertEqual(client.receiveFrame().headers["receipt-id"], "s")
                client.send(self.topic(version), "TEXT café".encode(), {"link": "http://s:80/"})
                self.assertTrue(client.canRead(SECONDS))
                message = client.receiveFrame()
                self.assertEqual((message.command, message.body), ("MESSAGE", "TEXT café".encode()))
                self.assertEqual(message.headers["link"], "http://s:80/")
                self.assertEqual(client.message(message), token)
                client.disconnect(receipt="bye")
                self.assertEqual(client.receiveFrame().headers["receipt-id"], "bye")
                client.close()

    def test_its_parser_reads_all_we_write(self) -> None:
        for version in ("1.0", "1.1", "1.2"):
            radio, station = self.radio(version=version), self.station(version="1.2")
            radio.subscribe(self.topic(version), id=r"7")
            headers = {"link": r"a\cb\\c\nd", "message-id": "m", "content-length": "3"}
            station.publish(self.topic(version), b"a\0b", headers)
            parser = StompParser(version)
            parser.add(radio.expect("MESSAGE").raw + b"\n")
            message = parser.get()
            self.assertEqual(message.body, b"a\0b")
            self.assertEqual(message.headers["link"], r"a:b\c d" if version == "1.0" else "a:b\\c\nd")


class Stomper(NodeCase):
    """stomper's frames over a bare socket, as the demo publishers of broadcasters do it."""

    def dialogue(self) -> socket.socket:
        connection = socket.create_connection(self.server.address, SECONDS)
        self.addCleanup(connection.close)
        return connection

    def next(self, connection: socket.socket, buffer: StompBuffer) -> dict[str, Any]:
        """The next message. It waits for NUL LF, and takes heart-beats for empty messages."""
        while (message := buffer.getOneMessage()) is None or not message["cmd"]:
            data = connection.recv(4096)
            self.assertTrue(data, "the connection ended")
            buffer.appendData(data.decode())
        return dict(message)

    def test_stomp_11(self) -> None:
        connection, buffer = self.dialogue(), StompBuffer()
        connection.sendall(stomper.connect("1.test", "test", "vis").encode())
        self.assertEqual(self.next(connection, buffer)["cmd"], "CONNECTED")
        connection.sendall(stomper.subscribe(self.topic(), "7").encode())
        connection.sendall(stomper.send(self.topic(), "TEXT a").encode())
        message = self.next(connection, buffer)
        self.assertEqual(
            (message["cmd"], message["body"], message["headers"]["subscription"]), ("MESSAGE", "TEXT a", "7")
        )
        connection.sendall(stomper.unsubscribe("7").encode())
        connection.sendall(stomper.disconnect("bye").encode())
        self.assertEqual(self.next(connection, buffer)["headers"]["receipt-id"], "bye")
        self.assertEqual(connection.recv(1), b"")

    def test_stomp_10(self) -> None:
        """It writes a blank behind the colon of a destination, which is trimmed (contract §2, change 13)."""
        connection = self.dialogue()
        connection.sendall(stomp_10.connect("1.test", "test").encode())
        connection.sendall(stomp_10.subscribe(self.topic()).encode())
        connection.sendall(stomp_10.send(self.topic(), "TEXT a").encode())
        connection.sendall(stomp_10.disconnect().encode())
        came = b""
        while data := connection.recv(4096):
            came += data
        frames = [stomp_10.unpack_frame(each.decode() + "\0") for each in came.split(b"\0")[:-1]]
        self.assertEqual([each["cmd"] for each in frames], ["CONNECTED", "MESSAGE"])
        self.assertEqual(frames[1]["body"], "TEXT a")
