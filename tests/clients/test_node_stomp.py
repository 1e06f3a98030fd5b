"""npm node-stomp 1.1.0 itself, which uses one id for all its subscriptions (contract §2, change 14)."""

from __future__ import annotations

import re
import socket
import threading
import unittest
from contextlib import suppress

from tests.acceptance.case import NodeCase
from tests.clients.node_clients import NodeClient, missing
from tests.clients.transcript import NUMBER, SESSION, TOPICS, Says, Transcript
from tests.clients.transcripts.node_stomp import TRANSCRIPTS
from tests.radio import SECONDS, Radio

SCRIPT = "node_stomp.mjs"
_SESSION = re.compile(rb"session:[0-9a-f-]{36}")


class Recorder:
    """Passes one connection on to a node, and keeps what the client sent.

    :ivar address: where the client has to connect to.
    """

    def __init__(self, node: tuple[str, int]) -> None:
        self._node = node
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(SECONDS)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._sent = bytearray()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def sent(self) -> bytes:
        """All that the client sent, once it has closed its connection."""
        self._thread.join(SECONDS)
        return bytes(self._sent)

    def _run(self) -> None:
        with self._listener, self._listener.accept()[0] as client, socket.create_connection(self._node) as node:
            answers = threading.Thread(target=self._pass_on, args=(node, client), daemon=True)
            answers.start()
            while data := client.recv(65536):
                self._sent += data
                node.sendall(data)
            node.shutdown(socket.SHUT_WR)
            answers.join(SECONDS)

    @staticmethod
    def _pass_on(node: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := node.recv(65536):
                client.sendall(data)


class NodeStomp(NodeCase):
    settings = {"TEST_TOPICS": str(list(TOPICS)).replace("'", '"')}  # noqa: RUF012

    @classmethod
    def setUpClass(cls) -> None:
        if reason := missing():
            raise unittest.SkipTest(reason)
        super().setUpClass()

    def client(self, address: tuple[str, int]) -> NodeClient:
        client = NodeClient(SCRIPT)
        self.addCleanup(client.close)
        client.tell("connect", host=address[0], port=address[1], login="1.test", passcode="test")
        client.expect("connected", version="1.1")
        return client

    def test_two_topics_are_heard_under_one_id_and_end_with_it(self) -> None:
        image, text, station = self.topic("image"), self.topic("text"), self.station()
        client = self.client(self.server.address)
        station.publish(image, b"SHOW http://s/last.png")
        for topic in (image, text):
            client.tell("subscribe", destination=topic)
        client.expect("message", destination=image, subscription="0", body="SHOW http://s/last.png")
        client.tell("publish", destination=self.topic("other"), body="TEXT x", receipt=True)
        client.expect("receipt")  # so it is subscribed to both
        station.publish(text, b"TEXT a")
        station.publish(image, b"SHOW http://s/1.png")
        client.expect("message", destination=text, subscription="0", body="TEXT a")
        client.expect("message", destination=image, subscription="0", body="SHOW http://s/1.png")
        client.tell("unsubscribe", destination=text, id=0)
        for topic in (image, text):
            client.tell("publish", destination=topic, body="TEXT not heard", receipt=True)
            client.expect("receipt")
        client.tell("disconnect")
        client.expect("closed")

    def test_a_topic_of_somebody_else_is_refused(self) -> None:
        client = self.client(self.server.address)
        client.tell("publish", destination="/topic/drm/e1c238/image", body="SHOW http://s/1.png")
        client.expect("error", message="You cannot do that.")
        client.expect("closed")

    def test_it_writes_what_its_transcript_says(self) -> None:
        recorder = Recorder(self.server.address)
        client = self.client(recorder.address)
        image, text = (f"/topic/id/vis.example.org/{NUMBER.decode()}/{last}" for last in ("image", "text"))
        client.tell("subscribe", destination=image)
        client.tell("subscribe", destination=text)
        client.tell("publish", destination=text, body="TEXT Now on air")
        client.expect("message")
        client.tell("publish", destination=image, body="SHOW http://slides.example/1.png")
        client.expect("message")
        client.tell("unsubscribe", destination=text, id=0)
        client.tell("publish", destination=image, body="SHOW http://slides.example/2.png")
        client.tell("disconnect")
        sent = _SESSION.sub(b"session:" + SESSION, recorder.sent())
        self.assertEqual(sent, said(TRANSCRIPTS[0]))
        with Radio.connect(self.server.address) as radio:
            radio.subscribe(image)
            self.assertEqual(radio.expect("MESSAGE").body, b"SHOW http://slides.example/2.png")


def said(transcript: Transcript) -> bytes:
    return b"".join(step.octets for step in transcript.steps if isinstance(step, Says))
