"""Changes a stations file the way a careful person would: nothing else in it moves, and nobody ever sees half of it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomlkit
from tomlkit.exceptions import TOMLKitError

from radiovis.commands.arguments import WRONG, CommandError
from radiovis.directory.stations import Stations, parse_stations
from radiovis.directory.stations_file import read_text

_NEW_MODE = 0o640  # A new file: hashes are nobody else's business, but the node's group may have to read it.


class StationsEditor:
    """Holds the file against other editors of this kind, for as long as the context lasts.

    :ivar text: what stands in it.
    :ivar stations: what that means.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """:param create: whether the file may be missing, as an empty one."""
        self._shown = path
        self._path = path.resolve()  # A link stays a link: what it points to is replaced.
        self._create = create
        self._held = ExitStack()
        self.text = ""
        self.stations = Stations()

    def __enter__(self) -> Self:
        """:raises CommandError: the folder cannot be read. :raises StationsFileError: the file cannot be used."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY)
        except OSError as error:
            raise CommandError(f"{self._shown}: {error.strerror}", WRONG) from None
        self._held.callback(os.close, folder)
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            self._read()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _read(self) -> None:
        if self._create and not self._path.exists():
            return
        self.text = read_text(self._path)
        if self.text.strip():
            self.stations = parse_stations(self.text, str(self._shown))

    def replace(self, text: str) -> None:
        """Put this text in the file's place, in one step, with the same owner and mode.

        :raises StationsFileError: no node could use it; the file stays as it was.
        :raises CommandError: it cannot be written; likewise.
        """
        parse_stations(text, str(self._shown))
        try:
            self._write(text.encode())
        except OSError as error:
            raise CommandError(f"{self._shown}: cannot be written: {error.strerror}", WRONG) from None

    def _write(self, content: bytes) -> None:
        status = self._path.stat() if self._path.exists() else None
        number, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(number, "wb") as file:
                if status is not None and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
                os.fchmod(file.fileno(), status.st_mode & 0o7777 if status else _NEW_MODE)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def with_station(
    text: str, login: str, password: str, name: str, networks: Sequence[str], topics: Sequence[str]
) -> str:
    """The text with a station at its end.

    :param password: its hash.
    """
    station: dict[str, Any] = {"login": login, "password": password}
    if name:
        station["name"] = name
    if networks:
        station["networks"] = list(networks)
    if topics:
        station["channel"] = [{"topic": topic} for topic in topics]
    added = tomlkit.dumps({"station": [station]})
    if "\r\n" in text:
        added = added.replace("\n", "\r\n")
    end = "\r\n" if "\r\n" in text else "\n"
    before = text + (end if text and not text.endswith("\n") else "") + (end if text.strip() else "")
    return before + added


def with_password(text: str, login: str, password: str) -> str:
    """The text with another password for this login, which must be in it.

    :param password: the hash.
    """
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:  # tomllib has read it, so this is rare: the two differ in the corners of TOML.
        raise CommandError(f"the stations file cannot be edited: {error}; edit it by hand", WRONG) from None
    stations: Any = document["station"]
    station = next(each for each in stations if each["login"] == login)
    station["password"] = password
    return tomlkit.dumps(document)
