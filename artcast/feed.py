"""The path of a datum: from a port or the bus to the hub, which delivers it once to each client that waits for its
key.

Text for radios (:func:`artcast.forms.as_body`) takes another path within RadioVIS: over the bus to the host, which
publishes it like the messages of its stations, so that it knows that the topic is alive, and which message was last.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from hashlib import sha256

import structlog
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from artcast.catalogue import Catalogue, Copies
from artcast.datum import Datum, as_json, as_value, read_datum, read_registration
from artcast.forms import as_body, is_for_radios
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
_TEXT = ("content-type", "text/plain; charset=utf-8")
_DIGITS = 16  # of the name of a source, by which copies are recognised for some seconds

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
        hosted: bool = False,
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
        :param hosted: whether another application takes from the bus what :meth:`hear` does not.
        """
        self._hub = hub
        self._publish = publish
        self._catalogue = catalogue
        self._copies = copies
        self._prefix = prefix
        self._key_octets = key_octets
        self._now = now
        self._hosted = hosted
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
        topic = self._prefix + datum.key
        message = self._message(topic, as_body(topic, datum.value))
        sender = f"{source[0]}:{source[1]}"
        if self._is_for_host(message):
            sender = sha256(sender.encode()).hexdigest()[:_DIGITS]  # the host shows all headers
        if self._copies.is_copy(_OURS, sender, datum.key, datum.value):
            return
        if not self._is_for_host(message):
            self._hub.publish(topic, message)
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
        return Message(topic, body, f"{self._server}-{self._count}", int(self._now()), (_kind(topic, body),))

    def _is_for_host(self, message: Message) -> bool:
        return self._hosted and is_for_radios(message.topic, message.body)

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

        :return: whether Artcast has handled it. If not, it is for another application or for the host.
        """
        if not message.topic.startswith((self._prefix, REGISTRATIONS)):
            return False
        way = message.message_id.partition("-")[0]
        for_host = self._is_for_host(message)
        if way == self._server:
            return not for_host
        try:
            return self._take(message, way, for_host=for_host)
        except MalformedDatagram as error:
            self._warn(message.topic, str(error))
        return True

    def _take(self, message: Message, way: str, *, for_host: bool) -> bool:
        """Handle a message of another server.

        :return: whether Artcast has handled it. This includes copies, because otherwise radios would get them twice.
        """
        if message.topic.startswith(REGISTRATIONS):
            registration = read_registration(message.body, self._key_octets)
            self._catalogue.register(registration.key, registration.facts)
            return True
        datum = Datum(message.topic.removeprefix(self._prefix), as_value(message.topic, message.body))
        self._catalogue.mention(datum.key)
        source = dict(message.headers).get(_SOURCE)
        if source is not None and self._copies.is_copy(way, source, datum.key, datum.value):
            return True
        if not for_host:
            body = as_body(message.topic, datum.value)
            heard = Message(message.topic, body, message.message_id, message.when, (_kind(message.topic, body),))
            self._hub.publish(heard.topic, heard)
        return not for_host

    def _warn(self, topic: str, reason: str) -> None:
        if self._throttle.allow(topic):
            log.error("message.ignored", topic=topic, reason=reason, held_back=self._throttle.held_back(topic))


def _kind(topic: str, body: bytes) -> tuple[str, str]:
    return _TEXT if is_for_radios(topic, body) else _JSON
