"""What the operator's pages and scripts ask a node, as JSON. For the journal see ``journal_api.py``.

``GET /api/overview[?since=<Unix time>]``: how everything is at this moment::

    {"version": "1.0.0", "started": 1795304655.1, "now": …, "health": <as /readyz>,
     "clients": {"total": 3, "by_protocol": [{"protocol": "stomp", "version": "1.2", "clients": 3}]},
     "topics": {"listened": 2, "remembered": 5, "busiest": [{"topic": "/topic/…", "subscriptions": 2}]},
     "rates": {"interval": 5, "times": [Unix, s], "messages": [per s], "deliveries": [per s], "clients": [number]},
     "slowest": [{"address", "protocol", "waiting", "octets", "dropped", "blocked"}],
     "bus": {"connected": true, "reason": "…", "waiting": 0, "counters": {"received": 7, …}},
     "tasks": [{"name", "failing", "last_success", "last_error", "last_error_at", "restarts"}], "journal": false,
     "preflight": {"mode": "warn", "recent": [{"topic", "when", "body", "complaints": ["…"], "looked": true}]},
     "schedule": {"held": 3, "most": 1000, "next": [{"topic", "message_id", "at": Unix, s, "body"}]}}

``since`` leaves out of ``rates`` what the page has already. ``tasks`` are the watchdog's, and empty in a cluster, where
fallback.py has its own listener. ``preflight`` is null when it is off, ``schedule`` where this node holds nothing: in a
cluster ``fallback.py status`` tells.

``GET /api/topics[?prefix=…][&after=<topic>][&limit=100]``: topics in alphabetical order, page by page::

    {"topics": [{"topic": "/topic/…", "clients": {"stomp": 2}, "last": {"message_id", "when", "headers", "body"}}],
     "next": "/topic/…", "total": 312}

``next`` goes into ``after`` for the next page; null at the end. ``last`` is null where nothing was said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from heapq import nsmallest
from typing import Any

from fanout import __version__
from fanout.bus.interface import Bus, CountedBus
from fanout.http.dispatch import Endpoint
from fanout.http.response import HttpError, parameter
from fanout.http.server import HttpRequest
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.metrics.client_counts import ClientCounts
from fanout.metrics.health import Health
from fanout.metrics.rates import Rates
from fanout.process.supervisor import TaskState
from radiovis import topics
from radiovis.preflight.slide_check import Preflight
from radiovis.schedule.held_slides import Schedule

_SHOWN = 20  # busiest topics, slowest clients
_PAGE, _LARGEST_PAGE = 100, 1_000
_BODY = 2_048  # characters of a last message that are shown


@dataclass(frozen=True, slots=True)
class NodeView:
    """What there is to see of a node.

    :ivar tasks: how the watchdog's tasks are doing; none in a cluster.
    :ivar journal: whether there is a journal to look into.
    :ivar preflight: what looks at slides, if something does.
    :ivar schedule: what holds messages, if this node does.
    :ivar clock: Unix time in seconds.
    :ivar started: when the node was made, on that clock.
    """

    hub: Hub
    client_counts: ClientCounts
    bus: Bus
    health: Health
    rates: Rates
    tasks: Callable[[], Sequence[TaskState]]
    journal: bool
    preflight: Preflight | None
    schedule: Schedule | None
    clock: Callable[[], float]
    started: float


class Overview(Endpoint):
    """``/api/overview``."""

    public = False

    def __init__(self, outlook: NodeView) -> None:
        super().__init__()
        self._outlook = outlook

    async def respond(self, request: HttpRequest) -> None:
        """See the top of this file."""
        outlook = self._outlook
        overview = {
            "version": __version__,
            "started": outlook.started,
            "now": outlook.clock(),
            "health": outlook.health.report(),
            "clients": _clients(outlook.client_counts),
            "topics": _topics(outlook),
            "rates": outlook.rates.report(number(request, "since", 0.0)),
            "slowest": [asdict(each) for each in outlook.client_counts.slowest(_SHOWN)],
            "bus": _bus(outlook.bus),
            "tasks": [asdict(each) for each in outlook.tasks()],
            "journal": outlook.journal,
            "preflight": None if outlook.preflight is None else _preflight(outlook.preflight),
            "schedule": None if outlook.schedule is None else outlook.schedule.report(),
        }
        request.answer_json(200, overview)


class Topics(Endpoint):
    """``/api/topics``."""

    public = False

    def __init__(self, outlook: NodeView) -> None:
        super().__init__()
        self._outlook = outlook

    async def respond(self, request: HttpRequest) -> None:
        """See the top of this file."""
        prefix, after = parameter(request, "prefix") or "", parameter(request, "after") or ""
        limit = int(number(request, "limit", _PAGE, 1, _LARGEST_PAGE))
        hub = self._outlook.hub
        known = {topic for topic in (*hub.topics(), *hub.remembered) if topic.startswith(prefix)}
        page = nsmallest(limit + 1, (topic for topic in known if topic > after))
        shown = page[:limit]
        answer = {
            "topics": [self._topic(topic) for topic in shown],
            "next": shown[-1] if len(page) > limit else None,
            "total": len(known),
        }
        request.answer_json(200, answer)

    def _topic(self, topic: str) -> dict[str, Any]:
        last = self._outlook.hub.last(topic)
        clients = self._outlook.client_counts.of_topic(topic)
        return {"topic": topic, "clients": clients, "last": None if last is None else _message(last)}


class Status(Endpoint):
    """``/status`` for monitoring software, as BBC's server has it (contract §5, lesson 8): text that begins with OK.

    The lines behind count clients: of the node, and of each service, which is what a topic's ``image`` and ``text``
    have in common, the most listened to first: ``12 /topic/fm/4e1/4000/09580/``.
    """

    public = False

    def __init__(self, outlook: NodeView) -> None:
        super().__init__()
        self._outlook = outlook

    async def respond(self, request: HttpRequest) -> None:
        """200 as long as the node lives; whether it is ready is another question."""
        services = self._outlook.client_counts.services(topics.channel_of)
        counted = sorted(services.items(), key=lambda each: (-each[1], each[0]))
        lines = [
            "OK",
            f"{self._outlook.client_counts.total()} clients",
            *(f"{count} {name}" for name, count in counted),
        ]
        request.answer(200, "\n".join([*lines, ""]).encode(), "text/plain; charset=utf-8")


def number(request: HttpRequest, name: str, default: float, least: float = 0, most: float = float("inf")) -> float:
    """A parameter that is a number. :raises HttpError: it is none, or not within these bounds."""
    text = parameter(request, name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        bounds = f"from {least:g} to {most:g}" if most < float("inf") else f"from {least:g}"
        raise HttpError(400, f"The parameter {name} is a number {bounds}.")
    return value


def _clients(client_counts: ClientCounts) -> dict[str, Any]:
    counts = sorted(client_counts.clients().items())
    by_protocol = [
        {"protocol": protocol, "version": version, "clients": count} for (protocol, version), count in counts
    ]
    return {"total": sum(count for _, count in counts), "by_protocol": by_protocol}


def _topics(outlook: NodeView) -> dict[str, Any]:
    busiest = [{"topic": topic, "subscriptions": count} for topic, count in outlook.client_counts.busiest(_SHOWN)]
    return {
        "listened": len(outlook.hub.topics()),
        "remembered": len(outlook.hub.remembered),
        "busiest": busiest,
    }


def _bus(bus: Bus) -> dict[str, Any]:
    return {**asdict(bus.state()), "counters": asdict(bus.counters) if isinstance(bus, CountedBus) else {}}


def _preflight(preflight: Preflight) -> dict[str, Any]:
    return {"mode": preflight.mode, "recent": [asdict(finding) for finding in preflight.recent]}


def _message(message: Message) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "when": message.when,
        "headers": message.headers,
        "body": message.body[: _BODY * 4].decode(errors="replace")[:_BODY],
    }
