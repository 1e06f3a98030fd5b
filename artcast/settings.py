"""All settings of Artcast, and the sources of their values.

The option of a setting is its name in lower case, with ``-`` for ``_``. Options override ``ARTCAST_…`` in the
environment, which overrides ``artcast_config.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator

from fanout.bus.broker_settings import BrokerSettings
from fanout.listeners.address import NetworkList
from fanout.process.logs import LogSettings
from fanout.settings import SettingsGroup, read_settings, setting
from fanout.settings.field import MAX_PORT
from fanout.settings.reference import reference

CONFIG_FILE = Path("artcast_config.py")
PREFIX = "ARTCAST_"
"""Prefix in the environment, because other programs use names like UID, VERBOSE and PIDFILE as well."""
REFERENCE_HEAD = """\
# Artcast's options

`CLIENT_PORT` is the option `--client-port`, or `ARTCAST_CLIENT_PORT` in the environment, or `CLIENT_PORT = …` in
`artcast_config.py` in the working folder (or `--config PATH`), in this order. As a guest of another server there are no
options. Switches take true/false, yes/no, 1/0. Generated from the code by `make settings`; do not edit.
"""


S = TypeVar("S", bound=SettingsGroup)


def _group(value: str) -> str:
    """Check for a multicast address of IPv4, or an empty text."""
    try:
        if not value or IPv4Address(value).is_multicast:
            return value
    except ValueError:
        pass
    raise ValueError("should be a multicast address, from 224.0.0.0 to 239.255.255.255, or empty for none")


Group = Annotated[str, AfterValidator(_group)]


class ClientSettings(SettingsGroup):
    """Clients."""

    CLIENT_IP: str = setting("0.0.0.0", "Address to listen on for HTTP; :: = every address, IPv6 included.")  # noqa: S104
    CLIENT_PORT: int = setting(8888, "Port to listen on for HTTP; 0 = a free port.", ge=0, le=MAX_PORT)
    ACCESS_CONTROL_ALLOW_ORIGIN: str = setting(
        "*", "Origin whose scripts may read values, as in the header; empty = only our own pages.", pattern=r"^[!-~]*$"
    )
    ACCESS_LOG: str = setting("", "File with a line per answer; empty = stderr.")
    ACCESS_LOG_COUNT: int = setting(100, "How many old files of ACCESS_LOG are kept.", "files", ge=0, le=10_000)
    ACCESS_LOG_SIZE: int = setting(10_000_000, "Size of ACCESS_LOG at which a new file begins.", "octets", ge=0)
    TEMPLATES: str = setting(
        "", "Folder with your own pages: <key>.html is the page of a key; empty = the built-in pages."
    )
    MAX_POLLS: int = setting(
        10_000,
        "Limit of the clients that wait for a value, each of which takes 6 KB; further ones get a 503.",
        "clients",
        ge=1,
    )
    MAX_CONNECTIONS: int = setting(
        12_000, "Limit of open connections; keep it below the process's limit of open files.", "connections", ge=1
    )
    MAX_CONNECTIONS_PER_ADDRESS: int = setting(
        10_000, "Limit of open connections of one address, 0 = no limit; a school may share one.", "connections", ge=0
    )
    REQUEST_TIMEOUT: float = setting(
        30, "Time limit for a complete request; an idle connection is closed after the same time.", "s", ge=1
    )
    GONE_SECONDS: int = setting(
        60, "Silence after which TCP probes a client; one that does not answer is disconnected.", "s", ge=1
    )

    # The settings that the engine's HTTP server reads, fanout.http.http_server.RequestSettings.

    @property
    def WRITE_TIMEOUT(self) -> float:
        """The same as ``GONE_SECONDS``."""
        return self.GONE_SECONDS


class SourceSettings(SettingsGroup):
    """Sources."""

    DATA_GROUP: Group = setting("224.1.1.1", "Multicast group for values; empty = only datagrams sent to the port.")
    DATA_PORT: int = setting(5007, "Port for values; 0 = a free port.", ge=0, le=MAX_PORT)
    REGISTER_GROUP: Group = setting(
        "224.1.1.1", "Multicast group for registrations; empty = only datagrams sent to the port."
    )
    REGISTER_PORT: int = setting(5008, "Port for registrations; 0 = a free port.", ge=0, le=MAX_PORT)
    SOURCES: NetworkList = setting("", "Networks whose datagrams are accepted, with commas; empty = all.")
    MAX_DATAGRAM_BYTES: int = setting(
        4_096, "Longest datagram; sources must not send longer ones.", "octets", ge=64, le=65_507
    )
    MAX_KEYS: int = setting(
        10_000, "Most keys that are listed, as any sender can invent keys; each takes up to 4 KB.", "keys", ge=1
    )
    MAX_KEY_BYTES: int = setting(
        1_000, "Longest key; longer ones would not fit into a topic of the bus.", "octets", ge=16, le=1_000
    )


class SharedSettings(SettingsGroup):
    """Connection to other servers."""

    TOPIC_PREFIX: str = setting(
        "/topic/artcast/", "Prefix of the topics of values in the hub; the key follows.", pattern="^/.*/$"
    )
    COPY_SECONDS: float = setting(
        5, "A value that arrives again in another way (multicast, bus) within this time is a copy.", "s", ge=0, le=60
    )


class ArtcastSettings(SharedSettings, SourceSettings, ClientSettings):
    """The settings that Artcast needs everywhere, also within another server."""


class BusSettings(BrokerSettings):
    """The bus."""

    # Artcast has other values than BrokerSettings names; see artcast/cli.py.
    retired: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("RABBITMQ_OUTBOX_SECONDS", "RABBITMQ_RESEND_SECONDS"), "it is a constant now"
    )

    BUS: Literal["none", "rabbitmq"] = setting(
        "none", "How servers exchange values if multicast does not reach all of them: rabbitmq, or not at all."
    )


class ProcessSettings(SettingsGroup):
    """The process."""

    DAEMONIZE: bool = setting(False, "Run in the background; the command ends when the server is ready.")
    ERROR_LOG: str = setting("", "File for errors and other events; empty = stderr.")
    ERROR_LOG_COUNT: int = setting(100, "How many old files of ERROR_LOG are kept.", "files", ge=0, le=10_000)
    ERROR_LOG_SIZE: int = setting(10_000_000, "Size of ERROR_LOG at which a new file begins.", "octets", ge=0)
    PIDFILE: str = setting("", "File with the process id while the process runs; empty = none.")
    UID: str = setting(
        "",
        "Number of the user to become when the ports are open, without the previous groups; empty = no change.",
        pattern=r"^\d{0,9}$",
    )
    VERBOSE: bool = setting(False, "Print every option and its value on stderr at the start.")


class Settings(ProcessSettings, LogSettings, BusSettings, ArtcastSettings):
    """All options of ``python -m artcast``."""

    LOG_FORMAT: Literal["auto", "console", "json"] = setting(
        "console", "console for people, json for machines; auto = console on a terminal, otherwise json."
    )


def read(settings_class: type[S], options: Mapping[str, str], environ: Mapping[str, str], path: str | None = None) -> S:
    """Read the settings of a class from all sources.

    :param options: the options by name of the setting.
    :param environ: the process's environment.
    :param path: the file; None for ``artcast_config.py`` in the working folder, which need not exist.
    :raises SettingsError: a setting is unknown or wrong; the text names all of them.
    """
    ours = {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)}
    return read_settings(settings_class, options, ours, path, CONFIG_FILE)


if __name__ == "__main__":
    # ``python -m artcast.settings`` prints docs/artcast-settings.md.
    print(reference(Settings, REFERENCE_HEAD, reloads=False), end="")
