"""What a node listens on: a socket for each place, with the door behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from fanout.listeners import port
from fanout.listeners.port import SlicedPort, keep_alive
from fanout.listeners.tls import ListenerWrapper
from radiovis.node.places import ListenAddress
from radiovis.settings import Settings


class Listeners:
    """Opens every place, and closes them."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        entrance: ListenerWrapper,
        places: Mapping[str, ListenAddress],
        doors: Mapping[str, Any],
        *,
        reuse_port: bool = False,
    ) -> None:
        """
        :param doors: a factory of protocols for each :attr:`ListenAddress.door`.
        :param reuse_port: share the ports with the other workers of this machine.
        """
        self._reactor = reactor
        self._settings = settings
        self._entrance = entrance
        self._places = places
        self._doors = doors
        self._reuse_port = reuse_port
        self._ports: list[SlicedPort] = []

    def open(self) -> dict[str, str]:
        """Listen; where, by the place's name.

        :raises twisted.internet.error.CannotListenError: a port is taken.
        """
        return {name: self._open(place) for name, place in self._places.items()}

    def _open(self, place: ListenAddress) -> str:
        door = self._doors[place.door]
        factory = self._entrance.secure(door) if place.secure else self._entrance.plain(door)
        listening = port.listen(
            self._reactor, place.ip, place.port, factory, self._settings.ACCEPT_SLICE, reuse_port=self._reuse_port
        )
        keep_alive(listening.socket, self._settings.TCP_KEEPALIVE_SECONDS)
        self._ports.append(listening)
        host: Any = listening.getHost()  # type: ignore[no-untyped-call]
        return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"

    def close(self) -> list[Deferred[Any]]:
        """Accept no more connections. Each fires when its socket is closed."""
        if self._reuse_port:
            for listening in self._ports:
                listening.accept_queue()
        return [maybeDeferred(listening.stopListening) for listening in self._ports]
