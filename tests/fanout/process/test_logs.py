from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from typing import Any

from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.process.logs import LONGEST, MASK, Masking, Throttle

HEAD = """
import logging, sys
import structlog
from twisted.logger import Logger
from fanout.process.logs import set_up_logs
log = structlog.get_logger("fanout.here")
"""


def written(code: str) -> str:
    """What a program writes to stderr: set-up changes the whole process, so each test has one of its own."""
    # Not by -c: from 3.13 on, tracebacks quote the lines of such code, and with them the secrets that stand in it.
    run = "import sys; exec(compile(sys.stdin.read(), 'nowhere', 'exec'))"
    done = subprocess.run(
        [sys.executable, "-c", run],
        input=HEAD + textwrap.dedent(code),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == "", done.stdout
    return done.stderr


def events(code: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(code).splitlines()]


class LongAndOddTexts(unittest.TestCase):
    def shown(self, text: str, *secrets: str) -> Any:
        return Masking(secrets)(None, "info", {"login": text})["login"]

    def test_a_long_text_is_cut(self) -> None:
        self.assertEqual(self.shown("é" * 10_000), "é" * LONGEST + "…")
        self.assertEqual(self.shown("x" * LONGEST), "x" * LONGEST)
        self.assertEqual(len(Masking()(None, "info", {"topics": ["x"] * 1_000})["topics"]), 100)

    def test_a_secret_at_the_cut_is_masked_whole(self) -> None:
        for place in range(LONGEST - 20, LONGEST + 1):
            shown = self.shown("x" * place + " password=hunter2hunter2 ", "hunter2hunter2")
            self.assertNotIn("hunter2", shown)
            self.assertNotIn("hunter", self.shown("x" * place + " hunter2hunter2 ", "hunter2hunter2"))

    def test_a_long_traceback_keeps_its_begin_and_its_end(self) -> None:
        text = "\n".join(["begin", *("token" * 10_000 for _ in range(1_000)), "end: password=hunter2"])
        lines = Masking()(None, "error", {"exception": text})["exception"].split("\n")
        self.assertEqual((lines[0], lines[-1]), ("begin", f"end: password={MASK}"))
        self.assertLessEqual(len(lines), 201)
        self.assertLessEqual(max(map(len, lines)), LONGEST + 1)

    def test_what_ends_lines_or_changes_their_direction_is_escaped(self) -> None:
        codes = (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x85, 0x9B, 0x200E, 0x61C, 0xD800)
        for code in codes:
            self.assertTrue(self.shown(f"a{chr(code)}b").isascii(), hex(code))
        self.assertEqual(self.shown("a\u202eb"), "a\\u202eb")


class PipeTests(unittest.TestCase):
    def test_a_handler_takes_the_place_of_the_stream(self) -> None:
        code = """
            handler = logging.StreamHandler(sys.stdout)
            handler.setStream(open("/proc/self/fd/2", "w"))
            set_up_logs(form="console", handler=handler)
            log.info("here")
            try:
                1 / 0
            except ZeroDivisionError:
                log.exception("failed")
        """
        text = written(code)
        self.assertIn("here", text)
        self.assertIn("Traceback (most recent call last)", text)
        self.assertIn("ZeroDivisionError", text)

    def test_one_json_line_per_event_with_its_session(self) -> None:
        (event,) = events("""
            set_up_logs(form="json")
            log.bind(session="ab12").info("subscribed", topic="/topic/a", count=3)
        """)
        self.assertEqual(event.pop("timestamp")[-1], "Z")
        self.assertEqual(
            event,
            {
                "event": "subscribed",
                "session": "ab12",
                "topic": "/topic/a",
                "count": 3,
                "level": "info",
                "logger": "fanout.here",
            },
        )

    def test_twisted_and_the_libraries_go_the_same_way(self) -> None:
        """But pika, which calls every lost connection an error: the bus says what it means."""
        lines = events("""
            set_up_logs(form="json")
            Logger("any").error("hello {who}", who="you")
            Logger("any").info("starting factory")
            for name in ("pika.connection", "pymemcache", "beaker.cache", "other"):
                logging.getLogger(name).info("chatter of %s", name)
                logging.getLogger(name).warning("warning of %s", name)
        """)
        self.assertEqual(
            [(line["level"], line["event"]) for line in lines],
            [
                ("error", "hello you"),
                ("warning", "warning of pymemcache"),
                ("warning", "warning of beaker.cache"),
                ("info", "chatter of other"),
                ("warning", "warning of other"),
            ],
        )

    def test_an_unhandled_error_in_a_deferred_is_told(self) -> None:
        text = written("""
            set_up_logs(form="json")
            import gc
            from twisted.internet.defer import fail
            fail(ValueError("nobody waits for me")); gc.collect()
        """)
        self.assertIn("nobody waits for me", text)

    def test_the_level_is_kept_and_can_be_changed(self) -> None:
        lines = events("""
            set_up_logs("ERROR", "json")
            log.warning("one"); logging.getLogger("pika").warning("two"); log.error("three")
            set_up_logs("DEBUG", "json", begin_twisted=lambda *_, **__: None)
            log.debug("four")
        """)
        self.assertEqual([line["event"] for line in lines], ["three", "four"])

    def test_console_for_a_terminal_and_json_otherwise(self) -> None:
        self.assertEqual(events('set_up_logs(); log.info("x")')[0]["event"], "x")
        terminal = written("""
            sys.stderr.isatty = lambda: True
            set_up_logs(stream=sys.stderr); log.info("subscribed", topic="/topic/a")
        """)
        self.assertNotIn("{", terminal)
        self.assertRegex(terminal, r"info.*subscribed.*topic.*/topic/a")

    def test_a_console_shows_held_back_only_if_there_were_repetitions(self) -> None:
        log = 'log.info("a", held_back={0}, x=1)'
        terminal = written('set_up_logs(form="console"); ' + "; ".join(map(log.format, (0, 7))))
        self.assertEqual(re.findall(r"held_back\S*?=\S*?(\d+)", re.sub(r"\x1b\[\d+m", "", terminal)), ["7"])
        json_lines = events('set_up_logs(form="json"); ' + log.format(0))
        self.assertEqual(json_lines[0]["held_back"], 0)


class SecretsInTheWholePipeTests(unittest.TestCase):
    CODE = """
        set_up_logs(form="{form}", secrets=["dev-secret"])
        def log_in(passcode):
            unrelated = "local-value"
            raise ValueError("refused: passcode:" + passcode + " at http://h/api/dev-secret/check_auth")
        try:
            log_in("hunter2")
        except ValueError:
            log.exception("failed", login="1.rock", passcode="hunter2")
            Logger("any").failure("failed in twisted")
        logging.getLogger("pika").warning("to %s", "amqp://guest:hunter2@host/")
    """

    def test_neither_passwords_nor_local_variables_in_any_form(self) -> None:
        for form in ("console", "json"):
            text = written(self.CODE.format(form=form))
            self.assertEqual(text.count("refused: passcode:" + MASK), 2, text)
            self.assertIn("1.rock", text)
            for hidden in ("hunter2", "dev-secret", "local-value"):
                # The traceback quotes lines of code only if it finds the file, and here there is none.
                self.assertNotIn(hidden, text)


class MaskingTests(unittest.TestCase):
    def mask(self, secrets: tuple[str, ...] = (), **event: object) -> dict[str, Any]:
        return dict(Masking(secrets)(None, "info", dict(event)))

    def test_values_of_telling_names_however_deep(self) -> None:
        masked = self.mask(
            passcode="a1",
            RABBITMQ_PASSWORD="b2",
            headers={"Authorization": "Basic c3", "Set-Cookie": "d4", "topic": "/topic/a"},
            frames=[{"login": "1.rock", "passcode": b"e5"}, ("token=f6",)],
            api_secret=None,
        )
        self.assertEqual(
            masked,
            {
                "passcode": MASK,
                "RABBITMQ_PASSWORD": MASK,
                "headers": {"Authorization": MASK, "Set-Cookie": MASK, "topic": "/topic/a"},
                "frames": [{"login": "1.rock", "passcode": MASK}, [f"token={MASK}"]],
                "api_secret": MASK,
            },
        )

    def test_inside_text(self) -> None:
        for text, shown in [
            ("CONNECT passcode:hunter2 x", f"CONNECT passcode:{MASK} x"),
            ("{'password': 'two words', 'x': 1}", f"{{'password': {MASK}, 'x': 1}}"),
            ('{"Authorization": "Basic abc"}', f'{{"Authorization": {MASK}}}'),
            ("Authorization: Basic abc", f"Authorization: {MASK}"),
            ("amqp://guest:hunter2@host:5672/", f"amqp://guest:{MASK}@host:5672/"),
            ("http://host/a@b:c", "http://host/a@b:c"),
            ("/topic/fm/4e1/4000/09580/image", "/topic/fm/4e1/4000/09580/image"),
        ]:
            self.assertEqual(self.mask(event=text)["event"], shown)

    def test_given_words_but_not_short_ones(self) -> None:
        masked = self.mask(("dev-secret", "guest", ""), url="http://h/api/dev-secret/x", user="guest")
        self.assertEqual(masked, {"url": f"http://h/api/{MASK}/x", "user": "guest"})

    def test_objects_are_masked_in_their_text_form(self) -> None:
        class Connection:
            def __repr__(self) -> str:
                return "<Connection amqp://guest:hunter2@host>"

        self.assertEqual(self.mask(to=Connection())["to"], f"<Connection amqp://guest:{MASK}@host>")

    def test_nesting_has_a_bound(self) -> None:
        nested: list[Any] = []
        for _ in range(5_000):
            nested = [nested]
        cyclic: list[Any] = []
        cyclic.append(cyclic)
        self.assertEqual(self.mask(cyclic=cyclic, deep=nested), {"cyclic": [[[[["…"]]]]], "deep": [[[[["…"]]]]]})

    def test_an_event_cannot_forge_a_second_line_nor_steer_a_terminal(self) -> None:
        masked = self.mask(event="bad\nframe", header="a\r\n\x1b[2J\x00", exception="Traceback\n  line\x1b[2J")
        self.assertEqual(
            masked,
            {"event": r"bad\nframe", "header": r"a\r\n\x1b[2J\x00", "exception": "Traceback\n  line\\x1b[2J"},
        )


class ThrottleTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = Throttle(self.clock.seconds, interval=1.0, keys=3)

    def test_one_turn_per_key_and_interval(self) -> None:
        turns = []
        for _ in range(4):
            turns.append([self.throttle.allow("a"), self.throttle.allow("b")])
            self.clock.advance(0.5)
        self.assertEqual(turns, [[True, True], [False, False], [True, True], [False, False]])

    def test_counts_what_was_held_back_until_the_next_turn(self) -> None:
        for _ in range(6):
            self.throttle.allow("a")
        self.assertEqual(self.throttle.held_back("a"), 0)
        self.clock.advance(1)
        self.assertTrue(self.throttle.allow("a"))
        self.assertEqual(self.throttle.held_back("a"), 5)
        self.clock.advance(1)
        self.throttle.allow("a")
        self.assertEqual(self.throttle.held_back("a"), 0)

    def test_memory_is_bounded_and_the_oldest_turn_is_forgotten(self) -> None:
        for key in "abcd":
            self.throttle.allow(key)
        self.assertEqual([self.throttle.allow(key) for key in "bcd"], [False] * 3)
        self.assertTrue(self.throttle.allow("a"), "the fourth key pushed it out")
        self.assertTrue(self.throttle.allow("b"), "and now it pushed out b")
        self.assertEqual(self.throttle.held_back("nobody"), 0)
