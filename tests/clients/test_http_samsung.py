"""Samsung's client at a real node: it goes on polling, whatever a station publishes, and when nothing is published."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from tests.acceptance.test_http import HttpCase as _HttpCase
from tests.clients.http_samsung import AGENT, SamsungRadio
from tests.web import ask, poll_path

_CHANNELS = [f"/topic/fm/4e1/400{number}/09580/" for number in range(8)]
_AGENTS = (
    AGENT,
    "Dalvik/1.6.0 (Linux; U; Android 4.2.2; GT-I9195 Build/JDQ39)",
    "Dalvik/2.1.0 (Linux; U; Android 5.0; SAMSUNG-SM-G900A Build/LRX21T)",
)
_OTHERS = (
    "Dalvik/1.6.0 (Linux; U; Android 4.4.2; XT1032 Build/KXB21.14-L1.40)",
    "Mozilla/5.0 (Linux; Android 4.4.2; SM-G900F Build/KOT49H) AppleWebKit/537.36 Chrome/30.0 Mobile Safari/537.36",
    "",
)
_EMPTY = b'{"body": "", "headers": {"RadioVIS-Destination": "%s"}}\n'


class _Case(_HttpCase):
    """Channels of FM, as the client can be tuned to no other. Each test has one of its own."""

    settings: ClassVar[dict[str, Any]] = {"TEST_TOPICS": json.dumps(_CHANNELS), "HTTP_POLL_TIMEOUT": 1}

    def radio(self, channel: str) -> SamsungRadio:  # type: ignore[override]
        return SamsungRadio(self.server.http, channel)

    def until_shown(self, radio: SamsungRadio, kind: str, content: str, polls: int = 6) -> None:
        for _ in range(polls):
            if (kind, content) in radio.shown:
                return
            radio.poll()
        self.fail(f"{content} is not among {radio.shown}; answers: {radio.answers}")


class TestTheLoop(_Case):
    def test_a_text_with_brackets_is_shown_and_the_loop_goes_on(self) -> None:
        channel = _CHANNELS[0]
        self.publish(f"{channel}text", "TEXT [live] Rock FM ]", "t1")
        self.publish(f"{channel}image", "SHOW http://a/1.png", "i1", link="http://[::1]/")
        radio = self.radio(channel)
        radio.poll()
        self.publish(f"{channel}text", "TEXT [now] a song", "t2")
        self.until_shown(radio, "text", "[now] a song")
        self.publish(f"{channel}image", "SHOW http://a/2.png?x[]=1", "i2", link="http://[::1]/")
        self.until_shown(radio, "image", "http://a/2.png?x[]=1")
        self.assertFalse(radio.swapped)
        self.assertIsNotNone(radio.request)

    def test_brackets_are_escaped_in_a_script_too(self) -> None:
        self.publish(f"{_CHANNELS[1]}text", "TEXT [a]", "t1")
        answer = ask(self.server.http, poll_path(f"{_CHANNELS[1]}text", callback="show"))
        self.assertIn(rb'"TEXT \u005ba\u005d"', answer.body)

    def test_a_station_that_publishes_nothing_and_begins_to(self) -> None:
        channel = _CHANNELS[2]
        radio = self.radio(channel)
        for _ in range(3):
            radio.poll()
        destinations = [f"{channel}{kind}".encode() for kind in ("image", "text", "image")]
        self.assertEqual(radio.answers, [(200, _EMPTY % each) for each in destinations])
        self.publish(f"{channel}text", "TEXT Good morning", "t1")
        self.until_shown(radio, "text", "Good morning")
        self.assertFalse(radio.swapped)

    def test_a_station_with_slides_only_shows_each_of_them(self) -> None:
        """While it waits for a text, it would ask for no slide."""
        channel = _CHANNELS[3]
        self.publish(f"{channel}image", "SHOW http://a/1.png", "i1")
        radio = self.radio(channel)
        for number in (1, 2, 3):
            self.until_shown(radio, "image", f"http://a/{number}.png")
            self.publish(f"{channel}image", f"SHOW http://a/{number + 1}.png", f"i{number + 1}")
        self.assertFalse(radio.swapped)

    def test_which_clients_get_an_empty_answer(self) -> None:
        text, image = f"{_CHANNELS[4]}text", f"{_CHANNELS[4]}image"
        asked = [(poll_path(text), agent) for agent in (*_AGENTS, *_OTHERS)]
        asked.append((poll_path(text, callback="show"), AGENT))
        with ThreadPoolExecutor() as pool:  # they are held side by side
            answers = list(pool.map(lambda each: ask(self.server.http, each[0], user_agent=each[1]), asked))
        self.assertEqual([each.status for each in answers], [200, 200, 200, 408, 408, 408, 408])
        for answer in answers[:3]:
            self.assertEqual(answer.headers["content-type"], "application/json")
            self.assertEqual(answer.body, _EMPTY % image.encode())

    def test_the_client_of_before_would_have_stopped(self) -> None:
        """That the model of the client has the client's faults: without our care it gives HTTP up."""
        for status, body in ((408, b""), (200, b""), (503, b"{}")):
            radio = SamsungRadio(self.server.http, _CHANNELS[5])
            radio._next = None
            radio.take(status, body)
            self.assertTrue(radio.swapped)
        radio = SamsungRadio(self.server.http, _CHANNELS[5])
        radio._next = None
        radio.take(200, b'{"body": "TEXT [live]", "headers": {}}')
        self.assertIsNone(radio.request)


class TestTheTimeItReads(_Case):
    settings: ClassVar[dict[str, Any]] = {
        **_Case.settings,
        "HTTP_POLL_TIMEOUT": 300,
        "radiovis.http.visjson._SAMSUNG_SECONDS": 1,
    }

    def test_it_is_held_for_less_than_it_reads_whatever_the_setting_is(self) -> None:
        radio = self.radio(_CHANNELS[6])
        radio.poll()
        self.assertEqual(radio.answers[0][0], 200)
