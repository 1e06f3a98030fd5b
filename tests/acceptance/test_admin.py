"""The operators' listener of real processes: metrics, health, what the dashboard asks, and who may ask."""

from __future__ import annotations

import csv
import io
import time
import unittest
from collections.abc import Callable
from typing import Any, ClassVar

from tests import services
from tests.acceptance.case import NodeCase
from tests.acceptance.cluster import node as cluster_node
from tests.processes import Server, node
from tests.prometheus import label_sets, parse
from tests.radio import Radio, frame
from tests.radiovis.watchdog.daemon import Daemon
from tests.web import Answer, Events, Raw, ask, basic, poll_path

TOKEN = "correct-horse-battery"
MANY = 10_000
OURS = "/topic/test/1/*"  # The watchdog says something on the others.
SCRAPE_SECONDS = (
    2.0  # Measured 0.1 s with 10,000 topics; two cores shared with other work have been seen to need ten times.
)


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Ask again until this holds; there is no event to wait for in an answer that has to change."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.05)


class AdminCase(NodeCase):
    """A node with all its listeners."""

    @classmethod
    def setUpClass(cls) -> None:
        ports = {"HTTP_PORT": services.free_port(), "ADMIN_PORT": services.free_port()}
        cls.settings = {**cls.settings, **ports}
        super().setUpClass()

    def ask(self, path: str, **headers: str) -> Answer:
        return ask(self.server.admin, path, **headers)

    def overview(self) -> Any:
        return self.ask("/api/overview").json

    def metrics(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        answer = self.ask("/metrics")
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.headers["content-type"].startswith("text/plain; version=0.0.4"), answer.headers)
        return parse(answer.body)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics()[name].get(tuple(sorted(labels.items())), 0.0)


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

    settings: ClassVar[dict[str, Any]] = {"MAX_SUBSCRIPTIONS": MANY, "MAX_PENDING_RECEIPTS": 100_000}

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


class TestOverview(AdminCase):
    settings: ClassVar[dict[str, Any]] = {"OUTBOX_BYTES": 4096}

    def test_status_counts_clients_of_services(self) -> None:
        channel = self.topic("")
        both, text = self.radio(), self.radio()
        both.subscribe(channel + "image", fast_reply=False)
        for radio in (both, text):
            radio.subscribe(channel + "text", fast_reply=False)
        until(lambda: f"2 {channel}".encode() in self.ask("/status").body.splitlines())
        lines = self.ask("/status").body.decode().splitlines()
        self.assertEqual(lines[0], "OK")
        self.assertRegex(lines[1], r"^\d+ clients$")

    def test_last_messages(self) -> None:
        station = self.station(version="1.2")
        station.publish(self.topic(), b"SHOW http://s/<b>.png", {"link": "http://l/", "message-id": "7"})
        (topic,) = self.ask("/api/topics?prefix=" + self.topic("")).json["topics"]
        self.assertEqual((topic["topic"], topic["clients"]), (self.topic(), {}))
        last = topic["last"]
        self.assertEqual((last["message_id"], last["body"]), ("7", "SHOW http://s/<b>.png"))
        self.assertEqual(last["headers"], [["link", "http://l/"]])

    def test_the_slowest_client(self) -> None:
        radio = Radio(self.server.address, receive_buffer=4096)
        self.addCleanup(radio.close)
        radio.send(frame("CONNECT"))
        radio.expect("CONNECTED")
        radio.subscribe(self.topic(), fast_reply=False)
        station = self.station()

        def slow() -> list[Any]:
            for _ in range(20):
                station.publish(self.topic(), b"x" * 3000)
            return [each for each in self.overview()["slowest"] if each["dropped"]]

        until(lambda: bool(slow()))
        (found,) = slow()
        self.assertEqual((found["address"], found["protocol"], found["blocked"]), ("127.0.0.1", "stomp", True))
        self.assertGreater(found["octets"], 3000)
        self.assertGreater(self.value("fanout_dropped_messages_total"), 0)

    def test_rates(self) -> None:
        self.station().publish(self.topic(), b"1")
        until(lambda: any(self.overview()["rates"]["messages"]))
        rates = self.overview()["rates"]
        self.assertEqual(len({len(rates[name]) for name in ("times", "messages", "deliveries", "clients")}), 1)
        self.assertEqual(self.ask(f"/api/overview?since={rates['times'][-1] + 3600}").json["rates"]["times"], [])

    def test_questions_that_make_no_sense(self) -> None:
        for path in ("topics?limit=0", "topics?limit=1001", "topics?limit=x", "topics?limit=nan", "overview?since=x"):
            with self.subTest(path=path):
                answer = self.ask(f"/api/{path}")
                self.assertEqual((answer.status, sorted(answer.json)), (400, ["detail", "error"]))
        self.assertEqual(self.ask("/api/topics?prefix=%FF").status, 400)
        self.assertEqual(self.ask("/api/journal").status, 404)  # A node of a cluster keeps none.
        self.assertEqual(ask(self.server.admin, "/status", method="POST").status, 405)

    def test_a_page_elsewhere_cannot_read_it(self) -> None:
        answer = self.ask("/status", host="evil.example", origin="http://evil.example")
        self.assertEqual(answer.status, 403)
        self.assertNotIn("access-control-allow-origin", self.ask("/status", origin="http://evil.example").headers)

    def test_radios_do_not_find_it(self) -> None:
        for path in ("/metrics", "/readyz", "/api/overview"):
            self.assertEqual(ask(self.server.http, path).status, 404)


