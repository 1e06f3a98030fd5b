"""RadioVIS as the servers use it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from fanout.application.interface import Application, Peer, Principal, Refused, ResolvedTopic
from fanout.application.login_throttle import LoginThrottle
from fanout.application.observer import ClientCounters, ClientWarnings
from fanout.bus.interface import Bus, BusError, together
from fanout.hub.message import Headers, Message, Publication
from fanout.process.logs import Throttle
from radiovis.directory.interface import (
    LONGEST_TEXT_BODY,
    CertificateLogins,
    Directory,
    DirectoryError,
    body_fault,
)
from radiovis.publish_rights import PublishRights
from radiovis.topic_resolution import TopicResolver

_NO_FAST_REPLY = "x-ebu-nofastreply"
_OUTAGE = "unanswered"
_SHOWN = 200
"""Characters of a login or a topic in the log; a client may send many more."""
_HTTP = ("http", "https")


class RadioVIS:
    """An :class:`fanout.application.interface.Application`."""

    def __init__(
        self,
        directory: Directory,
        resolver: TopicResolver,
        publishing: PublishRights,
        recall: Callable[[str], Awaitable[Message | None]],
        bus: Bus,
        throttle: LoginThrottle,
        log: Any,
    ) -> None:
        """:param directory: the stations.
        :param resolver: finds the topic of a destination.
        :param publishing: decides what a station may publish.
        :param recall: finds the retained message of a topic from before the start of this node.
        :param bus: carries the published messages.
        :param throttle: delays logins after failures.
        :param log: the logger.
        """
        self._directory = directory
        self._resolver = resolver
        self._publishing = publishing
        self._recall = recall
        self._bus = bus
        self._throttle = throttle
        self._outages = Throttle(time.monotonic)
        self._log = log

    async def login(self, login: str, passcode: str, peer: Peer) -> Principal | None:
        """Check the client's certificate, or its password. If the directory does not answer, no login succeeds, and the
        client gets the same text as for a wrong password (contract §1.4).
        """
        if self._has_certificate(login, peer) or await self._has_password(login, passcode, peer.address):
            return Principal(login, login.partition(".")[0])
        return None

    def _has_certificate(self, login: str, peer: Peer) -> bool:
        """Whether the client's certificate belongs to this login. A certificate cannot be guessed, and its check costs
        little, so this login does not have to wait.
        """
        directory = self._directory
        return (
            bool(peer.certificates)
            and isinstance(directory, CertificateLogins)
            and directory.check_certificate(login, peer.certificates, peer.address)
        )

    async def _has_password(self, login: str, passcode: str, address: str) -> bool:
        await self._throttle.turn(address, login)
        try:
            known = await self._directory.check_auth(login, passcode, address)
        except DirectoryError as error:
            self._warn_of_outage(login, error)
            detail = "The directory of stations does not answer; try again later."
            raise Refused("Wrong credentials", detail, temporary=True) from None
        (self._throttle.succeeded if known else self._throttle.failed)(address, login)
        return known

    def _warn_of_outage(self, login: str, error: DirectoryError) -> None:
        """Log at most one line a minute, because every login fails in an outage."""
        if self._outages.allow(_OUTAGE):
            held_back = self._outages.held_back(_OUTAGE)
            self._log.warning("login.unanswered", login=login[:_SHOWN], reason=str(error), held_back=held_back)

    async def resolve(self, destination: str, headers: Headers) -> ResolvedTopic:
        """The hub's key of a destination. The client wants the retained slide unless ``x-ebu-nofastreply`` is ``yes``
        (contract §1.7). Blanks around it do not count, because some clients write one behind each colon (contract §2,
        change 13).
        """
        wish = dict(reversed(headers)).get(_NO_FAST_REPLY, "")  # the first of repeated headers counts
        return ResolvedTopic(await self._resolver.resolve(destination), replay=wish.strip() != "yes")

    async def recall(self, topic: str) -> Message | None:
        """The retained slide that another node stored, or this one before its start."""
        return await self._recall(topic)

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages of these publications, if they are allowed."""
        return await self._publishing.admit(principal, publications)

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Pass messages to the bus. The Deferred fires when it has accepted all of them."""
        if len(messages) == 1:
            return self._bus.publish(messages[0])
        if not messages:
            return succeed(None)
        return together(self._bus.publish(each) for each in messages)

    def receipt_headers(self, messages: Sequence[Message]) -> None:
        """None: the broker has the messages, and there are no headers to add."""


class CountedApplication:
    """Counts the answers of another application, and logs accepted logins and refused publishes. All servers share one,
    so none of them has to do this.

    It is not an :class:`~fanout.application.interface.Extension`: methods that count nothing are the inner
    application's own, so that a publish does not cost a further call.
    """

    def __init__(self, application: Application, counters: ClientCounters, client_warnings: ClientWarnings) -> None:
        self._application = application
        self._counters = counters
        self._client_warnings = client_warnings
        self.resolve = application.resolve
        self.recall = application.recall
        self.receipt_headers = application.receipt_headers

    async def login(self, login: str, passcode: str, peer: Peer) -> Principal | None:
        """See :meth:`Application.login <fanout.application.interface.Application.login>`."""
        warnings, shown = self._client_warnings, login[:_SHOWN]
        try:
            principal = await self._application.login(login, passcode, peer)
        except Refused as refused:
            self._counters.logins["unanswered"] += 1
            warnings.warn("login.put_off", peer.address, login=shown, interface=peer.interface, reason=refused.summary)
            raise
        self._counters.logins["refused" if principal is None else "accepted"] += 1
        if principal is not None:
            warnings.note("login.accepted", peer.address, login=shown, interface=peer.interface)
        return principal

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """See :meth:`Application.admit <fanout.application.interface.Application.admit>`."""
        try:
            messages = await self._application.admit(principal, publications)
            for each in messages:
                if len(each.body) > LONGEST_TEXT_BODY and principal is not None:
                    self._check_text(principal, each)
        except Refused as refused:
            self._counters.publishes["unanswered" if refused.temporary else "forbidden"] += len(publications)
            if principal is not None:
                self._warn_of(refused, principal, publications)
            raise
        return messages

    def _check_text(self, principal: Principal, message: Message) -> None:
        """A text that radios cut is refused over HTTP. Over STOMP it is reported: the original took it, and publishers
        of its time cut at 128 characters, which may be more octets (contract §5.12). PREFLIGHT can refuse those too.

        :raises Refused: it was sent over HTTP.
        """
        fault = body_fault(message.topic, message.body)
        if not fault:
            return
        login, topic, origin = principal.login[:_SHOWN], message.topic[:_SHOWN], principal.origin
        if origin is None or origin.interface not in _HTTP:
            address, interface = (origin.address, origin.interface) if origin else ("", "")
            self._client_warnings.warn(
                "publish.long_text", address, login=login, interface=interface, topic=topic, reason=f"its text {fault}"
            )
            return
        raise Refused("Text too long", f"{login}, {topic}: the text {fault}.", unfit=True)

    def _warn_of(self, refused: Refused, principal: Principal, publications: Sequence[Publication]) -> None:
        origin = principal.origin
        topic = publications[0].destination if publications else ""  # An empty transaction may be refused, too.
        self._client_warnings.warn(
            "publish.refused",
            origin.address if origin else "",
            login=principal.login[:_SHOWN],
            interface=origin.interface if origin else "",
            topic=topic[:_SHOWN],
            reason=refused.detail or refused.summary,
        )

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """See :meth:`Application.publish <fanout.application.interface.Application.publish>`."""
        published = self._application.publish(messages)
        return published.addCallbacks(self._published, self._failed, callbackArgs=(messages,), errbackArgs=(messages,))

    def _published(self, result: None, messages: Sequence[Message]) -> None:
        self._counters.publishes["accepted"] += len(messages)
        self._counters.published_octets += sum(len(message.body) for message in messages)

    def _failed(self, failure: Failure, messages: Sequence[Message]) -> Failure:
        self._counters.publishes["bus"] += len(messages)
        if messages and failure.check(BusError):
            first = messages[0]
            login = first.origin.login if first.origin else ""
            return Failure(BusError(f"{failure.getErrorMessage()} ({login[:_SHOWN]} to {first.topic[:_SHOWN]})"))
        return failure
