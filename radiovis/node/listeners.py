"""The listen addresses of a node for its clients, and a socket for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from fanout.listeners import port
from fanout.listeners.port import SlicedPort, keep_alive
from fanout.listeners.tls import ListenerWrapper
from fanout.settings.field import DEFAULT
from radiovis.settings import Settings

_TEST_IP, _TEST_PORT = "127.0.0.1", 61424  # contract §1.12; its logins are public


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """An address to listen on.

    :ivar ip: the IP address.
    :ivar port: the port; 0 for a free one.
    :ivar server: the server for the clients: ``stomp`` or ``http``.
    :ivar secure: whether it uses TLS.
    """

    ip: str
    port: int
    server: str = ""
    secure: bool = False


_PORTS = ("STOMP_PORT", "STOMP_TLS_PORT", "HTTP_PORT", "HTTPS_PORT", "ADMIN_PORT", "ADMIN_TLS_PORT")


def port_setting(settings: Settings, port: int) -> str:
    """The name of the setting that contains this port; empty if there is none."""
    return next((name for name in _PORTS if getattr(settings, name) == port), "")


def listen_addresses(settings: Settings, *, fake: bool) -> dict[str, ListenAddress]:
    """The listen addresses of a node, by name.

    :param fake: whether the node runs with ``--test``, which has a STOMP port of its own, and listens on loopback
        unless STOMP_IP is set (HTTP_IP for HTTP).
    """
    given = {name for name in ("STOMP_IP", "STOMP_PORT", "HTTP_IP", "HTTP_PORT") if settings.source_of(name) != DEFAULT}
    stomp_ip = _TEST_IP if fake and "STOMP_IP" not in given else settings.STOMP_IP
    http_ip = stomp_ip if fake and "HTTP_IP" not in given else settings.HTTP_IP
    stomp_port = _TEST_PORT if fake and "STOMP_PORT" not in given else settings.STOMP_PORT
    found = {"stomp": ListenAddress(stomp_ip, stomp_port, "stomp")}
    # Test suites start many nodes on one machine: with --test there is HTTP only if its port is set.
    if settings.HTTP_PORT and not (fake and "HTTP_PORT" not in given):
        found["http"] = ListenAddress(http_ip, settings.HTTP_PORT, "http")
    if settings.TLS_CERTIFICATE and settings.STOMP_TLS_PORT:
        found["stomp_tls"] = ListenAddress(stomp_ip, settings.STOMP_TLS_PORT, "stomp", secure=True)
    if settings.TLS_CERTIFICATE and settings.HTTPS_PORT:
        found["https"] = ListenAddress(http_ip, settings.HTTPS_PORT, "http", secure=True)
    return found


class Listeners:
    """Opens a socket for each listen address, and closes them."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        listener_wrapper: ListenerWrapper,
        addresses: Mapping[str, ListenAddress],
        servers: Mapping[str, Any],
        *,
        reuse_port: bool = False,
    ) -> None:
        """
        :param reactor: Twisted's reactor.
        :param settings: the settings of the node.
        :param listener_wrapper: adds TLS and the PROXY protocol.
        :param addresses: where to listen, by name.
        :param servers: a factory of protocols for each :attr:`ListenAddress.server`.
        :param reuse_port: whether to share the ports with the other workers of this machine.
        """
        self._reactor = reactor
        self._settings = settings
        self._listener_wrapper = listener_wrapper
        self._addresses = addresses
        self._servers = servers
        self._reuse_port = reuse_port
        self._ports: list[SlicedPort] = []

    def open(self) -> dict[str, str]:
        """Start listening. Returns the actual addresses by name.

        :raises twisted.internet.error.CannotListenError: a port is taken.
        """
        return {name: self._open(address) for name, address in self._addresses.items()}

    def _open(self, address: ListenAddress) -> str:
        server = self._servers[address.server]
        factory = self._listener_wrapper.secure(server) if address.secure else self._listener_wrapper.plain(server)
        listening = port.listen(self._reactor, address.ip, address.port, factory, reuse_port=self._reuse_port)
        keep_alive(listening.socket)
        self._ports.append(listening)
        host: Any = listening.getHost()  # type: ignore[no-untyped-call]
        return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"

    def close(self) -> list[Deferred[Any]]:
        """Accept no more connections. Each Deferred fires when its socket is closed."""
        if self._reuse_port:
            for pending_requests in self._ports:
                pending_requests.accept_queue()
        return [maybeDeferred(pending_requests.stopListening) for pending_requests in self._ports]
