"""Each transcript against real nodes: as the client sends it, torn at every octet, broken off at every octet."""

from __future__ import annotations

import socket

from tests import services
from tests.acceptance.cluster import Cluster
from tests.clients.case import ClientCase, Settings, node_settings
from tests.clients.transcript import NUMBER, transcripts
from tests.processes import Server
from tests.radio import SECONDS


class TestWhole(ClientCase):
    """One node by itself."""

    def test_each_client_is_served(self) -> None:
        for transcript in transcripts():
            with self.subTest(transcript.name):
                self.play(transcript)


class TestThroughRabbitMQ(ClientCase):
    @classmethod
    def start(cls, settings: Settings) -> Server:
        cluster = Cluster(services.rabbitmq(), 1, **node_settings(settings))
        cls.addClassCleanup(cluster.close)
        return cluster.__enter__().nodes[0]

    def test_each_client_is_served(self) -> None:
        for transcript in transcripts():
            with self.subTest(transcript.name):
                self.play(transcript)


class TestTorn(ClientCase):
    def test_one_octet_at_a_time(self) -> None:
        for transcript in transcripts():
            with self.subTest(transcript.name):
                self.play(transcript, tears=lambda _: True)

    def test_in_two_pieces_at_every_octet(self) -> None:
        for transcript in transcripts():
            with self.subTest(transcript.name):
                for cut in range(1, self.play(transcript).octets):
                    self.play(transcript, tears=cut.__eq__)


class TestBrokenOff(ClientCase):
    def test_at_every_octet(self) -> None:
        """The client goes away in the midst of its octets, and nothing of it stays."""
        before = {settings: server.open_files() for settings, server in self.servers.items()}
        for transcript in transcripts():
            if transcript.transport == "TCP":
                said = transcript.said().replace(NUMBER, b"%04x" % next(self.numbers))
                for length in range(1, len(said)):
                    address = self.servers[transcript.settings].address
                    with socket.create_connection(address, SECONDS) as connection:
                        connection.sendall(said[:length])
            with self.subTest(transcript.name):
                self.companies[transcript.settings].settle()
                self.play(transcript)
        for settings, server in self.servers.items():
            self.companies[settings].settle()
            self.assertLessEqual(server.open_files(), before[settings])
