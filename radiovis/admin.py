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
from fanout.doors.guard import Guarded
from fanout.doors.http import HttpLimits, HttpSite
from fanout.doors.http_endpoint import Branch
from fanout.doors.probes import Live, MetricsText, Ready
from fanout.health import Condition, Health
from fanout.journal import Journal
from fanout.lag import Lag
from fanout.measures import BUILD, CERTIFICATES, HEALTH, LAG, Build
from fanout.metrics import Metrics
from radiovis import door_parts
from radiovis.admin_api import Outlook, Overview, Status, Topics
from radiovis.admin_ports import AdminPorts
from radiovis.journal_api import JournalCsv, JournalSearch
from radiovis.settings import Settings

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
        entrance: Entrance | None = None,
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
        lag = Lag(reactor.seconds)
        self.health = Health(checks)
        self.metrics = Metrics()
        self.loops: list[tuple[Callable[[], None], float]] = [(lag.look, lag.interval)]
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
        gate, limits = Gate(_CONNECTIONS), HttpLimits(unread_seconds=self._settings.WRITE_TIMEOUT)
        return HttpSite(self._reactor, Guarded(root, self._guard, _FOR_ALL), gate, limits, _complain)

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


def operators_entrance(reactor: Any, settings: Settings, ports: AdminPorts) -> Entrance | None:
    """What stands before the port with TLS, in a program that lets in operators only; None without such a port.

    :raises SettingsError: the certificate cannot be used, or is missing.
    """
    return door_parts.entrance(reactor, settings, _complain) if ports.secure else None


def overview_routes(outlook: Outlook) -> Routes:
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


def _complain(event: str, address: str, **fields: Any) -> None:
    """Operators are few; each of their faults may be logged."""
    log.warning(event, address=address, **fields)


def _address(host: Any) -> str:
    return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"
