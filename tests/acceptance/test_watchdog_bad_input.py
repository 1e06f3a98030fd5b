"""Nonsense from PlugIt and from the exchange: each is said once, and the defaults and the log go on."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from tests.acceptance.device import Device
from tests.acceptance.watched import Service, channel, default, until
from tests.processes import Server
from tests.radiovis.watchdog.daemon import Daemon

GOOD, NO_IMAGE, NO_TEXT, NO_LINK, NOTHING, UNKNOWN, NO_SLASH, TWICE = range(1, 9)
SECOND = 9  # The id under which one is listed again.
EMPTY = {"radiotext": None, "radiolink": None, "filename": None, "public_url": None, "clean_filename": None}


class _Bad(Service):
    quick: ClassVar[dict[str, object]] = {**Service.quick, "FB_FALLBACK_TIME": 1}
    node: ClassVar[Server]
    fallback: ClassVar[Daemon]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.node = cls.make_node()
        cls.fallback = cls.make_fallback()

    def tearDown(self) -> None:
        self.assertEqual(self.fallback.faults, [])


class TestDirectory(_Bad):
    @classmethod
    def known(cls) -> dict[str, Any]:
        listed = [[channel(number), number] for number in range(1, 9) if number != NO_SLASH]
        return {
            "vis_channels": [*listed, [channel(NO_SLASH).rstrip("/"), NO_SLASH], [channel(TWICE), SECOND]],
            "all_channels": [],
            "defaults": {
                str(GOOD): default("good"),
                str(NO_IMAGE): default("noimage", filename=None, public_url=None, clean_filename=None),
                str(NO_TEXT): default("notext", radiotext=None),
                str(NO_LINK): default("nolink", radiolink=None),
                str(NOTHING): default("nothing", **EMPTY),
                str(UNKNOWN): None,
                str(NO_SLASH): default("noslash"),
                str(TWICE): default("first"),
                str(SECOND): default("second"),
            },
        }

    def test_each_channel_gets_what_there_is_and_each_mistake_one_line(self) -> None:
        radio = self.radio(self.node, *range(1, 9))
        self.fallback.start()
        heard = []
        rounds = 0
        while rounds < 4:  # Longer than three times FB_CHANNEL_CACHE.
            heard.append(radio.expect("MESSAGE"))
            rounds += heard[-1].get("destination") == channel(GOOD) + "text"
        bodies: dict[str, set[bytes]] = {}
        for message in heard:
            bodies.setdefault(message.get("destination") or "", set()).add(message.body)
        expected = {
            number: {"text": f"TEXT This is {name}", "image": f"SHOW http://img.example/{name}.png"}
            for number, name in ((GOOD, "good"), (NO_LINK, "nolink"), (NO_SLASH, "noslash"), (TWICE, "first"))
        }
        expected[NO_IMAGE] = {"text": "TEXT This is noimage"}
        expected[NO_TEXT] = {"image": "SHOW http://img.example/notext.png"}
        self.assertEqual(
            bodies,
            {
                channel(number) + kind: {body.encode()}
                for number, kinds in expected.items()
                for kind, body in kinds.items()
            },
        )
        links = {
            message.get("link") for message in heard if (message.get("destination") or "").startswith(channel(NO_LINK))
        }
        self.assertEqual(links, {None})
        for event in ("directory.no_trailing_slash", "directory.listed_twice"):
            self.assertEqual(len(self.fallback.events(event)), 1, event)
        self.assertEqual(self.fallback.status()[0], 0)


class TestMessages(_Bad):
    names: ClassVar[tuple[str, ...]] = ("silent", "victim")

    def test_what_is_none_is_dropped_with_a_line_and_the_rest_is_logged(self) -> None:
        fallback, topic = self.fallback.start(), channel(2) + "text"
        fallback.wait_for("queue.consuming")
        before = int(time.time())
        with Device(self.broker, self.exchange) as device:
            device.publish(None, b"no headers")
            device.publish({"link": "http://l/"}, b"no topic")
            device.publish({"topic": topic}, b"x" * 1_048_576)
            device.publish({"topic": topic}, b"no when")
            device.publish({"topic": topic, "when": "soon"}, b"odd when")
            device.publish({"topic": topic, "when": "99999999999"}, b"when to come")
            device.publish({"topic": topic}, b"caf\xe9 \xff")
            device.publish({"topic": topic}, b"the next one")
        entries = self.logged([b"the next one"])
        good = ["no when", "odd when", "when to come", "caf\ufffd \ufffd", "the next one"]
        self.assertEqual([body.decode() for body in self.bodies(entries, 2)], good)
        for entry in entries:
            self.assertTrue(before - 60 <= int(entry["timestamp"]) <= time.time() + 1, entry)
        (line,) = fallback.events("queue.malformed")  # The others are counted, and told with the next line in a minute.
        self.assertIn("no header 'topic'", line["reason"])
        # The one from the future is a default's time ago, too: its channel is silent, and gets its default.
        count = len(fallback.events("defaults.sent"))
        fallback.wait_for("defaults.sent", count=count + 1)
        until(lambda: any("This is victim" in entry["message"] for entry in self.plugit.logs()), "sent its default")
        fallback.terminate()
