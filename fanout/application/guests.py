"""Further applications on a node: they share its reactor, hub and bus, and no application knows another.

Each is a package with a module ``guest``, in which a function ``guest(host)`` makes the application. What it publishes
in the hub goes to every client of the node that subscribes to the topic, over any protocol.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from fanout.bus.interface import Bus
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.settings import SettingsError


@dataclass(frozen=True, slots=True)
class Host:
    """What a node offers its guests.

    :ivar environ: the process's environment, for a guest's own settings.
    """

    reactor: Any
    hub: Hub
    bus: Bus
    environ: Mapping[str, str]


class Guest(Protocol):
    """An application beside the node's own."""

    def start(self) -> dict[str, str]:
        """Listen. :return: where, by name, for the log.

        :raises twisted.internet.error.CannotListenError: a port is taken.
        """
        ...

    def hear(self, message: Message) -> bool:
        """Take a message of the bus, and publish it in the hub, if its topic is one of ours.

        :return: whether it was; the node's own application never sees it then. Must not raise.
        """
        ...

    def reload(self) -> None:
        """The process got a SIGHUP."""
        ...

    def stop(self) -> Deferred[None]:
        """Let the clients go; fires when all is closed."""
        ...


def invite(names: str, host: Host) -> list[Guest]:
    """Make the guests.

    :param names: of packages, with commas.
    :raises SettingsError: there is no such application, or its own settings are wrong.
    """
    return [_guest(name.strip(), host) for name in names.split(",") if name.strip()]


def _guest(name: str, host: Host) -> Guest:
    module = f"{name}.guest"
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in (name, module):
            raise
        raise SettingsError(f"there is no application {name!r} to run with this one") from None
    guest: Guest = found.guest(host)
    return guest
