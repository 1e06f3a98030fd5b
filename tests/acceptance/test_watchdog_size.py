"""Ten thousand topics, of which 50 fall silent: what a real ``fallback.py`` does about them, and its cost."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, ClassVar

from tests.acceptance.device import Device
from tests.acceptance.watched import Service, default, until
from tests.processes import Server

CHANNELS = 5_000  # Each has two topics: text and image.
STALE = 25
CHECKS = 4
BELIEVED = 40
"""Seconds after which a memcached that does not know a topic is believed: FB_FALLBACK_TIME."""


def channel(number: int) -> str:
    return f"/topic/dab/4e1/4fff/{number:04x}/0/"


def cpu_seconds(process: Server) -> float:
    """Processor time a process has taken so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class TestTenThousand(Service):
    quick: ClassVar[dict[str, object]] = {
        "FB_FALLBACK_TIME": BELIEVED,
        "FB_FALLBACK_CHECK": 0.5,
        "FB_REPEAT": 2,  # 25 entries a second: the log takes one at a time, also on a machine with much other work.
        "FB_CHANNEL_CACHE": 3600,
    }

    @classmethod
    def known(cls) -> dict[str, Any]:
        return {
            "vis_channels": [[channel(number), number] for number in range(CHANNELS)],
            "all_channels": [],
            "defaults": {str(number): default(f"n{number}") for number in range(CHANNELS)},
        }

    def test_only_the_stale_ones_are_asked_for_and_told(self) -> None:
        self.make_node()
        with Device(self.broker, self.exchange) as device:
            for number in range(STALE, CHANNELS):
                for kind in ("text", "image"):
                    device.publish({"topic": channel(number) + kind}, b"TEXT I am here")
        self.wait_until_remembered()
        fallback = self.make_fallback().start()
        fallback.wait_for("topics.listed", channels=CHANNELS)
        first = fallback.wait_for("defaults.sent")
        self.assertEqual(first["topics"], 2 * STALE)
        self.assertEqual(self.plugit.count("get_channel_default"), STALE)
        until(lambda: fallback.report()["log"]["waiting"] == 0, "sent to the log")
        rounds, before = len(fallback.events("defaults.sent")), cpu_seconds(fallback)
        fallback.wait_for("defaults.sent", count=rounds + CHECKS)
        spent = cpu_seconds(fallback) - before
        told = [event["topics"] for event in fallback.events("defaults.sent")]
        print(f"\n{CHECKS} rounds of {2 * STALE} of {2 * CHANNELS} topics: {spent:.2f} s of CPU ... ", end="")
        self.assertLessEqual(sum(told), 2 * STALE * len(told))
        self.assertLessEqual(self.plugit.count("get_channel_default"), STALE * len(told))
        self.assertLess(spent, 0.25 * CHECKS)
        fallback.terminate()
        defaults = {entry["topic"] for entry in self.plugit.logs() if '"expires"' in entry["headers"]}
        stale = {channel(number) + kind for number in range(STALE) for kind in ("text", "image")}
        self.assertEqual(defaults, stale)

    def wait_until_remembered(self) -> None:
        """Until the node has written the last message of every living topic to memcached, and the watchdog believes it
        that it knows all of them.
        """

        def figures() -> dict[bytes, bytes]:
            with socket.create_connection((self.memcached.host, self.memcached.port)) as asking:
                asking.sendall(b"stats\r\n")
                told = b""
                while b"END\r\n" not in told:
                    told += asking.recv(65536)
            lines = [line.split() for line in told.splitlines()]
            return {line[1]: line[2] for line in lines if len(line) == 3}

        until(lambda: int(figures()[b"curr_items"]) >= 2 * (CHANNELS - STALE), "remembered")
        until(lambda: int(figures()[b"uptime"]) >= BELIEVED, "believed", 2 * BELIEVED)
