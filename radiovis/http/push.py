"""``GET /radiodns/push/1.0/<service identifier>``: slides and texts of one station as server-sent events.

As the RadioDNS demo has it (contract §4, last row): events ``image`` and ``text``, the last ones at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fanout.http.response import EventStream, Response
from fanout.http.routing import Request
from fanout.http.sse import EVENT_STREAM, encode_id, event, last_event_id
from fanout.hub.message import Message
from fanout.settings import LimitSettings
from radiovis.http.visjson import check_topic

_TYPES = ("image", "text")
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

    def __init__(self, settings: LimitSettings) -> None:
        self.settings = settings

    async def push(self, request: Request) -> Response:
        """A stream that lasts until the client goes."""
        channel = "/topic/" + request.parameters.get("rest", "").rstrip("/")
        check_topic(channel + "/image", self.settings)
        last_id = last_event_id(request.header("last-event-id"))
        topics = tuple(f"{channel}/{each}" for each in _TYPES)
        return Response(EventStream(topics, PushForm, last_id), content_type=EVENT_STREAM)
