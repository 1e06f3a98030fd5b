"""Decodes octets into frames, and encodes frames into octets.

This is the grammar of a frame as the decoder accepts it, in the notation of the specification. Deviations from the
specification are marked with ``*``::

    frame   = *[ EOL | NUL | blank ]* command EOL *( header EOL ) EOL body NUL
    EOL     = [CR] LF                                   * in every version (stomp.md F1)
    header  = name ":" value                            * 1.0: the colon may be missing (F6)
    body    = exactly content-length octets, or octets up to the first NUL (F3)
              * the blank line before the NUL may be missing in a DISCONNECT, and in every frame of 1.0 (F14)

The caller asks the decoder for one frame at a time, because the CONNECT frame decides how later frames are decoded.

:class:`Frame` is a decoded frame, or one to encode. :class:`Decoder` decodes, :func:`encode` encodes. There are two
errors: :class:`RemoteProtocolError` if the peer broke the protocol, :class:`LocalProtocolError` if our own code did.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from fanout.stomp.dialect import DIALECTS, ESCAPE, SPECIAL, Dialect
from fanout.stomp.limits import StompLimits


class LocalProtocolError(Exception):
    """Our own code called the session in a way that its state does not allow. This is a bug, not a fault of the
    client.
    """


class RemoteProtocolError(Exception):
    """The peer violated STOMP, or one of our limits.

    :ivar summary: a few words, for the ``message`` header of the ERROR frame.
    :ivar detail: one or two sentences for its body: what is wrong, and what the client should do.
    :ivar command: the command of the frame at fault; empty if it is not known.
    :ivar receipt: the ``receipt`` header of the frame at fault; None if it is not known.
    :ivar boundary_known: whether the decoder can find the end of the frame at fault. Then a 1.0 client may continue,
        because an ERROR leaves a 1.0 connection open.
    """

    def __init__(
        self,
        summary: str,
        detail: str = "",
        *,
        command: str = "",
        receipt: str | None = None,
        boundary_known: bool = False,
    ) -> None:
        super().__init__(summary)
        self.summary = summary
        self.detail = detail or summary
        self.command = command
        self.receipt = receipt
        self.boundary_known = boundary_known


Headers = tuple[tuple[str, str], ...]

FRAME_WEIGHT = 200
"""Octets of memory of a frame in addition to its characters: two tuples, two pointers, the object header of the body.
tracemalloc shows 133 for the smallest frame and 167 with a body."""
HEADER_WEIGHT = 180
"""Octets of memory of a header in addition to its characters: a tuple, the object headers of two strings, a pointer.
tracemalloc shows 149 to 175, so a header of four octets takes 45 times as much memory as on the network."""
WIDE = 4
"""Maximum of the octets of memory per character in a text that is not ASCII: with one emoji, every character takes
four."""


class Frame(NamedTuple):
    """A frame of STOMP.

    :ivar command: the command, such as ``SEND``.
    :ivar headers: unescaped, in their order. A name may occur several times; the first value counts (stomp.md F5).
    :ivar body: the octets of the body.
    """

    command: str
    headers: Headers = ()
    body: bytes = b""

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a header (STOMP 1.2, "Repeated Header Entries"); the default if there is no such
        header.
        """
        for key, value in self.headers:
            if key == name:
                return value
        return default

    @property
    def weight(self) -> int:
        """About how many octets of memory the frame takes, including the overhead of its objects."""
        weight = FRAME_WEIGHT + len(self.body) + HEADER_WEIGHT * len(self.headers)
        for name, value in self.headers:
            weight += len(name) if name.isascii() else WIDE * len(name)
            weight += len(value) if value.isascii() else WIDE * len(value)
        return weight


_PADDING = re.compile(rb"[\r\n\0 \t]*")
_HEAD_END = re.compile(rb"\r?\n\r?\n|\0")
_HEAD_END_OVERLAP = 3  # Octets of "\r\n\r\n" that may have been at the end of the part searched before.
_CONTENT_LENGTH = re.compile(r"[0-9]{1,10}", re.ASCII)
_NEVER_ESCAPED = frozenset({"CONNECT", "STOMP", "CONNECTED"})  # As in 1.0, because no version is agreed on yet (N7).
_WITH_BODY = frozenset({"SEND", "MESSAGE", "ERROR"})  # F11
_OPENING = frozenset({"CONNECT", "STOMP"})


