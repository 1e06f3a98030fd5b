from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.trial import unittest

from fanout.http.sse import event, stream
from tests.fanout.stomp_server.listeners import Asked, House, PlainForm

_RETRY = b"retry: 3000\n\n"


class StreamCase(unittest.TestCase):
    settings: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.house = House(**self.settings)

    def tearDown(self) -> None:
        self.assertEqual(self.house.failures, [])

    def listen(self, *destinations: str, last_id: str | None = None) -> Asked:
        request = Asked()
        started = stream(self.house.requests, request, destinations or ("/t",), PlainForm, last_id)  # type: ignore[arg-type]
        self.successResultOf(Deferred.fromCoroutine(started))
        self.house.turn()
        return request


class Listening(StreamCase):
    def test_the_last_messages_then_what_is_said(self) -> None:
        self.house.say("/b", "1")
        self.house.say("/a", "2")
        request = self.listen("/a", "/b")
        self.house.say("/b", "3")
        self.house.turn()
        self.assertEqual(request.got, _RETRY + b"/b=1\n/a=2\n/b=3\n")
        self.assertEqual(request.headers["content-type"], "text/event-stream")

    def test_who_comes_back_gets_what_he_missed(self) -> None:
        self.house.say("/t", "1", "2", "3")
        self.assertEqual(self.listen(last_id="1").got, _RETRY + b"/t=2\n/t=3\n")
        self.assertEqual(self.listen(last_id="3").got, _RETRY)

    def test_who_comes_back_with_an_unknown_id_is_a_newcomer(self) -> None:
        self.house.say("/t", "1", "2")
        self.assertEqual(self.listen(last_id="0").got, _RETRY + b"/t=2\n")

    def test_silence_is_broken_by_comments(self) -> None:
        request = self.listen()
        self.house.wait(14)
        self.assertEqual(request.got, _RETRY)
        self.house.wait(2)
        self.assertEqual(request.got, _RETRY + b":\n\n")
        self.house.say("/t", "1")
        self.house.turn()
        self.house.wait(14)
        self.assertEqual(request.got, _RETRY + b":\n\n/t=1\n")
        self.house.wait(2)
        self.assertEqual(request.got, _RETRY + b":\n\n/t=1\n:\n\n")

    def test_a_client_that_goes_leaves_nothing(self) -> None:
        request = self.listen()
        request.leave()
        self.house.say("/t", "1")
        self.house.wait(20)
        self.assertEqual(request.got, _RETRY)
        self.assertEqual((self.house.requests.pending, self.house.hub.topics()), (set(), []))

    def test_a_node_that_ends_lets_them_go(self) -> None:
        request = self.listen()
        self.house.end()
        self.assertTrue(request.finished)
        self.assertIsNone(request.producer)


class SlowClients(StreamCase):
    settings: ClassVar[dict[str, Any]] = {"outbox": 1_000, "WRITE_TIMEOUT": 30.0}

    def test_one_that_does_not_read_gets_the_newest_when_it_does(self) -> None:
        request = self.listen()
        request.producer.pauseProducing()
        self.house.say("/t", *map(str, range(10_000)))
        self.house.turn()
        self.assertEqual(request.got, _RETRY)
        self.assertLess(request.producer._outbox._octets, 1_001)
        request.producer.resumeProducing()
        lines = request.got.removeprefix(_RETRY).splitlines()
        self.assertEqual(lines[-1], b"/t=9999")
        self.assertLess(len(lines), 1_000)

    def test_one_that_reads_nothing_for_long_is_cut_off(self) -> None:
        request = self.listen()
        request.producer.pauseProducing()
        self.house.wait(29)
        self.assertFalse(request.aborted)
        self.house.wait(2)
        self.assertTrue(request.aborted)
        self.assertEqual(self.house.client_warnings, ["client.slow"])
        self.assertEqual(self.house.requests.pending, set())


class Events(unittest.TestCase):
    def test_one_event(self) -> None:
        self.assertEqual(event("image", '{"a": 1}', "7"), b'id: 7\nevent: image\ndata: {"a": 1}\n\n')
