"""RadioVIS over HTTP (RVIS01 §5, contract §4): long polls and event streams.

:class:`Polls`: ``vis.json``, and ``/comet``, the form of early servers in plain text.

:class:`Push`: ``GET /radiodns/push/1.0/<service identifier>`` sends the slides and texts of one station as server-sent
events ``image`` and ``text``, like the RadioDNS demo (contract §4, last row). The last ones are sent at once.
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

# Two or more parts after /topic/, without characters that no topic contains.
_TOPIC = re.compile(r"/topic(?:/[^/\s\x00-\x1f\x7f]+){2,}")
# A name, or names joined by dots. Other characters could put an attacker's script into the answer.
_CALLBACK = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*", re.ASCII)
_CALLBACK_LENGTH = 64
# Without this prefix, a content sniffer could misinterpret an answer that begins with text from the client.
_CALLBACK_PREFIX = b"/**/"
_SCRIPT = "text/javascript"
# Samsung's client sends the default User-Agent of Android: "Dalvik/1.6.0 (Linux; U; Android 4.4.2; SM-G900F
# Build/KOT49H)". Only phones of Samsung have it; the names of their models begin with:
_ANDROID = "Dalvik/"
_SAMSUNG_MODELS = ("SM-", "GT-", "SAMSUNG-", "SCH-", "SGH-", "SHV-", "SHW-", "SPH-", "SC-")
_SAMSUNG_SECONDS = 12.0
"""Limit of the seconds that a poll of Samsung's client is held, even if HTTP_POLL_TIMEOUT is longer: the client waits
for 15 s (contract §4)."""
_TYPES = ("image", "text")
_OTHER_TYPE = {"image": "text", "text": "image"}


@dataclass(frozen=True, slots=True)
class VisForm:
    """A message as a JSON object. The destination is the client's own spelling (contract §2, change 1)."""

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets of the object. A message without a trigger time gets NOW, because Samsung's receiver only shows
        slides with this trigger time. Brackets in texts are escaped, because the receiver takes any answer that
        contains a ``[`` for an array (contract §5.4).
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
        """``GET …/vis.json?topic=…[&topic=…][&last_id=…][&callback=…]``: a JSON object for one topic, or an array for
        several topics. With a callback, the answer is a script that calls it with this value.
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
        """``GET /comet?topic=…[&topic=…][&last_id=…]``: the next message: its body, and the rest as HTTP headers."""
        topics = tuple(dict.fromkeys(self._topics(request)))
        return NextValue(topics, VisForm, _plain, request.query("last_id"), newest=True)

    def _topics(self, request: Request) -> list[str]:
        """The topics of a query. :raises HttpError: there are none or too many, or one of them is invalid."""
        topics = request.queries("topic")
        if not topics:
            raise HttpError(400, "The URL must contain a topic, such as ?topic=/topic/fm/4e1/4000/09580/image.")
        if len(topics) > MAX_TOPICS:
            raise HttpError(400, f"Up to {MAX_TOPICS} topics at once; these are {len(topics)}.")
        for topic in topics:
            check_topic(topic)
        return topics


def _is_samsung(agent: str) -> bool:
    """Whether a User-Agent may be that of Samsung's client (``com.sec.android.app.dns``)."""
    return agent.startswith(_ANDROID) and any(f"; {model}" in agent for model in _SAMSUNG_MODELS)


def _empty(topic: str) -> Response:
    """The answer without a new message for Samsung's client, which stops after a 408: it then sends its next request on
    a connection that it has closed.

    The client also stops after an empty body, or an array without TEXT and SHOW. After an object whose body is neither,
    it requests the topic type of the object's destination without its last id. So this destination has the other type
    of the two: otherwise the client would only request one of them until a message is published on it.

    :param topic: the last topic of the request.
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
    """:raises HttpError: the topic is too long or malformed."""
    if len(topic.encode()) > MAX_DESTINATION_BYTES:
        raise HttpError(400, f"A topic may have {MAX_DESTINATION_BYTES} octets.")
    if not _TOPIC.fullmatch(topic):
        raise HttpError(400, "A topic must have a form like /topic/fm/4e1/4000/09580/image.")


def _callback(request: Request) -> bytes | None:
    callback = request.query("callback")
    if callback is None:
        return None
    if len(callback) > _CALLBACK_LENGTH or not _CALLBACK.fullmatch(callback):
        raise HttpError(400, f"A callback must be a JavaScript name of up to {_CALLBACK_LENGTH} characters.")
    return callback.encode()


_WORDS = {"image": "SHOW ", "text": "TEXT "}


@dataclass(frozen=True, slots=True)
class PushForm:
    """A message as a server-sent event. The last part of its destination is the name of the event."""

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets of the event."""
        name = self.destination.rpartition("/")[2]
        content = message.body.decode(errors="replace").removeprefix(_WORDS[name])
        data = {"src": content.strip()} if name == "image" else {"body": content}
        data |= {key: value for key, value in message.headers if key in ("link", "trigger-time")}
        return event(name, json.dumps(data), encode_id(message.message_id))


class Push:
    """The handler. A service identifier is a channel without ``/topic/``, such as ``fm/4e1/4000/09580``."""

    async def push(self, request: Request) -> Response:
        """A stream that ends when the client disconnects."""
        channel = "/topic/" + request.parameters.get("rest", "").rstrip("/")
        check_topic(channel + "/image")
        last_id = last_event_id(request.header("last-event-id"))
        topics = tuple(f"{channel}/{each}" for each in _TYPES)
        return Response(EventStream(topics, PushForm, last_id), content_type=EVENT_STREAM)