class Decoder:
    """Decodes frames from the pieces that the network delivers, in time linear to the octets (stomp.md F13).

    :ivar dialect: the dialect of the next frame. The session sets it when the version is agreed on.
    :ivar frame_octets: octets of the last complete frame.
    """

    __slots__ = (
        "_buffer",
        "_frame_bytes",
        "_head",
        "_limits",
        "_line",
        "_lines",
        "_lost",
        "_opening",
        "_padding_left",
        "_searched",
        "_start",
        "dialect",
        "frame_octets",
    )

    def __init__(self, limits: StompLimits, *, opening: bool = False) -> None:
        """
        :param limits: the limits of frames and headers.
        :param opening: whether the first frame must be CONNECT or STOMP. A different frame is then refused after its
            first line: an HTTP request, for example, has no NUL that could be waited for. At most
            ``limits.connect_bytes`` octets are kept until the first frame is complete.
        """
        self.dialect = DIALECTS["1.0"]
        self._limits = limits
        self._opening = opening
        self._frame_bytes = limits.connect_bytes if opening else limits.frame_bytes
        self._padding_left = limits.connect_bytes if opening else None
        self._buffer = bytearray()
        self._start = 0  # Where the current frame, or the padding before it, begins.
        self._searched = 0  # Up to this position there is no end of the head or, after the head, no NUL.
        self._line = 0  # Where the unfinished header line begins.
        self._lines = 0  # Number of complete lines of an unfinished head.
        self._head: _Head | None = None
        self._lost = False  # The frame was refused, and its end has not come yet.
        self.frame_octets = 0

    def receive(self, data: bytes) -> None:
        """Take octets from the network. :meth:`next_frame` then returns the frames that are complete."""
        if self._start:
            self._drop_consumed()
        self._buffer += data

    @property
    def in_frame(self) -> bool:
        """Whether a frame has begun whose end has not come yet."""
        return self._start < len(self._buffer) or self._lost

    @property
    def held(self) -> int:
        """Octets of memory of unfinished frames, and of frames that the caller has not asked for yet."""
        waiting = len(self._buffer)
        if self._start == waiting:
            return 0
        return waiting if self._head is None else waiting + self._head.weight

    def clear(self) -> None:
        """Drop all received octets, because the caller will not ask for another frame."""
        self._buffer = bytearray()
        self._begin(0)

    def opened(self) -> None:
        """The first frame was accepted: from now on the ordinary limit of a frame applies."""
        self._opening = False
        self._padding_left = None
        self._frame_bytes = self._limits.frame_bytes

    def next_frame(self) -> Frame | None:
        """The next complete frame; None if more octets are needed.

        :raises RemoteProtocolError: when the octets are not a valid frame, or exceed a limit. If the boundary is known
            according to the error, the decoder may be called again and finds the next frame.
        """
        if self._lost and not self._skip_lost_frame():
            return None
        if self._head is None:
            self._skip_padding()
            self._head = self._next_head()
        if self._head is None:
            if self._start == len(self._buffer):
                self._drop_consumed()  # An idle client needs no buffer.
            return None
        return self._finish(self._head)

    # The head: command and headers

    def _skip_padding(self) -> None:
        """Skip EOLs between frames, which are heart-beats or padding (F2). Old receivers also send NULs and blanks."""
        match = _PADDING.match(self._buffer, self._start)
        assert match is not None
        skipped = match.end() - self._start
        if not skipped:
            return
        if self._padding_left is not None:
            self._padding_left -= skipped
            if self._padding_left < 0:
                raise RemoteProtocolError("Expected CONNECT", "Only line ends came, and no CONNECT frame.")
        self._begin(match.end())

    def _next_head(self) -> _Head | None:
        match = _HEAD_END.search(self._buffer, max(self._start, self._searched - _HEAD_END_OVERLAP))
        if match is None:
            self._check_unfinished_head()
            return None
        block = bytes(self._buffer[self._start : match.start()])
        ended = match.group() == b"\0"
        if ended:
            block = block.rstrip(b"\r\n")
        self._searched = match.end()
        try:
            frame, length = self._read_head(block, ended)
        except RemoteProtocolError as error:
            if error.boundary_known:
                self._begin(match.end())
                self._lost = not ended
            raise
        return _Head(frame, match.start(), 0) if ended else _Head(frame, match.end(), length)

    def _check_unfinished_head(self) -> None:
        """Refuse a head that already exceeds a limit, without waiting for its end (stomp.md §8)."""
        searched, self._searched = self._searched, len(self._buffer)
        last_line_end = self._buffer.rfind(b"\n", max(searched, self._start))
        if last_line_end >= 0:
            self._lines += self._buffer.count(b"\n", max(searched, self._start))
            self._line = last_line_end + 1
            if self._opening:
                first_line = self._buffer[self._start : self._buffer.index(b"\n", self._start)]
                self._check_opening(first_line.decode("ascii", "replace").strip())
        if len(self._buffer) - max(self._line, self._start) > self._limits.header_bytes:
            raise self._too_long_line()
        if self._lines > self._limits.headers + 1:
            raise self._too_many_headers()
        self._check_size(len(self._buffer) - self._start)

    def _read_head(self, block: bytes, ended: bool) -> tuple[Frame, int | None]:
        """The frame without its body, and the announced length of the body.

        :param ended: whether the NUL of the frame came instead of the blank line.
        """
        lines = self._lines_of(block)
        command = lines[0].strip()
        self._check_opening(command)
        if len(lines) - 1 > self._limits.headers:
            raise self._too_many_headers(command)
        frame = Frame(command, self._read_headers(command, lines[1:]))
        if ended:
            self._check_ended(frame)
        return frame, self._body_length(frame)

    def _check_ended(self, frame: Frame) -> None:
        """The blank line may be missing in a DISCONNECT, and in frames of clients that negotiate no version (F14)."""
        negotiates = self._opening and frame.get("accept-version") is not None
        lenient = self.dialect.lenient and not negotiates and frame.command != "CONNECTED"  # which a server sends
        if not lenient and frame.command != "DISCONNECT":
            raise RemoteProtocolError(
                "Malformed frame",
                "A NUL came instead of the blank line after the headers.",
                command=frame.command,
                receipt=frame.get("receipt"),
                boundary_known=True,
            )

    def _lines_of(self, block: bytes) -> list[str]:
        if len(block) > self._limits.header_bytes:  # Only then can one of its lines be too long.
            for line in block.split(b"\n"):
                if len(line) > self._limits.header_bytes:
                    raise self._too_long_line()
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError as error:
            command = block.partition(b"\n")[0].decode("ascii", "replace").strip()
            reason = f"A header is not valid UTF-8: {error.reason}."
            ends_at_nul = b"\ncontent-length:" not in block
            raise RemoteProtocolError("Malformed header", reason, command=command, boundary_known=ends_at_nul) from None
        if "\r" in text:
            text = text.replace("\r", "") if self.dialect.drop_cr else text.replace("\r\n", "\n")
        return text.split("\n")

    def _check_opening(self, command: str) -> None:
        if self._opening and command not in _OPENING:
            raise RemoteProtocolError("Expected CONNECT", "The first frame must be CONNECT or STOMP.", command=command)

    def _read_headers(self, command: str, lines: list[str]) -> Headers:
        headers: list[tuple[str, str]] = []
        escaped = bool(self.dialect.unescape) and command not in _NEVER_ESCAPED
        for line in lines:
            try:
                headers.append(self._read_header(line, escaped))
            except RemoteProtocolError as error:
                error.command = command
                error.receipt = Frame(command, tuple(headers)).get("receipt")
                raise
        return tuple(headers)

    def _read_header(self, line: str, escaped: bool) -> tuple[str, str]:
        name, colon, value = line.partition(":")
        if not self.dialect.lenient:
            if not colon:
                raise RemoteProtocolError("Malformed header", "A header line has no colon.")
            if not name:
                raise RemoteProtocolError("Malformed header", "A header line has no name before its colon.")
            if self.dialect.refuse_cr and "\r" in line:
                raise RemoteProtocolError("Malformed header", r"A carriage return in a header must be written as \r.")
        if escaped and "\\" in line:
            return self._unescape(name), self._unescape(value)
        return name, value

    def _unescape(self, text: str) -> str:
        def replacement(match: re.Match[str]) -> str:
            try:
                return self.dialect.unescape[match.group()]
            except KeyError:
                raise RemoteProtocolError(
                    "Malformed header",
                    f"An escape sequence in a header is not one of STOMP {self.dialect.version}: "
                    f"{' '.join(self.dialect.unescape)}.",
                ) from None

        return ESCAPE.sub(replacement, text)

    # The body

    def _body_length(self, frame: Frame) -> int | None:
        """The announced length of the body in octets; None if the first NUL ends the body."""
        announced = frame.get("content-length")
        if announced is None:
            return None
        if self.dialect.lenient:
            announced = announced.strip()
        if not _CONTENT_LENGTH.fullmatch(announced):
            raise RemoteProtocolError(
                "Malformed content-length",
                "content-length must be a decimal number of octets.",
                command=frame.command,
                receipt=frame.get("receipt"),
            )
        length = int(announced)
        if length > self._frame_bytes:
            raise self._too_large(frame)
        return length

    def _finish(self, head: _Head) -> Frame | None:
        end = self._body_end(head)
        if end is None:
            return None
        if end - self._start > self._frame_bytes:
            raise self._too_large(head.frame)
        frame = head.frame
        if end > head.body_start:
            frame = Frame(frame.command, frame.headers, bytes(self._buffer[head.body_start : end]))
        self.frame_octets = end - self._start
        self._begin(end + 1)
        return frame

    def _body_end(self, head: _Head) -> int | None:
        """The position of the NUL after the body; None if it has not come yet."""
        if head.length is None:
            end = self._buffer.find(b"\0", max(head.body_start, self._searched))
            if end >= 0:
                return end
            self._searched = len(self._buffer)
            if len(self._buffer) - self._start > self._frame_bytes:
                raise self._too_large(head.frame)
            return None
        end = head.body_start + head.length
        if len(self._buffer) <= end:
            return None
        if self._buffer[end]:
            raise RemoteProtocolError(
                "Malformed frame",
                f"No NUL follows the {head.length} octets that content-length announces.",
                command=head.frame.command,
                receipt=head.frame.get("receipt"),
            )
        return end

    # The buffer

    def _begin(self, position: int) -> None:
        """Begin a new frame at this position of the buffer."""
        self._start = self._searched = self._line = position
        self._lines = 0
        self._head = None

    def _drop_consumed(self) -> None:
        gone = self._start
        del self._buffer[:gone]
        self._start = 0
        self._searched = max(0, self._searched - gone)
        self._line = max(0, self._line - gone)
        if self._head is not None:
            self._head = self._head.moved(-gone)

    def _skip_lost_frame(self) -> bool:
        """Drop the rest of a refused frame, in STOMP 1.0. :return: True if its end was found."""
        end = self._buffer.find(b"\0", self._start)
        self._begin(len(self._buffer) if end < 0 else end + 1)
        self._lost = end < 0
        return not self._lost

    # Limits

    def _check_size(self, octets: int) -> None:
        if octets > self._frame_bytes:
            raise self._too_large(Frame(""))

    def _too_large(self, frame: Frame) -> RemoteProtocolError:
        return RemoteProtocolError(
            "Frame too large",
            f"A frame may have at most {self._frame_bytes} octets.",
            command=frame.command,
            receipt=frame.get("receipt"),
        )

    def _too_long_line(self) -> RemoteProtocolError:
        return RemoteProtocolError(
            "Header too long", f"A command or header line may have at most {self._limits.header_bytes} octets."
        )

    def _too_many_headers(self, command: str = "") -> RemoteProtocolError:
        return RemoteProtocolError(
            "Too many headers", f"A frame may have at most {self._limits.headers} headers.", command=command
        )


