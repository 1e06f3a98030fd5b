"""A server's session with an application in memory, alone or joined to a client's session."""

from __future__ import annotations

from typing import Any

from fanout.hub.hub import Hub
from fanout.hub.message import Message, Publication
from fanout.hub.subscriber import Cohort, Subscriber
from fanout.stomp.client import ClientEvent, ClientSession
from fanout.stomp.codec import Decoder, Frame
from fanout.stomp.dialect import DIALECTS
from fanout.stomp.events import Connect, Event, Publish, Subscribe, Unsubscribe
from fanout.stomp.limits import SessionOptions, StompLimits
from fanout.stomp.session import ServerSession, State

SESSION = "s-1"


def read_frames(octets: bytes, version: str) -> list[Frame]:
    """What a server wrote."""
    decoder = Decoder(StompLimits())
    decoder.dialect = DIALECTS[version]
    decoder.receive(octets)
    frames = []
    while (frame := decoder.next_frame()) is not None:
        frames.append(frame)
    return frames


class Server:
    """A session and the simplest application: every topic is a destination, everybody may do everything, at once.

    :ivar asked: the session's events.
    :ivar published: the SENDs that were answered.
    :ivar logged_in: whether clients have shown credentials.
    :ivar holding: keep events without answering them; a test does, or :meth:`let_go`.
    """

    def __init__(self, limits: StompLimits | None = None, session_options: SessionOptions | None = None) -> None:
        self.now = 0.0
        self.session = ServerSession(limits or StompLimits(), session_options or SessionOptions(), self.now)
        self.hub = Hub(self._failed)
        self.asked: list[Event] = []
        self.published: list[Publication] = []
        self.holding = False
        self.logged_in = True
        self._held: list[Event] = []
        self._out = bytearray()

    def hear(self, octets: bytes) -> bytes:
        """Octets come; what is said to them goes."""
        self.session.receive_data(octets, self.now)
        return self.work()

    def work(self) -> bytes:
        """Act on what has come, and say what there is to say."""
        while (event := self.session.next_event()) is not None:
            self.asked.append(event)
            if self.holding:
                self._held.append(event)
            else:
                self._act(event)
        self._collect()
        said, self._out = bytes(self._out), bytearray()
        return said

    def let_go(self) -> bytes:
        """Answer what was held."""
        self.holding = False
        held, self._held = self._held, []
        for event in held:
            self._act(event)
        return self.work()

    def _act(self, event: Event) -> None:
        if isinstance(event, Connect):
            self.session.accept(SESSION, logged_in=self.logged_in)
        elif isinstance(event, Publish):
            self.published += event.sends
            event.answer.done()
        elif isinstance(event, Unsubscribe):
            for subscription in event.subscriptions:
                assert subscription.cohort is not None
                self.hub.leave(subscription.cohort, self)
            event.answer.done()
        else:
            self._subscribe(event)

    def _subscribe(self, event: Subscribe) -> None:
        form = event.subscription.form
        cohort, last = self.hub.join(form.destination, form, self)
        event.subscription.cohort = cohort
        event.answer.done()
        if last is not None:
            self.offer(cohort, last, form.encode(last, {}))

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """As the hub's member."""
        self._collect()
        self._out += data
        for subscription in self.session.subscriptions:
            if subscription.cohort is cohort and subscription.form.acknowledged:
                self.session.delivered(subscription, message)

    def _collect(self) -> None:
        self._out += self.session.data_to_send()

    def _failed(self, member: Subscriber, error: Exception) -> None:
        raise error

    @property
    def closed(self) -> bool:
        return self.session.state is State.CLOSED


def opened(version: str, limits: StompLimits | None = None, *, headers: bytes = b"", logged_in: bool = True) -> Server:
    """A server whose client has connected and speaks this version: the original's manners for 1.0."""
    server = Server(limits)
    server.logged_in = logged_in
    accept = b"" if version == "1.0" else b"accept-version:%s\n" % version.encode()
    server.hear(b"CONNECT\n" + accept + headers + b"\n\0")
    return server


class Pair(Server):
    """A client's session and a server's, joined in memory.

    :ivar told: what the client was told.
    :ivar piece: how many octets one read brings, on either side; None for all there are.
    """

    def __init__(
        self,
        *,
        piece: int | None = None,
        limits: StompLimits | None = None,
        session_options: SessionOptions | None = None,
    ) -> None:
        super().__init__(limits, session_options)
        self.client = ClientSession(self.now)
        self.told: list[ClientEvent] = []
        self.piece = piece

    def connect(self, *versions: str, **more: Any) -> Pair:
        self.client.connect(versions=versions, **more)
        self.talk()
        return self

    def talk(self) -> list[ClientEvent]:
        """Let both sides talk until neither has anything to say. :return: what the client was told by it."""
        before = len(self.told)
        while self._to_client(self.work()) or self._to_server(self.client.data_to_send(self.now)):
            pass
        return self.told[before:]

    def _to_server(self, octets: bytes) -> bool:
        for piece in self._pieces(octets):
            self._to_client(self.hear(piece))
        return bool(octets)

    def _to_client(self, octets: bytes) -> bool:
        for piece in self._pieces(octets):
            self.client.receive_data(piece, self.now)
            while (event := self.client.next_event()) is not None:
                self.told.append(event)
        return bool(octets)

    def _pieces(self, octets: bytes) -> list[bytes]:
        size = self.piece or len(octets) or 1
        return [octets[index : index + size] for index in range(0, len(octets), size)]

    def publish(self, destination: str, body: bytes, message_id: str = "m-1", **headers: str) -> list[ClientEvent]:
        """Somebody publishes. :return: what the client was told by it."""
        self.hub.publish(destination, Message(destination, body, message_id, 1, tuple(headers.items())))
        return self.talk()
