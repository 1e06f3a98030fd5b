"""A node by itself on a stations file: who logs in, the ``*`` frequency, and the file edited under it."""

from __future__ import annotations

import unittest
from pathlib import Path

from radiovis.directory.password import hash_password
from tests.acceptance.command_case import run
from tests.processes import Server
from tests.radio import Radio
from tests.services import free_port
from tests.web import ask, basic

PASSWORD = hash_password("rock n roll")
WILD = "/topic/fm/4e1/4000/*/"
EXACT = "/topic/fm/4e1/4000/10800/"
SOON = {"FB_FALLBACK_CHECK": 1, "FB_FALLBACK_TIME": 1}
"""Settings of a watchdog that sends its defaults soon."""
EXACT_CC = "/topic/fm/ch/4000/10800/"


def stations(*topics: str) -> str:
    """A file with a station that has these channels, and one that may only log in from elsewhere."""
    channels = "".join(f'[[station.channel]]\ntopic = "{topic}"\n' for topic in topics)
    return (
        f'[[station]]\nlogin = "1.rock"\npassword = "{PASSWORD}"\n{channels}\n'
        f'[[station]]\nlogin = "2.far"\npassword = "{PASSWORD}"\nnetworks = ["192.0.2.0/24", "2001:db8::/32"]\n\n'
        '[countries]\nch = "4e1"\n'
    )


class StationsCase(unittest.TestCase):
    """Each test has a node of its own, because it edits the file."""

    channels: tuple[str, ...] = (WILD,)

    def setUp(self) -> None:
        self.server = Server(STANDALONE=True, STATIONS_FILE="stations.toml")
        self.addCleanup(self.server.close)
        self.edit(stations(*self.channels))
        self.server.start()
        self.station = self.radio("1.rock", "rock n roll")

    def edit(self, text: str) -> None:
        """Put another file in the old one's place, as careful editors do."""
        new = Path(self.server.folder, "new.toml")
        new.write_text(text)
        new.replace(self.server.folder / "stations.toml")

    def radio(self, login: str = "", passcode: str = "") -> Radio:
        radio = Radio.connect(self.server.address, login, passcode)
        self.addCleanup(radio.close)
        return radio


class Logins(StationsCase):
    def test_who_may_log_in(self) -> None:
        for login, passcode in (
            ("1.rock", "wrong"),
            ("1.rok", "rock n roll"),
            ("1.rock", PASSWORD),
            ("2.far", "rock n roll"),
        ):
            with self.subTest(login=login), Radio(self.server.address) as radio:
                radio.say("CONNECT", {"login": login, "passcode": passcode})
                radio.expect("ERROR", message="Wrong credentials")
                self.assertTrue(radio.ends())
        self.assertEqual(self.server.faults, [])


class AnyFrequency(StationsCase):
    """Only ``*`` is registered: the radio knows its frequency, the station does not."""

    def test_a_radio_hears_it_by_its_own_name(self) -> None:
        for destination in (EXACT + "image", EXACT_CC + "image", "/topic/fm/4e1/4000/09580/image"):
            with self.subTest(destination=destination):
                radio = self.radio()
                radio.subscribe(destination, id="8", fast_reply=False)
                self.station.publish(WILD + "image", b"SHOW http://s/1.png")
                radio.expect("MESSAGE", destination=destination, subscription="8")

    def test_the_last_slide_comes_at_once(self) -> None:
        self.station.publish(WILD + "image", b"SHOW http://s/1.png")
        radio = self.radio()
        radio.subscribe(EXACT_CC + "image", id="8")
        radio.expect("MESSAGE", destination=EXACT_CC + "image", subscription="8")

    def test_a_radio_leaves_by_its_own_name_or_id(self) -> None:
        for headers in ({"destination": EXACT + "image"}, {"id": "8"}):
            with self.subTest(headers=headers):
                radio = self.radio()
                radio.subscribe(EXACT + "image", id="8", fast_reply=False)
                radio.say("UNSUBSCRIBE", headers)
                self.station.publish(WILD + "image", b"SHOW http://s/1.png")
                self.assertEqual(radio.so_far(), [])

    def test_the_registered_spelling_itself_may_be_subscribed_to(self) -> None:
        radio = self.radio()
        radio.subscribe(WILD + "image")
        self.station.publish(WILD + "image", b"SHOW http://s/1.png")
        radio.expect("MESSAGE", destination=WILD + "image")

    def test_a_country_code_with_the_registered_frequency_is_found(self) -> None:
        radio = self.radio()
        radio.subscribe("/topic/fm/ch/4000/*/image")
        self.station.publish(WILD + "image", b"SHOW http://s/1.png")
        radio.expect("MESSAGE", destination="/topic/fm/ch/4000/*/image")

    def test_it_is_no_pattern(self) -> None:
        radio = self.radio()
        radio.subscribe("/topic/fm/4e1/4001/10800/image")
        self.station.publish(WILD + "image", b"SHOW http://s/1.png")
        self.assertEqual(radio.so_far(), [])
        self.station.say("SEND", {"destination": EXACT + "image"}, b"SHOW http://s/1.png")
        self.station.expect("ERROR", message="You cannot do that.")


