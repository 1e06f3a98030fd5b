"""A node with PlugIt over real HTTP: logins, channels, countries, `*`, and everything that can be wrong with it."""

from __future__ import annotations

import string
import time
import unittest
from typing import ClassVar

from tests.acceptance.plugit_process import PlugItProcess
from tests.processes import Server
from tests.radio import Radio, frame
from tests.radiovis.directory.plugit_server import SECRET

ROCK = "/topic/fm/4e1/4000/09580/"
DAB = "/topic/dab/4e1/4fff/4001/0/"
STAR = "/topic/fm/4e1/4001/*/"
QUICK: dict[str, object] = {
    "DIRECTORY_TIMEOUT": 0.5,
    "radiovis.directory.plugit_http.ATTEMPTS": 2,
    "DIRECTORY_FRESH_SECONDS": 1,
    "FB_CHANNEL_CACHE": 1,
}
KNOWN = {
    "channels": {"1": [ROCK, DAB], "2": [], "3": [STAR]},
    "passwords": {"1.rock": "rock-passcode", "2.jazz": "jazz-passcode", "3.star": "star-passcode"},
    "all_channels": [[ROCK, 12], [DAB, 13], [STAR, 14]],
    "vis_channels": [[ROCK, 12], [STAR, 14]],
}


class _Case(unittest.TestCase):
    """One PlugIt and one node for all tests of a class. Each test leaves PlugIt as it was."""

    settings: ClassVar[dict[str, object]] = {}
    plugit: PlugItProcess
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.plugit = PlugItProcess()
        cls.addClassCleanup(cls.plugit.stop)
        cls.plugit.know(**KNOWN)
        settings = {"RABBITMQ_LOOPBACK": True, "RADIODNS_API_URL": cls.plugit.url, "LOG_LEVEL": "DEBUG"}
        cls.server = Server(**settings | QUICK | cls.settings).start()
        cls.addClassCleanup(cls.server.close)

    def setUp(self) -> None:
        self.addCleanup(self.plugit.behave, "good")
        self.addCleanup(self.plugit.know, **KNOWN)

    def tearDown(self) -> None:
        self.assertEqual(self.server.faults, [])
        for secret in (SECRET, "rock-passcode", "jazz-passcode", "star-passcode", "wrong-passcode"):
            self.assertNotIn(secret, self.server.text)

    def radio(self, *topics: str) -> Radio:
        radio = Radio.connect(self.server.address)
        self.addCleanup(radio.close)
        for topic in topics:
            radio.subscribe(topic, id=topic, fast_reply=False)
        return radio

    def station(self, name: str = "1.rock", version: str | None = None) -> Radio:
        station = Radio.connect(self.server.address, name, f"{name[2:]}-passcode", version=version)
        self.addCleanup(station.close)
        return station

    def refused(self, login: str, passcode: str) -> str | None:
        """What the ERROR says that a login gets."""
        with Radio(self.server.address) as radio:
            radio.send(frame("CONNECT", {"login": login, "passcode": passcode}))
            return radio.expect("ERROR").get("message")

    def assert_heard(self, radio: Radio, topic: str, body: bytes) -> None:
        self.assertEqual(radio.expect("MESSAGE", destination=topic, subscription=topic).body, body)


