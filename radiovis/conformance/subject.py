"""The server under test (:class:`Subject`), and the client of a check (:class:`RawClient`).

The subject opens connections for a check, logged in or not, and closes them. The client sends any octets, also invalid
ones, and reads frames, each step with a time limit. It shares the transports with the other commands, and the decoder
with the server. It has no session: a session would send valid frames only.
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
)  # What the server sends is judged by the checks.
_SHOWN = 160
_FM_LETTERS = 20
"""Of a topic's last part. There are 3.5 billion such names, so that one which was used before does not come."""
_names = itertools.count(1)


class CheckFailed(Exception):
    """The server did not do what the rule asks. The text says what it did."""


class RawClient:
    """One connection.

    :ivar octets: all octets received.
    :ivar reads: the same, read by read.
    :ivar version: of STOMP, as the server has chosen it.
    """

    def __init__(self, connection: BlockingSocket, seconds: float) -> None:
        """:param seconds: how long to wait for a frame or an end."""
        self.octets = bytearray()
        self.reads: list[bytes] = []
        self.version = "1.0"
        self._socket = connection
        self._seconds = seconds
        self._decoder = Decoder(_LIMITS)
        self._decoder.dialect = DIALECTS["1.0"]

    def speak(self, version: str) -> None:
        """Read the server's frames by the rules of a version from now on."""
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
        """Send a frame: its lines, joined by a blank for short, as in ``SUBSCRIBE id:1 destination:/topic/x``."""
        self.send("\n".join(frame.split(" ")).encode() + b"\n\n" + body + b"\0")

    def publish(self, topic: str, body: bytes, *headers: str) -> None:
        """SEND, and wait for the receipt."""
        name = f"r{next(_names)}"
        self.say(" ".join(("SEND", f"destination:{topic}", f"receipt:{name}", *headers)), body)
        self.expect("RECEIPT", "receipt-id", name)

    def subscribe(self, topic: str, id: str = "s", *headers: str) -> None:
        """SUBSCRIBE, and wait for the receipt. No message may come before."""
        name = f"r{next(_names)}"
        self.say(" ".join(("SUBSCRIBE", f"destination:{topic}", f"id:{id}", f"receipt:{name}", *headers)))
        self.expect("RECEIPT", "receipt-id", name)

    def half_close(self) -> None:
        """Close our side of the connection, which only plain TCP can do."""
        assert isinstance(self._socket, socket.socket)
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    # In

    def next_frame(self, seconds: float | None = None) -> Frame | None:
        """The next frame; None if the server closed the connection.

        :param seconds: to wait; None for the usual time.
        :raises CheckFailed: neither came in time.
        """
        seconds = self._seconds if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while (found := self._decoder.next_frame()) is None:
            try:
                if not self._read(deadline):
                    return None
            except TimeoutError:
                raise CheckFailed(f"it said nothing for {seconds:g} s") from None
        return found

    def frame(self) -> Frame:
        """The next frame. :raises CheckFailed: none came in time, or the server closed the connection."""
        found = self.next_frame()
        if found is None:
            raise CheckFailed("it closed the connection" + (" without a word" if not self.octets else ""))
        return found

    def expect(self, command: str, name: str = "", value: str | None = None) -> Frame:
        """The next frame, which must be of this kind, and have this header.

        :param name: of a header that must be there; empty for none.
        :param value: what it must be; None for anything.
        """
        found = self.frame()
        wanted = command + (f" with {name}" if name else "") + (f":{value}" if value is not None else "")
        if found.command != command:
            raise CheckFailed(f"instead of {wanted} it sent {shown(found)}")
        if name and (found.get(name) is None or value not in (None, found.get(name))):
            raise CheckFailed(f"instead of {wanted} it sent {shown(found)}")
        return found

    def refused(self) -> Frame:
        """An ERROR, and then the end."""
        error = self.expect("ERROR", "message")
        self.ends()
        return error

    def ends(self, seconds: float | None = None) -> None:
        """The server closes the connection without a frame. :param seconds: to wait; None for the usual time."""
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
        """The server closes the connection within so many seconds. An ERROR may come first."""
        try:
            found = self.next_frame(seconds)
        except CheckFailed:
            raise CheckFailed(f"it kept the connection open for {seconds:g} s") from None
        if found is not None and found.command != "ERROR":
            raise CheckFailed(f"instead of closing the connection it sent {shown(found)}")
        if found is not None:
            self.ends()

    def quiet(self, topic: str) -> list[Frame]:
        """The frames that come until the server has processed everything sent: shows that a frame did not come.

        :param topic: one without messages.
        :raises CheckFailed: the server closed the connection.
        """
        came, ended = self.until_done(topic)
        if ended:
            raise CheckFailed("it closed the connection")
        return came

    def until_done(self, topic: str) -> tuple[list[Frame], bool]:
        """The frames that come until the server has processed everything sent, and whether it closed the connection.

        :param topic: as for :meth:`quiet`.
        """
        name = f"r{next(_names)}"
        self.say(f"SUBSCRIBE destination:{topic} id:{name} receipt:{name}")
        came: list[Frame] = []
        while (found := self.next_frame()) is not None and found.get("receipt-id") != name:
            came.append(found)
        return came, found is None

    def octets_for(self, seconds: float) -> bytes:
        """The octets of the next read; none if nothing comes within so many seconds."""
        before = len(self.octets)
        try:
            self._read(time.monotonic() + seconds)
        except TimeoutError:
            return b""
        return bytes(self.octets[before:])

    def _read(self, deadline: float) -> bool:
        """Read once; False at the end. :raises TimeoutError: nothing came until then."""
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
    """A frame in one line."""
    headers = " ".join(f"{name}:{value}" for name, value in frame.headers)
    body = frame.body.decode("utf-8", "replace")
    return printable(f"{frame.command} {headers} {body}".strip())[:_SHOWN]


