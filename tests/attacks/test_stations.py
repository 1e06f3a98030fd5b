"""One station against all others: their last messages, what polls come back for, and the journal."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode

from fanout.journal.records import Ledger, Selection
from tests.attacks.case import AttackCase, Figures, size
from tests.processes import SECONDS
from tests.radio import Radio, frame

TOPICS = "/topic/id/tests._ebu.nowhere/topicwatchdogeg/"
VICTIM = "/topic/fm/4e1/ffff/99999/text"
BODY = b"TEXT " + bytes(b"x" * 261_000)
EVER = 2**40


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {SECONDS} s: {what}")
        time.sleep(0.02)


class TestOneStation(AttackCase):
    """The attacker is station 4, the victim station 3, and the bystander station 1."""

    settings: ClassVar[Mapping[str, Any]] = {
        "STANDALONE": True,
        "MAX_LAST_MESSAGES_BYTES": size(8, 64) * 2**20,
        "HISTORY_BYTES": size(4, 32) * 2**20,
        "JOURNAL_MAX_BYTES": size(8, 64) * 2**20,
    }

    def setUp(self) -> None:
        super().setUp()
        self.victim = self.radio("3.test", "test")
        for name in ("first", "second"):
            self.victim.publish(VICTIM, f"TEXT {name}".encode(), {"message-id": name})

    def flood(self, attack: Figures, count: int) -> dict[str, int]:
        """Messages of the attacker, each on a topic of its own; gives how many had which answer."""
        attacker = self.radio("4.test", "test", **{"accept-version": "1.0"})
        answers = {"RECEIPT": 0, "ERROR": 0}
        for number in range(count):
            sent = frame("SEND", {"destination": f"{TOPICS}{number}", "receipt": str(number)}, BODY)
            attacker.send(sent)
            attack.sent += len(sent)
        while answers["RECEIPT"] < count:
            answers[attacker.frame().command] += 1
        return answers

    def test_its_large_messages_displace_its_own(self) -> None:
        with self.attack("one station, large messages") as attack:
            answers = self.flood(attack, size(60, 301))
        self.assertGreater(answers["RECEIPT"] - answers["ERROR"], size(30, 100))
        self.assertEqual(self.last(), b"TEXT second")
        self.assertEqual(self.missed_since("first"), ["TEXT second"])
        self.assertEqual(self.logged(), [b"TEXT first", b"TEXT second", b"TEXT end"])

    def last(self) -> bytes:
        """The victim's last message, as a new radio gets it."""
        radio = self.radio()
        radio.send(frame("SUBSCRIBE", {"destination": VICTIM, "receipt": "last"}))
        came = {each.command: each.body for each in (radio.frame(), radio.frame())}
        return came["MESSAGE"]

    def missed_since(self, message_id: str) -> list[str]:
        """What a poll that comes back gets."""
        connection = http.client.HTTPConnection(*self.server.http, timeout=SECONDS)
        connection.request("GET", "/radiodns/vis/vis.json?" + urlencode({"topic": VICTIM, "last_id": message_id}))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return [each["body"] for each in (answer if isinstance(answer, list) else [answer])]

    def logged(self) -> list[bytes]:
        """The victim's messages in the journal, once all before are there."""
        self.victim.publish(VICTIM, b"TEXT end")
        ledger = Ledger(str(self.server.folder / "radiovis-journal.sqlite"), time.time, read_only=True)
        self.addCleanup(ledger.close)

        def bodies() -> list[bytes]:
            return [each.body for each in ledger.between(Selection(VICTIM, 0, EVER))]

        until(lambda: b"TEXT end" in bodies(), "the journal has the last message")
        return bodies()


class TestRate(AttackCase):
    """One station publishes more in a second than its share."""

    settings: ClassVar[Mapping[str, Any]] = {"radiovis.publish_rights.PUBLISH_OCTETS": 4 * 2**20}

    def test_the_rest_of_the_second_is_for_others(self) -> None:
        with self.attack("one station, more than its share of a second") as attack:
            attacker = self.radio("4.test", "test")
            sent = frame("SEND", {"destination": f"{TOPICS}x"}, BODY) * size(40, 300)
            attacker.send(sent)
            attack.sent += len(sent)
            refusal = attacker.expect("ERROR")
        self.assertIn(b"Too many messages", refusal.raw)


class TestBodiesWithoutLogin(AttackCase):
    """Publishes over HTTP whose bodies nobody should wait for."""

    def test_a_body_is_refused_before_it_is_sent(self) -> None:
        head = "POST /services/1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        head += "content-length: 16000\r\n{}\r\n"
        with self.attack("bodies of publishes without a login") as attack:
            for _ in range(size(50, 500)):
                radio = Radio(self.server.http)
                self.addCleanup(radio.close)
                radio.send(head.format("").encode())
                attack.sent += len(head)
                self.assertTrue(radio.rest().startswith(b"HTTP/1.1 401 "))
