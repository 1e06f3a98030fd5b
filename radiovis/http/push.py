"""``GET /radiodns/push/1.0/<service identifier>``: slides and texts of one station as server-sent events.

As the RadioDNS demo has it (contract §4, last row): events ``image`` and ``text``, the last ones at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fanout.http.dispatch import Endpoint
from fanout.http.pending import PendingRequests
from fanout.http.response import HttpError
from fanout.http.server import HttpRequest
from fanout.http.sse import EVENT_STREAM, encode_id, event, last_event_id, stream
from fanout.hub.message import Message
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


class Push(Endpoint):
    """The service identifier is a channel without ``/topic/``, such as ``fm/4e1/4000/09580``."""

    def __init__(self, door: PendingRequests, topic_octets: int = 1_024) -> None:
        super().__init__()
        self._door = door
        self._topic_octets = topic_octets

    async def respond(self, request: HttpRequest) -> None:
        """Stream until the client goes."""
        channel = self._channel(request)
        last_id = last_event_id(request.getHeader("last-event-id"))
        await stream(self._door, request, [f"{channel}/{each}" for each in _TYPES], PushForm, last_id)

    async def announce(self, request: HttpRequest) -> None:
        """That there would be a stream."""
        self._channel(request)
        request.announce(EVENT_STREAM)

    def _channel(self, request: HttpRequest) -> str:
        channel = "/topic/" + _service(request)
        check_topic(channel + "/image", self._topic_octets)
        return channel


def _service(request: HttpRequest) -> str:
    try:
        return b"/".join(request.postpath or []).decode().rstrip("/")
    except UnicodeDecodeError:
        raise HttpError(400, "A service identifier is written like fm/4e1/4000/09580.") from None
