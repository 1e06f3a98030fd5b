"""Artcast within another server: ``python server.py --with artcast``."""

from __future__ import annotations

from artcast.app import Artcast
from artcast.reading import read
from artcast.settings import ArtcastSettings
from fanout.application.guests import Host


def guest(host: Host) -> Artcast:
    """On the host's hub and bus. The process itself, its logs and its bus are the host's.

    :raises SettingsError: a setting is wrong.
    """
    return Artcast(host.reactor, read(ArtcastSettings, {}, host.environ), host.hub, host.bus)
