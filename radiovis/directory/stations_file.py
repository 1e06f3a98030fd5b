"""A directory in a TOML file, instead of PlugIt: the setting ``STATIONS_FILE``. Changes of the file are loaded.

A station may log in with a client certificate instead of a password, and may have two passwords while it changes from
one to the other. A check of a password is slow on purpose (scrypt). Therefore a successful login from the same address
is remembered for a while: not the password, but a keyed hash of it, whose random key never leaves this process.
Remembered logins are dropped when the file changes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b, sha256
from pathlib import Path
from secrets import token_bytes
from typing import Any

import structlog
from cryptography import x509
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool

from fanout.application.login_throttle import LoginQueue
from fanout.cache.bounded_dict import BoundedDict
from fanout.listeners.tls import CertificateError, authorities, is_signed
from radiovis.directory.interface import Channel, Default
from radiovis.directory.password import HASH_BYTES, SALT_BYTES, N, P, R, StoredPassword, check_password
from radiovis.directory.stations_parser import Stations, StationsFileError, parse_stations

__all__ = ["StationsFile", "StationsFileError", "read_stations", "read_text"]

INTERVAL = 1.0
"""Seconds between two checks of the file; each is one ``stat`` call."""
MAX_SIZE = 8 * 2**20
"""Largest file in bytes, for about 40,000 channels. A larger file was selected by mistake."""
MOST_CHECKS = 4
"""How many passwords are checked at the same time, if there are as many processors. Each check takes one of them for 50
ms, and 16 MiB meanwhile. More checks would only take memory, and time from the clients."""
REMEMBERED_SECONDS = 300
"""Seconds for which a successful login is not checked again. A station publishes at least once per song; the hash of a
password should not stay in memory for longer than that."""
_REMEMBERED = 10_000  # logins; each takes about 200 octets
_KEY_OCTETS = 32


def checks_at_once() -> int:
    """How many passwords this process checks at the same time."""
    return min(MOST_CHECKS, len(os.sched_getaffinity(0)))


log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class StationsFile:
    """A :class:`~radiovis.directory.interface.Directory` that loads the changes of its file.

    If the new content is not valid, the stations do not change, and the fault is logged once with its line
    (``stations.refused``).

    :ivar refused: why the current file cannot be used, so that the previous stations stay in use; empty if it can be
        used.
    :ivar remembered: how many logins were not checked because the same login had succeeded a moment ago.
    :ivar withdrawn: the logins that the last change of the file removed, or from which it removed a password, a
        certificate or a network. Open connections may have used what was removed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        reactor: Any,
        *,
        clock: Any = None,
        on_change: Callable[[], None] = lambda: None,
        interval: float = INTERVAL,
        queue: LoginQueue | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        :param path: the file.
        :param reactor: passwords are checked in its thread pool.
        :param clock: for the timer, and for how long a login is remembered; the reactor if None.
        :param on_change: called after the stations have changed.
        :param interval: seconds between two checks of the file.
        :param queue: the queue in which logins wait for their check; None for a new one.
        :param now: Unix time in seconds, for passwords that expire.
        """
        self._path = Path(path)
        self._reactor = reactor
        self._on_change = on_change
        self._interval = interval
        self._queue = queue or LoginQueue(checks_at_once())
        self._key = token_bytes(_KEY_OCTETS)
        self._right: BoundedDict[bytes, float] = BoundedDict(_REMEMBERED)  # until when a login need not be checked
        self._clock: Callable[[], float] = (clock or reactor).seconds
        self._now = now
        self._stations = Stations()
        self._authorities: Any = None
        self.refused = ""
        self.remembered = 0
        self.withdrawn: frozenset[str] = frozenset()
        self._seen: tuple[int, ...] | None = None
        self._look = LoopingCall(self._reload_if_changed)
        self._look.clock = clock or reactor

    def load(self) -> None:
        """Read the file, at the start.

        :raises StationsFileError: it cannot be read, or is not valid. The stations do not change.
        """
        self._seen = self._signature()
        stations = read_stations(self._path)
        self._authorities = _authorities(self._path, stations)
        self.withdrawn = _withdrawn(self._stations, stations)
        self._stations = stations
        self._right.clear()
        self.refused = ""

    def start(self) -> None:
        """Check the file regularly from now on, and load its changes."""
        self._look.start(self._interval, now=False)

    def stop(self) -> None:
        """Stop checking the file."""
        if self._look.running:
            self._look.stop()

    def reload(self) -> bool:
        """Read the file again, even if it did not change. Returns whether it is valid."""
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
        """Whether this login may publish from this address. An unknown login takes as much time as a known one.

        :raises TooManyLogins: too many logins wait for their check.
        """
        given = self._hash(login, passcode, address)
        if self._remembers(given):
            return True
        return await self._queue.run(address, login, lambda: self._check(login, passcode, address, given))

    async def _check(self, login: str, passcode: str, address: str, given: bytes) -> bool:
        if self._remembers(given):  # the same login was sent twice, and the first one succeeded
            return True
        stations, now = self._stations, self._now()
        account = stations.accounts.get(login)
        known = () if account is None else account.passwords(now)
        pool = self._reactor.getThreadPool()
        until = await deferToThreadPool(self._reactor, pool, _valid_until, passcode, known or _example(stations))
        if stations is not self._stations:  # The file has changed meanwhile.
            return await self._check(login, passcode, address, given)
        if not until or account is None or not account.allows(address):
            return False
        self._right[given] = self._clock() + min(REMEMBERED_SECONDS, until - now)
        return True

    @property
    def has_certificates(self) -> bool:
        """Whether any station may log in with a client certificate."""
        return self._stations.has_certificates

    def check_certificate(self, login: str, certificates: Sequence[bytes], address: str) -> bool:
        """Whether this login may publish from this address, with the first of these certificates.

        A fingerprint identifies one certificate, even a self-signed one, as long as it is in the file. A subject needs
        an authority of the file, and a certificate that is valid now.

        :param certificates: the client's certificate, then the intermediate ones, in DER.
        """
        account = self._stations.accounts.get(login)
        if account is None or not account.certificates or not account.allows(address):
            return False
        digest = sha256(certificates[0]).digest()
        if any(each.fingerprint == digest for each in account.certificates):
            return True
        try:
            subject = x509.load_der_x509_certificate(certificates[0]).subject
        except ValueError:
            return False
        named = any(each.subject == subject for each in account.certificates)
        return named and self._authorities is not None and is_signed(certificates, self._authorities)

    def _remembers(self, given: bytes) -> bool:
        found = self._right.get(given, 0.0) > self._clock()
        self.remembered += found
        return found

    def _hash(self, *parts: str) -> bytes:
        """The hash of a login, its password and its address. It includes their lengths, so that different logins have
        different octets.
        """
        hashed = blake2b(key=self._key)
        for part in parts:
            octets = part.encode("utf-8", "surrogatepass")
            hashed.update(b"%d:" % len(octets) + octets)
        return hashed.digest()

    async def channels(self, station: str) -> tuple[str, ...]:
        """The topic prefixes of all logins of a station."""
        return self._stations.channels.get(station, ())

    async def gcc(self, country: str) -> str | None:
        """The GCC from ``[countries]``."""
        return self._stations.countries.get(country)

    async def topics(self) -> tuple[Channel, ...]:
        """The channels of all stations. All count as listed, even without a default."""
        return self._stations.topics

    async def default(self, channel: int) -> Default | None:
        """The default of the channel in the file."""
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


def _withdrawn(before: Stations, now: Stations) -> frozenset[str]:
    return frozenset(
        login
        for login, account in before.accounts.items()
        if login not in now.accounts or account.credentials - now.accounts[login].credentials
    )


_NOBODY = StoredPassword(N, R, P, bytes(SALT_BYTES), bytes(HASH_BYTES))


def _example(stations: Stations) -> Sequence[tuple[StoredPassword, float]]:
    """A password for comparison if the login is unknown: it never matches, and the check takes as much time as for a
    known login.
    """
    passwords = (account.password for account in stations.accounts.values() if account.password is not None)
    return ((next(passwords, _NOBODY), 0.0),)


def _valid_until(password: str, known: Sequence[tuple[StoredPassword, float]]) -> float:
    """The Unix time until which this password is valid; 0 if it matches none of these. Blocks; see
    ``check_password``.
    """
    return next((until for stored, until in known if check_password(password, stored)), 0.0)


def _authorities(path: Path, stations: Stations) -> Any:
    """The authorities that sign the stations' certificates; None if there are none.

    :param path: of the stations file; a relative ``client_ca`` is relative to its folder.
    :raises StationsFileError: their file cannot be used.
    """
    if not stations.client_ca:
        return None
    try:
        return authorities(path.parent / stations.client_ca)
    except CertificateError as error:
        raise StationsFileError(str(path), None, f"client_ca: {error}") from None


def read_stations(path: Path) -> Stations:
    """The content of a stations file.

    :raises StationsFileError: it cannot be read, or is not valid.
    """
    return parse_stations(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a stations file, with its original line ends.

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