class TestToken(unittest.TestCase):
    def test_an_address_of_others_needs_a_token(self) -> None:
        for program, server in (
            ("server.py", node(ADMIN_IP="0.0.0.0", **admin_port())),
            ("fallback.py", Daemon(services.AmqpAddress("127.0.0.1", 1), "x", "--test", **open_port())),
        ):
            with self.subTest(program=program):
                self.addCleanup(server.close)
                server.launch()
                self.assertEqual(server.exit_code(), 2, server.text)
                self.assertRegex(server.text, rf"^{program}: ADMIN_IP = 0\.0\.0\.0: .*ADMIN_TOKEN.*$")

    def test_a_short_token_is_none(self) -> None:
        server = node(ADMIN_TOKEN="secret")
        self.addCleanup(server.close)
        server.launch()
        self.assertEqual(server.exit_code(), 2)
        self.assertRegex(server.text, r"^server.py: ADMIN_TOKEN = \*+ \(environment\): should be 16 characters.*$")

    def test_who_knows_the_token(self) -> None:
        with node(ADMIN_IP="0.0.0.0", ADMIN_TOKEN=TOKEN, **admin_port()) as server:
            address = ("127.0.0.1", server.admin[1])
            for path in ("/metrics", "/status", "/api/overview", "/api/topics", "/nothing", "/"):
                answer = ask(address, path)
                self.assertEqual((path, answer.status), (path, 401))
                self.assertIn("Basic", answer.headers["www-authenticate"])
            self.assertEqual(ask(address, "/metrics", authorization="Bearer wrong").status, 401)
            self.assertEqual(ask(address, "/metrics", authorization=f"Bearer {TOKEN}").status, 200)
            self.assertEqual(ask(address, "/status", authorization=basic("anybody", TOKEN)).status, 200)
            # Load balancers know no token; they learn what they need, and no more.
            self.assertEqual(ask(address, "/healthz").json, {"live": True})
            self.assertEqual(ask(address, "/readyz").json, {"ready": True})
            self.assertIn("bus", ask(address, "/readyz", authorization=f"Bearer {TOKEN}").json["conditions"])
            self.assertNotIn(TOKEN, server.text)


def admin_port() -> dict[str, object]:
    """Settings of a node that operators may ask."""
    return {"ADMIN_PORT": services.free_port()}


def open_port() -> dict[str, object]:
    """Settings of a daemon that others could ask."""
    return {"ADMIN_IP": "0.0.0.0", "FB_ADMIN_PORT": services.free_port()}


class TestTakenPort(unittest.TestCase):
    """Several processes on one machine start without any setting; a port somebody chose has to be free."""

    def test_a_chosen_one(self) -> None:
        with node(**admin_port()) as first:
            second = node(ADMIN_PORT=first.admin[1])
            self.addCleanup(second.close)
            second.launch()
            self.assertEqual(second.exit_code(), 2)
            self.assertIn(f"server.py: cannot listen on 127.0.0.1:{first.admin[1]}: ", second.text)


