from __future__ import annotations

import structlog
from structlog.testing import capture_logs
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial import unittest

from fanout.application.observer import Client, ClientCounters, ClientWarnings, Observers
from fanout.hub.message import Message


class TestClientWarnings(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        logs = capture_logs()
        self.lines = logs.__enter__()
        self.addCleanup(logs.__exit__, None, None, None)
        self.client_warnings = ClientWarnings(ClientCounters(), structlog.get_logger(), self.clock.seconds)

    def test_the_same_fault_of_an_address_is_one_line_a_minute_with_a_count(self) -> None:
        for _ in range(10):
            self.client_warnings.warn("client.turned_away", "192.0.2.1", connections=5)
        self.client_warnings.warn("client.turned_away", "192.0.2.2", connections=5)
        self.assertEqual([line["address"] for line in self.lines], ["192.0.2.1", "192.0.2.2"])
        self.clock.advance(60)
        self.client_warnings.warn("client.turned_away", "192.0.2.1", connections=5)
        self.assertEqual(self.lines[-1]["held_back"], 9)

    def test_another_topic_of_the_same_address_is_another_line(self) -> None:
        for topic in ("/topic/a", "/topic/a", "/topic/b"):
            self.client_warnings.warn("publish.refused", "192.0.2.1", topic=topic)
        self.assertEqual([line["topic"] for line in self.lines], ["/topic/a", "/topic/b"])

    def test_one_address_with_many_different_faults_is_a_line_a_second(self) -> None:
        for number in range(100):
            self.client_warnings.warn("publish.refused", "192.0.2.1", topic=f"/topic/{number}")
        at_once = len(self.lines)
        self.assertLessEqual(at_once, 5)
        self.clock.advance(1)
        for number in range(100, 200):
            self.client_warnings.warn("publish.refused", "192.0.2.1", topic=f"/topic/{number}")
        self.assertEqual(len(self.lines), at_once + 1)

    def test_a_bug_that_comes_with_every_message_is_one_line_a_minute(self) -> None:
        for _ in range(10):
            self.client_warnings.failed(self, ValueError("broken"))
        self.clock.advance(60)
        self.client_warnings.failed(self, ValueError("broken"))
        self.assertEqual([line["held_back"] for line in self.lines], [0, 9])

    def test_one_kind_hides_no_other_of_the_same_address(self) -> None:
        for _ in range(10):
            self.client_warnings.warn("client.fault", "192.0.2.1")
        self.client_warnings.warn("login.refused", "192.0.2.1", login="1.rock")
        self.assertEqual([line["event"] for line in self.lines], ["client.fault", "login.refused"])

    def test_faults_of_ours_come_with_what_was_raised(self) -> None:
        error = ValueError("broken")
        self.client_warnings.failed(self, error)
        self.client_warnings.report(Failure(error), "catch_up.failed")
        self.assertEqual([line["event"] for line in self.lines], ["client.failed", "catch_up.failed"])
        self.assertEqual((self.lines[0]["part"], self.lines[0]["exc_info"]), ("TestClientWarnings", error))
        self.assertIs(self.lines[1]["exc_info"][1], error)


CLIENT = Client("s", "192.0.2.1:1")
MESSAGES = (Message("/t", b"12", "a", 1), Message("/t", b"345", "b", 1))


class TestClientCounters(unittest.TestCase):
    def setUp(self) -> None:
        self.client_counters = ClientCounters()

    def test_sessions_and_subscriptions(self) -> None:
        observers = Observers(self.client_counters, ClientCounters())
        observers.opened(CLIENT)
        for topic in ("/a", "/b", "/c"):
            observers.subscribed(CLIENT, topic)
        observers.unsubscribed(CLIENT, "/a")
        observers.delivered("/b", 1)
        self.assertEqual(self.client_counters.subscriptions, {"made": 3, "ended": 1})
        observers.closed(CLIENT, ["/c", "/b"])
        self.assertEqual(self.client_counters.subscriptions, {"made": 3, "ended": 3})
        self.assertEqual(self.client_counters.sessions, {"opened": 1, "closed": 1})

    def test_faults_by_their_words(self) -> None:
        self.client_counters.warned("client.fault", {"fault": "Malformed header"})
        self.client_counters.warned("client.fault", {"fault": "Malformed header"})
        self.client_counters.warned("client.slow", {"reason": "does not read"})
        self.client_counters.warned("websocket.fault", {"fault": "whatever the client sent"})
        faults = {kind: count for kind, count in self.client_counters.faults.items() if count}
        self.assertEqual(faults, {"Malformed header": 2, "client.slow": 1, "websocket.fault": 1})

    def test_clients_that_make_up_faults_cost_no_more(self) -> None:
        for number in range(1000):
            self.client_counters.warned("client.fault", {"fault": f"fault {number}"})
        self.assertLess(len(self.client_counters.faults), 70)
        self.assertEqual(sum(self.client_counters.faults.values()), 1000)
        self.assertGreater(self.client_counters.faults["other"], 900)
