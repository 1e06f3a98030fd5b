"""Events about clients and messages, for whoever watches the service from outside (contract §1.11).

Each event is one AMQP message: a JSON object with ``type``, ``label``, ``timestamp``, ``server`` and ``metadata``.
Messages are counted per topic and second; one event per delivery, with the listener's address and the whole body, is
what the original sent, and has to be asked for (§2, change 11).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Protocol

from pika.spec import BasicProperties
from twisted.internet.defer import Deferred

from fanout.application.observer import Client, DeliveryObserver, Observer
from fanout.hub.message import Message

_LABEL = "radiovis.global."
_COMPACT = json.JSONEncoder(separators=(",", ":"))
_IPV4_KEPT, _IPV6_KEPT = 24, 48  # bits of a masked address: as much as a provider's region, less than a home


class Carrier(Protocol):
    """What takes the events to whoever reads them: :class:`fanout.bus.publisher.Publisher`."""

    def start(self) -> None:
        """Connect."""

    def publish(self, properties: BasicProperties, body: bytes) -> None:
        """Take an event, without waiting or failing."""

    def stop(self) -> Deferred[None]:
        """Disconnect."""


class Monitoring(Observer):
    """Turns what clients do into events.

    The end of a subscription alone is no event: readers of the original's events know ``unsubscriptions`` as part of a
    close (contract §1.11).

    :param servers: the names of this process, as the events give them.
    :param announce: the last part of the label of the first event.
    :param per_delivery: an event for every message to every client, instead of counts.
    :param shown: how a client's address, host and port, is written into the events.
    :param unix_time: seconds since 1970, by the machine's clock.
    """

    def __init__(
        self,
        reactor: Any,
        carrier: Carrier,
        servers: Sequence[str],
        *,
        announce: str = "servers",
        per_delivery: bool = False,
        shown: Callable[[str], str] = str,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self._unix_time = unix_time
        self._carrier = carrier
        self._servers = list(servers)
        self._announce = announce
        self._per_delivery = per_delivery
        self._shown = shown
        self._counts: Counter[str] = Counter()
        self._second = 0
        self._count_call: Any = None

    def start(self) -> None:
        """Connect, and say that this process has started."""
        self._carrier.start()
        self.emit(self._announce, "")

    def stop(self) -> Deferred[None]:
        """Send what there is, as far as the broker takes it soon, and disconnect."""
        if self._count_call is not None:
            self._count_call.cancel()
            self._emit_counts()
        return self._carrier.stop()

    def emit(self, label: str, metadata: object, timestamp: float | None = None) -> None:
        """Send one event.

        :param label: its last part: ``connections``.
        :param metadata: what JSON can hold.
        :param timestamp: Unix time in seconds; now unless given.
        """
        when = self._unix_time() if timestamp is None else timestamp
        event = {
            "type": "log",
            "label": _LABEL + label,
            "timestamp": when,
            "server": self._servers,
            "metadata": metadata,
        }
        self._carrier.publish(BasicProperties(headers={"when": str(int(when))}), _COMPACT.encode(event).encode())

    # Observer

    def opened(self, client: Client) -> None:
        """See :meth:`Observer.opened <fanout.application.observer.Observer.opened>`."""
        self.emit("connections", self._who(client))

    def closed(self, client: Client, held: Sequence[str]) -> None:
        """See :meth:`Observer.closed <fanout.application.observer.Observer.closed>`."""
        for topic in held:
            self.emit("unsubscriptions", {"topic": topic, **self._who(client)})
        self.emit("disconnections", self._who(client))

    def subscribed(self, client: Client, topic: str) -> None:
        """See :meth:`Observer.subscribed <fanout.application.observer.Observer.subscribed>`."""
        self.emit("subscriptions", {"topic": topic, **self._who(client)})

    def delivered(self, topic: str, clients: int) -> None:
        """Count; the event follows when the second is over."""
        if self._per_delivery:
            return
        self._counts[topic] += clients
        if self._count_call is None:
            now = self._unix_time()
            self._second = int(now)
            self._count_call = self._reactor.callLater(self._second + 1 - now, self._emit_counts)

    @property
    def delivery_observer(self) -> DeliveryObserver | None:
        """Who wants to be told of every delivery."""
        return self._emit_delivery if self._per_delivery else None

    # Events

    def _who(self, client: Client) -> dict[str, str]:
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
    """An address, host and port, in the same form, but of the network only: it names nobody."""
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