class TestReady(unittest.TestCase):
    def test_the_broker_dies_and_comes_back(self) -> None:
        with services.RabbitMQ() as broker:
            daemon = Daemon(broker.address, "amq.fanout", "--test", FB_ADMIN_PORT=services.free_port())
            self.addCleanup(daemon.close)
            with cluster_node(broker.address, "amq.fanout", **admin_port()) as server:
                daemon.start()
                addresses = (server.admin, _admin(daemon))
                for address in addresses:
                    until(lambda address=address: ask(address, "/readyz").status == 200)
                broker.kill()
                for address in addresses:
                    until(lambda address=address: ask(address, "/readyz").status == 503)
                    report = ask(address, "/readyz").json
                    self.assertFalse(report["ready"])
                    self.assertTrue(any(reason.startswith("bus: ") for reason in report["reasons"]), report)
                    self.assertEqual(ask(address, "/healthz").status, 200)
                    found = parse(ask(address, "/metrics").body)
                    self.assertEqual((found["fanout_ready"][()], found["fanout_bus_connected"][()]), (0.0, 0.0))
                broker.start()
                for address in addresses:
                    until(lambda address=address: ask(address, "/readyz").status == 200, 60.0)
                self.assertGreaterEqual(
                    parse(ask(server.admin, "/metrics").body)["fanout_rabbitmq_connects_total"][()], 2
                )
                tasks = parse(ask(addresses[1], "/metrics").body)["fanout_task_failing"]
                self.assertEqual(
                    {labels[0][1] for labels in tasks},
                    {"topic_listing", "broker_liveness", "stale_topics", "log_cleanup"},
                )

    def test_a_node_that_ends_takes_no_new_clients(self) -> None:
        """The broker does not confirm the last publish, so that the end takes a moment."""
        with services.RabbitMQ() as broker, cluster_node(broker.address, "amq.fanout", **admin_port()) as server:
            until(lambda: ask(server.admin, "/readyz").status == 200)
            with Radio.connect(server.address, "1.test", "test", version="1.2") as station:
                broker.pause()
                station.send(frame("SEND", {"destination": "/topic/test/1/image", "receipt": "r"}, b"SHOW x"))
                until(lambda: parse(ask(server.admin, "/metrics").body)["fanout_bus_waiting"][()] == 1)
                server.interrupt()
                until(lambda: ask(server.admin, "/readyz").status == 503)
                self.assertEqual(ask(server.admin, "/readyz").json["reasons"], ["draining: shutting down"])
                self.assertEqual(ask(server.admin, "/healthz").status, 200)
            broker.resume()
            self.assertEqual(server.exit_code(), 0)

    def test_memcached_is_missed_but_not_needed(self) -> None:
        missing = f"127.0.0.1:{services.free_port()}"
        with (
            node(MEMCACHED_HOST=missing, **admin_port()) as server,
            Radio.connect(server.address) as radio,
        ):
            radio.subscribe("/topic/test/1/image")  # The last slide is asked for.
            until(lambda: bool(ask(server.admin, "/readyz").json["degraded"]))
            answer = ask(server.admin, "/readyz")
            self.assertEqual((answer.status, answer.json["ready"]), (200, True))
            self.assertEqual(answer.json["degraded"], [f"memcached: {missing} does not answer"])
            self.assertEqual(parse(ask(server.admin, "/metrics").body)["fanout_memcached_servers_down"][()], 1)

    def test_a_directory_that_never_answered(self) -> None:
        nobody = f"http://127.0.0.1:{services.free_port()}/secret/"
        server = Server(RABBITMQ_LOOPBACK=True, RADIODNS_API_URL=nobody, DIRECTORY_ATTEMPTS=1, **admin_port())
        with server:
            answer = ask(server.admin, "/readyz")
            self.assertEqual(answer.status, 503)
            self.assertEqual(answer.json["reasons"], ["directory: the stations have not been read yet"])
            # HAProxy's "option httpchk /readyz" means OPTIONS, and sends HTTP/1.0 without a host.
            with Raw(server.admin, b"OPTIONS /readyz HTTP/1.0\r\n\r\n") as haproxy:
                self.assertIn(b" 503 ", haproxy.until(b"\r\n"))
            head = ask(server.admin, "/readyz", method="HEAD")
            self.assertEqual((head.status, head.body), (503, b""))


def _admin(daemon: Daemon) -> tuple[str, int]:
    host, _, port = daemon.wait_for("fallback.ready")["admin"].rpartition(":")
    return host, int(port)


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
                station.publish(f"/topic/test/1/{number % 2}/text", f'TEXT {number}, "q"'.encode(), {"link": "x"})

    def ask(self, path: str) -> Answer:
        return ask(self.server.admin, path)

    def test_pages(self) -> None:
        until(lambda: len(self.bodies(OURS)) == 250)
        self.assertEqual(self.bodies("/topic/test/1/1/text"), [f'TEXT {number}, "q"' for number in range(1, 250, 2)])
        self.assertEqual(self.bodies("/topic/test/1/1"), [])
        record = self.ask(f"/api/journal?topic={OURS}&limit=1").json["records"][0]
        self.assertIn(["link", "x"], record["headers"])

    def bodies(self, topic: str) -> list[str]:
        found, after = [], ""
        while after is not None:
            page = self.ask(f"/api/journal?topic={topic}&limit=60&after={after}").json
            found += [record["body"] for record in page["records"]]
            after = page["next"]
        return found

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
        self.assertEqual(body, b"time,timestamp,topic,body,headers,serial\r\n")

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
