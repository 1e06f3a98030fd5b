"""The path of a datum: from a port or the bus to the hub, which delivers it once to each client that waits for its
key.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import structlog
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from artcast.catalogue import Catalogue, Copies
from artcast.datum import Datum, as_json, parse, read_datum, read_registration
from fanout.bus.interface import BusError
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.listeners.datagrams import MalformedDatagram, Source
from fanout.process.logs import Throttle

REGISTRATIONS = "/artcast/registrations/"
"""Registrations have topics of their own on the bus, because clients that receive values do not need them."""
_OURS = "own port"
_SOURCE = "artcast-source"
_JSON = ("content-type", "application/json")

log = structlog.get_logger(__name__)


class Feed:
    """Passes values on: to the clients of this server at once, and to the other servers over the bus."""

    def __init__(
        self,
        hub: Hub,
        publish: Callable[[Message], Deferred[None]],
        catalogue: Catalogue,
        copies: Copies,
        *,
        prefix: str,
        key_octets: int,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """
        :param hub: delivers the values.
        :param publish: publishes on the bus.
        :param catalogue: stores the keys.
        :param copies: recognises copies.
        :param prefix: prefix of topics in the hub and on the bus; the key follows.
        :param key_octets: octets of the longest key.
        :param now: Unix time in seconds.
        :param clock: a monotonic clock in seconds.
        """
        self._hub = hub
        self._publish = publish
        self._catalogue = catalogue
        self._copies = copies
        self._prefix = prefix
        self._key_octets = key_octets
        self._now = now
        self._throttle = Throttle(clock)
        self._server = uuid.uuid4().hex
        self._count = 0

    # From a port

    def take_datum(self, datagram: bytes, source: Source) -> None:
        """Handle a datagram with a value.

        :raises MalformedDatagram: it is not a value.
        """
        datum = read_datum(datagram, self._key_octets)
        self._catalogue.mention(datum.key)
        sender = f"{source[0]}:{source[1]}"
        if self._copies.is_copy(_OURS, sender, datum.key, datum.value):
            return
        message = self._message(self._prefix + datum.key, datum.value)
        self._hub.publish(message.topic, message)
        self._carry(message, (_SOURCE, sender))

    def take_registration(self, datagram: bytes, source: Source) -> None:
        """Handle a datagram with facts about a key.

        :raises MalformedDatagram: it is not a registration.
        """
        registration = read_registration(datagram, self._key_octets)
        self._catalogue.register(registration.key, registration.facts)
        self._carry(self._message(REGISTRATIONS + registration.key, as_json([registration.key, registration.facts])))

    def _message(self, topic: str, body: bytes) -> Message:
        self._count += 1
        return Message(topic, body, f"{self._server}-{self._count}", int(self._now()), (_JSON,))

    def _carry(self, message: Message, *headers: tuple[str, str]) -> None:
        carried = Message(message.topic, message.body, message.message_id, message.when, (*message.headers, *headers))
        self._publish(carried).addErrback(self._not_carried)

    def _not_carried(self, failure: Failure) -> None:
        """Log a failed publish. The clients of this server have the value; those of other servers wait for the next
        one, as after a lost datagram.
        """
        failure.trap(BusError)
        if self._throttle.allow("bus"):
            held_back = self._throttle.held_back("bus")
            log.error("bus.not_carried", reason=failure.getErrorMessage(), held_back=held_back)

    # From the bus

    def hear(self, message: Message) -> bool:
        """Handle a message of the bus, if its topic belongs to Artcast.

        :return: whether it belongs to Artcast; other messages may belong to another application.
        """
        if not message.topic.startswith((self._prefix, REGISTRATIONS)):
            return False
        way = message.message_id.partition("-")[0]
        if way != self._server:
            try:
                self._take(message, way)
            except MalformedDatagram as error:
                self._warn(message.topic, str(error))
        return True

    def _take(self, message: Message, way: str) -> None:
        if message.topic.startswith(REGISTRATIONS):
            registration = read_registration(message.body, self._key_octets)
            self._catalogue.register(registration.key, registration.facts)
            return
        datum = Datum(message.topic.removeprefix(self._prefix), as_json(parse(message.body)))
        self._catalogue.mention(datum.key)
        source = dict(message.headers).get(_SOURCE)
        if source is None or not self._copies.is_copy(way, source, datum.key, datum.value):
            heard = Message(message.topic, datum.value, message.message_id, message.when, (_JSON,))
            self._hub.publish(heard.topic, heard)

    def _warn(self, topic: str, reason: str) -> None:
        if self._throttle.allow(topic):
            log.error("message.ignored", topic=topic, reason=reason, held_back=self._throttle.held_back(topic))
