"""A small STOMP server for the checks: correct in the way of most brokers, or otherwise, or wrong in one point.

:class:`SmallServer` speaks 1.0 to 1.2 as the specification says. Subclasses change single points; :class:`Original` has
those of the original server that the checks of ``conformance`` have to know (contract §1.3, §1.4, §1.8).
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import threading
import time
import unittest
from typing import Any, Self

from fanout.stomp.codec import Decoder, Frame
from fanout.stomp.limits import StompLimits
from tests.radiovis.commands.calling import call
from tests.services import HOST

LOGIN = "1.test"
TOPIC = "/topic/id/small.example/topic1/"


class Peer:
    """One client, in a thread of its own.

    :ivar subscriptions: name in the server → spelling of the client and id, or None.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.version = ""
        self.login = ""
        self.subscriptions: list[tuple[str, str, str | None]] = []
        self.writing = threading.Lock()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class SmallServer:
    """Listens while it is a context.

    :ivar allowed: what the login may publish to.
    :ivar versions: those it speaks, the best one first.
    :ivar patience: seconds for a CONNECT; None for ever.
    """

    allowed: tuple[str, ...] = (TOPIC,)
    versions: tuple[str, ...] = ("1.2", "1.1", "1.0")
    patience: float | None = None

    def __enter__(self) -> Self:
        self._peers: list[Peer] = []
        self._listening = socket.create_server((HOST, 0))
        self.url = f"stomp://{LOGIN}:test@{HOST}:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        for peer in list(self._peers):
            peer.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer = Peer(self._listening.accept()[0])
                self._peers.append(peer)
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: Peer) -> None:
        decoder = Decoder(StompLimits())
        deadline = None if self.patience is None else time.monotonic() + self.patience
        with contextlib.suppress(OSError, ValueError):  # It is closed, maybe by the test's end.
            while True:
                if deadline is not None:
                    peer.socket.settimeout(None if peer.version else max(0.01, deadline - time.monotonic()))
                try:
                    data = peer.socket.recv(65_536)
                except TimeoutError:
                    self.too_late(peer)
                    break
                if not data:
                    break
                decoder.receive(data)
                while (frame := decoder.next_frame()) is not None:
                    self.take(peer, frame)
        self._peers.remove(peer)
        peer.close()

    # Out

    def send(self, peer: Peer, command: str, *headers: str, body: bytes = b"") -> None:
        with peer.writing:
            self.write(peer, "\n".join((command, *headers)).encode() + b"\n\n" + body + b"\0")

    def write(self, peer: Peer, octets: bytes) -> None:
        peer.socket.sendall(octets)

    def error(self, peer: Peer, frame: Frame, text: str) -> None:
        receipt = frame.get("receipt")
        self.send(peer, "ERROR", f"message:{text}", *([f"receipt-id:{receipt}"] if receipt else []))
        if peer.version != "1.0":
            peer.close()

    def too_late(self, peer: Peer) -> None:
        """The client has sent no CONNECT in time."""

    # In

    def take(self, peer: Peer, frame: Frame) -> None:
        if not peer.version:
            self.connect(peer, frame)
            return
        handlers = {
            "SUBSCRIBE": self.subscribe,
            "UNSUBSCRIBE": self.unsubscribe,
            "SEND": self.send_frame,
            "DISCONNECT": self.disconnect,
        }
        if frame.command not in handlers:
            self.error(peer, frame, "unknown command")
        elif handlers[frame.command](peer, frame):
            self.receipt(peer, frame)

    def receipt(self, peer: Peer, frame: Frame) -> None:
        if frame.get("receipt") is not None:
            self.send(peer, "RECEIPT", f"receipt-id:{frame.get('receipt')}")

    def connect(self, peer: Peer, frame: Frame) -> None:
        offered = (frame.get("accept-version") or "1.0").split(",")
        peer.version = next((each for each in self.versions if each in offered), "1.0")
        peer.login = frame.get("login") or ""
        if peer.login and (peer.login, frame.get("passcode")) != (LOGIN, "test"):
            self.error(peer, frame, "wrong login")
            return
        self.send(peer, "CONNECTED", "session:1", *([f"version:{peer.version}"] if peer.version != "1.0" else []))

    def subscribe(self, peer: Peer, frame: Frame) -> bool:
        asked = frame.get("destination")
        if not asked:
            self.error(peer, frame, "no destination")
            return False
        peer.subscriptions.append((asked, asked, frame.get("id")))
        return True

    def unsubscribe(self, peer: Peer, frame: Frame) -> bool:
        name = frame.get("id"), frame.get("destination")
        gone = [each for each in peer.subscriptions if each[2] == name[0] or (name[0] is None and each[1] == name[1])]
        if not gone or name == (None, None):
            self.not_subscribed(peer, frame)
            return False
        peer.subscriptions = [each for each in peer.subscriptions if each not in gone]
        return True

    def not_subscribed(self, peer: Peer, frame: Frame) -> None:
        self.error(peer, frame, "not subscribed")

    def send_frame(self, peer: Peer, frame: Frame) -> bool:
        destination = frame.get("destination") or ""
        if peer.login and destination.startswith(self.allowed):
            self.publish(destination, frame.body)
            return True
        return self.forbidden(peer, frame)

    def forbidden(self, peer: Peer, frame: Frame) -> bool:
        self.error(peer, frame, "you may not publish there")
        return False

    def publish(self, topic: str, body: bytes) -> None:
        for peer in list(self._peers):
            for real, shown, id in list(peer.subscriptions):
                if real == topic:
                    names = [
                        f"destination:{shown}",
                        "message-id:1",
                        *([f"subscription:{id}"] if id is not None else []),
                    ]
                    with contextlib.suppress(OSError):
                        self.send(peer, "MESSAGE", *names, body=body)

    def disconnect(self, peer: Peer, frame: Frame) -> bool:
        self.receipt(peer, frame)
        peer.close()
        return False


