"""The operators' listener: metrics, health, and what the dashboard asks. Every route of it stands here."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import structlog
import twisted
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.web.resource import IResource

from fanout import __version__
from fanout.http.auth import Guarded, OperatorAuth, is_loopback
from fanout.http.dispatch import Branch
from fanout.http.server import HttpLimits, HttpSite
from fanout.journal.journal import Journal
from fanout.listeners import port
from fanout.listeners.limits import ConnectionLimit
from fanout.listeners.tls import ListenerWrapper
from fanout.metrics.health import Condition, Health, Live, MetricsText, Ready
from fanout.metrics.prometheus import Metrics
from fanout.metrics.rates import ReactorLag
from fanout.metrics.tables import BUILD, CERTIFICATES, HEALTH, LAG, Build
from fanout.settings import LimitSettings, SettingsError
from radiovis.admin.api import NodeView, Overview, Status, Topics
from radiovis.admin.journal import JournalCsv, JournalSearch
from radiovis.node import door_parts
from radiovis.settings import Settings

# Where operators ask a program, and what has to be set for it.

_REALM = "RadioVIS operators"


@dataclass(frozen=True, slots=True)
class AdminPorts:
    """The ports of one program's operators' listener.

    :ivar ip: the address of both.
    :ivar plain: the one in the clear; 0 for none.
    :ivar secure: the one with TLS; likewise.
    :ivar setting: the name of the setting of the plain one.
    :ivar chosen: whether somebody has asked for just this plain one.
    """

    ip: str
    plain: int
    secure: int
    setting: str
    chosen: bool

    @classmethod
    def of(cls, settings: Settings, prefix: str = "", *, fake: bool = False, worker: bool = False) -> Self:
        """As the settings say.

        :param prefix: of their names: ``FB_`` for ``fallback.py``.
        :param fake: ``--test`` mode. Test suites start many nodes, which have a plain port where it is asked for.
        :param worker: for one of several workers, whose parent has the port with TLS.
        """
        setting = f"{prefix}ADMIN_PORT"
        chosen = settings.source_of(setting) != "default"
        return cls(
            ip=settings.ADMIN_IP,
            plain=0 if fake and not chosen else getattr(settings, setting),
            secure=0 if worker else getattr(settings, f"{prefix}ADMIN_TLS_PORT"),
            setting=setting,
            chosen=chosen,
        )

    @property
    def wanted(self) -> bool:
        """Whether there is to be a listener."""
        return bool(self.plain or self.secure)

    @property
    def secure_setting(self) -> str:
        """The name of the setting of the one with TLS."""
        return self.setting.replace("ADMIN_PORT", "ADMIN_TLS_PORT")

    def guard(self, settings: Settings) -> OperatorAuth:
        """Who may ask there. :raises SettingsError: everybody might."""
        token = settings.ADMIN_TOKEN.get_secret_value()
        if not token and not is_loopback(self.ip):
            raise SettingsError(
                f"ADMIN_IP = {self.ip}: others get there, so set ADMIN_TOKEN, too; or {self.setting} = 0."
            )
        if self.secure and not (token and settings.TLS_CERTIFICATE):
            name = self.secure_setting
            raise SettingsError(f"{name}: others get there, so set ADMIN_TOKEN and TLS_CERTIFICATE, too; or 0.")
        return OperatorAuth(token, _REALM)


Routes = dict[str, IResource]
Check = Callable[[], Condition]

_CONNECTIONS = 200
"""Open at a time: some dashboards, one Prometheus; apart from the radios', so that it answers when they fill theirs."""
_FOR_ALL = frozenset({"healthz", "readyz"})

log = structlog.get_logger(__name__)


