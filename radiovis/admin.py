"""The operators' listener: metrics, health, and what the dashboard asks. Every route of it stands here."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Any

import structlog
import twisted
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.web.resource import IResource

from fanout import __version__
from fanout.doors import port
from fanout.doors.entrance import Entrance
from fanout.doors.gate import Gate
from fanout.doors.guard import Guard, Guarded, is_loopback
from fanout.doors.http import HttpLimits, HttpSite
from fanout.doors.http_endpoint import Branch
from fanout.doors.probes import Live, MetricsText, Ready
from fanout.health import Condition, Health
from fanout.journal import Journal
from fanout.lag import Lag
from fanout.measures import BUILD, HEALTH, LAG, Build
from fanout.metrics import Metrics
from fanout.settings import SettingsError
from radiovis.admin_api import Outlook, Overview, Status, Topics
from radiovis.journal_api import JournalCsv, JournalSearch
from radiovis.settings import Settings

Routes = dict[str, IResource]
Check = Callable[[], Condition]

_REALM = "RadioVIS operators"
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
        port_setting: str,
        program: str,
        checks: Sequence[Check],
        entrance: Entrance | None = None,
    ) -> None:
        """
        :param port_setting: the name of the setting for its port.
        :param program: as people start it: ``server.py``.
        :param entrance: what stands before ADMIN_TLS_PORT; None where there is no such port.
        :raises SettingsError: others could read it without a token.
        """
        self._reactor = reactor
        self._settings = settings
        self._port_setting = port_setting
        self._guard = guard(settings, port_setting)
        self._entrance = entrance
        self._listening: Any = None
        self._secure: Any = None
        self._running: list[LoopingCall] = []
        lag = Lag(reactor.seconds)
        self.health = Health(checks)
        self.metrics = Metrics()
        self.loops: list[tuple[Callable[[], None], float]] = [(lag.look, lag.interval)]
        self.metrics.add(HEALTH, self.health)
        self.metrics.add(LAG, lag)
        self.metrics.add(BUILD, _build(program))
        self.routes: Routes = {
            "metrics": MetricsText(self.metrics),
            "healthz": Live(),
            "readyz": Ready(self.health, self._guard),
        }

    def start(self, inherited: int | None = None) -> str | None:
        """Listen; where, or None when the port is taken and nobody has asked for just this one.

        Several processes on one machine are to start without any setting, and work as well without this listener.

        :param inherited: the descriptor of a socket that is listening already.
        :raises CannotListenError: the port somebody has asked for is taken.
        """
        try:
            self._listen(inherited)
        except CannotListenError as error:
            if self._settings.source_of(self._port_setting) != "default":
                raise
            advice = f"set {self._port_setting}"
            log.warning("admin.unavailable", port=error.port, reason=str(error.socketError), advice=advice)
            return None
        for function, interval in self.loops:
            loop = LoopingCall(function)
            loop.clock = self._reactor
            loop.start(interval)
            self._running.append(loop)
        host = self._listening.getHost()
        return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"

    def _listen(self, inherited: int | None) -> None:
        root = Branch()
        for path, resource in self.routes.items():
            root.at(path, resource)
        gate, limits = Gate(_CONNECTIONS), HttpLimits(unread_seconds=self._settings.WRITE_TIMEOUT)
        site = HttpSite(self._reactor, Guarded(root, self._guard, _FOR_ALL), gate, limits, _complain)
        number: int = getattr(self._settings, self._port_setting)
        if inherited is None:
            self._listening = port.listen(self._reactor, self._settings.ADMIN_IP, number, site)
        else:
            self._listening = port.adopt(self._reactor, inherited, site)
        if self._entrance is not None and self._settings.ADMIN_TLS_PORT:
            where = self._settings.ADMIN_IP, self._settings.ADMIN_TLS_PORT
            self._secure = port.listen(self._reactor, *where, self._entrance.secure(site))

    def drain(self) -> None:
        """The process begins to end."""
        self.health.draining = True

    def stop(self) -> Deferred[Any]:
        """Listen no longer. The last to stop, so that one can see how the others do."""
        for loop in self._running:
            loop.stop()
        return DeferredList(
            [maybeDeferred(each.stopListening) for each in (self._listening, self._secure) if each is not None]
        )


def is_wanted(settings: Settings, port_setting: str, *, fake: bool) -> bool:
    """Whether there is to be a listener. Test suites start many nodes: ``--test`` has one where it is asked for."""
    if fake and settings.source_of(port_setting) == "default":
        return False
    return bool(getattr(settings, port_setting))


def overview_routes(outlook: Outlook) -> Routes:
    """What a dashboard asks a node."""
    return {"status": Status(outlook), "api/overview": Overview(outlook), "api/topics": Topics(outlook)}


def journal_routes(journal: Journal | None, clock: Callable[[], float]) -> Routes:
    """What there is to see of a journal; nothing without one."""
    if journal is None:
        return {}
    return {"api/journal": JournalSearch(journal, clock), "journal.csv": JournalCsv(journal, clock)}


def guard(settings: Settings, port_setting: str) -> Guard:
    """Who may ask. :raises SettingsError: everybody might."""
    token, ip = settings.ADMIN_TOKEN.get_secret_value(), settings.ADMIN_IP
    if not token and not is_loopback(ip):
        raise SettingsError(f"ADMIN_IP = {ip}: others get there, so set ADMIN_TOKEN, too; or {port_setting} = 0.")
    if settings.ADMIN_TLS_PORT and not (token and settings.TLS_CERTIFICATE):
        raise SettingsError("ADMIN_TLS_PORT: others get there, so set ADMIN_TOKEN and TLS_CERTIFICATE, too; or 0.")
    return Guard(token, _REALM)


def _build(program: str) -> Build:
    return {
        "program": program,
        "version": __version__,
        "python": platform.python_version(),
        "twisted": twisted.__version__,
    }


def _complain(event: str, address: str, **fields: Any) -> None:
    """Operators are few; each of their faults may be logged."""
    log.warning(event, address=address, **fields)
