"""What a node listens on: a socket for each place, with the door behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from fanout.listeners import port
from fanout.listeners.port import keep_alive
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
        inherited: Mapping[str, int],
    ) -> None:
        """
        :param doors: a factory of protocols for each :attr:`ListenAddress.door`.
        :param inherited: descriptors of sockets that are listening already, by the place's name: a worker's.
        """
        self._reactor = reactor
        self._settings = settings
        self._entrance = entrance
        self._places = places
        self._doors = doors
        self._inherited = inherited
        self._ports: list[Any] = []

    def open(self) -> dict[str, str]:
        """Listen; where, by the place's name.

        :raises twisted.internet.error.CannotListenError: a port is taken.
        """
        return {name: self._open(name, place) for name, place in self._places.items()}

    def _open(self, name: str, place: ListenAddress) -> str:
        door, inherited = self._doors[place.door], self._inherited.get(name)
        factory = self._entrance.secure(door) if place.secure else self._entrance.plain(door)
        if inherited is None:
            listening = port.listen(self._reactor, place.ip, place.port, factory, self._settings.ACCEPT_SLICE)
        else:
            listening = port.adopt(self._reactor, inherited, factory, self._settings.ACCEPT_SLICE)
        keep_alive(listening.socket, self._settings.TCP_KEEPALIVE_SECONDS)
        self._ports.append(listening)
        host: Any = listening.getHost()  # type: ignore[no-untyped-call]
        return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"

    def close(self) -> list[Deferred[Any]]:
        """Let nobody in any more. Each fires when its socket is closed."""
        return [maybeDeferred(listening.stopListening) for listening in self._ports]
