"""RadioVIS over HTTP (RVIS01 §5, contract §4): ``vis.json``, and ``/comet`` of early servers in plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fanout.http.dispatch import Endpoint
from fanout.http.longpoll import LongPolls, Question
from fanout.http.response import HttpError, parameter, parameters
from fanout.http.server import HttpRequest
from fanout.hub.message import Message

# Two parts or more behind /topic/, without what no topic has.
_TOPIC = re.compile(r"/topic(?:/[^/\s\x00-\x1f\x7f]+){2,}")
# A name, or names with dots. Anything more would be somebody else's script in our answer.
_CALLBACK = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*", re.ASCII)
_CALLBACK_LENGTH = 64
# So that no content sniffer takes an answer that begins with the client's own words for something else.
_CALLBACK_PREFIX = b"/**/"
_JSON, _SCRIPT, _TEXT = "application/json", "text/javascript", "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class VisForm:
    """A message as a JSON object. The destination is the client's own spelling (contract §2, change 1)."""

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The object. Samsung's receiver shows only slides whose trigger time is NOW, so that is what none means."""
        given = dict(message.headers)
        headers = {
            "RadioVIS-Message-ID": message.message_id,
            "RadioVIS-Destination": self.destination,
            "RadioVIS-Trigger-Time": given.get("trigger-time", "NOW"),
        }
        if "link" in given:
            headers["RadioVIS-Link"] = given["link"]
        return json.dumps({"body": message.body.decode(errors="replace"), "headers": headers}).encode()


class VisJson(Endpoint):
    """``GET …/vis.json?topic=…[&topic=…][&last_id=…][&callback=…]``."""

    def __init__(self, polls: LongPolls, topic_octets: int = 1_024) -> None:
        super().__init__()
        self._polls = polls
        self._topic_octets = topic_octets

    async def respond(self, request: HttpRequest) -> None:
        """Answer with a JSON object for one topic, an array for several, or a call of the callback with these."""
        topics = wanted_topics(request, self._polls.requests.settings.HTTP_MAX_TOPICS, self._topic_octets)
        callback = _callback(request)
        single = len(topics) == 1

        def write(request: HttpRequest, objects: Sequence[bytes]) -> None:
            body = objects[0] if single else b"[" + b",".join(objects) + b"]"
            if callback is None:
                request.answer(200, body + b"\n", _JSON)
            else:
                request.answer(200, _CALLBACK_PREFIX + callback + b"(" + body + b");\n", _SCRIPT)

        last_id = parameter(request, "last_id")
        await self._polls.ask(request, Question(tuple(dict.fromkeys(topics)), last_id, single, VisForm, write))

    async def announce(self, request: HttpRequest) -> None:
        """At once, whatever there is to say: a HEAD is not held."""
        wanted_topics(request, self._polls.requests.settings.HTTP_MAX_TOPICS, self._topic_octets)
        request.announce(_JSON if _callback(request) is None else _SCRIPT)


class Comet(Endpoint):
    """``GET /comet?topic=…[&topic=…][&last_id=…]``: one message's body, with the rest in headers of HTTP."""

    def __init__(self, polls: LongPolls, topic_octets: int = 1_024) -> None:
        super().__init__()
        self._polls = polls
        self._topic_octets = topic_octets

    async def respond(self, request: HttpRequest) -> None:
        """Answer with the next message."""
        topics = wanted_topics(request, self._polls.requests.settings.HTTP_MAX_TOPICS, self._topic_octets)
        last_id = parameter(request, "last_id")
        await self._polls.ask(request, Question(tuple(dict.fromkeys(topics)), last_id, True, VisForm, _write_plain))

    async def announce(self, request: HttpRequest) -> None:
        """At once, whatever there is to say: a HEAD is not held."""
        wanted_topics(request, self._polls.requests.settings.HTTP_MAX_TOPICS, self._topic_octets)
        request.announce(_TEXT)


def _write_plain(request: HttpRequest, objects: Sequence[bytes]) -> None:
    message = json.loads(objects[0])
    for name, value in message["headers"].items():
        request.put_header(name, value)
    request.answer(200, message["body"].encode(errors="replace"), _TEXT)


def wanted_topics(request: HttpRequest, most: int, octets: int) -> list[str]:
    """The topics of a query. :raises HttpError: none, too many, or one that cannot be a topic."""
    topics = parameters(request, "topic")
    if not topics:
        raise HttpError(400, "This needs a topic, such as ?topic=/topic/fm/4e1/4000/09580/image.")
    if len(topics) > most:
        raise HttpError(400, f"Up to {most} topics at once; these are {len(topics)}.")
    for topic in topics:
        check_topic(topic, octets)
    return topics


def check_topic(topic: str, octets: int) -> None:
    """:raises HttpError: this cannot be a topic."""
    if len(topic.encode()) > octets:
        raise HttpError(400, f"A topic may have {octets} octets.")
    if not _TOPIC.fullmatch(topic):
        raise HttpError(400, "A topic is written like /topic/fm/4e1/4000/09580/image; this one is not.")


def _callback(request: HttpRequest) -> bytes | None:
    callback = parameter(request, "callback")
    if callback is None:
        return None
    if len(callback) > _CALLBACK_LENGTH or not _CALLBACK.fullmatch(callback):
        raise HttpError(400, f"A callback is a name of JavaScript with up to {_CALLBACK_LENGTH} characters.")
    return callback.encode()
