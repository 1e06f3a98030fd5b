"""The JSON interface of a node for the operators' pages and scripts. For the journal see ``journal_search.py``.

``GET /api/overview[?since=<Unix time>]``: the current state of the node::

    {"version": "1.0.0", "started": 1795304655.1, "now": …, "health": <as /readyz>,
     "clients": {"total": 3, "by_protocol": [{"protocol": "stomp", "version": "1.2", "clients": 3}]},
     "topics": {"listened": 2, "remembered": 5, "busiest": [{"topic": "/topic/…", "subscriptions": 2}]},
     "rates": {"interval": 5, "times": [Unix, s], "messages": [per s], "deliveries": [per s], "clients": [number]},
     "slowest": [{"address", "protocol", "waiting", "octets", "dropped", "blocked"}],
     "bus": {"connected": true, "reason": "…", "waiting": 0, "counters": {"received": 7, …}},
     "tasks": [{"name", "failing", "last_success", "last_error", "last_error_at", "restarts"}], "journal": false,
     "preflight": {"mode": "warn", "recent": [{"topic", "when", "body", "complaints": ["…"], "looked": true}]},
     "schedule": {"held": 3, "most": 1000, "next": [{"topic", "message_id", "at": Unix, s, "body"}]}}

With ``since``, ``rates`` only contains later intervals. ``tasks`` are those of the watchdog; they are empty in a
cluster, where fallback.py has a listener of its own. ``preflight`` is null if it is off. ``schedule`` is null if this
node does not hold messages; in a cluster ``fallback.py status`` shows them.

``GET /api/topics[?prefix=…][&after=<topic>][&limit=100]``: topics in alphabetical order, page by page::

    {"topics": [{"topic": "/topic/…", "clients": {"stomp": 2}, "last": {"message_id", "when", "headers", "body"}}],
     "next": "/topic/…", "total": 312}

``next`` is the value of ``after`` for the next page, and null at the end. ``last`` is null for a topic without a
message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from heapq import nsmallest
from typing import Any, Protocol, runtime_checkable

from fanout import __version__
from fanout.bus.interface import Bus, CountedBus
from fanout.http.response import HttpError, Response
from fanout.http.routing import Request, Route, subtree
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.metrics.health import Health
from fanout.metrics.traffic import ClientCounts, Rates
from fanout.process.supervised_tasks import TaskState
from radiovis import topics
from radiovis.preflight.message_check import Preflight
from radiovis.schedule.held_slides import HeldSlides

_SHOWN = 20  # busiest topics, slowest clients
_PAGE, _LARGEST_PAGE = 100, 1_000
_BODY = 2_048  # characters of a last message that are shown


@runtime_checkable
class CountingBus(Protocol):
    """A bus that counts what happens to its messages."""

    @property
    def counters(self) -> Any:
        """A dataclass of numbers."""
        ...


@dataclass(frozen=True, slots=True)
class NodeView:
    """The parts of a node that operators can see. The node makes this object.

    :ivar tasks: returns the states of the watchdog's tasks; empty in a cluster.
    :ivar journal: whether there is a journal that can be searched.
    :ivar preflight: checks slides; None if it is off.
    :ivar schedule: holds messages; None if this node does not.
    :ivar clock: Unix time in seconds.
    :ivar started: when the node was made, in seconds of that clock.
    """

    hub: Hub
    client_counts: ClientCounts
    bus: Bus
    health: Health
    rates: Rates
    tasks: Callable[[], Sequence[TaskState]]
    journal: bool
    preflight: Preflight | None
    schedule: HeldSlides | None
    clock: Callable[[], float]
    started: float


class NodeApi:
    """The handlers of the interface."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    def routes(self) -> list[Route]:
        """The rows of the routing table."""
        return [
            *subtree("/status", GET=self.status),
            *subtree("/api/overview", GET=self.overview),
            *subtree("/api/topics", GET=self.topics),
        ]

    async def overview(self, request: Request) -> Response:
        """``/api/overview``: see the head of this file."""
        view = self._view
        overview = {
            "version": __version__,
            "started": view.started,
            "now": view.clock(),
            "health": view.health.report(),
            "clients": _clients(view.client_counts),
            "topics": _topics(view),
            "rates": view.rates.report(number(request, "since", 0.0)),
            "slowest": [asdict(each) for each in view.client_counts.slowest(_SHOWN)],
            "bus": _bus(view.bus),
            "tasks": [asdict(each) for each in view.tasks()],
            "journal": view.journal,
            "preflight": None if view.preflight is None else _preflight(view.preflight),
            "schedule": None if view.schedule is None else view.schedule.report(),
        }
        return Response.json(overview)

    async def topics(self, request: Request) -> Response:
        """``/api/topics``: see the head of this file."""
        prefix, after = request.query("prefix") or "", request.query("after") or ""
        limit = int(number(request, "limit", _PAGE, 1, _LARGEST_PAGE))
        hub = self._view.hub
        known = {topic for topic in (*hub.topics(), *hub.remembered) if topic.startswith(prefix)}
        page = nsmallest(limit + 1, (topic for topic in known if topic > after))
        shown = page[:limit]
        answer = {
            "topics": [self._topic(topic) for topic in shown],
            "next": shown[-1] if len(page) > limit else None,
            "total": len(known),
        }
        return Response.json(answer)

    def _topic(self, topic: str) -> dict[str, Any]:
        last = self._view.hub.last(topic)
        clients = self._view.client_counts.of_topic(topic)
        return {"topic": topic, "clients": clients, "last": None if last is None else _message(last)}

    async def status(self, request: Request) -> Response:
        """``/status`` for monitoring software, in the form of BBC's server (contract §5, lesson 8).

        The text begins with OK as long as the node is alive, whether it is ready or not. The further lines count
        clients: those of the node, and those of each service, the service with the most clients first: ``12
        /topic/fm/4e1/4000/09580/``. A service is the common part of its topics ``image`` and ``text``.
        """
        services = self._view.client_counts.services(topics.channel_of)
        counted = sorted(services.items(), key=lambda each: (-each[1], each[0]))
        total = f"{self._view.client_counts.total()} clients"
        return Response.text("\n".join(["OK", total, *(f"{count} {name}" for name, count in counted), ""]))


def number(request: Request, name: str, default: float, least: float = 0, most: float = float("inf")) -> float:
    """A parameter that is a number.

    :raises HttpError: it is not a number, or not within these bounds.
    """
    text = request.query(name)
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


def _topics(view: NodeView) -> dict[str, Any]:
    busiest = [{"topic": topic, "subscriptions": count} for topic, count in view.client_counts.busiest(_SHOWN)]
    return {
        "listened": len(view.hub.topics()),
        "remembered": len(view.hub.remembered),
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
