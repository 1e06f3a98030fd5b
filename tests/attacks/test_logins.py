"""Attacks on logins: guessed passwords, guessed tokens, many logins at once, and a browser that is used."""

from __future__ import annotations

import base64
import hashlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from tests import services
from tests.acceptance.plugit_process import PlugItProcess
from tests.attacks.case import AttackCase, size
from tests.processes import Server
from tests.radio import Radio
from tests.web import basic

SECONDS = 60.0
LOOPBACK = "127.0.0.1"
TOPICS = "/topic/id/tests._ebu.nowhere"
FORM = {"content-type": "application/x-www-form-urlencoded"}
STATIONS = 100
"""That publish at the same moment."""
TOKEN = "0123456789abcdef0123"


def stored(password: str) -> str:
    """A password for a stations file; in the short form its check costs a sixteenth of the time."""
    n, salt = size(2**10, 2**14), b"0123456789abcdef"
    digest = hashlib.scrypt(password.encode(), salt=salt, n=n, r=8, p=1, maxmem=2**26, dklen=32)
    return f"scrypt${n}$8$1${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def ask(address: tuple[str, int], path: str, source: str, body: bytes | None = None, **headers: str) -> int:
    """The status of one request from another address of this machine; POST if there is a body."""
    connection = http.client.HTTPConnection(*address, timeout=SECONDS, source_address=(source, 0))
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def side_by_side(work: Iterable[Callable[[], None]]) -> None:
    """Do all of this at the same moment, and wait for the end."""
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class StationsCase(AttackCase):
    """A node with a stations file: station 1, which the bystanders use, and a hundred others."""

    def setUp(self) -> None:
        hashes = stored("test")
        self.server = Server(
            HTTP_PORT=services.free_port(), RABBITMQ_LOOPBACK=True, STATIONS_FILE="stations.toml", **self.settings
        )
        self.addCleanup(self.server.close)
        sections = [f'[[station]]\nlogin = "1.test"\npassword = "{hashes}"\n']
        sections += [f'[[station.channel]]\ntopic = "{TOPICS}/topic1/"\n']
        for number in range(STATIONS):
            sections.append(f'[[station]]\nlogin = "s{number}.x"\npassword = "{hashes}"\n')
            sections.append(f'[[station.channel]]\ntopic = "/topic/id/s{number}/1/"\n')
        Path(self.server.folder, "stations.toml").write_text("".join(sections))
        self.server.start()

    def post(self, station: str, login: str, password: str, source: str = LOOPBACK) -> int:
        """The status that a publish gets."""
        headers: dict[str, Any] = {**FORM, "authorization": basic(login, password)}
        return ask(self.server.http, f"/services/{station}", source, b"text=x", **headers)


class TestGuessers(StationsCase):
    ADDRESSES = 60

    def test_stations_get_in_while_many_addresses_guess(self) -> None:
        """60 addresses that guess at the same time, as fast as they are let."""
        guesses: Counter[int] = Counter()
        published: list[tuple[int, float]] = []
        over = threading.Event()

        def guess(number: int) -> None:
            for turn in range(size(8, 40)):
                if not over.is_set():
                    guesses[self.post("1", f"s{number}.x", f"guess {turn}", f"127.0.1.{number + 1}")] += 1

        def publish() -> None:
            for turn in range(size(5, 20)):
                began = time.monotonic()
                status = self.post("1", "1.test", "test", f"127.0.2.{turn % 3}")
                published.append((status, time.monotonic() - began))
            over.set()

        with self.attack(f"{self.ADDRESSES} addresses guess passwords") as attack:
            side_by_side([publish, *(lambda number=number: guess(number) for number in range(self.ADDRESSES))])  # type: ignore[misc]
            attack.sent = 250 * sum(guesses.values())
        self.assertEqual(Counter(status for status, _ in published), {202: len(published)}, published)
        print(f"guesses {dict(guesses)}, the station's slowest publish {max(took for _, took in published):.2f} s")

    def test_a_known_station_behind_the_same_nat_is_not_delayed(self) -> None:
        """Guesses at another name, from the station's own address."""
        self.assertEqual(self.post("1", "1.test", "test", "127.0.2.1"), 202)
        with self.attack("guesses behind a station's NAT"):
            side_by_side([lambda: self.post("s1", "s1.x", "guess", "127.0.2.1") and None] * 30)
            began = time.monotonic()
            self.assertEqual(self.post("1", "1.test", "test", "127.0.2.1"), 202)
        self.assertLess(time.monotonic() - began, 5)


