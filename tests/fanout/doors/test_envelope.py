"""Messages in envelopes."""

from __future__ import annotations

from typing import Any

from twisted.trial import unittest

from fanout.doors.envelope import Enveloped
from fanout.doors.websocket import binary, text
from fanout.hub import Cohort, Hub
from fanout.message import Message
from fanout.stomp.delivery import MessageForm
from fanout.stomp.dialect import DIALECTS


class Member:
    def __init__(self) -> None:
        self.got: list[bytes] = []

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        self.got.append(data)


class TestEnvelopes(unittest.TestCase):
    def setUp(self) -> None:
        self.wrapped = 0

    def form(self, envelope: Any) -> Enveloped:
        return Enveloped(MessageForm(DIALECTS["1.2"], "/topic/a", "1"), envelope)

    def counted(self, data: bytes) -> bytes:
        self.wrapped += 1
        return text(data)

    def test_a_thousand_clients_with_equal_forms_share_one(self) -> None:
        hub = Hub(lambda member, error: self.fail(str(error)))
        counted = self.counted
        members = [Member() for _ in range(1_000)]
        for member in members:
            hub.join("a", self.form(counted), member)  # type: ignore[arg-type]
        hub.publish("a", Message("a", b"SHOW x", "id", 1))
        self.assertEqual(self.wrapped, 1)
        self.assertEqual(len({id(member.got[0]) for member in members}), 1)

    def test_clients_of_text_of_octets_and_of_tcp_are_cohorts_of_their_own(self) -> None:
        forms = {self.form(text), self.form(binary), self.form(text).form, self.form(text)}
        self.assertEqual(len(forms), 3)

    def test_the_destination_is_that_of_the_form(self) -> None:
        self.assertEqual(self.form(text).destination, "/topic/a")
