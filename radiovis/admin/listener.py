"""The operators' listener: its ports, its authentication, and its site.

The program that has one adds its own routes, metrics and checks.
"""

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

from fanout import __version__
from fanout.application.observer import ClientCounters, ClientWarnings
from fanout.http.auth import OperatorAuth, is_loopback
from fanout.http.dispatch import Dispatcher
from fanout.http.http_server import HttpSite
from fanout.http.routing import Route, Routes
from fanout.listeners import port
from fanout.listeners.client_limits import ConnectionLimit, ConnectionSettings
from fanout.listeners.tls import ListenerWrapper
from fanout.metrics.health import HEALTH, Condition, Health, HealthRoutes
from fanout.metrics.prometheus import BUILD, CERTIFICATES, LAG, OPERATORS, Build, Metrics
from fanout.metrics.traffic import ReactorLag
from fanout.settings import SettingsError
from radiovis.settings import Settings

_REALM = "RadioVIS operators"


@dataclass(frozen=True, slots=True)
class AdminPorts:
    """The ports of one program's operators' listener.

    :ivar ip: the address of both.
    :ivar plain: the port without TLS; 0 for none.
    :ivar secure: the port with TLS; 0 for none.
    :ivar setting: the name of the setting of the port without TLS.
    :ivar chosen: whether the settings contain the port without TLS explicitly.
    """

    ip: str
    plain: int
    secure: int
    setting: str
    chosen: bool

    @classmethod
    def of(cls, settings: Settings, prefix: str = "", *, fake: bool = False, worker: int | None = None) -> Self:
        """The ports from the settings.

        :param prefix: prefix of the settings' names: ``FB_`` for ``fallback.py``.
        :param fake: whether the program runs with ``--test``. Test suites start many nodes, which only have a plain
            port if it is set explicitly.
        :param worker: the number of one of several workers, which is added to the ports; None for any other process.
        """
        setting = f"{prefix}ADMIN_PORT"
        chosen = settings.source_of(setting) != "default"
        plain = 0 if fake and not chosen else getattr(settings, setting)
        secure = getattr(settings, f"{prefix}ADMIN_TLS_PORT")
        return cls(
            ip=settings.ADMIN_IP,
            plain=plain and plain + (worker or 0),
            secure=secure and secure + (worker or 0),
            setting=setting,
            chosen=chosen,
        )

    @property
    def wanted(self) -> bool:
        """Whether there should be a listener."""
        return bool(self.plain or self.secure)

    @property
    def secure_setting(self) -> str:
        """The name of the setting of the port with TLS."""
        return self.setting.replace("ADMIN_PORT", "ADMIN_TLS_PORT")

    def auth(self, settings: Settings) -> OperatorAuth:
        """The authentication of operators on these ports.

        :raises SettingsError: others could read the pages without a token.
        """
        token = settings.ADMIN_TOKEN.get_secret_value()
        if not token and not is_loopback(self.ip):
            raise SettingsError(
                f"ADMIN_IP = {self.ip}: other machines can connect, so set ADMIN_TOKEN, too; or {self.setting} = 0."
            )
        if self.secure and not (token and settings.TLS_CERTIFICATE):
            name = self.secure_setting
            raise SettingsError(
                f"{name}: other machines can connect, so set ADMIN_TOKEN and TLS_CERTIFICATE, too; or 0."
            )
        return OperatorAuth(token, _REALM)


Check = Callable[[], Condition]

_CONNECTIONS = 200
"""Connections that may be open at the same time: some dashboards and one Prometheus. They are counted separately from
the radios' connections, so that operators get an answer when the node accepts no more radios."""
_CONNECTIONS_OF_ADDRESS = 100
"""Connections of one address among these, so that idle connections of one address do not exclude operators of other
addresses."""

log = structlog.get_logger(__name__)


