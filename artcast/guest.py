"""Artcast within another server: ``python server.py --with artcast``."""

from __future__ import annotations

from artcast.app import Artcast
from artcast.settings import ArtcastSettings, read
from fanout.application.guests import Host


def guest(host: Host) -> Artcast:
    """Make Artcast on the hub and bus of a host, which also owns the process and its logs.

    :raises SettingsError: a setting is wrong.
    """
    return Artcast(host.reactor, read(ArtcastSettings, {}, host.environ), host.hub, host.bus, hosted=True)