SECONDS = 5.0


class CheckSkipped(Exception):
    """A check cannot be made. The text says what is missing."""


class Subject:
    """Opens connections to the server, and closes them all after each check.

    :ivar server: where it is, and the login to publish with, if there is one.
    :ivar host: for the ``host`` header.
    :ivar any_frequency: an FM channel with * for its frequency, which the login may publish to; empty if there is none.
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
        :param channel: a topic prefix the login may publish to; its last character separates the parts. A server may
            rewrite an FM topic: see :meth:`pair`.
        :param seconds: how long to wait for a frame.
        :param host: the virtual host; empty for the server's name.
        :param any_frequency: as the attribute.
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

        On FM there is one part behind the channel, made of t, e and x: the original takes away these letters, and those
        of ``image``, to find the channel, and rewrites what is longer (contract §1.8, fault 13).
        """
        if is_fm(self._channel):
            return self._channel + "".join(secrets.choice("tex") for _ in range(_FM_LETTERS)) + last
        separator = self._channel[-1]
        return f"{self._channel}check-{secrets.token_hex(6)}{separator}{last}"

    def foreign_topic(self) -> str:
        """A topic of no station, in the server's way to write topics.

        :raises CheckSkipped: the login may publish to all topics, as ``--topic`` says.
        """
        if self._channel.rstrip(self._channel[-1]) == "/topic":
            raise CheckSkipped("--topic says that this login may publish everywhere")
        return f"/topic/check-{secrets.token_hex(6)}{self._channel[-1]}image"

    def pair(self, version: str = "1.0") -> tuple[RawClient, RawClient, str]:
        """A publisher, a subscriber that speaks this version, and a topic for both.

        :raises CheckSkipped: no login was given, or the server rewrites subscriptions to this FM channel, as the
            original does (contract §1.8). Then nothing could be said of what the check is about; L5 fails.
        """
        station = self.station()
        if self._names_fault is None:
            self._names_fault = self._tried_names() if is_fm(self._channel) else ""
        if self._names_fault:
            raise CheckSkipped(f"{self._names_fault}: see L5, and give a --topic that is not FM")
        return station, self.radio(version), self.topic()

    def _tried_names(self) -> str:
        """What is wrong with the name under which a message on this channel comes; empty if nothing is."""
        station, radio, topic = self.station(), self.radio(), self.topic()
        radio.subscribe(topic)
        station.publish(topic, b"TEXT x")
        try:
            named = radio.expect("MESSAGE").get("destination")
        except CheckFailed:
            return "a message on an FM topic does not come to a client that subscribed to it"
        return "" if named == topic else f"this server makes {named} of a subscription to {topic}"

    def connect(self) -> RawClient:
        """A connection on which nothing was sent yet. :raises OSError: it cannot be opened."""
        client = RawClient(open_socket(self.server, self._seconds), self._seconds)
        self._clients.append(client)
        return client

    def radio(self, version: str = "1.0", *headers: str) -> RawClient:
        """A subscriber that has logged in, anonymously unless the server wants a login."""
        client = self.connect()
        try:
            self._connect(client, version, *headers)
        except CheckFailed:
            if not self.server.login:
                raise
            return self.station(version, *headers)
        return client

    def station(self, version: str = "1.2", *headers: str) -> RawClient:
        """A publisher that has logged in. :raises CheckSkipped: no login was given."""
        client = self.connect()
        self._connect(client, version, *self.credentials(), *headers)
        return client

    def credentials(self) -> tuple[str, str]:
        """The headers to log in with. :raises CheckSkipped: no login was given."""
        if not self.server.login:
            raise CheckSkipped("needs a login that may publish: stomp://login:passcode@host:port")
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