class Admin:
    """The operators' listener of one process, with its health, metrics and loops.

    :ivar health: reports that the process ends, after :meth:`drain` was called.
    :ivar metrics: the process adds its own.
    :ivar routes: the rows of the routing table. The process adds its own before :meth:`start`; an earlier row overrides
        later ones.
    :ivar loops: functions that are called regularly, each with the interval in seconds. The process adds its own before
        :meth:`start`.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        ports: AdminPorts,
        program: str,
        checks: Sequence[Check],
        listener_wrapper: ListenerWrapper | None = None,
    ) -> None:
        """
        :param program: name of the program: ``server.py``.
        :param checks: the conditions of the process.
        :param listener_wrapper: adds TLS to the port with TLS; its owner starts it. None without such a port.
        :raises SettingsError: others could read the pages without a token.
        """
        self._reactor = reactor
        self._settings = settings
        self._ports = ports
        self._auth = ports.auth(settings)
        self._listener_wrapper = listener_wrapper
        self._listening: dict[str, Any] = {}
        self._running: list[LoopingCall] = []
        lag = ReactorLag(reactor.seconds)
        self.health = Health(checks)
        self.metrics = Metrics()
        self.loops: list[tuple[Callable[[], None], float]] = [(lag.sample, lag.interval)]
        self.metrics.add(HEALTH, self.health)
        self.metrics.add(LAG, lag)
        self.metrics.add(BUILD, _build(program))
        self.metrics.add(OPERATORS, self._auth)
        if listener_wrapper is not None and listener_wrapper.certificates is not None:
            self.metrics.add(CERTIFICATES, listener_wrapper.certificates)
        self.routes: list[Route] = HealthRoutes(self.health, self.metrics, self._auth).routes()

    def start(self) -> dict[str, str]:
        """Start listening. If the plain port is taken and was not set explicitly, continue without it, so that several
        processes on one machine start without any settings.

        :return: the addresses, by the name of the listener.
        :raises CannotListenError: a port that was set explicitly is taken.
        """
        site = self._site()
        if self._ports.plain:
            self._listen(site)
        if self._ports.secure and self._listener_wrapper is not None:
            factory = self._listener_wrapper.secure(site)
            self._listening["admin_tls"] = port.listen(self._reactor, self._ports.ip, self._ports.secure, factory)
        for function, interval in self.loops if self._listening else ():
            loop = LoopingCall(function)
            loop.clock = self._reactor
            loop.start(interval)
            self._running.append(loop)
        return {name: _address(each.getHost()) for name, each in self._listening.items()}

    def _site(self) -> HttpSite:
        dispatcher = Dispatcher(Routes(self.routes), auth=self._auth)
        return HttpSite(
            self._reactor,
            dispatcher,
            ConnectionLimit(_limits()),
            self._settings,
            ClientWarnings(ClientCounters(), log).warn,
            name="radiovis",
            check=dispatcher.check,
        )

    def _listen(self, site: HttpSite) -> None:
        ports = self._ports
        try:
            self._listening["admin"] = port.listen(self._reactor, ports.ip, ports.plain, site)
        except CannotListenError as error:
            if ports.chosen:
                raise
            advice = f"set {ports.setting}"
            log.warning("admin.unavailable", port=error.port, reason=str(error.socketError), advice=advice)

    def take_token(self, settings: Settings) -> None:
        """Require the token of these settings from now on. A token that would let others in is ignored."""
        try:
            self._auth.token = self._ports.auth(settings).token
        except SettingsError as error:
            log.error("settings.refused", problem=str(error))

    def drain(self) -> None:
        """Note that the process begins to end."""
        self.health.draining = True

    def stop(self) -> Deferred[Any]:
        """Stop listening. This part is stopped last, so that the state of the others can be seen."""
        for loop in self._running:
            loop.stop()
        return DeferredList([maybeDeferred(each.stopListening) for each in self._listening.values()])


def _limits() -> ConnectionSettings:
    return ConnectionSettings(
        MAX_CONNECTIONS=_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS=_CONNECTIONS_OF_ADDRESS, CONNECT_RATE=0
    )


def _build(program: str) -> Build:
    return {
        "program": program,
        "version": __version__,
        "python": platform.python_version(),
        "twisted": twisted.__version__,
    }


def _address(host: Any) -> str:
    return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"