class TestStations(_Case):
    def test_login(self) -> None:
        self.assertEqual(self.refused("1.rock", "wrong-passcode"), "Wrong credentials")
        self.assertEqual(self.refused("9.nobody", "wrong-passcode"), "Wrong credentials")
        self.station()

    def test_an_address_that_is_not_allowed(self) -> None:
        self.plugit.know(refused_addresses=["127.0.0.1"])
        self.addCleanup(self.plugit.know, refused_addresses=[])
        self.assertEqual(self.refused("1.rock", "rock-passcode"), "Wrong credentials")

    def test_a_station_publishes_to_its_channels_and_to_no_others(self) -> None:
        radio, station = self.radio(ROCK + "image", DAB + "image"), self.station()
        station.publish(ROCK + "image", b"SHOW http://s/1.png")
        station.publish(DAB + "image", b"SHOW http://s/2.png")
        self.assert_heard(radio, ROCK + "image", b"SHOW http://s/1.png")
        self.assert_heard(radio, DAB + "image", b"SHOW http://s/2.png")
        station.say("SEND", {"destination": "/topic/fm/4e1/4001/09580/image"}, b"SHOW http://s/3.png")
        self.assertEqual(station.expect("ERROR").get("message"), "You cannot do that.")

    def test_broadcast_goes_to_all_channels_of_the_station(self) -> None:
        radio = self.radio(ROCK + "text", DAB + "text", "/topic/fm/4e1/4001/09580/text")
        self.station().publish("/topic/*/text", b"TEXT all")
        heard = sorted(each.get("destination") or "" for each in radio.frames(2))
        self.assertEqual(heard, sorted([ROCK + "text", DAB + "text"]))
        self.assertEqual(radio.so_far(), [])

    def test_a_station_without_channels(self) -> None:
        station = self.station("2.jazz")
        station.publish("/topic/*/text", b"TEXT nobody")
        station.say("SEND", {"destination": ROCK + "text"}, b"TEXT x")
        self.assertEqual(station.expect("ERROR").get("message"), "You cannot do that.")

    def test_country_and_code(self) -> None:
        spellings = [f"/topic/fm/{country}/4000/09580/image" for country in ("ch", "CH", "4e1", "4E1")]
        radios = [self.radio(topic) for topic in spellings]
        station = self.station()
        for number, topic in enumerate((spellings[0], spellings[2])):
            station.publish(topic, str(number).encode())
        for radio, topic in zip(radios, spellings, strict=True):
            self.assert_heard(radio, topic, b"0")
            self.assert_heard(radio, topic, b"1")

    def test_any_frequency_of_a_station_that_registered_the_star(self) -> None:
        """Revo and Samsung stayed blank (contract §5, lesson 3), then could not unsubscribe (§2, fault 1)."""
        asked = "/topic/fm/ch/4001/10800/image"
        radio, station = self.radio(asked), self.station("3.star")
        station.publish(STAR + "image", b"SHOW http://s/star.png")
        self.assert_heard(radio, asked, b"SHOW http://s/star.png")
        radio.say("UNSUBSCRIBE", {"destination": asked, "id": asked})
        self.assertEqual(radio.so_far(), [])
        station.publish(STAR + "image", b"SHOW http://s/2.png")
        self.assertEqual(radio.so_far(), [])

    def test_a_new_frequency_takes_its_radios_along(self) -> None:
        asked = "/topic/fm/4e1/4001/09990/image"
        radio = self.radio(asked)
        exact = "/topic/fm/4e1/4001/09990/"
        self.plugit.know(vis_channels=[[ROCK, 12], [STAR, 14], [exact, 15]], channels={"1": [ROCK], "3": [STAR, exact]})
        self.server.wait_for("subscription.moved", destination=asked)
        station = self.station("3.star")
        station.publish("/topic/*/image", b"SHOW http://s/exact.png")
        self.assert_heard(radio, asked, b"SHOW http://s/exact.png")
        self.assertEqual(radio.so_far(), [])


class TestFresh(_Case):
    """Nothing is taken from the cache while PlugIt answers, so that its troubles are felt at once."""

    settings: ClassVar[dict[str, object]] = {"DIRECTORY_FRESH_SECONDS": 0}

    def test_stations_go_on_while_it_is_in_trouble(self) -> None:
        radio, station = self.radio("/topic/fm/ch/4000/09580/text"), self.station()
        station.publish(ROCK + "text", b"good")
        for mode in ("500", "503", "garbage", "list", "huge", "redirect", "hang", "half", "cut"):
            self.plugit.behave(mode)
            station.publish(ROCK + "text", mode.encode())
            self.assertEqual(self.refused("1.rock", "rock-passcode"), "Wrong credentials", mode)
        station.publish(ROCK + "text", b"end")
        heard = [each.body.decode() for each in radio.frames(11)]
        self.assertEqual(
            heard, ["good", "500", "503", "garbage", "list", "huge", "redirect", "hang", "half", "cut", "end"]
        )
        self.server.wait_for("directory.down")
        self.plugit.behave("good")
        self.station()
        self.server.wait_for("directory.up")

    def test_stations_go_on_while_it_is_down(self) -> None:
        asked = "/topic/fm/4e1/4001/10800/text"
        radio, station = self.radio(asked), self.station("3.star")
        station.publish(STAR + "text", b"before")
        self.plugit.stop()
        try:
            newcomer = self.radio("/topic/fm/4e1/4001/08800/text")  # `*` is still known.
            station.publish(STAR + "text", b"meanwhile")
            self.assertEqual(self.refused("3.star", "star-passcode"), "Wrong credentials")
        finally:
            self.plugit.start(**KNOWN)
        self.station("3.star").publish(STAR + "text", b"after")
        self.assertEqual([each.body for each in radio.frames(3)], [b"before", b"meanwhile", b"after"])
        self.assertEqual([each.body for each in newcomer.frames(2)], [b"meanwhile", b"after"])


