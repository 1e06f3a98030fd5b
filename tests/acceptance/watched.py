"""What the acceptance tests of the watchdog have in common: PlugIt, a node, ``fallback.py``, and who looks at them."""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, ClassVar
from uuid import uuid4

from tests import services
from tests.acceptance.broadcaster import Broadcaster
from tests.acceptance.plugit_process import PlugItProcess
from tests.fanout.bus import queue_reader
from tests.processes import Event, Server
from tests.radio import Frame, Radio
from tests.radiovis.watchdog.daemon import Daemon

SECONDS = 30.0
LOGIN = "1.rock"
Entry = dict[str, str]


def channel(number: int) -> str:
    """An FM channel of station 1."""
    return f"/topic/fm/4e1/4000/{number:05d}/"


def default(name: str, **changes: Any) -> dict[str, Any]:
    """What PlugIt says of a channel's default; any part may be changed, also to None."""
    return {
        "id": 3,
        "orga": 1,
        "name": name,
        "filename": f"1/{name}.png",
        "radiotext": f"This is {name}",
        "radiolink": f"http://{name}.example/",
        "image_url_prefix": "http://img.example/",
        "clean_filename": f"{name}.png",
        "public_url": f"http://img.example/{name}.png",
        **changes,
    }


def seconds(event: Event) -> float:
    """When a process logged it, in Unix time."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def sent_at(message: Frame) -> float:
    """When a default was sent, in Unix time: its own word, as we may read it later."""
    return int(message.get("timestamp") or "") / 1000


def until(check: Callable[[], bool], what: str, limit: float = SECONDS) -> None:
    """Wait for something that only asking can tell."""
    deadline = time.monotonic() + limit
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"not {what} within {limit} s")
        time.sleep(0.05)


class Service(unittest.TestCase):
    """One PlugIt and one exchange for all tests of a class; nodes and watchdogs as they are asked for.

    :cvar names: the stations' channels: :func:`channel` of 1, 2, … has the default called so.
    :cvar quick: of every watchdog: seconds instead of minutes.
    """

    names: ClassVar[tuple[str, ...]] = ("silent", "alive", "quiet")
    quick: ClassVar[dict[str, object]] = {"FB_FALLBACK_TIME": 2, "FB_FALLBACK_CHECK": 0.2, "FB_CHANNEL_CACHE": 1}
    broker: ClassVar[services.AmqpAddress]
    memcached: ClassVar[services.Memcached]
    plugit: ClassVar[PlugItProcess]
    exchange: ClassVar[str]
    queue: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = cls.make_broker()
        cls.exchange, cls.queue = f"radiovis.{uuid4()}", f"fallbacklogs.{uuid4()}"
        cls.memcached = services.Memcached()  # Of its own: it remembers which topics were alive.
        cls.memcached.start()
        cls.addClassCleanup(cls.memcached.close)
        cls.plugit = PlugItProcess()
        cls.addClassCleanup(cls.plugit.stop)
        cls.plugit.know(**cls.known())

    @classmethod
    def make_broker(cls) -> services.AmqpAddress:
        """Where the broker of the class listens."""
        return services.rabbitmq()

    @classmethod
    def known(cls) -> dict[str, Any]:
        """What PlugIt knows."""
        channels = {number: channel(number) for number in range(1, len(cls.names) + 1)}
        return {
            "passwords": {LOGIN: LOGIN},
            "channels": {"1": list(channels.values())},
            "all_channels": [[topic, number] for number, topic in channels.items()],
            "vis_channels": [[topic, number] for number, topic in channels.items()],
            "defaults": {str(number): default(name) for number, name in enumerate(cls.names, 1)},
        }

    @classmethod
    def where(cls) -> dict[str, object]:
        """Settings of nodes and watchdogs alike."""
        return {
            "RABBITMQ_HOST": cls.broker.host,
            "RABBITMQ_PORT": cls.broker.port,
            "RABBITMQ_EXCHANGE": cls.exchange,
            "fanout.bus.broker_settings.LAST_RETRY_SECONDS": 1.0,
            "fanout.bus.broker_settings.MAX_AGE_SECONDS": 300.0,
            "radiovis.node.fallback_daemon.LAST_RETRY_SECONDS": 1.0,
            "MEMCACHED_HOST": cls.memcached.address,
            "RADIODNS_API_URL": cls.plugit.url,
            "DIRECTORY_TIMEOUT": 2,
            "radiovis.directory.plugit_http.ATTEMPTS": 1,
            "MONITORING_ENABLED": False,
        }

    @classmethod
    def make_node(cls, **settings: object) -> Server:
        """A node, connected to the broker. It ends with the class."""
        node = Server(**{**cls.where(), **settings}).start()
        cls.addClassCleanup(node.close)
        node.wait_for("bus.caught_up")
        return node

    @classmethod
    def make_queue(cls) -> None:
        """The durable queue, as if a watchdog had been here before; a node has made the exchange."""
        with queue_reader.channel(cls.broker) as broker:
            broker.queue_declare(cls.queue, durable=True)
            broker.queue_bind(cls.queue, cls.exchange)

    @classmethod
    def make_fallback(cls, *flags: str, **settings: object) -> Daemon:
        """A watchdog, not yet started. It ends with the class."""
        given = {**cls.where(), "FB_QUEUE": cls.queue, "FB_ADMIN_PORT": 0, **cls.quick, **settings}
        fallback = Daemon(cls.broker, cls.exchange, *flags, **given)
        cls.addClassCleanup(fallback.close)
        return fallback

    # People around it

    def radio(self, node: Server, *channels: int) -> Radio:
        """Hears text and image of these channels."""
        radio = Radio.connect(node.address)
        self.addCleanup(radio.close)
        for number in channels:
            for kind in ("text", "image"):
                radio.subscribe(channel(number) + kind, fast_reply=False)
        return radio

    def station(self, node: Server) -> Radio:
        """Logged in; each publish returns when the broker has it."""
        station = Radio.connect(node.address, LOGIN, LOGIN, version="1.2")
        self.addCleanup(station.close)
        return station

    @classmethod
    def make_broadcaster(cls, node: Server, *topics: str, name: str = "b", pause: float = 0.05) -> Broadcaster:
        """Publishes on these topics in turn, all the time. It ends with the class."""
        broadcaster = Broadcaster(node.address, LOGIN, topics, name=name, pause=pause)
        cls.addClassCleanup(broadcaster.stop)
        return broadcaster

    # The log

    def logged(self, wanted: Collection[bytes], limit: float = 60.0) -> list[Entry]:
        """The whole log, once all of these bodies are in it."""
        entries: list[Entry] = []
        missing = {body.decode() for body in wanted}

        def complete() -> bool:
            new = self.plugit.logs(len(entries))
            entries.extend(new)
            missing.difference_update(entry["message"] for entry in new)
            return not missing

        try:
            until(complete, "in the log", limit)
        except AssertionError:
            some = sorted(missing)[:3]
            raise AssertionError(f"{len(missing)} of {len(wanted)} not in the log after {limit} s: {some}") from None
        return entries

    def bodies(self, entries: Collection[Entry], number: int) -> list[bytes]:
        """What was logged of one channel, without defaults; in the log's order."""
        return [
            entry["message"].encode()
            for entry in entries
            if entry["topic"].startswith(channel(number)) and not is_default(entry)
        ]


def is_default(entry: Entry) -> bool:
    """Whether a watchdog sent it."""
    return '["expires", "0"]' in entry["headers"] or '["expires","0"]' in entry["headers"]
