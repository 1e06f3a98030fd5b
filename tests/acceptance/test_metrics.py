"""What Prometheus reads off a real node."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from tests.acceptance.admin_case import AdminCase, until
from tests.prometheus import label_sets
from tests.radio import frame
from tests.web import Events, Raw, poll_path

MANY = 10_000
SCRAPE_SECONDS = (
    2.0  # Measured 0.1 s with 10,000 topics; two cores shared with other work have been seen to need ten times.
)


class TestMetrics(AdminCase):
    def test_what_clients_do_is_counted(self) -> None:
        before = self.metrics()
        radio, station = self.radio(version="1.2"), self.station()
        radio.subscribe(self.topic(), "1", fast_reply=False)
        station.publish(self.topic(), b"SHOW http://s/1.png")
        radio.expect("MESSAGE")
        after = self.metrics()

        def grown(name: str, **labels: str) -> float:
            key = tuple(sorted(labels.items()))
            return after[name].get(key, 0) - before[name].get(key, 0)

        self.assertEqual(grown("fanout_session_events_total", event="opened"), 2)
        self.assertEqual(grown("fanout_subscription_events_total", event="made"), 1)
        self.assertEqual(grown("fanout_logins_total", outcome="accepted"), 1)
        self.assertEqual(grown("fanout_publishes_total", outcome="accepted"), 1)
        self.assertEqual(grown("fanout_published_bytes_total"), len(b"SHOW http://s/1.png"))
        self.assertEqual((grown("fanout_messages_total"), grown("fanout_deliveries_total")), (1, 1))
        self.assertEqual(grown("fanout_delivered_bytes_total"), len(b"SHOW http://s/1.png"))
        self.assertEqual((grown("fanout_topics"), grown("fanout_last_messages")), (1, 1))

    def test_what_clients_do_wrong_is_counted(self) -> None:
        self.dial().send(frame("CONNECT", {"login": "1.test", "passcode": "wrong"}))
        self.dial().send(b"HELLO\n\n\0")
        radio = self.radio()
        radio.send(frame("SEND", {"destination": self.topic()}, b"x"))
        radio.expect("ERROR")
        until(lambda: self.value("fanout_faults_total", kind="Expected CONNECT") == 1)
        until(lambda: self.value("fanout_logins_total", outcome="refused") == 1)
        self.assertEqual(self.value("fanout_publishes_total", outcome="forbidden"), 1)

    def test_every_protocol_has_its_clients(self) -> None:
        self.radio()
        self.radio(version="1.1")
        channel = self.topic().removesuffix("/image")
        stream = Events(self.server.http, f"/radiodns/push/1.0{channel.removeprefix('/topic')}")
        self.addCleanup(stream.close)
        poll = Raw(self.server.http, f"GET {poll_path(self.topic())} HTTP/1.1\r\nhost: radio\r\n\r\n".encode())
        self.addCleanup(poll.close)
        until(lambda: self.value("fanout_clients", protocol="poll", version="") == 1)
        for protocol, version in (("stomp", "1.0"), ("stomp", "1.1"), ("sse", "")):
            with self.subTest(protocol=protocol, version=version):
                self.assertEqual(self.value("fanout_clients", protocol=protocol, version=version), 1)
        until(lambda: self.ask("/api/topics?prefix=" + channel).json["topics"][0]["clients"] == {"poll": 1, "sse": 1})

    def test_the_process(self) -> None:
        found = self.metrics()
        self.assertGreater(found["process_resident_memory_bytes"][()], 1e7)
        self.assertGreater(found["process_open_fds"][()], 5)
        self.assertEqual(found["fanout_ready"], {(): 1.0})
        self.assertEqual(len(found["fanout_build_info"]), 1)
        self.assertIn((), found["fanout_loop_lag_worst_seconds"])


class TestManyTopics(AdminCase):
    """Labels stay the same few, and a scrape stays cheap, however many topics there are."""

    settings: ClassVar[dict[str, Any]] = {
        "MAX_SUBSCRIPTIONS": MANY,
        "fanout.stomp.limits.MAX_PENDING_RECEIPTS": 100_000,
    }

    def test_ten_thousand_topics(self) -> None:
        radio, station = self.radio(version="1.2"), self.station()
        before = label_sets(self.metrics())
        prefix = self.topic("")
        for number in range(MANY):
            headers = {"id": str(number), "destination": f"{prefix}{number}", "x-ebu-nofastreply": "yes"}
            radio.send(frame("SUBSCRIBE", headers))
        until(lambda: self.value("fanout_topics") == MANY)
        for number in range(MANY):
            station.send(frame("SEND", {"destination": f"{prefix}{number}"}, b"TEXT x"))
        radio.frames(MANY)

        began = time.monotonic()
        found = self.metrics()
        took = time.monotonic() - began
        self.assertLess(took, SCRAPE_SECONDS)
        self.assertEqual(found["fanout_last_messages"][()], MANY)
        self.assertEqual(found["fanout_deliveries_total"][()], MANY)
        new = {name: sets - before.get(name, set()) for name, sets in label_sets(found).items()}
        self.assertEqual({name: sets for name, sets in new.items() if sets}, {}, "labels grew with the topics")

        began = time.monotonic()
        self.assertEqual(len(self.overview()["topics"]["busiest"]), 20)
        self.assertLess(time.monotonic() - began, SCRAPE_SECONDS)
        self.assertEqual(self.all_pages(prefix), sorted(f"{prefix}{number}" for number in range(MANY)))

    def all_pages(self, prefix: str) -> list[str]:
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = self.ask(f"/api/topics?prefix={prefix}&limit=1000&after={after}").json
            self.assertEqual(page["total"], MANY)
            found += [each["topic"] for each in page["topics"]]
            after = page["next"]
        return found
