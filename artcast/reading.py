"""Where Artcast's settings come from: options, ``ARTCAST_…`` in the environment, ``artcast_config.py``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from fanout.settings import SettingsGroup, read_settings

CONFIG_FILE = Path("artcast_config.py")
PREFIX = "ARTCAST_"
"""In the environment: names like UID, VERBOSE and PIDFILE are other programs' as well."""

S = TypeVar("S", bound=SettingsGroup)


def read(settings_class: type[S], options: Mapping[str, str], environ: Mapping[str, str], path: str | None = None) -> S:
    """Join the sources to settings.

    :param options: by name of the setting.
    :param path: the file; None for ``artcast_config.py`` in the working folder, which need not exist.
    :raises SettingsError: for anything unknown or wrong, all at once.
    """
    ours = {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)}
    return read_settings(settings_class, options, ours, path, CONFIG_FILE)