class BothFrequencies(StationsCase):
    channels = (WILD, EXACT)

    def test_the_exact_one_hears_nothing_of_the_other(self) -> None:
        exact, other = self.radio(), self.radio()
        exact.subscribe(EXACT + "image")
        other.subscribe("/topic/fm/4e1/4000/09580/image")
        self.station.publish(WILD + "image", b"SHOW http://s/other.png")
        self.station.publish(EXACT + "image", b"SHOW http://s/exact.png")
        self.assertEqual([each.body for each in exact.so_far()], [b"SHOW http://s/exact.png"])
        self.assertEqual([each.body for each in other.so_far()], [b"SHOW http://s/other.png"])


class Edits(StationsCase):
    def test_an_exact_frequency_that_appears_takes_its_listeners_along(self) -> None:
        radio, other = self.radio(), self.radio()
        radio.subscribe(EXACT_CC + "image", id="8")
        other.subscribe("/topic/fm/4e1/4000/09580/image")
        self.edit(stations(WILD, EXACT))
        self.server.wait_for("subscription.moved", destination=EXACT_CC + "image")
        self.station.publish(WILD + "image", b"SHOW http://s/other.png")
        self.station.publish(EXACT + "image", b"SHOW http://s/exact.png")
        self.assertEqual(
            [(each.get("destination"), each.get("subscription"), each.body) for each in radio.so_far()],
            [(EXACT_CC + "image", "8", b"SHOW http://s/exact.png")],
        )
        self.assertEqual([each.body for each in other.so_far()], [b"SHOW http://s/other.png"])

    def test_and_they_come_back_when_it_goes(self) -> None:
        radio = self.radio()
        radio.subscribe(EXACT + "image", id="8")
        self.edit(stations(WILD, EXACT))
        self.server.wait_for("subscription.moved")
        self.edit(stations(WILD))
        self.server.wait_for("subscription.moved", count=2)
        self.station.publish(WILD + "image", b"SHOW http://s/1.png")
        radio.expect("MESSAGE", destination=EXACT + "image", subscription="8")

    def test_a_broken_edit_keeps_the_old_list_and_says_why(self) -> None:
        radio = self.radio()
        radio.subscribe(EXACT + "image", id="8")
        self.edit(stations(WILD).replace('login = "2.far"', "login = 2.far"))
        refused = self.server.wait_for("stations.refused")
        self.assertRegex(refused["error"], r"^stations\.toml:8: ")
        self.radio("1.rock", "rock n roll").publish(WILD + "image", b"SHOW http://s/1.png")
        radio.expect("MESSAGE", destination=EXACT + "image", subscription="8")

    def test_a_file_that_vanishes_keeps_the_old_list(self) -> None:
        (self.server.folder / "stations.toml").unlink()
        self.server.wait_for("stations.refused")
        self.radio("1.rock", "rock n roll").publish(WILD + "image", b"SHOW http://s/1.png")
        self.edit(stations(WILD))
        self.server.wait_for("stations.loaded")

    def test_a_password_that_changes(self) -> None:
        self.edit(stations(WILD).replace(PASSWORD, hash_password("jazz")))
        self.server.wait_for("stations.loaded")
        with Radio(self.server.address) as radio:
            radio.say("CONNECT", {"login": "1.rock", "passcode": "rock n roll"})
            radio.expect("ERROR", message="Wrong credentials")
        self.radio("1.rock", "jazz")

    def test_a_connection_ends_when_its_password_is_removed(self) -> None:
        before = Radio.connect(self.server.address, "1.rock", "rock n roll", version="1.2")
        self.addCleanup(before.close)
        new = hash_password("jazz")
        both = f'"{new}"\nold_password = "{PASSWORD}"\nold_password_until = 2999-01-01T00:00:00Z'
        self.edit(stations(WILD).replace(f'"{PASSWORD}"', both, 1))
        self.server.wait_for("stations.loaded")
        before.publish(WILD + "image", b"SHOW http://s/1.png")
        self.edit(stations(WILD).replace(PASSWORD, new, 1))
        self.assertEqual(before.expect("ERROR").get("message"), "Login withdrawn")
        self.assertTrue(before.ends())
        self.server.wait_for("login.withdrawn", login="1.rock", address="127.0.0.1")
        after = self.radio("1.rock", "jazz")
        self.edit(stations(WILD).replace("1.rock", "1.pop"))
        self.assertTrue(after.ends())

    def command(self, *words: str) -> None:
        """Edit the file as an operator does while the node runs."""
        loads = len(self.server.events("stations.loaded"))
        done = run("station", *words, "--file", str(self.server.folder / "stations.toml"), stdin="rock n roll\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.server.wait_for("stations.loaded", count=loads + 1)

    def test_each_edit_by_a_command_is_followed(self) -> None:
        talk = "/topic/fm/4e1/4001/10000/"
        self.command("channel", "add", "1.rock", talk)
        self.station.publish(talk + "text", b"TEXT one")
        self.command("channel", "remove", "1.rock", talk)
        self.station.say("SEND", {"destination": talk + "text"}, b"TEXT two")
        self.station.expect("ERROR", message="You cannot do that.")
        self.command("rename", "1.rock", "1.studio", "--name", "Studio")
        self.radio("1.studio", "rock n roll")
        self.command("add", "3.talk", "--topic", talk)
        self.radio("3.talk", "rock n roll").publish(talk + "text", b"TEXT three")
        self.command("remove", "3.talk")
        with Radio(self.server.address) as radio:
            radio.say("CONNECT", {"login": "3.talk", "passcode": "rock n roll"})
            radio.expect("ERROR", message="Wrong credentials")
        self.assertEqual(self.server.faults, [])

    def test_a_channel_that_is_taken_away(self) -> None:
        self.edit(stations(EXACT))
        self.server.wait_for("stations.loaded")
        self.station.say("SEND", {"destination": WILD + "image"}, b"SHOW http://s/1.png")
        self.station.expect("ERROR", message="You cannot do that.")


SERVICES = """{
  "rock": {"name": "Rock FM", "default_image": "http://img.example/rock.png", "bearers": ["fm:4e1.4000.09580"]},
  "jazz": {"default_text": "Jazz all day", "bearers": ["dab:4e1.4fff.4001.0", "fm:4e1.4001.09900"]}
}
"""


class FromTheBbc(unittest.TestCase):
    """A file that ``station import-bbc`` has made."""

    def start(self, **settings: object) -> None:
        self.server = Server(STANDALONE=True, STATIONS_FILE="stations.toml", HTTP_PORT=free_port(), **settings)
        self.addCleanup(self.server.close)
        self.path = str(Path(self.server.folder, "stations.toml"))
        services = Path(self.server.folder, "services.json")
        services.write_text(SERVICES)
        made = run("station", "import-bbc", str(services), "-o", self.path)
        self.assertEqual((made.returncode, made.stderr), (0, ""))
        self.server.start()

    def publish(self, login: str, password: str) -> int:
        body, kind = b"text=Now: a song", "application/x-www-form-urlencoded"
        path = f"/services/{login}"
        sent = ask(
            self.server.http, path, method="POST", body=body, authorization=basic(login, password), content_type=kind
        )
        return sent.status

    def test_radios_get_the_defaults_of_the_services(self) -> None:
        self.start(**SOON)
        expected = {
            "/topic/fm/4e1/4000/09580/image": b"SHOW http://img.example/rock.png",
            "/topic/fm/4e1/4000/09580/text": b"TEXT You are listening to Rock FM",
            "/topic/dab/4e1/4fff/4001/0/text": b"TEXT Jazz all day",
            "/topic/fm/4e1/4001/09900/text": b"TEXT Jazz all day",
        }
        for topic, body in expected.items():
            with self.subTest(topic=topic), Radio.connect(self.server.address) as radio:
                radio.subscribe(topic)
                self.assertEqual(radio.expect("MESSAGE", destination=topic).body, body)

    def test_a_service_publishes_at_its_old_address_after_it_has_a_password(self) -> None:
        self.start()
        for password in ("locked", "", "secret"):
            self.assertEqual(self.publish("jazz", password), 401)
        with Radio(self.server.address) as radio:
            radio.say("CONNECT", {"login": "jazz", "passcode": "locked"})
            radio.expect("ERROR", message="Wrong credentials")
        done = run("station", "passwd", "jazz", "--file", self.path, stdin="secret\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.server.wait_for("stations.loaded")
        with Radio.connect(self.server.address) as radio:
            for topic in ("/topic/dab/4e1/4fff/4001/0/text", "/topic/fm/4e1/4001/09900/text"):
                radio.subscribe(topic, fast_reply=False)
            self.assertEqual(self.publish("jazz", "secret"), 202)
            for _ in range(2):
                self.assertEqual(radio.expect("MESSAGE").body, b"TEXT Now: a song")
        self.assertEqual(self.publish("rock", "secret"), 401)
