"""The server under test (:class:`Subject`), and the client of a check (:class:`RawClient`).

The subject opens the connections of a check, with or without a login, and closes them. The client sends any octets,
including invalid ones, and reads frames. Each step has a time limit. The client uses the transports of the other
commands and the decoder of the server. It has no session, because a session would only send valid frames.
"""

from __future__ import annotations

import itertools
import secrets
import socket
import time
from dataclasses import replace

from fanout.stomp.codec import Decoder, Frame
from fanout.stomp.dialect import DIALECTS
from fanout.stomp.limits import StompLimits
from radiovis.client.command_line import printable
from radiovis.client.server_address import ServerAddress
from radiovis.client.sockets import BlockingSocket, open_socket
from radiovis.client.websocket import NoWebSocket
from radiovis.topics import is_fm

_LIMITS = replace(
    StompLimits(), frame_bytes=2**22, header_bytes=2**16, headers=1_000
)  # Large limits: the checks judge the server's frames.
_SHOWN = 160
_FM_LETTERS = 20
"""Letters in the last part of an FM topic. There are 3.5 billion such names, so a name is practically never reused."""
_names = itertools.count(1)


class CheckFailed(Exception):
    """The server did not follow the rule. The text says what it did."""


class RawClient:
    """One connection to the server under test.

    :ivar octets: all octets received.
    :ivar reads: the same octets, one item for each read.
    :ivar version: the version of STOMP that the server has chosen.
    """

    def __init__(self, connection: BlockingSocket, seconds: float) -> None:
        """:param seconds: how long to wait for a frame or the end of the connection."""
        self.octets = bytearray()
        self.reads: list[bytes] = []
        self.version = "1.0"
        self._socket = connection
        self._seconds = seconds
        self._decoder = Decoder(_LIMITS)
        self._decoder.dialect = DIALECTS["1.0"]

    def speak(self, version: str) -> None:
        """From now on, decode the server's frames by the rules of this version."""
        self.version = version
        self._decoder.dialect = DIALECTS[version]

    # Out

    def send(self, octets: bytes) -> None:
        """Send octets. If the server has closed the connection, the next read reports it."""
        try:
            self._socket.sendall(octets)
        except (BrokenPipeError, ConnectionResetError):
            return

    def say(self, frame: str, body: bytes = b"") -> None:
        """Send a frame. :param frame: its lines, separated by blanks, as in ``SUBSCRIBE id:1 destination:/topic/x``."""
        self.send("\n".join(frame.split(" ")).encode() + b"\n\n" + body + b"\0")

    def publish(self, topic: str, body: bytes, *headers: str) -> None:
        """Send a SEND, and wait for its receipt. :raises CheckFailed: another frame came, or none in time."""
        name = f"r{next(_names)}"
        self.say(" ".join(("SEND", f"destination:{topic}", f"receipt:{name}", *headers)), body)
        self.expect("RECEIPT", "receipt-id", name)

    def subscribe(self, topic: str, id: str = "s", *headers: str) -> None:
        """Send a SUBSCRIBE, and wait for its receipt. :raises CheckFailed: another frame came, or none in time."""
        name = f"r{next(_names)}"
        self.say(" ".join(("SUBSCRIBE", f"destination:{topic}", f"id:{id}", f"receipt:{name}", *headers)))
        self.expect("RECEIPT", "receipt-id", name)

    def half_close(self) -> None:
        """Close our side of the connection. Only plain TCP supports this."""
        assert isinstance(self._socket, socket.socket)
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    # In

    def next_frame(self, seconds: float | None = None) -> Frame | None:
        """The next frame; None if the server closed the connection.

        :param seconds: how long to wait; None for the time given to the constructor.
        :raises CheckFailed: no frame came in time, and the connection stayed open.
        """
        seconds = self._seconds if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while (found := self._decoder.next_frame()) is None:
            try:
                if not self._read(deadline):
                    return None
            except TimeoutError:
                raise CheckFailed(f"it sent nothing for {seconds:g} s") from None
        return found

    def frame(self) -> Frame:
        """The next frame. :raises CheckFailed: none came in time, or the server closed the connection."""
        found = self.next_frame()
        if found is None:
            raise CheckFailed("it closed the connection" + (" without an answer" if not self.octets else ""))
        return found

    def expect(self, command: str, name: str = "", value: str | None = None) -> Frame:
        """The next frame. It must have this command, and this header if one is named.

        :param name: a header that the frame must have; empty for none.
        :param value: the value of this header; None for any value.
        :raises CheckFailed: another frame came, or none in time.
        """
        found = self.frame()
        wanted = command + (f" with {name}" if name else "") + (f":{value}" if value is not None else "")
        if found.command != command:
            raise CheckFailed(f"instead of {wanted} it sent {shown(found)}")
        if name and (found.get(name) is None or value not in (None, found.get(name))):
            raise CheckFailed(f"instead of {wanted} it sent {shown(found)}")
        return found

    def refused(self) -> Frame:
        """The next frame, which must be an ERROR with a message header. Then the server must close the connection.

        :raises CheckFailed: it does not.
        """
        error = self.expect("ERROR", "message")
        self.ends()
        return error

    def ends(self, seconds: float | None = None) -> None:
        """Check that the server closes the connection without another frame.

        :param seconds: how long to wait; None for the time given to the constructor.
        :raises CheckFailed: it does not.
        """
        seconds = self._seconds if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while True:
            found = self._decoder.next_frame()
            if found is not None:
                raise CheckFailed(f"instead of closing the connection it sent {shown(found)}")
            try:
                if not self._read(deadline):
                    return
            except TimeoutError:
                raise CheckFailed(f"it kept the connection open for {seconds:g} s") from None

    def gives_up(self, seconds: float) -> None:
        """Check that the server closes the connection within this time. An ERROR may come first.

        :param seconds: how long to wait for the ERROR or the end.
        :raises CheckFailed: it does not.
        """
        try:
            found = self.next_frame(seconds)
        except CheckFailed:
            raise CheckFailed(f"it kept the connection open for {seconds:g} s") from None
        if found is not None and found.command != "ERROR":
            raise CheckFailed(f"instead of closing the connection it sent {shown(found)}")
        if found is not None:
            self.ends()

    def quiet(self, topic: str) -> list[Frame]:
        """The frames that come until the server has processed all our frames. A check sees that a frame did not come.

        :param topic: a topic without messages. The receipt of a subscription to it marks the end.
        :raises CheckFailed: the server closed the connection.
        """
        came, ended = self.until_done(topic)
        if ended:
            raise CheckFailed("it closed the connection")
        return came

    def until_done(self, topic: str) -> tuple[list[Frame], bool]:
        """The frames that come until the server has processed all our frames, and whether it closed the connection.

        :param topic: see :meth:`quiet`.
        """
        name = f"r{next(_names)}"
        self.say(f"SUBSCRIBE destination:{topic} id:{name} receipt:{name}")
        came: list[Frame] = []
        while (found := self.next_frame()) is not None and found.get("receipt-id") != name:
            came.append(found)
        return came, found is None

    def octets_for(self, seconds: float) -> bytes:
        """The octets of the next read; empty if nothing comes within this time."""
        before = len(self.octets)
        try:
            self._read(time.monotonic() + seconds)
        except TimeoutError:
            return b""
        return bytes(self.octets[before:])

    def _read(self, deadline: float) -> bool:
        """Read once. Returns False at the end of the connection. :raises TimeoutError: nothing came in time."""
        left = deadline - time.monotonic()
        self._socket.settimeout(max(0.001, left))
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        except NoWebSocket as error:
            raise CheckFailed(str(error)) from None
        finally:
            self._socket.settimeout(self._seconds)
        self.octets += data
        self.reads.append(data)
        self._decoder.receive(data)
        return bool(data)


