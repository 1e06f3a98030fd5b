"""The directory that uses PlugIt, the web platform on which stations are registered: its methods and their answers.

Contract §3 describes the API. :mod:`radiovis.directory.plugit_http` makes the calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog

from fanout.application.login_throttle import LoginQueue
from radiovis.directory.interface import Channel, Default, DirectoryError, checked_prefix
from radiovis.directory.plugit_http import LOGINS_AT_ONCE, BadStatus, PlugItCalls
from radiovis.settings import WatchdogSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class PlugIt:
    """A :class:`~radiovis.directory.interface.Directory` and a :class:`~radiovis.directory.interface.LogStore`.

    Every method may raise :class:`~radiovis.directory.interface.DirectoryError`.
    """

    def __init__(self, calls: PlugItCalls, settings: WatchdogSettings, queue: LoginQueue | None = None) -> None:
        """
        :param calls: makes the calls.
        :param settings: ``FB_IMAGE_LOCATIONS``, the URL in front of a default picture's file name; if it is empty, the
            URL from PlugIt is used.
        :param queue: the queue in which logins wait for their check; None for a new one.
        """
        self.settings = settings
        self._queue = queue or LoginQueue(LOGINS_AT_ONCE)
        self._calls = calls
        self._bad_rows: dict[str, int] = {}
        self._odd_rows: dict[tuple[str, str], int] = {}

    @property
    def bad_rows(self) -> int:
        """How many rows of the latest lists were invalid and left out."""
        return sum(self._bad_rows.values())

    async def check_auth(self, login: str, passcode: str, address: str) -> bool:
        """Whether this login may publish from this address. PlugIt is asked each time, so that changes there take
        effect at once.

        :raises TooManyLogins: too many logins wait for their check.
        """
        try:
            (login + passcode).encode()
        except UnicodeEncodeError:
            return False  # Not UTF-8: no form can carry it, and no password contains it.
        ask = partial(self._calls.ask, "check_auth", username=login, password=passcode, ip=address)
        answer = await self._queue.run(address, login, ask)
        return bool(self._part(answer, "check_auth", "result", bool))

    async def channels(self, station: str) -> tuple[str, ...]:
        """The topic prefixes to which a station may publish. PlugIt answers 500 for an unknown station."""
        answer = await self._calls.ask("get_channels", station_id=station)
        rows = self._part(answer, "get_channels", "list", list)
        return tuple(dict.fromkeys(topic for topic, _ in self._rows("get_channels", [[row, 0] for row in rows])))

    async def gcc(self, country: str) -> str | None:
        """The GCC of a country code; None if unknown. PlugIt answers 500 for an unknown country."""
        try:
            answer = await self._calls.ask("get_gcc", cc=country)
        except BadStatus as error:
            if error.status == 500:
                return None
            raise
        gcc: str = self._part(answer, "get_gcc", "gcc", str).lower()
        if not re.fullmatch(r"[0-9a-f]{3}", gcc):
            raise self._calls.invalid("get_gcc", f"gcc is {gcc[:20]!r}, not three hex digits")
        return gcc

    async def topics(self) -> tuple[Channel, ...]:
        """Every channel; *listed* if PlugIt has a default picture for it.

        If the list of all channels fails, only the listed ones are returned.
        """
        listed = await self._channel_ids("get_all_vis_channels")
        try:
            known = await self._channel_ids("get_all_channels")
        except DirectoryError as error:
            log.warning("directory.partial", error=str(error), used="get_all_vis_channels")
            known = {}
        return tuple(Channel(topic, id, topic in listed) for topic, id in (listed | known).items())

    async def default(self, channel: int) -> Default | None:
        """The default of a stale channel."""
        answer = await self._calls.ask("get_channel_default", id=str(channel))
        info = self._part(answer, "get_channel_default", "info", (dict, type(None)))
        if not info:
            return None
        filename, url, text, link = (
            self._text(info, key) for key in ("filename", "public_url", "radiotext", "radiolink")
        )
        locations = self.settings.FB_IMAGE_LOCATIONS
        image = (locations + filename if filename else None) if locations else url
        return Default(image, text, link) if image or text or link else None

    async def add_log(self, topic: str, body: bytes, headers: Sequence[tuple[str, str]], timestamp: int) -> None:
        """Store a message in PlugIt's log. If an answer is lost, the message may be stored twice."""
        await self._calls.ask(
            "add_log",
            topic=topic,
            message=body.decode("utf-8", "replace"),
            headers=json.dumps([list(header) for header in headers]),
            timestamp=str(timestamp),
        )

    async def cleanup_logs(self, max_age: int) -> None:
        """Drop the log entries older than this number of seconds."""
        await self._calls.ask("cleanup_logs", max_age=str(max_age))

    async def _channel_ids(self, method: str) -> dict[str, int]:
        answer = await self._calls.ask(method)
        answered = self._part(answer, method, "list", list)
        rows = self._rows(method, answered)
        found = dict(reversed(rows))  # The first duplicate is kept; PlugIt's order does not matter.
        twice = [topic for topic, id in rows if found[topic] != id]
        self._warn("directory.listed_twice", method, twice, "the first id is used")
        bare = [row[0] for row in answered if isinstance(row, list) and row and not str(row[0]).endswith("/")]
        self._warn("directory.no_trailing_slash", method, bare, "treated as if it had one")
        return found

    def _warn(self, event: str, method: str, found: list[str], consequence: str) -> None:
        """Log a harmless mistake in PlugIt's lists, but only when the number of affected rows changes."""
        if len(found) != self._odd_rows.get((event, method), 0):
            log.warning(event, method=method, rows=len(found), first=found[:1], consequence=consequence)
        self._odd_rows[event, method] = len(found)

    def _rows(self, method: str, rows: list[Any]) -> list[tuple[str, int]]:
        """The rows that consist of a topic and a number. The number of invalid rows is stored, and logged when it
        changes.
        """
        good, bad = [], []
        for row in rows:
            try:
                good.append(_row(row))
            except ValueError as error:
                bad.append(str(error))
        if len(bad) != self._bad_rows.get(method, 0):
            log.warning("directory.bad_rows", method=method, rows=len(bad), first=bad[:1])
        self._bad_rows[method] = len(bad)
        return good

    def _part(self, answer: dict[str, Any], method: str, name: str, kind: Any) -> Any:
        if name not in answer or not isinstance(answer[name], kind):
            came = type(answer[name]).__name__ if name in answer else "missing"
            raise self._calls.invalid(method, f"{name!r} is {came}")
        return answer[name]

    def _text(self, info: dict[str, Any], name: str) -> str | None:
        """A text, or None if PlugIt sends null or an empty text (contract §2, fault 12)."""
        text: str | None = self._part({name: None, **info}, "get_channel_default", name, (str, type(None)))
        return text or None


def _row(row: Any) -> tuple[str, int]:
    match row:
        case [str() as topic, int() as id] if not isinstance(id, bool):
            return checked_prefix(topic), id
    raise ValueError(f"{str(row)[:80]!r} is not a topic and a number")
