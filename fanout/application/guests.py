"""Further applications on a node: they share its reactor, hub and bus, and do not know each other.

Each one is a package with a module ``guest``, in which a function ``guest(host)`` makes the application. A message that
it publishes in the hub goes to every client of the node that subscribes to the topic, over any protocol.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from fanout.bus.amqp_message import DEFAULT_LIMITS, MessageLimits
from fanout.bus.interface import Bus
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.settings import SettingsError


@dataclass(frozen=True, slots=True)
class Host:
    """The parts of a node that its guests may use.

    :ivar environ: the process's environment, for a guest's own settings.
    :ivar limits: of a message on the bus.
    """

    reactor: Any
    hub: Hub
    bus: Bus
    environ: Mapping[str, str]
    limits: MessageLimits = DEFAULT_LIMITS


class Guest(Protocol):
    """An application that runs on a node in addition to the node's own application."""

    def start(self) -> dict[str, str]:
        """Start listening.

        :return: the listen addresses by name, for the log.
        :raises twisted.internet.error.CannotListenError: a port is taken.
        """
        ...

    def hear(self, message: Message) -> bool:
        """Handle a message of the bus: publish it in the hub, if its topic belongs to this application. Must not raise.

        :return: whether the topic belongs to this application; the node's own application then does not get the
            message.
        """
        ...

    def reload(self) -> None:
        """The process received a SIGHUP."""
        ...

    def stop(self) -> Deferred[None]:
        """Disconnect the clients. The Deferred fires when all connections are closed."""
        ...


def invite(names: str, host: Host) -> list[Guest]:
    """Make the guests.

    :param names: names of packages, separated by commas.
    :param host: the parts of the node that they may use.
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
