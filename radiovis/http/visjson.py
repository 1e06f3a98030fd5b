"""RadioVIS over HTTP (RVIS01 §5, contract §4): long polls and event streams.

:class:`Polls`: ``vis.json``, and ``/comet`` of early servers in plain text.

:class:`Push`: ``GET /radiodns/push/1.0/<service identifier>``, slides and texts of one station as server-sent events,
as the RadioDNS demo has it (contract §4, last row): events ``image`` and ``text``, the last ones at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fanout.http.limits import MAX_TOPICS, HttpSettings
from fanout.http.response import JSON, TEXT, EventStream, HttpError, NextValue, Response
from fanout.http.routing import Request
from fanout.http.sse import EVENT_STREAM, encode_id, event, last_event_id
from fanout.hub.message import Message
from fanout.stomp.limits import MAX_DESTINATION_BYTES

# Two parts or more behind /topic/, without what no topic has.
_TOPIC = re.compile(r"/topic(?:/[^/\s\x00-\x1f\x7f]+){2,}")
# A name, or names with dots. Anything more could be an attacker's script in our answer.
_CALLBACK = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*", re.ASCII)
_CALLBACK_LENGTH = 64
# So that no content sniffer takes an answer that begins with the client's own words for something else.
_CALLBACK_PREFIX = b"/**/"
_SCRIPT = "text/javascript"
# Samsung's client sets no User-Agent, so it sends Android's own: "Dalvik/1.6.0 (Linux; U; Android 4.4.2; SM-G900F
# Build/KOT49H)". It came with Samsung's phones only, whose models are called:
_ANDROID = "Dalvik/"
_SAMSUNG_MODELS = ("SM-", "GT-", "SAMSUNG-", "SCH-", "SGH-", "SHV-", "SHW-", "SPH-", "SC-")
_SAMSUNG_SECONDS = 12.0
"""Seconds such a client is held at most, whatever HTTP_POLL_TIMEOUT is: it reads for 15 s (contract §4)."""
_TYPES = ("image", "text")
_OTHER_TYPE = {"image": "text", "text": "image"}


@dataclass(frozen=True, slots=True)
class VisForm:
    """A message as a JSON object. The destination is the client's own spelling (contract §2, change 1)."""

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The object. Samsung's receiver shows only slides whose trigger time is NOW, so that is what none means. It
        takes an answer with a ``[`` anywhere for an array, so texts have no brackets (contract §5.4).
        """
        given = dict(message.headers)
        headers = {
            "RadioVIS-Message-ID": message.message_id,
            "RadioVIS-Destination": self.destination,
            "RadioVIS-Trigger-Time": given.get("trigger-time", "NOW"),
        }
        if "link" in given:
            headers["RadioVIS-Link"] = given["link"]
        written = json.dumps({"body": message.body.decode(errors="replace"), "headers": headers})
        return written.replace("[", "\\u005b").replace("]", "\\u005d").encode()  # the object itself has none


class Polls:
    """Handlers of long polls.

    :ivar settings: HTTP_POLL_TIMEOUT; may be replaced at any time.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings

    async def visjson(self, request: Request) -> NextValue:
        """``GET …/vis.json?topic=…[&topic=…][&last_id=…][&callback=…]``: a JSON object for one topic, an array for
        several, or a call of the callback with these.
        """
        topics = self._topics(request)
        callback = _callback(request)
        single = len(topics) == 1

        def answer(objects: Sequence[bytes]) -> Response:
            body = objects[0] if single else b"[" + b",".join(objects) + b"]"
            if callback is None:
                return Response(body + b"\n", content_type=JSON)
            return Response(_CALLBACK_PREFIX + callback + b"(" + body + b");\n", content_type=_SCRIPT)

        samsung = callback is None and _is_samsung(request.header("user-agent") or "")
        return NextValue(
            tuple(dict.fromkeys(topics)),
            VisForm,
            answer,
            request.query("last_id"),
            single=single,
            newest=True,
            seconds=min(self.settings.HTTP_POLL_TIMEOUT, _SAMSUNG_SECONDS) if samsung else None,
            nothing=_empty(topics[-1]) if samsung else None,
            content_type=JSON if callback is None else _SCRIPT,
        )

    async def comet(self, request: Request) -> NextValue:
        """``GET /comet?topic=…[&topic=…][&last_id=…]``: the next message's body, with the rest in headers of HTTP."""
        topics = tuple(dict.fromkeys(self._topics(request)))
        return NextValue(topics, VisForm, _plain, request.query("last_id"), newest=True)

    def _topics(self, request: Request) -> list[str]:
        """The topics of a query. :raises HttpError: none, too many, or one that cannot be a topic."""
        topics = request.queries("topic")
        if not topics:
            raise HttpError(400, "This needs a topic, such as ?topic=/topic/fm/4e1/4000/09580/image.")
        if len(topics) > MAX_TOPICS:
            raise HttpError(400, f"Up to {MAX_TOPICS} topics at once; these are {len(topics)}.")
        for topic in topics:
            check_topic(topic)
        return topics


def _is_samsung(agent: str) -> bool:
    """Whether a User-Agent is that of Samsung's client (``com.sec.android.app.dns``)."""
    return agent.startswith(_ANDROID) and any(f"; {model}" in agent for model in _SAMSUNG_MODELS)


def _empty(topic: str) -> Response:
    """Nothing new, for a client that stops at a 408: it asks again on a connection that it has closed, which fails.

    It takes an empty body, or an array without TEXT and SHOW, for the end as well. An object whose body is neither
    makes it ask for the type of the destination without its last id. That is the other one of its two types: it would
    ask for nothing else as long as nothing is published on a topic.
    """
    channel, _, last = topic.rpartition("/")
    destination = f"{channel}/{_OTHER_TYPE.get(last, last)}"
    return Response.json({"body": "", "headers": {"RadioVIS-Destination": destination}})


def _plain(objects: Sequence[bytes]) -> Response:
    message = json.loads(objects[0])
    return Response(
        message["body"].encode(errors="replace"), content_type=TEXT, headers=tuple(message["headers"].items())
    )


def check_topic(topic: str) -> None:
    """:raises HttpError: this cannot be a topic."""
    if len(topic.encode()) > MAX_DESTINATION_BYTES:
        raise HttpError(400, f"A topic may have {MAX_DESTINATION_BYTES} octets.")
    if not _TOPIC.fullmatch(topic):
        raise HttpError(400, "A topic is written like /topic/fm/4e1/4000/09580/image; this one is not.")


def _callback(request: Request) -> bytes | None:
    callback = request.query("callback")
    if callback is None:
        return None
    if len(callback) > _CALLBACK_LENGTH or not _CALLBACK.fullmatch(callback):
        raise HttpError(400, f"A callback is a name of JavaScript with up to {_CALLBACK_LENGTH} characters.")
    return callback.encode()


_WORDS = {"image": "SHOW ", "text": "TEXT "}


@dataclass(frozen=True, slots=True)
class PushForm:
    """A message as an event: the last part of its destination is the event's name."""

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The event."""
        name = self.destination.rpartition("/")[2]
        content = message.body.decode(errors="replace").removeprefix(_WORDS[name])
        data = {"src": content.strip()} if name == "image" else {"body": content}
        data |= {key: value for key, value in message.headers if key in ("link", "trigger-time")}
        return event(name, json.dumps(data), encode_id(message.message_id))


class Push:
    """The handler. The service identifier is a channel without ``/topic/``, such as ``fm/4e1/4000/09580``."""

    async def push(self, request: Request) -> Response:
        """A stream that lasts until the client goes."""
        channel = "/topic/" + request.parameters.get("rest", "").rstrip("/")
        check_topic(channel + "/image")
        last_id = last_event_id(request.header("last-event-id"))
        topics = tuple(f"{channel}/{each}" for each in _TYPES)
        return Response(EventStream(topics, PushForm, last_id), content_type=EVENT_STREAM)
