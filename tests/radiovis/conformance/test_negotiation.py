"""The checks of CONNECT: their verdicts on servers that do it otherwise and are right, and on wrong ones."""

from __future__ import annotations

from unittest import mock

from fanout.stomp.codec import Frame
from radiovis.conformance import negotiation
from tests.radiovis.conformance.small_server import ConformanceCase, Original, Peer, SmallServer


class WantsHost(SmallServer):
    def connect(self, peer: Peer, frame: Frame) -> None:
        if frame.get("host") is None:
            peer.version = "1.2"
            self.without_host(peer, frame)
        else:
            super().connect(peer, frame)

    def without_host(self, peer: Peer, frame: Frame) -> None:
        self.error(peer, frame, "a host is required")


class ClosesWithoutHost(WantsHost):
    def without_host(self, peer: Peer, frame: Frame) -> None:
        peer.close()


class KeepsWithoutHost(WantsHost):
    def without_host(self, peer: Peer, frame: Frame) -> None:
        self.send(peer, "ERROR", "message:a host is required")


class LetsNobodyIn(WantsHost):
    def connect(self, peer: Peer, frame: Frame) -> None:
        peer.version = "1.2"
        self.error(peer, frame, "closed today")


class OnlyOldVersions(SmallServer):
    versions = ("1.1", "1.0")


class Host(ConformanceCase):
    def test_any_version_will_do_for_a_client_without_a_host(self) -> None:
        for server in (SmallServer(), OnlyOldVersions(), Original()):
            with self.subTest(server=type(server).__name__):
                self.assert_verdict(server, "N6", "PASS")

    def test_a_server_may_want_a_host(self) -> None:
        self.assert_verdict(WantsHost(), "N6", "PASS", "it requires a host header, which STOMP 1.1 and 1.2 allow")

    def test_it_has_to_say_so_and_to_end(self) -> None:
        self.assert_verdict(ClosesWithoutHost(), "N6", "FAIL", "it closed the connection without an answer")
        self.assert_verdict(KeepsWithoutHost(), "N6", "FAIL", "it kept the connection open")

    def test_the_host_has_to_be_the_reason(self) -> None:
        self.assert_verdict(LetsNobodyIn(), "N6", "FAIL", "instead of CONNECTED it sent ERROR message:closed today")


class ClosesInTime(SmallServer):
    patience = 0.2


class TellsInTime(SmallServer):
    """As the BBC's server: an ERROR later than ``--seconds``, then the end."""

    patience = 1.5

    def too_late(self, peer: Peer) -> None:
        self.send(peer, "ERROR", "message:Timed out waiting for CONNECT")


class TellsAndKeeps(SmallServer):
    patience = 0.2

    def too_late(self, peer: Peer) -> None:
        self.send(peer, "ERROR", "message:Timed out waiting for CONNECT")
        peer.socket.settimeout(None)
        peer.socket.recv(1_000)


class TellsAnythingElse(SmallServer):
    patience = 0.2

    def too_late(self, peer: Peer) -> None:
        self.send(peer, "CONNECTED", "session:1")


class Silence(ConformanceCase):
    def test_a_server_may_close_or_send_an_error_first_and_late(self) -> None:
        for server in (ClosesInTime(), TellsInTime()):
            with self.subTest(server=type(server).__name__):
                self.assert_verdict(server, "N10", "PASS")

    def test_one_that_keeps_the_connection_is_found(self) -> None:
        with mock.patch.object(negotiation, "PATIENCE", 1):
            self.assert_verdict(Original(), "N10", "FAIL", "it kept the connection open for 1 s")

    def test_an_error_is_not_the_end(self) -> None:
        self.assert_verdict(TellsAndKeeps(), "N10", "FAIL", "it kept the connection open")

    def test_nothing_else_may_come(self) -> None:
        self.assert_verdict(TellsAnythingElse(), "N10", "FAIL", "instead of closing the connection it sent CONNECTED")