class _Head:
    """A frame whose body is not complete yet."""

    __slots__ = ("_weight", "body_start", "frame", "length")

    def __init__(self, frame: Frame, body_start: int, length: int | None) -> None:
        self.frame = frame
        self.body_start = body_start
        self.length = length
        self._weight: int | None = None

    @property
    def weight(self) -> int:
        """Octets of memory of the frame without its body. Computed on demand, because most bodies come with the
        head.
        """
        if self._weight is None:
            self._weight = self.frame.weight
        return self._weight

    def moved(self, distance: int) -> _Head:
        """The same head after the buffer was moved by this many octets."""
        return _Head(self.frame, self.body_start + distance, self.length)


def encode(frame: Frame, dialect: Dialect) -> bytes:
    """Encode a frame in one version of STOMP.

    A header always remains one header: a character that the version cannot escape becomes a blank (stomp.md F9).
    A ``content-length`` is added if the command has a body and the version or the body needs it (F10).
    """
    length = content_length(frame.body, dialect) if frame.command in _WITH_BODY else b""
    return b"".join((encode_head(frame.command, frame.headers, dialect), length, b"\n", frame.body, dialect.end))


def encode_head(command: str, headers: Iterable[tuple[str, str]], dialect: Dialect) -> bytes:
    """Encode the command and the header lines, without the blank line."""
    if command in _NEVER_ESCAPED:
        dialect = DIALECTS["1.0"]
    lines = [command, *[encode_header(name, value, dialect) for name, value in headers], ""]
    return "\n".join(lines).encode("utf-8", "replace")


def encode_header(name: str, value: str, dialect: Dialect) -> str:
    """Encode one header line, without its line end."""
    if SPECIAL.search(name):
        name = name.translate(dialect.escape_name)
    if SPECIAL.search(value):
        value = value.translate(dialect.escape_value)
    return f"{name}:{value}"


def content_length(body: bytes, dialect: Dialect) -> bytes:
    """The ``content-length`` line of a body; in STOMP 1.0 only if the body contains a NUL (stomp.md F10)."""
    if dialect.lenient and b"\0" not in body:
        return b""
    return b"content-length:%d\n" % len(body)
