"""Reads settings from flags, the environment and config.py, and checks them.

A part declares its settings as one class, a group, in its own file: ``StompSettings`` in ``fanout/stomp/limits.py``. An
application's settings are one class, made of the groups of all its parts and its own::

    class Settings(StompSettings, RabbitMQSettings, …):
        CHANNELS_FILE: str = setting("", "What it is for.")

    settings = load_settings(Settings, sys.argv[1:], os.environ)
"""

from fanout.settings.field import SettingsGroup, setting
from fanout.settings.flags import add_flags, given_flags, load_settings, parse_flags, program_name
from fanout.settings.loading import SettingsError, read_settings

__all__ = [
    "SettingsError",
    "SettingsGroup",
    "add_flags",
    "given_flags",
    "load_settings",
    "parse_flags",
    "program_name",
    "read_settings",
    "setting",
]