def shown(frame: Frame) -> str:
    """A frame as one line for a text, shortened to :data:`_SHOWN` characters."""
    headers = " ".join(f"{name}:{value}" for name, value in frame.headers)
    body = frame.body.decode("utf-8", "replace")
    return printable(f"{frame.command} {headers} {body}".strip())[:_SHOWN]


SECONDS = 5.0
NEEDS_LOGIN = "it needs a login"
"""Why a check that publishes is skipped."""


class CheckSkipped(Exception):
    """A check cannot be run. The text says what is missing."""


class Subject:
    """The server under test. Opens connections to it, and closes all of them after each check.

    :ivar server: the address of the server, and the login to publish with, if one was given.
    :ivar host: the value of the ``host`` header.
    :ivar any_frequency: an FM channel with ``*`` as its frequency that the login may publish to; empty for none.
    """

    def __init__(
        self,
        server: ServerAddress,
        channel: str,
        seconds: float = SECONDS,
        host: str = "",
        any_frequency: str = "",
    ) -> None:
        """
        :param channel: a topic prefix that the login may publish to. Its last character separates the parts of a topic.
            A server may rewrite an FM topic: see :meth:`pair`.
        :param seconds: how long to wait for a frame.
        :param host: the virtual host; empty for the server's name.
        :param any_frequency: see the attribute.
        """
        self.server = server
        self.host = host or server.host
        self.any_frequency = any_frequency
        self._channel = channel
        self._seconds = seconds
        self._clients: list[RawClient] = []
        self._names_fault: str | None = None  # Not tried yet.

    def topic(self, last: str = "image") -> str:
        """A topic that was never used.

        An FM topic gets one part after the channel, made of the letters t, e and x. The original strips these letters
        and those of ``image`` to find the channel, and rewrites longer topics (contract §1.8, fault 13).
        """
        if is_fm(self._channel):
            return self._channel + "".join(secrets.choice("tex") for _ in range(_FM_LETTERS)) + last
        separator = self._channel[-1]
        return f"{self._channel}check-{secrets.token_hex(6)}{separator}{last}"

    def foreign_topic(self) -> str:
        """A topic that belongs to no station, with the separator of the server's topics.

        :raises CheckSkipped: according to ``--topic``, the login may publish to all topics.
        """
        if self._channel.rstrip(self._channel[-1]) == "/topic":
            raise CheckSkipped("according to --topic, this login may publish to all topics")
        return f"/topic/check-{secrets.token_hex(6)}{self._channel[-1]}image"

    def pair(self, version: str = "1.0") -> tuple[RawClient, RawClient, str]:
        """A publisher, a subscriber that uses this version, and an unused topic.

        :raises CheckSkipped: no login was given, or the server rewrites subscriptions to this FM channel, as the
            original does (contract §1.8). The check would have no meaning then; L5 reports the problem.
        """
        station = self.station()
        if self._names_fault is None:
            self._names_fault = self._tried_names() if is_fm(self._channel) else ""
        if self._names_fault:
            raise CheckSkipped(f"{self._names_fault}: see L5, and give a --topic that is not FM")
        return station, self.radio(version), self.topic()

    def _tried_names(self) -> str:
        """What is wrong with the destination of a MESSAGE on this channel; empty if it is the subscribed one."""
        station, radio, topic = self.station(), self.radio(), self.topic()
        radio.subscribe(topic)
        station.publish(topic, b"TEXT x")
        try:
            named = radio.expect("MESSAGE").get("destination")
        except CheckFailed:
            return "a subscriber of an FM topic does not get its messages"
        return "" if named == topic else f"this server uses {named} for a subscription to {topic}"

    def connect(self) -> RawClient:
        """A new connection, on which nothing was sent. :raises OSError: the connection cannot be opened."""
        client = RawClient(open_socket(self.server, self._seconds), self._seconds)
        self._clients.append(client)
        return client

    def radio(self, version: str = "1.0", *headers: str) -> RawClient:
        """A connected subscriber. It has no login unless the server requires one and one was given."""
        client = self.connect()
        try:
            self._connect(client, version, *headers)
        except CheckFailed:
            if not self.server.login:
                raise
            return self.station(version, *headers)
        return client

    def station(self, version: str = "1.2", *headers: str) -> RawClient:
        """A connected publisher with its login. :raises CheckSkipped: no login was given."""
        client = self.connect()
        self._connect(client, version, *self.credentials(), *headers)
        return client

    def credentials(self) -> tuple[str, str]:
        """The headers of the login. :raises CheckSkipped: no login was given."""
        if not self.server.login:
            raise CheckSkipped(NEEDS_LOGIN)
        return f"login:{self.server.login}", f"passcode:{self.server.passcode}"

    def _connect(self, client: RawClient, version: str, *headers: str) -> None:
        offered = () if version == "1.0" else (f"accept-version:{version}", f"host:{self.host}")
        client.say(" ".join(("CONNECT", *offered, *headers)))
        chosen = client.expect("CONNECTED").get("version") or "1.0"
        client.speak(chosen if chosen in DIALECTS else version)

    def close_all(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()
        self._clients.clear()
