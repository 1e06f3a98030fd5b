"""pub, sub, topics and logs beside a real node."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import signal
import socket
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from PIL import Image

from radiovis.directory.password import hash_password
from tests import services
from tests.acceptance import command_case
from tests.acceptance.case import NodeCase
from tests.acceptance.command_case import Command, Done, finish, line, objects, run, start
from tests.processes import Server
from tests.radio import Radio
from tests.radiovis.commands.calling import call


def png(width: int, height: int, padding: int = 0) -> bytes:
    """A black picture of this size, and so many octets more behind it."""
    octets = io.BytesIO()
    Image.new("RGB", (width, height)).save(octets, "PNG")
    return octets.getvalue() + bytes(padding)


GOOD, LARGE, HUGE = png(320, 240), png(640, 480, 60_000), png(320, 240, 50_000_000)
PICTURES = {
    "/good.png": (200, "image/png", GOOD),
    "/large.png": (200, "image/png", LARGE),
    "/wrong.png": (200, "image/jpeg", GOOD),
    "/page.html": (200, "text/html", b"<h1>hello</h1>"),
    "/gone.png": (404, "text/plain", b"no"),
    "/huge.png": (200, "image/png", HUGE),
}


class Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/silent.png":
            self.rfile.read(1)  # Until the client hangs up.
            return
        status, kind, content = PICTURES[self.path]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # A client that has seen enough disconnects.
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


class CommandCase(NodeCase):
    def url(self, login: str = "1.test:test@") -> str:
        host, port = self.server.address
        return f"stomp://{login}{host}:{port}"

    def channel(self) -> str:
        return self.topic("")

    def assert_fails(self, done: Done, code: int, *parts: str) -> None:
        """This exit code, and one line on stderr."""
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("server.py: "), done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr)


class PublishRights(CommandCase):
    def test_a_text_and_a_slide_reach_a_radio(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic("text"))
        radio.subscribe(self.topic("image"))
        done = run(
            "pub", self.channel(), "--text", "Grüezi", "--image", "http://s/1.png", "--link", "http://s/",
            "--trigger-time", "NOW", "--header", "SlideId:7", "--receipt", "--server", self.url(),
        )  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for topic, told in zip((self.topic("text"), self.topic()), done.stdout.splitlines(), strict=True):
            self.assertRegex(told, rf"^published to {re.escape(topic)} in \d+ ms, confirmed by the node's own bus$")
        text, image = radio.frames(2)
        self.assertEqual((text.body, image.body), ("TEXT Grüezi".encode(), b"SHOW http://s/1.png"))
        for frame in (text, image):
            self.assertEqual(
                [frame.get(name) for name in ("link", "trigger-time", "SlideId")], ["http://s/", "NOW", "7"]
            )

    def test_a_whole_topic_and_the_server_of_the_environment(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic("text"))
        done = run("pub", self.topic("text"), "--text", "hello", RADIOVIS_SERVER=self.url())
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, rf"^published to {re.escape(self.topic('text'))} in \d+ ms, confirmed by .*\n$")
        self.assertEqual(radio.frame().body, b"TEXT hello")

    def test_what_does_not_work_is_one_line(self) -> None:
        to = ("--text", "x", "--server")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            free = socket.create_server(("127.0.0.1", 0))
            port, unused = silent.getsockname()[1], free.getsockname()[1]
            free.close()
            for url, part in (
                (self.url("1.test:wrong@"), "the login 1.test: Wrong credentials (The frame at fault: CONNECT)"),
                (self.url(""), f"Publishing to {self.topic('text')} needs a login"),
                ("stomp://no-such-host.invalid", "cannot connect to no-such-host.invalid:61613: no such host"),
                (f"127.0.0.1:{unused}", "nothing listens there"),
                (f"127.0.0.1:{port}", "sent nothing for 1 s; is this a STOMP port?"),
            ):
                with self.subTest(url=url):
                    self.assert_fails(run("pub", self.topic("text"), "--seconds", "1", *to, url), 1, part)
        refused = run("pub", "/topic/not/ours/text", *to, self.url())
        host, port = self.server.address
        named = (f"not published at {host}:{port}: ", "1.test may not publish to /topic/not/ours/text:")
        self.assert_fails(refused, 1, *named)
        self.assertNotIn("wrong", run("pub", "/topic/x/text", *to, self.url("1.test:wrong@")).stderr)

    def test_wrong_usage(self) -> None:
        topic = "/topic/id/tests._ebu.nowhere/topic1/"
        for words, part in (
            ((topic,), "give --text, --image or both"),
            (("fm/4e1", "--text", "x"), "TOPIC must begin with /topic/"),
            ((topic + "text", "--image", "http://s/1.png"), "accepts only --text"),
            ((topic, "--image", "ftp://s/1.png"), "--image: a URL must begin with http://"),
            ((topic, "--text", "x" * 129), "the text has 129 octets, radios take 128: shorten it"),
            ((topic, "--txt", "x"), "no such flag: --txt; did you mean --text?"),
            ((topic, "--text", "x", "--header", "x"), "a header must have the form NAME:VALUE"),
            ((topic, "--text", "x", "--server", "http://x"), "a server is given as stomp://"),
            ((topic, "--text", "x", "--server", "stomp://x:99999"), "up to 65535"),
            ((), "TOPIC"),
        ):
            with self.subTest(words=words):
                self.assert_fails(call("pub", *words), 2, part)


class ThroughTheBroker(unittest.TestCase):
    def test_pub_says_that_the_broker_has_confirmed_it(self) -> None:
        broker = services.rabbitmq()
        settings = {"RABBITMQ_HOST": broker.host, "RABBITMQ_PORT": broker.port, "RABBITMQ_EXCHANGE": uuid4().hex}
        with Server("--test", MEMCACHED_HOST="", **settings) as server:
            address, topic = f"{server.address[0]}:{server.address[1]}", "/topic/id/tests._ebu.nowhere/topic1/text"
            done = run("pub", topic, "--text", "hello", "--server", f"stomp://1.test:test@{address}")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, rf"^published to {re.escape(topic)} in \d+ ms, confirmed by RabbitMQ\n$")


class Listening(CommandCase):
    pictures: ClassVar[ThreadingHTTPServer]
    base: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.pictures = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
        cls.base = f"http://127.0.0.1:{cls.pictures.server_port}"
        threading.Thread(target=cls.pictures.serve_forever, daemon=True).start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.pictures.shutdown()
        cls.pictures.server_close()
        super().tearDownClass()

    def slide(self, name: str, *words: str) -> dict[str, Any]:
        """What sub makes of a picture that is on air."""
        self.station().publish(self.topic(), f"SHOW {self.base}/{name}".encode())
        done = run("sub", self.topic(), "--count", "1", "--json", "--server", self.url(""), *words)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        slide: dict[str, Any] = objects(done)[0]["slide"]
        return slide

    def test_a_channel_is_its_texts_and_its_slides(self) -> None:
        self.station().publish(self.topic(), f"SHOW {self.base}/good.png".encode(), {"link": "http://s/"})
        self.station().publish(self.topic("text"), b"TEXT on \x1b[31mair")
        done = run("sub", self.channel(), "--count", "2", "--server", self.url(""))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = sorted(each.partition("  ")[2] for each in done.stdout.splitlines())
        self.assertEqual(
            lines,
            [
                f"{self.topic()}  SHOW {self.base}/good.png  (320x240 PNG, {len(GOOD) / 1000:.1f} kB)",
                f"{self.topic('text')}  TEXT on \\x1b[31mair",
            ],
        )

    def test_a_good_slide_has_no_complaints_and_is_kept(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            slide = self.slide("good.png", "--save", folder)
            self.assertEqual(
                (slide["type"], slide["width"], slide["height"], slide["octets"], slide["complaints"]),
                ("image/png", 320, 240, len(GOOD), []),
            )
            (path,) = Path(folder).iterdir()
            self.assertEqual((str(path), path.read_bytes()), (slide["saved"], GOOD))

    def test_what_is_wrong_with_a_slide_is_said(self) -> None:
        for name, complaints in (
            ("large.png", ["it is 640x480, radios expect 320x240", f"it has {len(LARGE)} octets, radios take 51200"]),
            ("wrong.png", ["it is served as image/jpeg, and is image/png"]),
            ("page.html", ["it is neither PNG nor JPEG"]),
            ("gone.png", ["not fetched: HTTP 404"]),
            ("huge.png", [f"not fetched: it has {len(HUGE)} octets, radios take 51200"]),
            ("silent.png", ["not fetched: not complete within 5 s"]),
        ):
            with self.subTest(name=name):
                self.assertEqual(self.slide(name)["complaints"], complaints)

    def test_slides_are_left_alone_if_asked(self) -> None:
        self.station().publish(self.topic(), b"SHOW http://127.0.0.1:1/1.png")
        done = run("sub", self.topic(), "--count", "1", "--json", "--no-fetch", "--server", self.url(""))
        self.assertNotIn("slide", objects(done)[0])

    def test_too_little_in_the_time(self) -> None:
        done = run("sub", self.topic(), "--count", "1", "--seconds", "0.5", "--server", self.url(""))
        self.assert_fails(done, 1, "only 0 of 1 messages came within 0.5 s")
        done = run("sub", self.topic(), "--seconds", "0.5", "--server", self.url(""))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_ctrl_c_is_an_end(self) -> None:
        self.station().publish(self.topic("text"), b"TEXT x")
        command = start("sub", self.topic("text"), "--server", self.url(""))
        self.assertIn("TEXT x", line(command))
        command.send_signal(signal.SIGINT)
        self.assertEqual(finish(command).returncode, 0)

    def test_wrong_usage(self) -> None:
        for words, part in (
            (("topic/x",), "must begin with /topic/"),
            (("/topic/x/", "--save", "/nowhere"), "/nowhere is not a folder"),
            (("/topic/x/", "--count", "0"), "should be a whole number from 1"),
            (("/topic/x/", "--seconds", "soon"), "should be a time such as"),
        ):
            with self.subTest(words=words):
                self.assert_fails(call("sub", *words), 2, part)


class Receipts(unittest.TestCase):
    def test_what_the_server_remarks_in_a_receipt_is_shown(self) -> None:
        with command_case.node(PREFLIGHT="warn", PREFLIGHT_PRIVATE="127.0.0.0/8") as server:
            host, port = server.address
            slide = f"http://127.0.0.1:{free_port()}/1.png"
            words = (
                "pub",
                "/topic/id/tests._ebu.nowhere/topic1/image",
                "--image",
                slide,
                "--server",
                f"stomp://1.test:test@{host}:{port}",
            )
            lines = run(*words, "--receipt").stdout.splitlines()
            (entry,) = objects(run(*words, "--json"))
        self.assertRegex(lines[0], r"^published to /topic/id/tests._ebu.nowhere/topic1/image in \d+ ms, confirmed by ")
        self.assertEqual(entry["confirmed_by"], "the node's own bus")
        self.assertEqual(
            [line.strip() for line in lines[1:]], [f"{name}: {text}" for name, text in entry["headers"].items()]
        )
        self.assertIn("nothing listens there", " ".join(entry["headers"].values()))


class ComingBack(unittest.TestCase):
    def test_sub_outlives_a_restart_of_the_server(self) -> None:
        with command_case.node() as server:
            host, port = server.address
            url, topic = f"{host}:{port}", "/topic/id/tests._ebu.nowhere/topic1/text"
            server_url = f"stomp://1.test:test@{url}"
            command = start("sub", topic, "--count", "2", "--server", url)
            self.assertEqual(run("pub", topic, "--text", "one", "--server", server_url).returncode, 0)
            self.assertIn("TEXT one", line(command))
            server.kill()
            server.start()
            self.assertEqual(run("pub", topic, "--text", "two", "--server", server_url).returncode, 0)
            self.assertIn("TEXT two", line(command))
            done = finish(command)
            self.assertEqual(done.returncode, 0)
            self.assertIn("connection lost", done.stderr)
            self.assertIn("connected again", done.stderr)


class Journal(unittest.TestCase):
    """A node by itself keeps a journal, which is read while it writes."""

    server: ClassVar[Server]

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(STANDALONE=True, STATIONS_FILE="stations.toml", ADMIN_PORT=free_port())
        (cls.server.folder / "stations.toml").write_text(
            f'[[station]]\nname = "Rock"\nlogin = "1.rock"\npassword = "{hash_password("rock")}"\n'
            '[[station.channel]]\ntopic = "/topic/rock/"\n[[station.channel]]\ntopic = "/topic/roll/"\n'
        )
        cls.server.start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.close()

    def publish(self, topic: str, *texts: str) -> None:
        with Radio.connect(self.server.address, "1.rock", "rock", version="1.2") as station:
            for text in texts:
                station.publish(topic, f"TEXT {text}".encode(), {"link": "http://s/"})

    def logs(self, *words: str) -> Done:
        return call("logs", *words, JOURNAL_FILE=str(self.server.folder / "radiovis-journal.sqlite"))

    def follow(self, topic: str, *words: str) -> Command:
        file = str(self.server.folder / "radiovis-journal.sqlite")
        return start("logs", topic, "--follow", "--file", file, *words)

    def test_follow_shows_what_comes(self) -> None:
        command = self.follow("/topic/rock/follow/*", "--limit", "3")
        self.publish("/topic/rock/follow/text", "one", "two")
        for text in ("one", "two"):
            publisher = "  (1.rock from 127.0.0.1 over stomp)"
            self.assertTrue(line(command).endswith(f"  /topic/rock/follow/text  TEXT {text}{publisher}"))
        self.publish("/topic/rock/else/text", "another topic")
        self.publish("/topic/rock/follow/text", "three")
        self.assertIn("  TEXT three  (1.rock ", line(command))
        self.assertEqual(finish(command).returncode, 0)

    def test_tail_shows_the_newest_last_and_follow_goes_on_from_there(self) -> None:
        topic = "/topic/rock/tail/text"
        before = self.follow(topic, "--limit", "3")
        self.publish(topic, "one", "two", "three")
        finish(before)  # Now all are in the journal.
        command = self.follow(topic, "--tail", "2")
        self.assertIn("TEXT two", line(command))
        self.assertIn("TEXT three", line(command))
        self.publish(topic, "four")
        self.assertIn("TEXT four", line(command))
        command.send_signal(signal.SIGINT)
        self.assertEqual(finish(command).returncode, 0)
        last = self.logs(topic, "--tail", "1").stdout.splitlines()
        self.assertEqual([each.split("  ")[2] for each in last], ["TEXT four"])

    def test_forms_and_filters(self) -> None:
        topic = "/topic/rock/forms/text"
        command = self.follow(topic, "--limit", "2", "--json")
        self.publish(topic, 'a "quoted", text', "é")
        done = finish(command)  # Now both are in the journal.
        first, second = objects(done)
        self.assertEqual((first["topic"], first["body"], second["body"]), (topic, 'TEXT a "quoted", text', "TEXT é"))
        self.assertIn(["link", "http://s/"], first["headers"])
        self.assertEqual(self.logs(topic, "--json").stdout, done.stdout)
        rows = list(csv.DictReader(io.StringIO(self.logs("/topic/rock/forms*", "--csv").stdout, newline="")))
        self.assertEqual([row["body"] for row in rows], ['TEXT a "quoted", text', "TEXT é"])
        self.assertEqual(self.logs("/topic/rock/form", "--json").stdout, "")
        self.assertEqual(self.logs(topic, "--to", "1h").stdout, "")
        self.assertEqual(len(self.logs(topic, "--from", "1h", "--limit", "1").stdout.splitlines()), 1)
        self.assertEqual(self.logs(topic, "--from", str(first["timestamp"] + 3600)).stdout, "")

    def test_topics_with_what_is_on_air(self) -> None:
        topic = "/topic/roll/text"
        self.publish(topic, "on air")
        stations = str(self.server.folder / "stations.toml")
        host, port = self.server.admin
        with Radio.connect(self.server.address) as radio:
            radio.subscribe(topic)
            done = run("topics", "--json", "--stations-file", stations, "--admin", f"http://{host}:{port}")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        roll = json.loads(done.stdout)["channels"][1]
        self.assertEqual((roll["topic"], roll["name"]), ("/topic/roll/", "Rock"))
        self.assertEqual(roll["on_air"][0]["last"]["body"], "TEXT on air")
        self.assertEqual(sum(roll["on_air"][0]["clients"].values()), 1)
        done = run("topics", "--stations-file", stations)
        self.assertEqual(done.stdout.splitlines(), ["/topic/rock/  Rock", "/topic/roll/  Rock"])
        lines = run("topics", "--stations-file", stations, "--admin", f"http://{host}:{port}").stdout.splitlines()
        self.assertIn("    text   TEXT on air  (0 clients)", lines)


class NothingToShow(unittest.TestCase):
    def assert_fails(self, done: Done, code: int, part: str) -> None:
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(part, done.stderr)

    def test_no_journal(self) -> None:
        self.assert_fails(call("logs", "--file", "/nowhere/j.sqlite"), 1, "/nowhere/j.sqlite: there is no journal")
        self.assert_fails(call("logs", JOURNAL_FILE=""), 2, "JOURNAL_FILE is empty")

    def test_something_else_than_a_journal_is_left_alone(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "j.sqlite")
            for content in (b"hello, this is no database at all" * 100, b""):
                path.write_bytes(content)
                self.assert_fails(call("logs", "--file", str(path)), 1, str(path))
                self.assertEqual((path.read_bytes(), list(path.parent.iterdir())), (content, [path]))

    def test_wrong_times(self) -> None:
        self.assert_fails(
            call("logs", "--from", "yesterday"), 2, "'yesterday' must be a time such as 2026-12-31T23:59:59Z"
        )

    def test_a_directory_or_node_that_does_not_answer(self) -> None:
        url = f"http://127.0.0.1:{free_port()}/"
        self.assert_fails(run("topics", RADIODNS_API_URL=url), 1, "the directory does not answer: ")
        self.assert_fails(run("topics", "--test", "--admin", url), 1, f"{url} does not answer: nothing listens there")
        self.assert_fails(call("topics", "--admin", "8081"), 2, "must begin with http://")
        self.assert_fails(call("topics", "--stations-file", "/nowhere.toml", "--jsn"), 2, "--jsn")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
