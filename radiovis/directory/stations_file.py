"""A directory in a TOML file, instead of PlugIt: the setting ``STATIONS_FILE``. Changes of the file are followed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool

from radiovis.directory.interface import Channel, Default, DirectoryError
from radiovis.directory.password import check_password
from radiovis.directory.stations_parser import Stations, StationsFileError, parse_stations

__all__ = ["StationsFile", "StationsFileError", "read_stations", "read_text"]

INTERVAL = 1.0
"""Seconds between two looks at the file; one ``stat`` call each."""
MAX_SIZE = 8 * 2**20
"""Bytes, for about 40,000 channels. A larger file was chosen by mistake."""
MAX_LOGINS = 32
"""Password checks at the same time. Each takes 50 ms of a processor, so that a flood must be refused."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class StationsFile:
    """A :class:`~radiovis.directory.interface.Directory` that follows the changes of its file.

    If the new content is not valid, the stations stay as they were, and the fault is logged once with its line
    (``stations.refused``).

    :ivar refused: why the file as it is now cannot be used, so that the stations from before stay in use; empty if it
        can be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        reactor: Any,
        *,
        clock: Any = None,
        on_change: Callable[[], None] = lambda: None,
        interval: float = INTERVAL,
        max_logins: int = MAX_LOGINS,
    ) -> None:
        """
        :param reactor: passwords are checked in its thread pool.
        :param clock: for the timer; the reactor if None.
        :param on_change: called after the stations have changed.
        :param interval: seconds between two looks at the file.
        :param max_logins: password checks at once; further ones fail with ``DirectoryError``.
        """
        self._path = Path(path)
        self._reactor = reactor
        self._on_change = on_change
        self._interval = interval
        self._max_logins = max_logins
        self._logins = 0
        self._stations = Stations()
        self.refused = ""
        self._seen: tuple[int, ...] | None = None
        self._look = LoopingCall(self._reload_if_changed)
        self._look.clock = clock or reactor

    def load(self) -> None:
        """Read the file, at the start.

        :raises StationsFileError: it cannot be read, or is not valid. The stations stay as they were.
        """
        self._seen = self._signature()
        self._stations = read_stations(self._path)
        self.refused = ""

    def start(self) -> None:
        """Follow the changes of the file from now on."""
        self._look.start(self._interval, now=False)

    def stop(self) -> None:
        """Follow the changes no longer."""
        if self._look.running:
            self._look.stop()

    def reload(self) -> bool:
        """Read the file again, changed or not; whether it is valid."""
        try:
            self.load()
        except StationsFileError as error:
            self.refused = str(error)
            log.error("stations.refused", error=self.refused, kept=len(self._stations.accounts))
            return False
        log.info("stations.loaded", file=str(self._path), stations=len(self._stations.accounts))
        self._on_change()
        return True

    async def check_auth(self, login: str, passcode: str, address: str) -> bool:
        """Whether this login may publish from this address. An unknown login takes as long as a known one."""
        accounts = self._stations.accounts
        account = accounts.get(login) or next(iter(accounts.values()), None)
        if account is None:
            return False
        if self._logins >= self._max_logins:
            raise DirectoryError(f"{self._logins} logins are being checked already")
        self._logins += 1
        try:
            pool = self._reactor.getThreadPool()
            right: bool = await deferToThreadPool(self._reactor, pool, check_password, passcode, account.password)
        finally:
            self._logins -= 1
        return right and login in accounts and account.allows(address)

    async def channels(self, station: str) -> tuple[str, ...]:
        """The topic prefixes of all logins of a station."""
        return self._stations.channels.get(station, ())

    async def gcc(self, country: str) -> str | None:
        """From ``[countries]``."""
        return self._stations.countries.get(country)

    async def topics(self) -> tuple[Channel, ...]:
        """The channels of all stations. All count as listed, even without a default."""
        return self._stations.topics

    async def default(self, channel: int) -> Default | None:
        """The default in the file, beside the channel."""
        return self._stations.defaults.get(channel)

    def _reload_if_changed(self) -> None:
        if self._signature() == self._seen:
            return
        try:
            self.reload()
        except Exception:  # An error in on_change must not stop the timer.
            log.exception("stations.on_change", file=str(self._path))

    def _signature(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def read_stations(path: Path) -> Stations:
    """The content of a stations file.

    :raises StationsFileError: it cannot be read, or is not valid.
    """
    return parse_stations(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a stations file, with its own line ends.

    :raises StationsFileError: it cannot be read, is too long, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise StationsFileError(str(path), None, f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_SIZE:
        raise StationsFileError(str(path), None, f"is longer than {MAX_SIZE} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StationsFileError(str(path), line, "is not UTF-8 here") from None
