"""Logs: events with fields, for people on a terminal or as JSON, without secrets.

Every module logs with ``structlog.get_logger(__name__)``; a session binds its id once (``log.bind(session=…)``). Log
entries of Twisted, pika and other libraries are processed in the same way. :class:`Throttle` limits the log lines that
faulty clients can cause.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Annotated, Any, Literal, TextIO

import structlog
from pydantic import BeforeValidator
from structlog.typing import EventDict, Processor
from twisted.logger import STDLibLogObserver, globalLogBeginner

from fanout.cache.bounded_dict import BoundedDict
from fanout.settings.field import SettingsGroup, setting

MASK = "********"
LIBRARIES = ("twisted", "pika", "pymemcache", "beaker")  # At INFO they report every connection and factory.
SHORTEST_SECRET = 8  # A shorter one, such as "guest", would also mask ordinary words.
DEEPEST = 5  # Nesting of a logged value; none of our lines is nearly as deep.
LONGEST = 2_048
"""Characters of one logged text. A topic and its URL are complete, and many long names cannot fill the log."""
MOST_PARTS = 100
"""Parts of a logged list, or lines at either end of a traceback."""

_SECRET_WORD = r"pass(?:word|code|wd)|secret|token|authori[sz]ation|cookie"  # noqa: S105 - the word, not a password.
_SECRET_NAME = re.compile(_SECRET_WORD, re.IGNORECASE)
_SECRET_IN_TEXT = re.compile(
    rf"""(?<!\w)((?>\w*?(?:{_SECRET_WORD}))\w*+["']?\s*+[=:]\s*+)"""
    r"""("[^"]*+"|'[^']*+'|(?:(?:basic|bearer)\s++)?[^\s,;&)]++)""",
    re.IGNORECASE,
)
"""The expression reads each character a limited number of times: it searches a word from its beginning only, for the
first secret name in it, and does not backtrack."""
_URL_LOGIN = re.compile(r"(\w://[^/\s:@]*+):[^/\s@]*+@")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, ends of lines, characters that change the direction of text, and characters that no encoding can
write."""
_TRACEBACK = "exception"

Event = MutableMapping[str, Any]
_NONE: Mapping[str, object] = MappingProxyType({})


def _level_name(value: object) -> object:
    """Accept ``logging.DEBUG`` in a config.py, or the name of a level in any case."""
    if isinstance(value, int):
        return logging.getLevelName(value)
    return value.upper() if isinstance(value, str) else value


LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_level_name)]


class LogSettings(SettingsGroup):
    """Logs."""

    LOG_LEVEL: LogLevel = setting(
        "INFO",
        "Lowest level of the lines that are written.",
        reload=True,
        why="Set DEBUG to examine a problem with few clients: it writes several lines for each client.",
    )
    LOG_FORMAT: Literal["auto", "console", "json"] = setting(
        "auto",
        "console for people, json for machines; auto = console on a terminal, otherwise json.",
        reload=True,
        why="Set json if a program reads the log from a terminal, or console to read the log of a service.",
    )


def set_up_logs(
    level: str = "INFO",
    form: Literal["auto", "console", "json"] = "auto",
    secrets: Iterable[str] = (),
    fields: Mapping[str, object] = _NONE,
    stream: TextIO = sys.stderr,
    handler: logging.Handler | None = None,
    begin_twisted: Callable[..., object] = globalLogBeginner.beginLoggingTo,
) -> None:
    """Write all log entries of this process to one stream. It may be called again, to change the level.

    :param level: the lowest level to write, such as ``INFO``; for libraries it is at least WARNING.
    :param form: ``console``, ``json``, or ``auto``: console if the stream is a terminal.
    :param secrets: words to mask wherever they occur, such as the secret in a URL's path.
    :param fields: added to every line, such as the number of the worker that wrote it.
    :param stream: where to write.
    :param handler: writes the lines instead of the stream, such as to rotated files.
    :param begin_twisted: connects Twisted's own log.
    """
    colours = stream.isatty() and handler is None
    console = form == "console" or (form == "auto" and colours)
    first: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        lambda _, __, event: {**event, **fields},
        Masking(secrets),
    ]
    structlog.configure(
        processors=[*first, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = handler or logging.StreamHandler(stream)
    renderers = [_drop_zero_held_back, _console(colours)] if console else [structlog.processors.JSONRenderer()]
    _set_up_stdlib(level, handler, first, *renderers)
    begin_twisted([STDLibLogObserver()], redirectStandardIO=False)


def _console(colours: bool) -> structlog.dev.ConsoleRenderer:
    # The renderer's own traceback would show local variables, and with them passwords.
    return structlog.dev.ConsoleRenderer(
        colors=colours, pad_event_to=24, exception_formatter=structlog.dev.plain_traceback
    )


def _drop_zero_held_back(_: Any, __: str, event: EventDict) -> EventDict:
    """Remove ``held_back`` if it is 0: on a console it only makes lines longer. Programs that read JSON get it."""
    if event.get("held_back") == 0:
        del event["held_back"]
    return event


def _set_up_stdlib(level: str, handler: logging.Handler, first: list[Processor], *renderers: Processor) -> None:
    handler.setLevel(level)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=first, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers]
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    # Pika logs every lost connection as an error, in addition to the line in which the bus says what the loss means.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


class Masking:
    """A processor that masks passwords at any depth, and keeps an event on one line.

    These values are secret: the value of any key or header whose name says so, the login part of URLs, and the given
    words. Objects are masked in their text form.

    :param secrets: words to mask wherever they occur; words shorter than :data:`SHORTEST_SECRET` are not masked.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        words = sorted((word for word in secrets if len(word) >= SHORTEST_SECRET), key=len, reverse=True)
        self._given = re.compile("|".join(map(re.escape, words))) if words else None

    def __call__(self, logger: object, method: str, event: Event) -> Event:
        for name, value in event.items():
            if name.startswith("_"):
                continue  # structlog's own, such as _record; never written.
            event[name] = self._lines(value) if name == _TRACEBACK else self._field(name, value, DEEPEST)
        return event

    def _field(self, name: object, value: Any, depth: int) -> Any:
        if _SECRET_NAME.search(str(name)):
            return MASK
        return self.value(value, depth)

    def value(self, value: Any, depth: int = DEEPEST) -> Any:
        """The masked form of a value whose field does not have a secret's name."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict | list | tuple | set | frozenset) and not depth:
            return "…"
        if isinstance(value, dict):
            parts = islice(value.items(), MOST_PARTS)
            return {self._one_line(str(name)): self._field(name, part, depth - 1) for name, part in parts}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(part, depth - 1) for part in islice(value, MOST_PARTS)]
        return self._one_line(value if isinstance(value, str) else repr(value))

    def _one_line(self, text: str) -> str:
        """The text masked, truncated, and escaped so that it cannot end the line, forge the next one, or control a
        terminal.

        Twice as many characters are masked as are written, so that no secret is cut in two and written without its end.
        """
        return _escape(_cut(self._text(text[: 2 * LONGEST])))

    def _lines(self, text: str) -> str:
        lines = [line[: 2 * LONGEST] for line in text.split("\n")]
        if len(lines) > 2 * MOST_PARTS:
            lines[MOST_PARTS:-MOST_PARTS] = ["…"]
        return "\n".join(_escape(_cut(line)) for line in self._text("\n".join(lines)).split("\n"))

    def _text(self, text: str) -> str:
        text = _URL_LOGIN.sub(rf"\1:{MASK}@", text)
        text = _SECRET_IN_TEXT.sub(rf"\1{MASK}", text)
        return self._given.sub(MASK, text) if self._given else text


_MASKING = Masking()


def masked(value: Any) -> Any:
    """A value without passwords, for people, in the form in which it would be logged."""
    return _MASKING.value(value)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _escape(text: str) -> str:
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


@dataclass(slots=True)
class _Entry:
    since: float
    held_back: int = 0
    held_back_before: int = 0


REPEAT_SECONDS = 60.0
"""Seconds between two log lines about a fault that repeats. The first line is written at once, and each later one says
how many were not written. So a fault that lasts stays visible in the log and does not fill the disk."""


class Throttle:
    """Allows one action per key and interval. Sans-IO::

        if throttle.allow(address):
            log.warning("bad frame", address=address, held_back=throttle.held_back(address))

    :param clock: a monotonic clock in seconds, such as ``reactor.seconds`` or ``time.monotonic``.
    :param interval: seconds between two actions of one key.
    :param keys: how many keys are remembered; beyond this number the key that was allowed longest ago is forgotten.
    """

    def __init__(self, clock: Callable[[], float], interval: float = REPEAT_SECONDS, keys: int = 10_000) -> None:
        self._clock = clock
        self._interval = interval
        self._entries: BoundedDict[Hashable, _Entry] = BoundedDict(keys)

    def allow(self, key: Hashable) -> bool:
        """Whether the key may act now. If not, the refusal is counted."""
        now = self._clock()
        entry = self._entries.get(key)
        if entry is not None and now - entry.since < self._interval:
            entry.held_back += 1
            return False
        self._entries[key] = _Entry(now, held_back_before=entry.held_back if entry else 0)
        return True

    def held_back(self, key: Hashable) -> int:
        """How often the key was refused between its last two actions."""
        entry = self._entries.get(key)
        return entry.held_back_before if entry else 0

    def clear(self) -> None:
        """Forget all keys: what follows is a new fault, and no repetition."""
        self._entries.clear()
