"""Every setting of Artcast, and where their values come from.

The option of a setting is its name in lower case, with ``-`` for ``_``. Options win over ``ARTCAST_…`` in the
environment, and that over ``artcast_config.py``.
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
"""In the environment, because other programs use names like UID, VERBOSE and PIDFILE as well."""
REFERENCE_HEAD = """\
# Artcast's options

`CLIENT_PORT` is the option `--client-port`, or `ARTCAST_CLIENT_PORT` in the environment, or `CLIENT_PORT = …` in
`artcast_config.py` in the working folder (or `--config PATH`), in this order. As a guest of another server there are no
options. Switches take true/false, yes/no, 1/0. Generated from the code by `make settings`; do not edit.
"""


S = TypeVar("S", bound=SettingsGroup)


def _group(value: str) -> str:
    """A multicast address of IPv4, or nothing."""
    try:
        if not value or IPv4Address(value).is_multicast:
            return value
    except ValueError:
        pass
    raise ValueError("should be a multicast address, from 224.0.0.0 to 239.255.255.255, or empty for none")


Group = Annotated[str, AfterValidator(_group)]


class ClientSettings(SettingsGroup):
    """Clients."""

    CLIENT_IP: str = setting("0.0.0.0", "The one address to listen on for HTTP; :: is every address, IPv6 too.")  # noqa: S104
    CLIENT_PORT: int = setting(8888, "The port to listen on for HTTP; 0 = a free one.", ge=0, le=MAX_PORT)
    ACCESS_CONTROL_ALLOW_ORIGIN: str = setting(
        "*", "Web pages whose scripts may read values, as browsers want it; empty = only our own.", pattern=r"^[!-~]*$"
    )
    ACCESS_LOG: str = setting("", "File for a line per answer; empty = stderr.")
    ACCESS_LOG_COUNT: int = setting(100, "Old files kept of ACCESS_LOG.", "files", ge=0, le=10_000)
    ACCESS_LOG_SIZE: int = setting(10_000_000, "Size of ACCESS_LOG at which a new file begins.", "octets", ge=0)
    TEMPLATES: str = setting("", "Folder of pages of your own: <key>.html is shown for a key; empty = ours for all.")
    MAX_POLLS: int = setting(
        10_000,
        "Most clients that wait for a value at a time, each of which takes 6 KB; those beyond get a 503.",
        "clients",
        ge=1,
    )
    MAX_CONNECTIONS: int = setting(
        12_000, "Most open connections; keep it below the process's limit of open files.", "connections", ge=1
    )
    MAX_CONNECTIONS_PER_ADDRESS: int = setting(
        10_000, "Most open connections of one address, 0 = no limit; a school is behind one.", "connections", ge=0
    )
    REQUEST_TIMEOUT: float = setting(
        30, "Time for a request to be complete; an idle connection is kept as long.", "s", ge=1
    )
    GONE_SECONDS: int = setting(
        60, "Silence after which TCP asks if a client is there; one that does not answer is cut off.", "s", ge=1
    )

    # What the engine's HTTP server reads, fanout.http.http_server.RequestSettings.

    @property
    def WRITE_TIMEOUT(self) -> float:
        """See ``GONE_SECONDS``."""
        return self.GONE_SECONDS


class SourceSettings(SettingsGroup):
    """Sources."""

    DATA_GROUP: Group = setting("224.1.1.1", "Multicast group of values; empty = only what is sent to the port.")
    DATA_PORT: int = setting(5007, "The port of values; 0 = a free one.", ge=0, le=MAX_PORT)
    REGISTER_GROUP: Group = setting(
        "224.1.1.1", "Multicast group of registrations; empty = only what is sent to the port."
    )
    REGISTER_PORT: int = setting(5008, "The port of registrations; 0 = a free one.", ge=0, le=MAX_PORT)
    SOURCES: NetworkList = setting("", "Networks whose datagrams are taken, with commas; empty = anybody's.")
    MAX_DATAGRAM_BYTES: int = setting(
        4_096, "Longest datagram; sources send no longer ones.", "octets", ge=64, le=65_507
    )
    MAX_KEYS: int = setting(
        10_000, "Most keys that are listed, as any sender can invent keys; each takes up to 4 KB.", "keys", ge=1
    )
    MAX_KEY_BYTES: int = setting(
        1_000, "Longest key; longer ones would not fit into a topic of the bus.", "octets", ge=16, le=1_000
    )


class SharedSettings(SettingsGroup):
    """Together with other servers."""

    TOPIC_PREFIX: str = setting(
        "/topic/artcast/", "The topics of values: prefix and key, in one hub with others.", pattern="^/.*/$"
    )
    COPY_SECONDS: float = setting(
        5, "A value that comes again by another way (multicast, the bus) within this time is a copy.", "s", ge=0, le=60
    )


class ArtcastSettings(SharedSettings, SourceSettings, ClientSettings):
    """What Artcast needs wherever it runs, also within another server."""


class BusSettings(BrokerSettings):
    """The bus."""

    # Artcast has other values than BrokerSettings names, see artcast/cli.py.
    retired: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("RABBITMQ_OUTBOX_SECONDS", "RABBITMQ_RESEND_SECONDS"), "it is a constant now"
    )

    BUS: Literal["none", "rabbitmq"] = setting(
        "none", "How servers hear each other where multicast does not reach: rabbitmq, or not at all."
    )


class ProcessSettings(SettingsGroup):
    """The process."""

    DAEMONIZE: bool = setting(False, "Run in the background; the command ends when the server is ready.")
    ERROR_LOG: str = setting("", "File for errors and what else happens; empty = stderr.")
    ERROR_LOG_COUNT: int = setting(100, "Old files kept of ERROR_LOG.", "files", ge=0, le=10_000)
    ERROR_LOG_SIZE: int = setting(10_000_000, "Size of ERROR_LOG at which a new file begins.", "octets", ge=0)
    PIDFILE: str = setting("", "File for the number of the process while it runs; empty = none.")
    UID: str = setting(
        "",
        "Number of the user to become when the ports are open, without the groups of before; empty = stay.",
        pattern=r"^\d{0,9}$",
    )
    VERBOSE: bool = setting(False, "Print every option and its value on stderr first.")


class Settings(ProcessSettings, LogSettings, BusSettings, ArtcastSettings):
    """Every option of ``python -m artcast``."""

    LOG_FORMAT: Literal["auto", "console", "json"] = setting(
        "console", "console for people, json for machines; auto = console on a terminal, otherwise json."
    )


def read(settings_class: type[S], options: Mapping[str, str], environ: Mapping[str, str], path: str | None = None) -> S:
    """Read the settings of a class from all sources.

    :param options: by name of the setting.
    :param path: the file; None for ``artcast_config.py`` in the working folder, which need not exist.
    :raises SettingsError: a setting is unknown or wrong; the text names all of them.
    """
    ours = {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)}
    return read_settings(settings_class, options, ours, path, CONFIG_FILE)


if __name__ == "__main__":
    # ``python -m artcast.settings`` prints docs/artcast-settings.md.
    print(reference(Settings, REFERENCE_HEAD, reloads=False), end="")