class Original(SmallServer):
    """RECEIPT first, STOMP 1.0 only, errors leave the connection open, FM subscriptions are rewritten.

    :ivar listed: the channels that have a default picture.
    """

    versions = ("1.0",)
    listed: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Lock()  # It has greenlets: no other frame is worked on between RECEIPT and subscription.

    def take(self, peer: Peer, frame: Frame) -> None:
        with self._turn:
            if peer.version:
                self.receipt(peer, frame)
                frame = frame._replace(headers=tuple(each for each in frame.headers if each[0] != "receipt"))
            super().take(peer, frame)

    def subscribe(self, peer: Peer, frame: Frame) -> bool:
        asked = frame.get("destination") or ""
        real = self.rewritten(asked)
        peer.subscriptions.append((real, real, frame.get("id") if real == asked else None))
        return True

    def rewritten(self, topic: str) -> str:
        """Contract §1.8, for a topic with a GCC."""
        if not topic.startswith("/topic/fm/") or topic.rstrip("image").rstrip("text") in self.listed:  # noqa: B005
            return topic
        found = re.search(r"/topic/fm/(\w+)/(\w+)/(\w+)/(\w+)", topic)
        return f"/topic/fm/{found[1]}/{found[2]}/*/{found[4]}" if found else topic

    def not_subscribed(self, peer: Peer, frame: Frame) -> None:
        if frame.get("destination") is None:
            self.error(peer, frame, "Unknow ID" if frame.get("id") else "No ID or channel")
        self.error(peer, frame, "Not subscribled")

    def write(self, peer: Peer, octets: bytes) -> None:
        """As gevent's ``send``: what the buffer takes at once, and the rest is forgotten (contract §2, fault 3)."""
        try:
            peer.socket.send(octets, socket.MSG_DONTWAIT)
        except BlockingIOError:
            select.select([], [peer.socket], [])
            peer.socket.send(octets, socket.MSG_DONTWAIT)


class ConformanceCase(unittest.TestCase):
    def check(self, server: SmallServer, only: str, *words: str, topic: str = TOPIC) -> dict[str, tuple[str, str]]:
        """The verdicts of these checks, and why."""
        with server:
            done = call("conformance", server.url, "--topic", topic, "--only", only, "--seconds", "3", "--json", *words)
        checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
        failed = any(each["verdict"] == "FAIL" for each in checks)
        self.assertEqual((done.returncode, done.stderr), (int(failed), ""))
        return {each["id"]: (each["verdict"], each["why"]) for each in checks}

    def assert_verdict(
        self, server: SmallServer, id: str, verdict: str, why: str = "", *words: str, topic: str = TOPIC
    ) -> None:
        found = self.check(server, id, *words, topic=topic)[id]
        self.assertEqual(found[0], verdict, found[1])
        (self.assertRegex if why else self.assertEqual)(found[1], why)
