from __future__ import annotations

import socket

from twisted.trial import unittest

from fanout.doors.keepalive import keep_alive


class KeepAlive(unittest.TestCase):
    def options(self, seconds: int) -> tuple[int, int, int, int]:
        """Of an accepted connection: on or off, idle, interval, probes."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            keep_alive(listening, seconds)
            with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
                tcp = socket.IPPROTO_TCP
                return (
                    accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    accepted.getsockopt(tcp, socket.TCP_KEEPIDLE),
                    accepted.getsockopt(tcp, socket.TCP_KEEPINTVL),
                    accepted.getsockopt(tcp, socket.TCP_KEEPCNT),
                )

    def test_accepted_connections_are_probed(self) -> None:
        self.assertEqual(self.options(60), (1, 60, 15, 4))
        self.assertEqual(self.options(2), (1, 2, 1, 4))

    def test_zero_leaves_the_systems_times(self) -> None:
        on, idle, _, _ = self.options(0)
        self.assertEqual(on, 1)
        self.assertGreaterEqual(idle, 600)
