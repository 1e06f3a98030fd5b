"""Monitoring events about clients and messages, sent to a separate broker (contract §1.11; ``MONITORING_…``).

Each event is one AMQP message: a JSON object with ``type``, ``label``, ``timestamp``, ``server`` and ``metadata``.
Deliveries are counted per topic and second. The original sent one event per delivery, with the client's address and the
complete body; ``MONITORING_PER_DELIVERY`` does the same (§2, change 11).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from pika.spec import BasicProperties
from twisted.internet.defer import Deferred

from fanout.application.observer import Client, DeliveryObserver, Observer
from fanout.bus.interface import BusState
from fanout.bus.publisher import Publisher
from fanout.hub.message import Message
from radiovis.settings import MonitoringSettings

_LABEL = "radiovis.global."
_COMPACT = json.JSONEncoder(separators=(",", ":"))
_IPV4_KEPT, _IPV6_KEPT = 24, 48  # bits of a masked address: a provider's region, but no household


class MonitoringEvents(Observer):
    """Sends an event for each report.

    The end of a subscription is not an event: in the original, ``unsubscriptions`` are part of a close (contract
    §1.11).
    """

    def __init__(
        self,
        reactor: Any,
        publisher: Publisher,
        settings: MonitoringSettings,
        *,
        announce: str = "servers",
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """
        :param reactor: Twisted's reactor.
        :param publisher: sends the events.
        :param settings: may be replaced at any time.
        :param announce: the last part of the label of the first event.
        :param unix_time: seconds since 1970.
        """
        self._reactor = reactor
        self._unix_time = unix_time
        self._publisher = publisher
        self.settings = settings
        self._announce = announce
        self._counts: Counter[str] = Counter()
        self._second = 0
        self._count_call: Any = None

    @property
    def settings(self) -> MonitoringSettings:
        """The current settings."""
        return self._settings

    @settings.setter
    def settings(self, settings: MonitoringSettings) -> None:
        self._settings = settings
        self._servers = settings.MONITORING_SERVER_ID.split(",")
        self._per_delivery = settings.MONITORING_PER_DELIVERY  # Read for every delivery.
        self._shown = masked if settings.MONITORING_ADDRESSES == "masked" else str

    def start(self) -> None:
        """Connect, and send the event that this process has started."""
        self._publisher.start()
        self.emit(self._announce, "")

    def state(self) -> BusState:
        """Whether the broker accepts events now, and the reason if it does not."""
        return self._publisher.state()

    def stop(self) -> Deferred[None]:
        """Send the waiting events, as far as the broker accepts them soon, and disconnect."""
        if self._count_call is not None:
            self._count_call.cancel()
            self._emit_counts()
        return self._publisher.stop()

    def emit(self, label: str, metadata: object, timestamp: float | None = None) -> None:
        """Send one event.

        :param label: the last part of its label, such as ``connections``.
        :param metadata: a JSON value.
        :param timestamp: Unix time in seconds; None for the current time.
        """
        when = self._unix_time() if timestamp is None else timestamp
        event = {
            "type": "log",
            "label": _LABEL + label,
            "timestamp": when,
            "server": self._servers,
            "metadata": metadata,
        }
        self._publisher.publish(BasicProperties(headers={"when": str(int(when))}), _COMPACT.encode(event).encode())

    # Observer

    def opened(self, client: Client) -> None:
        """See :meth:`Observer.opened <fanout.application.observer.Observer.opened>`."""
        self.emit("connections", self._client(client))

    def closed(self, client: Client, held: Sequence[str]) -> None:
        """See :meth:`Observer.closed <fanout.application.observer.Observer.closed>`."""
        for topic in held:
            self.emit("unsubscriptions", {"topic": topic, **self._client(client)})
        self.emit("disconnections", self._client(client))

    def subscribed(self, client: Client, topic: str) -> None:
        """See :meth:`Observer.subscribed <fanout.application.observer.Observer.subscribed>`."""
        self.emit("subscriptions", {"topic": topic, **self._client(client)})

    def delivered(self, topic: str, clients: int) -> None:
        """Count a delivery. The event is sent at the end of the second."""
        if self._per_delivery:
            return
        self._counts[topic] += clients
        if self._count_call is None:
            now = self._unix_time()
            self._second = int(now)
            self._count_call = self._reactor.callLater(self._second + 1 - now, self._emit_counts)

    @property
    def delivery_observer(self) -> DeliveryObserver | None:
        """Called for every delivery; None if deliveries are only counted."""
        return self._emit_delivery if self._per_delivery else None

    # Events

    def _client(self, client: Client) -> dict[str, str]:
        return {"session_id": client.session, "ip": self._shown(client.address)}

    def _emit_counts(self) -> None:
        self._count_call = None
        counts, self._counts = self._counts, Counter()
        for topic, count in counts.items():
            self.emit("messages", {"topic": topic, "count": count}, float(self._second))

    def _emit_delivery(self, client: Client, topic: str, message: Message) -> None:
        body = message.body.decode(errors="replace")
        metadata = {
            "topic": topic,
            "session_id": client.session,
            "body": body,
            "ip": self._shown(client.address),
        }
        self.emit("messages", metadata)


def masked(address: str) -> str:
    """An address with port in the same form, reduced to its network, so that it does not identify a person."""
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        ip = ip_address(host)
    except ValueError:
        return ""
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if isinstance(ip, IPv6Address):
        return f"[{ip_network((ip, _IPV6_KEPT), strict=False).network_address}]:0"
    return f"{ip_network((ip, _IPV4_KEPT), strict=False).network_address}:0"