class Admin:
    """The listener of one process, and what runs for it.

    :ivar health: tells that the process ends, once :meth:`drain` was called.
    :ivar metrics: the process adds its own.
    :ivar routes: path → what is there; the process adds its own before :meth:`start`.
    :ivar loops: functions to be called, each with the seconds in between; likewise.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        ports: AdminPorts,
        program: str,
        checks: Sequence[Check],
        entrance: ListenerWrapper | None = None,
    ) -> None:
        """
        :param program: as people start it: ``server.py``.
        :param entrance: what stands before the port with TLS, started by whoever made it; may be None without one.
        :raises SettingsError: others could read it without a token.
        """
        self._reactor = reactor
        self._settings = settings
        self._ports = ports
        self._guard = ports.guard(settings)
        self._entrance = entrance
        self._listening: dict[str, Any] = {}
        self._running: list[LoopingCall] = []
        lag = ReactorLag(reactor.seconds)
        self.health = Health(checks)
        self.metrics = Metrics()
        self.loops: list[tuple[Callable[[], None], float]] = [(lag.sample, lag.interval)]
        self.metrics.add(HEALTH, self.health)
        self.metrics.add(LAG, lag)
        self.metrics.add(BUILD, _build(program))
        if entrance is not None and entrance.certificates is not None:
            self.metrics.add(CERTIFICATES, entrance.certificates)
        self.routes: Routes = {
            "metrics": MetricsText(self.metrics),
            "healthz": Live(),
            "readyz": Ready(self.health, self._guard),
        }

    def start(self, inherited: int | None = None) -> dict[str, str]:
        """Listen; where, by the name of the listener. Without the plain one, if its port is taken and nobody has asked
        for just this one: several processes on one machine are to start without any setting, and work as well.

        :param inherited: the descriptor of a socket that is listening already, for the plain one.
        :raises CannotListenError: a port somebody has asked for is taken.
        """
        site = self._site()
        if self._ports.plain:
            self._listen(site, inherited)
        if self._ports.secure and self._entrance is not None:
            door = self._entrance.secure(site)
            self._listening["admin_tls"] = port.listen(self._reactor, self._ports.ip, self._ports.secure, door)
        for function, interval in self.loops if self._listening else ():
            loop = LoopingCall(function)
            loop.clock = self._reactor
            loop.start(interval)
            self._running.append(loop)
        return {name: _address(each.getHost()) for name, each in self._listening.items()}

    def _site(self) -> HttpSite:
        root = Branch()
        for path, resource in self.routes.items():
            root.at(path, resource)
        connection_limit, limits = (
            ConnectionLimit(LimitSettings(MAX_CONNECTIONS=_CONNECTIONS, CONNECT_RATE=0)),
            HttpLimits(unread_seconds=self._settings.WRITE_TIMEOUT),
        )
        return HttpSite(self._reactor, Guarded(root, self._guard, _FOR_ALL), connection_limit, limits, _warn)

    def _listen(self, site: HttpSite, inherited: int | None) -> None:
        ports = self._ports
        try:
            self._listening["admin"] = (
                port.listen(self._reactor, ports.ip, ports.plain, site)
                if inherited is None
                else port.adopt(self._reactor, inherited, site)
            )
        except CannotListenError as error:
            if ports.chosen:
                raise
            advice = f"set {ports.setting}"
            log.warning("admin.unavailable", port=error.port, reason=str(error.socketError), advice=advice)

    def drain(self) -> None:
        """The process begins to end."""
        self.health.draining = True

    def stop(self) -> Deferred[Any]:
        """Listen no longer. The last to stop, so that one can see how the others do."""
        for loop in self._running:
            loop.stop()
        return DeferredList([maybeDeferred(each.stopListening) for each in self._listening.values()])


def operators_entrance(reactor: Any, settings: Settings, ports: AdminPorts) -> ListenerWrapper | None:
    """What stands before the port with TLS, in a program that lets in operators only; None without such a port.

    :raises SettingsError: the certificate cannot be used, or is missing.
    """
    return door_parts.entrance(reactor, settings, _warn) if ports.secure else None


def overview_routes(outlook: NodeView) -> Routes:
    """What a dashboard asks a node."""
    return {"status": Status(outlook), "api/overview": Overview(outlook), "api/topics": Topics(outlook)}


def journal_routes(journal: Journal | None, clock: Callable[[], float]) -> Routes:
    """What there is to see of a journal; nothing without one."""
    if journal is None:
        return {}
    return {"api/journal": JournalSearch(journal, clock), "journal.csv": JournalCsv(journal, clock)}


def _build(program: str) -> Build:
    return {
        "program": program,
        "version": __version__,
        "python": platform.python_version(),
        "twisted": twisted.__version__,
    }


def _warn(event: str, address: str, **fields: Any) -> None:
    """Operators are few; each of their faults may be logged."""
    log.warning(event, address=address, **fields)


def _address(host: Any) -> str:
    return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"
