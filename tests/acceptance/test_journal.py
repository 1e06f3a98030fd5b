"""The journal of a real node by itself, as operators see it."""

from __future__ import annotations

import csv
import io
import unittest
from typing import ClassVar

from tests import services
from tests.acceptance.admin_case import until
from tests.processes import Server
from tests.prometheus import parse
from tests.radio import Radio
from tests.web import Answer, ask

OURS = "/topic/id/tests._ebu.nowhere/topic1/*"  # The watchdog says something on the others.


class TestJournal(unittest.TestCase):
    """A node by itself keeps a journal."""

    server: ClassVar[Server]

    @classmethod
    def setUpClass(cls) -> None:
        settings = {"TEST_FB_FALLBACK_TIME": 3600, "ADMIN_PORT": services.free_port()}
        cls.server = Server("--test", STANDALONE=True, **settings)
        cls.addClassCleanup(cls.server.close)
        cls.server.start()
        with Radio.connect(cls.server.address, "1.test", "test", version="1.2") as station:
            for number in range(250):
                station.publish(
                    f"/topic/id/tests._ebu.nowhere/topic1/{number % 2}/text",
                    f'TEXT {number}, "q"'.encode(),
                    {"link": "x"},
                )

    def ask(self, path: str) -> Answer:
        return ask(self.server.admin, path)

    def test_pages(self) -> None:
        until(lambda: len(self.bodies(OURS)) == 250)
        self.assertEqual(
            self.bodies("/topic/id/tests._ebu.nowhere/topic1/1/text"),
            [f'TEXT {number}, "q"' for number in range(1, 250, 2)],
        )
        self.assertEqual(self.bodies("/topic/id/tests._ebu.nowhere/topic1/1"), [])
        record = self.ask(f"/api/journal?topic={OURS}&limit=1").json["records"][0]
        self.assertIn(["link", "x"], record["headers"])

    def bodies(self, topic: str) -> list[str]:
        found, after = [], ""
        while after is not None:
            page = self.ask(f"/api/journal?topic={topic}&limit=60&after={after}").json
            found += [record["body"] for record in page["records"]]
            after = page["next"]
        return found

    def test_who_published(self) -> None:
        until(lambda: len(self.bodies(OURS)) == 250)
        expected = {"owner": "1", "login": "1.test", "address": "127.0.0.1", "interface": "stomp"}
        for query, count in (("station=1", 100), ("login=1.test", 100), ("station=2", 0), ("station=1&login=1.x", 0)):
            with self.subTest(query):
                records = self.ask(f"/api/journal?topic={OURS}&{query}").json["records"]
                self.assertEqual(len(records), count)
                self.assertTrue(all(record["publisher"] == expected for record in records))

    def test_times(self) -> None:
        until(lambda: len(self.bodies(OURS)) == 250)
        for query, count in (
            ("from=2020-01-01&to=2020-01-02T00:00:00Z", 0),
            ("from=0&to=1", 0),
            ("from=2020-01-01", 100),
            ("to=1", 0),
        ):
            with self.subTest(query=query):
                self.assertEqual(len(self.ask(f"/api/journal?topic={OURS}&{query}").json["records"]), count)

    def test_csv(self) -> None:
        until(lambda: len(self.bodies(OURS)) == 250)
        answer = self.ask("/journal.csv?topic=" + OURS)
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "text/csv; charset=utf-8"))
        self.assertIn("attachment", answer.headers["content-disposition"])
        rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
        self.assertEqual([row["body"] for row in rows], [f'TEXT {number}, "q"' for number in range(250)])

    def test_an_empty_csv_has_its_head(self) -> None:
        body = self.ask("/journal.csv?topic=/nothing").body
        self.assertEqual(body, b"time,timestamp,topic,body,headers,serial,owner,login,address,interface\r\n")

    def test_questions_that_make_no_sense(self) -> None:
        huge = "9" * 30
        for query in (
            f"from={huge}",
            "from=yesterday",
            "to=-1",
            "after=x",
            f"after={huge}.1",
            "limit=0",
            "from=1&from=2",
        ):
            with self.subTest(query=query):
                answer = self.ask(f"/api/journal?{query}")
                self.assertEqual((answer.status, sorted(answer.json)), (400, ["detail", "error"]))
        self.assertEqual(self.ask("/journal.csv?from=yesterday").status, 400)

    def test_the_watchdog_is_seen(self) -> None:
        names = {"topic_listing", "broker_liveness", "stale_topics", "log_cleanup"}
        overview = self.ask("/api/overview").json
        self.assertEqual({task["name"] for task in overview["tasks"]}, names)
        self.assertTrue(overview["journal"])
        found = parse(self.ask("/metrics").body)
        self.assertEqual({labels[0][1] for labels in found["fanout_task_failing"]}, names)
        self.assertEqual(found["radiovis_watchdog_leading"][()], 1)
        self.assertIn("watchdog", self.ask("/readyz").json["conditions"])
