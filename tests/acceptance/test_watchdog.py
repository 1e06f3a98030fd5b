"""What radios see of the watchdog: a real broker, node and ``fallback.py``, and PlugIt's look-alike."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from tests.acceptance.watched import Service, channel, default, sent_at, until
from tests.processes import Server
from tests.radio import Frame, Radio
from tests.radiovis.watchdog.daemon import Daemon

SILENT, ALIVE, TALKING, STOPPING = 1, 2, 3, 4
LATE = 2.0  # Seconds by which a default may come after its time: two cores, shared with other work.
ROUNDS = 3


def is_default(message: Frame) -> bool:
    return message.get("expires") == "0"


class TestDefaults(Service):
    """A few seconds of four channels, heard by one radio from before the watchdog's start: once, for all tests."""

    names: ClassVar[tuple[str, ...]] = ("silent", "alive", "talking", "stopping")
    fallback: ClassVar[Daemon]
    heard: ClassVar[list[Frame]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        node = cls.make_node()
        cls.fallback = cls.make_fallback()
        with Radio.connect(node.address) as radio:
            for number in range(1, 5):
                for kind in ("text", "image"):
                    radio.subscribe(channel(number) + kind)
            cls.heard = cls.observe(node, radio)
        cls.fallback.terminate()

    @classmethod
    def observe(cls, node: Server, radio: Radio) -> list[Frame]:
        """Everything until the silent channel has had its default a few times."""
        texts = 0
        heard: list[Frame] = []
        alive = cls.make_broadcaster(node, channel(ALIVE) + "text", channel(ALIVE) + "image")
        talking = cls.make_broadcaster(node, channel(TALKING) + "text")
        with Radio.connect(node.address, "1.rock", "1.rock", version="1.2") as station, alive, talking:
            for kind in ("text", "image"):
                station.publish(channel(STOPPING) + kind, b"good night")
            alive.wait_for(2)
            talking.wait_for(1)
            cls.fallback.start()
            while texts <= ROUNDS:
                heard.append(radio.frame())
                texts += heard[-1].get("destination") == channel(SILENT) + "text"
        return heard

    def on(self, number: int, *kinds: str) -> list[Frame]:
        topics = [channel(number) + kind for kind in kinds or ("text", "image")]
        return [message for message in self.heard if message.get("destination") in topics]

    def test_text_then_image_with_bodies_and_headers_of_the_original(self) -> None:
        text, image = self.on(SILENT)[:2]
        self.assertEqual(text.body, b"TEXT This is silent")
        self.assertEqual(image.body, b"SHOW http://img.example/silent.png")
        for message, kind in ((text, "text"), (image, "image")):
            headers = dict(message.headers)
            when, timestamp = int(headers.pop("when")), int(headers.pop("timestamp"))
            self.assertEqual(when, timestamp // 1000)
            self.assertRegex(headers.pop("message-id"), r"\A[0-9]{30,39}\Z")  # A UUID's 128 bits as a decimal number.
            expected = {"trigger-time": "NOW", "link": "http://silent.example/", "expires": "0", "priority": "0"}
            self.assertEqual(headers, {"destination": channel(SILENT) + kind, **expected})

    def test_an_idle_channel_repeats_its_default_with_a_new_id(self) -> None:
        for kind in ("text", "image"):
            messages = self.on(SILENT, kind)
            for one, two in pairwise(map(sent_at, messages)):
                self.assertTrue(1.9 <= two - one <= 2 + LATE, two - one)
            self.assertEqual(len({message.get("message-id") for message in messages}), len(messages))

    def test_nothing_while_a_channel_is_alive(self) -> None:
        self.assertGreater(len(self.on(ALIVE, "text")), 20)
        self.assertGreater(len(self.on(ALIVE, "image")), 20)
        self.assertEqual([message for message in self.on(ALIVE) if is_default(message)], [])

    def test_text_alone_keeps_no_image_from_its_default(self) -> None:
        self.assertGreater(len(self.on(TALKING, "text")), 20)
        self.assertEqual([message for message in self.on(TALKING, "text") if is_default(message)], [])
        images = self.on(TALKING, "image")
        self.assertGreaterEqual(len(images), ROUNDS)
        self.assertEqual({message.body for message in images}, {b"SHOW http://img.example/talking.png"})

    def test_one_that_was_alive_before_the_start_has_all_its_time_and_then_its_default(self) -> None:
        for kind, body in (("text", b"TEXT This is stopping"), ("image", b"SHOW http://img.example/stopping.png")):
            last, first = self.on(STOPPING, kind)[:2]
            self.assertEqual((last.body, first.body), (b"good night", body))
            self.assertGreaterEqual(sent_at(first) - sent_at(self.on(SILENT)[0]), 1.7)

    def test_no_error_is_logged(self) -> None:
        self.assertEqual(self.fallback.faults, [])


class TestDirectory(Service):
    """What the stations change, and what happens while nobody can be asked."""

    names: ClassVar[tuple[str, ...]] = ("silent", "other")
    quick: ClassVar[dict[str, object]] = {**Service.quick, "FB_FALLBACK_TIME": 1, "DIRECTORY_TIMEOUT": 0.5}
    node: ClassVar[Server]
    fallback: ClassVar[Daemon]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.node = cls.make_node()
        cls.fallback = cls.make_fallback().start()
        cls.fallback.wait_for("defaults.sent")

    def setUp(self) -> None:
        self.addCleanup(self.plugit.know, **self.known())

    def tearDown(self) -> None:
        self.assertEqual(self.fallback.faults, [])

    def change(self, name: str) -> None:
        """The first channel's default is now another one."""
        self.plugit.know(defaults={**self.known()["defaults"], "1": default(name)})

    def test_a_changed_default_is_shown_within_fb_channel_cache(self) -> None:
        radio = self.radio(self.node, SILENT)
        before = radio.expect("MESSAGE")
        self.change("brandnew")
        while b"brandnew" not in (after := radio.expect("MESSAGE")).body:
            pass
        # The first default later than FB_CHANNEL_CACHE (1 s) is the new one: with repeats 1 s apart, the second.
        self.assertLessEqual(sent_at(after) - sent_at(before), 2 + LATE)

    def test_an_outage_keeps_the_list_and_the_defaults(self) -> None:
        radio = self.radio(self.node, SILENT)
        self.addCleanup(self.plugit.behave, "good")
        self.plugit.behave("503", get_channel_default="hang", add_log="good", cleanup_logs="good")
        for method in ("get_all_vis_channels", "get_channel_default"):
            self.wait_until_asked(method)
        self.fallback.wait_for("directory.down")
        radio.so_far()
        bodies = {message.body for message in radio.frames(4)}
        self.assertEqual(bodies, {b"TEXT This is silent", b"SHOW http://img.example/silent.png"})
        self.assertEqual(self.fallback.report()["topics"], 4)

    def wait_until_asked(self, method: str) -> None:
        before = self.plugit.count(method)
        until(lambda: self.plugit.count(method) > before, f"asked {method}")

    def test_a_channel_that_comes_and_goes(self) -> None:
        known = self.known()
        listed, defaults = [*known["vis_channels"], [channel(9), 9]], {**known["defaults"], "9": default("nine")}
        radio = self.radio(self.node, 9)
        self.plugit.know(vis_channels=listed, defaults=defaults)
        bodies = [message.body for message in radio.frames(2)]
        self.assertEqual(bodies, [b"TEXT This is nine", b"SHOW http://img.example/nine.png"])
        self.plugit.know(**known)
        until(lambda: self.fallback.report()["topics"] == 4, "taken off the list")


class TestRepeat(Service):
    """``FB_REPEAT``: an idle channel need not be told its default all the time."""

    names: ClassVar[tuple[str, ...]] = ("silent",)

    def test_the_default_comes_soon_and_its_repetition_later(self) -> None:
        node = self.make_node()
        radio, station = self.radio(node, SILENT), self.station(node)
        fallback = self.make_fallback(FB_FALLBACK_TIME=1, FB_REPEAT=3).start()
        first, _, second, _ = map(sent_at, radio.frames(4))
        self.assertTrue(2.9 <= second - first <= 3 + LATE, second - first)
        for kind in ("text", "image"):
            station.publish(channel(SILENT) + kind, b"a word")
        spoken = int(radio.frames(2)[1].get("when") or "")
        again = sent_at(radio.expect("MESSAGE"))
        self.assertTrue(0.9 <= again - spoken <= 2 + LATE, again - spoken)
        fallback.terminate()
        self.assertEqual(fallback.faults, [])