class TestDownAtTheStart(_Case):
    def test_a_country_asked_for_in_vain_is_heard_once_plugit_answers(self) -> None:
        self.plugit.behave("503")
        asked = "/topic/fm/fr/f000/09580/text"
        radio = self.radio(asked)
        self.plugit.behave("good")
        self.plugit.know(channels={"1": ["/topic/fm/fe1/f000/09580/"]})
        self.server.wait_for("subscription.moved", destination=asked)
        self.station().publish("/topic/fm/fe1/f000/09580/text", b"TEXT bonjour")
        self.assert_heard(radio, asked, b"TEXT bonjour")


class TestFloods(_Case):
    """Anybody may subscribe to anything: that must not become a flood of calls (contract §2, fault 7)."""

    settings: ClassVar[dict[str, object]] = {"FB_CHANNEL_CACHE": 60, "DIRECTORY_FRESH_SECONDS": 60}

    def test_seven_hundred_countries_cost_a_bounded_number_of_calls(self) -> None:
        countries = [a + b for a in string.ascii_lowercase for b in string.ascii_lowercase]
        countries += [country.upper() for country in countries[:20]] + ["ch1", "c", "é1", "1c"]
        before = self.plugit.count("get_gcc")
        for _ in range(2):
            radios = [self.radio() for _ in range(7)]
            for number, country in enumerate(countries):
                radio = radios[number % len(radios)]
                radio.say("SUBSCRIBE", {"destination": f"/topic/fm/{country}/4000/09580/image", "id": str(number)})
            for radio in radios:
                radio.so_far()
        calls = self.plugit.count("get_gcc") - before
        self.assertTrue(0 < calls <= 26 * 26, calls)

    def test_others_are_served_while_countries_hang(self) -> None:
        self.plugit.behave("good", get_gcc="hang")
        before = self.plugit.count("get_gcc")
        flood = [self.radio() for _ in range(20)]
        for number, radio in enumerate(flood):
            for letter in string.ascii_lowercase[:20]:
                country = string.ascii_lowercase[number] + letter
                radio.say("SUBSCRIBE", {"destination": f"/topic/fm/{country}/4999/09580/image", "id": country})
        radio, station = self.radio(DAB + "image"), self.station()
        began = time.monotonic()
        for number in range(20):
            station.publish(DAB + "image", str(number).encode())
            self.assert_heard(radio, DAB + "image", str(number).encode())
        self.assertLess(time.monotonic() - began, 5)
        self.assertGreater(self.plugit.count("get_gcc"), before)

    def test_random_topics_cost_no_call_at_all(self) -> None:
        before = sum(self.plugit.count(method) for method in ("get_gcc", "get_channels", "get_all_channels"))
        radio = self.radio()
        for number in range(200):
            radio.say("SUBSCRIBE", {"destination": f"/topic/fm/4e1/{number:04x}/09580/image", "id": str(number)})
        self.assertEqual(radio.so_far(), [])
        after = sum(self.plugit.count(method) for method in ("get_gcc", "get_channels", "get_all_channels"))
        self.assertLessEqual(after - before, 1)  # The node's own look at the channels may fall into this.