class TestHerd(StationsCase):
    def test_a_hundred_stations_publish_at_the_same_moment(self) -> None:
        """No attack, and 65 of them were refused: all get in, and the second time without a check."""
        statuses: list[int] = []

        def publish(number: int) -> None:
            statuses.append(self.post(f"s{number}", f"s{number}.x", "test"))

        with self.attack(f"{STATIONS} stations POST twice"):
            for name in ("the first time", "once more"):
                began = time.monotonic()
                side_by_side([lambda number=number: publish(number) for number in range(STATIONS)])  # type: ignore[misc]
                print(f"{STATIONS} stations, {name}: {time.monotonic() - began:.2f} s")
        self.assertEqual(Counter(statuses), {202: 2 * STATIONS})

    def test_over_stomp(self) -> None:
        connected: list[Radio] = []

        def log_in(number: int) -> None:
            connected.append(Radio.connect(self.server.address, f"s{number}.x", "test"))

        with self.attack(f"{STATIONS} stations CONNECT"):
            side_by_side([lambda number=number: log_in(number) for number in range(STATIONS)])  # type: ignore[misc]
        self.assertEqual(len(connected), STATIONS)
        for radio in connected:
            radio.close()


class TestSlowPlugIt(AttackCase):
    """PlugIt answers after a while, and more logins come than it is asked at a time."""

    def setUp(self) -> None:
        self.plugit = PlugItProcess()
        self.addCleanup(self.plugit.stop)
        channels = {"1": [f"{TOPICS}/topic1/"], **{f"s{number}": [f"/topic/id/s{number}/1/"] for number in range(150)}}
        passwords = {"1.test": "test", **{f"s{number}.x": "test" for number in range(150)}}
        self.plugit.know(channels=channels, passwords=passwords)
        url = self.plugit.url
        self.server = Server(HTTP_PORT=services.free_port(), RABBITMQ_LOOPBACK=True, RADIODNS_API_URL=url)
        self.addCleanup(self.server.close)
        self.server.start()

    def test_logins_wait_for_their_turn(self) -> None:
        statuses: list[int] = []

        def publish(number: int) -> None:
            headers: dict[str, Any] = {**FORM, "authorization": basic(f"s{number}.x", "test")}
            statuses.append(ask(self.server.http, f"/services/s{number}", LOOPBACK, b"text=x", **headers))

        with self.attack("150 stations POST, PlugIt is slow"):
            self.plugit.behave("good", check_auth="slow")
            side_by_side([lambda number=number: publish(number) for number in range(150)])  # type: ignore[misc]
            self.plugit.behave("good")
        self.assertEqual(Counter(statuses), {202: 150})


class TestToken(AttackCase):
    settings: ClassVar[dict[str, Any]] = {"ADMIN_TOKEN": TOKEN}

    def try_token(self, token: str, source: str) -> int:
        return ask(self.server.admin, "/metrics", source, authorization=f"Bearer {token}")

    def test_guesses_are_few_and_logged_and_operators_get_in(self) -> None:
        statuses: Counter[int] = Counter()
        operator = "127.0.3.1"
        self.assertEqual(self.try_token(TOKEN, operator), 200)

        def guess(number: int) -> None:
            for turn in range(size(5, 50)):
                statuses[self.try_token(f"guess {turn}", f"127.0.4.{number + 1}")] += 1

        with self.attack("40 addresses guess ADMIN_TOKEN") as attack:
            began = time.monotonic()
            side_by_side([lambda number=number: guess(number) for number in range(40)])  # type: ignore[misc]
            took = time.monotonic() - began
            attack.sent = 100 * sum(statuses.values())
            self.assertEqual(self.try_token(TOKEN, operator), 200)
        self.assertEqual(set(statuses), {401, 429})
        self.assertLessEqual(statuses[401], 20 + 5 * (took + 1))
        self.server.wait_for("operator.refused")
        self.server.wait_for("operator.accepted", address=operator)
        self.assertLessEqual(len(self.server.events("operator.put_off")), took + 2)
        print(f"tokens looked at {statuses[401]}, put off {statuses[429]}")


class TestForeignPage(AttackCase):
    def test_a_page_of_another_site_does_not_publish_with_the_browsers_login(self) -> None:
        login = {**FORM, "authorization": basic("1.test", "test")}
        host, port = self.server.http

        def status(**headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return ask((host, port), "/services/1", LOOPBACK, b"text=x", **login, **named)

        with self.attack("a foreign page POSTs"):
            for origin in ("http://evil.example", f"http://{host}:{port + 1}", "null"):
                self.assertEqual(status(origin=origin), 403, origin)
            for site in ("cross-site", "same-site"):
                self.assertEqual(status(sec_fetch_site=site), 403, site)
                self.assertEqual(status(sec_fetch_site=site, origin=f"http://{host}:{port}"), 403, site)
        self.assertEqual(status(), 202)
        self.assertEqual(status(origin=f"http://{host}:{port}"), 202)
        self.assertEqual(status(sec_fetch_site="same-origin", origin="https://proxy.example"), 202)
