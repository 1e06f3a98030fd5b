"""Reads settings from flags, the environment and config.py, and checks them.

An application's settings are one class, made of the engine's groups and its own::

    class Settings(StompSettings, RabbitMQSettings, …):
        STATIONS_FILE: str = setting("", "Why one would set it.")

    settings = load_settings(Settings, sys.argv[1:], os.environ)
"""

from fanout.settings.engine import (
    AdminSettings,
    BrokerSettings,
    HttpServerSettings,
    HttpSettings,
    LimitSettings,
    LogSettings,
    MemcachedSettings,
    RabbitMQSettings,
    StompServerSettings,
    StompSettings,
    WebSocketServerSettings,
    WebSocketSettings,
)
from fanout.settings.field import SettingsGroup, setting
from fanout.settings.loading import (
    SettingsError,
    add_flags,
    given_flags,
    load_settings,
    parse_flags,
    read_settings,
)

__all__ = [
    "AdminSettings",
    "BrokerSettings",
    "HttpServerSettings",
    "HttpSettings",
    "LimitSettings",
    "LogSettings",
    "MemcachedSettings",
    "RabbitMQSettings",
    "SettingsError",
    "SettingsGroup",
    "StompServerSettings",
    "StompSettings",
    "WebSocketServerSettings",
    "WebSocketSettings",
    "add_flags",
    "given_flags",
    "load_settings",
    "parse_flags",
    "read_settings",
    "setting",
]
