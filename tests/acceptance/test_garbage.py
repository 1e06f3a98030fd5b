"""Clients that have gone are freed at once: no search for garbage is needed for them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.acceptance.admin_case import AdminCase, until
from tests.acceptance.test_tls import TlsRadio
from tests.acceptance.websocket_case import WebSocketCase
from tests.authority import Authority
from tests.message_socket import MessageSocket
from tests.processes import ROOT, Server
from tests.radio import Radio
from tests.services import HOST, free_port
from tests.web import Raw, poll_path

CLIENTS = 5
SERVER = str(ROOT / "server.py")

# A server that never searches for garbage by itself, and tells at SIGUSR1 what of ours a search finds.
PROGRAM = """
import collections, gc, json, os, runpy, signal, sys

OURS = ("fanout.", "radiovis.", "twisted.", "wsproto.")

def search(*_):
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found = collections.Counter(f"{type(each).__module__}.{type(each).__name__}" for each in gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    gc.collect()
    ours = {name: count for name, count in found.items() if name.startswith(OURS)}
    line = json.dumps({"event": "searched", "level": "info", "found": ours})
    os.write(2, line.encode() + b"\\n")  # not through sys.stderr, in the middle of whose writing we may be

gc.disable()
signal.signal(signal.SIGUSR1, search)
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class GarbageCase(AdminCase, WebSocketCase):
    """A node that never searches for garbage, but when asked what there is."""

    @classmethod
    def make(cls) -> Server:
        server = super().make()
        at = server.command.index(SERVER)
        server.command[at : at + 1] = ["-c", PROGRAM, SERVER]
        return server

    def found(self) -> Mapping[str, int]:
        """What a search finds now."""
        searches = len(self.server.events("searched"))
        os.kill(self.server.pid, signal.SIGUSR1)
        found: Mapping[str, int] = self.server.wait_for("searched", count=searches + 1)["found"]
        return found

    def connections(self) -> float:
        return self.value("fanout_connections")

    def assert_freed(self, come: Callable[[], object], go: Callable[[], object]) -> None:
        """Some come, each by ``come``; ``go`` has all of them gone again."""
        self.found()  # what others left behind
        for _ in range(CLIENTS):
            come()
        until(lambda: self.connections() >= CLIENTS)
        go()
        until(lambda: self.connections() == 0)
        self.assertEqual(self.found(), {})

    def station_and_radio(self, version: str | None = None) -> Radio:
        """Connected, and logged in."""
        return self.station(1, version)

    def assert_radios_freed(self, go: Callable[[Radio], object], version: str | None = None) -> None:
        """Some listen and publish; each goes by ``go`` and closes."""
        radios: list[Radio] = []

        def come() -> None:
            radio = self.station_and_radio(version)
            radio.subscribe(self.topic(), id="7")
            radio.publish(self.topic(), b"SHOW http://s/1.png")
            radio.frame()
            radios.append(radio)

        def leave() -> None:
            for each in radios:
                go(each)
                each.close()

        self.assert_freed(come, leave)


class TestGone(GarbageCase):
    def test_radios_that_close(self) -> None:
        self.assert_radios_freed(Radio.close)

    def test_radios_of_1_2_that_close(self) -> None:
        self.assert_radios_freed(Radio.close, "1.2")

    def test_radios_that_disconnect(self) -> None:
        self.assert_radios_freed(lambda radio: radio.say("DISCONNECT", {"receipt": "bye"}), "1.2")

    def test_radios_that_reset(self) -> None:
        self.assert_radios_freed(reset)

    def test_radios_that_are_told_why_they_must_go(self) -> None:
        self.assert_radios_freed(lambda radio: radio.say("NONSENSE"), "1.2")

    def test_radios_with_answers_to_come(self) -> None:
        """Their SENDs are worked off, and their receipts are nobody's."""

        def go(radio: Radio) -> None:
            for number in range(50):
                radio.say("SEND", {"destination": self.topic(), "receipt": str(number)})

        self.assert_radios_freed(go)

    def test_who_is_not_let_in(self) -> None:
        radios: list[Radio] = []

        def go() -> None:
            for radio in radios:
                radio.say("CONNECT", {"login": "1.test", "passcode": "wrong"})
                self.assertEqual(radio.frame().command, "ERROR")
                radio.close()

        self.assert_freed(lambda: radios.append(self.dial()), go)

    def test_who_speaks_http_to_the_stomp_port(self) -> None:
        sockets = []
        self.assert_freed(
            lambda: sockets.append(Raw(self.server.address, b"GET / ")), lambda: [each.close() for each in sockets]
        )

    def test_websockets(self) -> None:
        sockets: list[MessageSocket] = []

        def come() -> None:
            radio = self.web_radio("1.2")
            radio.subscribe(self.topic(), id="7")
            sockets.append(radio.socket)

        self.assert_freed(come, lambda: close(sockets))

    def test_players(self) -> None:
        sockets: list[MessageSocket] = []
        self.assert_freed(
            lambda: sockets.append(self.open("/topic/id/tests._ebu.nowhere/topic1")), lambda: close(sockets)
        )

    def test_polls_and_streams(self) -> None:
        for path in (
            poll_path(self.topic()),
            "/radiodns/push/1.0/id/tests._ebu.nowhere/topic1",
            "/channels" + self.topic() + "?wait=10",
        ):
            with self.subTest(path):
                sockets: list[Raw] = []
                request = f"GET {path} HTTP/1.1\r\nhost: vis.example\r\n\r\n".encode()

                def come(request: bytes = request, sockets: list[Raw] = sockets) -> None:
                    sockets.append(Raw(self.server.http, request))

                self.assert_freed(come, lambda sockets=sockets: [each.close() for each in sockets])  # type: ignore[misc]


class TestGoneOverTls(GarbageCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = Path(tempfile.mkdtemp(prefix="radiovis-tls-"))
        cls.addClassCleanup(shutil.rmtree, folder)
        authority = Authority(folder)
        TlsRadio.context = authority.client()
        cls.ports = {"STOMP_TLS_PORT": free_port(), "HTTPS_PORT": free_port()}
        cls.settings = {"TLS_CERTIFICATE": authority.issue("node.pem", HOST), **cls.ports}
        super().setUpClass()

    ports: ClassVar[dict[str, int]]

    def station_and_radio(self, version: str | None = None) -> Radio:
        return TlsRadio.connect((HOST, self.ports["STOMP_TLS_PORT"]), "1.test", "test", version=version)

    def test_radios_that_close(self) -> None:
        self.assert_radios_freed(Radio.close)

    def test_radios_that_disconnect(self) -> None:
        self.assert_radios_freed(lambda radio: radio.say("DISCONNECT", {"receipt": "bye"}), "1.2")

    def test_who_cannot_shake_hands(self) -> None:
        sockets: list[Raw] = []
        address = (HOST, self.ports["STOMP_TLS_PORT"])

        def go() -> None:
            for each in sockets:
                each.send(b"CONNECT\n\n\0")
                each.close()

        self.assert_freed(lambda: sockets.append(Raw(address)), go)

    def test_browsers_that_ask_and_wait(self) -> None:
        sockets: list[ssl.SSLSocket] = []

        def come() -> None:
            raw = socket.create_connection((HOST, self.ports["HTTPS_PORT"]), timeout=20)
            secure = TlsRadio.context.wrap_socket(raw, server_hostname=HOST)
            secure.sendall(f"GET {poll_path(self.topic())} HTTP/1.1\r\nhost: vis.example\r\n\r\n".encode())
            sockets.append(secure)

        self.assert_freed(come, lambda: [each.close() for each in sockets])


def close(sockets: Sequence[MessageSocket]) -> None:
    for each in sockets:
        each.close()


def reset(radio: Radio) -> None:
    """Go without a word: the server's kernel is told so."""
    radio._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    radio.close()
