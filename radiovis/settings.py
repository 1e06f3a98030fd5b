"""All settings of the RadioVIS cluster: the engine's, and those of stations, watchdog and monitoring."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import SecretStr, field_validator, model_validator

from fanout.application.login_throttle import LoginSettings
from fanout.bus.broker_settings import HostList, RabbitMQSettings
from fanout.cache.memcached import MemcachedSettings
from fanout.http.limits import HttpServerSettings, HttpSettings, WebSocketSettings
from fanout.hub.history import HistorySettings
from fanout.hub.hub import RetainedSettings
from fanout.hub.outbox import OutboxSettings
from fanout.journal.journal import JournalSettings
from fanout.listeners.address import NetworkList
from fanout.listeners.client_limits import ConnectionSettings, SecuritySettings, SubscriptionSettings
from fanout.process.logs import LogSettings
from fanout.settings.field import DEFAULT, FILLED, MAX_PORT, Json, JsonDict, SettingsGroup, setting
from fanout.settings.reference import config_dist, reference
from fanout.stomp.limits import StompLimitSettings, StompSettings
from fanout.stomp_server.stomp_server import StompServerSettings

SHORTEST_TOKEN = 16
"""Least number of characters of ADMIN_TOKEN."""
_CONSTANT = "it is a constant now"
"""The reason for a retired setting whose constant is in a layer above this one."""
TopicAndId = Annotated[list[tuple[str, int]], Json]
Topics = Annotated[list[str], Json]
CountryCodes = Annotated[dict[str, str], Json]


class NodeSettings(SettingsGroup):
    """The node."""

    retired: ClassVar[Mapping[str, str]] = {
        "LAST_SLIDE_SECONDS": _CONSTANT,
        "STATS_*": "the original's file contains them, but they never had an effect",
    }

    STANDALONE: bool = setting(
        False,
        "Run a single node without broker, memcached and PlugIt, with the watchdog in the same process.",
        why="Set it if one machine serves all clients.",
    )
    WORKERS: int = setting(
        1,
        "Processes that share this machine's ports, each with its own limits; more than one needs a broker.",
        "processes",
        ge=1,
        le=64,
        why="Raise it to the number of cores if one process uses its core fully.",
    )
    WITH: str = setting(
        "",
        "Further applications in this process, with the same hub and bus; several with commas; empty = none.",
        why="Set it to artcast, webserver or both (artcast,webserver) to serve their clients from the same process.",
    )
    DRAIN_SECONDS: float = setting(
        5,
        "Time over which the shutdown spreads the disconnects of all clients.",
        "s",
        ge=0,
        le=300,
        reload=True,
        why="Raise it if a restart of this node overloads the other nodes with clients that reconnect.",
    )


class AdminSettings(SettingsGroup):
    """For operators."""

    retired: ClassVar[Mapping[str, str]] = {"ADMIN_RATES_SECONDS": _CONSTANT}

    ADMIN_IP: str = setting(
        "127.0.0.1",
        "Address of the operators' listener for metrics and pages; other than loopback it needs ADMIN_TOKEN.",
        why="Change it if Prometheus or operators connect from other machines.",
        pattern=FILLED,
    )
    ADMIN_PORT: int = setting(
        8081,
        "Port at ADMIN_IP for operators; 0 = no such port.",
        ge=0,
        le=MAX_PORT,
        why="Change it if another program uses the port.",
    )
    ADMIN_TLS_PORT: int = setting(
        0,
        "Port at ADMIN_IP for operators over TLS, with TLS_CERTIFICATE and ADMIN_TOKEN; 0 = no such port.",
        ge=0,
        le=MAX_PORT,
        why="Set it if operators connect over a network that you do not trust.",
    )
    ADMIN_TOKEN: SecretStr = setting(
        SecretStr(""),
        "Bearer token or password that operators must send; empty = none, for this machine only.",
        why="Set it if ADMIN_IP is not a loopback address, or if other people use this machine.",
        reload=True,
    )

    @field_validator("ADMIN_TOKEN")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
            raise ValueError(f"should be {SHORTEST_TOKEN} characters or more, in ASCII and without spaces")
        return value


class DirectorySettings(SettingsGroup):
    """The directory of stations."""

    old_names: ClassVar[Mapping[str, str]] = {"API_URL": "RADIODNS_API_URL"}
    retired: ClassVar[Mapping[str, str]] = dict.fromkeys(("DIRECTORY_ATTEMPTS", "DIRECTORY_SHARED_SECONDS"), _CONSTANT)

    STATIONS_FILE: str = setting(
        "",
        "TOML file with the stations; empty = ask PlugIt at RADIODNS_API_URL.",
        why="Set it if there is no PlugIt.",
    )
    RADIODNS_API_URL: SecretStr = setting(
        SecretStr("http://127.0.0.1:5000/action/radiovis/api/dev-secret/"),
        "URL of PlugIt's API; its last part is the secret.",
        why="Set it to your PlugIt and its secret, unless you have a STATIONS_FILE.",
    )
    DIRECTORY_CA: str = setting(
        "",
        "PEM file with the CA certificates that sign PlugIt's certificate; empty = the system's CA certificates.",
        why="Set it if your own authority signed PlugIt's certificate.",
    )
    DIRECTORY_TIMEOUT: float = setting(
        5,
        "Time limit for one answer of PlugIt; a client may have to wait for it.",
        "s",
        ge=0.1,
        le=60,
        why="Raise it if PlugIt is slow or its network is.",
    )
    DIRECTORY_FRESH_SECONDS: float = setting(
        60,
        "How long an answer of PlugIt is used without asking again.",
        "s",
        ge=0,
        why="Lower it if changes in PlugIt must take effect sooner, or raise it to reduce the load on PlugIt.",
    )
    DIRECTORY_STALE_SECONDS: float = setting(
        86_400,
        "How long an old answer of PlugIt is used while PlugIt is down.",
        "s",
        ge=0,
        why="Raise it if PlugIt may be down for longer, such as over a weekend.",
    )
    CACHE_OPTS: JsonDict = setting(
        {"cache.type": "memory"},
        "Options of Beaker, which caches the directory's answers in this process.",
        why="Change it to keep the answers in files, so that they survive a restart.",
    )

    @field_validator("RADIODNS_API_URL")
    @classmethod
    def _http(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if not url.startswith(("http://", "https://")):
            raise ValueError("should be a URL that begins with http:// or https://")
        return SecretStr(url if url.endswith("/") else url + "/")


class WatchdogSettings(SettingsGroup):
    """The watchdog (fallback)."""

    retired: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("FB_SPOOL_DIR", "FB_SPOOL_BYTES"),
            "log entries that PlugIt has not accepted wait in the broker's queue; a policy limits it (docs/deploy.md)",
        ),
        "FB_HEARTBEAT": _CONSTANT,
    }

    FB_CHANNEL_CACHE: float = setting(
        60,
        "How often the list of topics is loaded from the directory.",
        "s",
        ge=1,
        why="Lower it if new stations must be served sooner, or raise it to reduce the load on PlugIt.",
    )
    FB_QUEUE: str = setting(
        "fallbacklogs",
        "The broker's queue for the messages that the watchdog logs.",
        why="Change it if two clusters share a virtual host. Use the same name on all nodes and watchdogs.",
        pattern=FILLED,
    )
    FB_FALLBACK_CHECK: float = setting(
        15,
        "How often the watchdog looks for silent topics.",
        "s",
        ge=0.1,
        why="Lower it if a default must be sent sooner after FB_FALLBACK_TIME.",
    )
    FB_FALLBACK_TIME: float = setting(
        60,
        "Silence after which a topic gets its default slide and text.",
        "s",
        ge=0.1,
        why="Raise it if stations publish less often than once a minute.",
    )
    FB_REPEAT: float = setting(
        0,
        "Time after which an idle topic's default is sent again; 0 = FB_FALLBACK_TIME, like the original.",
        "s",
        ge=0,
        why="Raise it if the defaults of many idle topics fill the log.",
    )
    FB_STATUS_SOCKET: str = setting(
        "fallback.socket",
        "Unix socket from which fallback.py status reads the state; empty = none.",
        why="Change it if several watchdogs run in the same folder of a machine.",
    )
    FB_ADMIN_PORT: int = setting(
        8090,
        "Port at ADMIN_IP for metrics and health of fallback.py; 0 = no such port.",
        ge=0,
        le=MAX_PORT,
        why="Change it if another program, such as a second watchdog, uses the port.",
    )
    FB_ADMIN_TLS_PORT: int = setting(
        0,
        "Port at ADMIN_IP for metrics and health of fallback.py over TLS, see ADMIN_TLS_PORT; 0 = no such port.",
        ge=0,
        le=MAX_PORT,
        why="Set it if Prometheus or operators connect over a network that you do not trust.",
    )
    FB_IMAGE_LOCATIONS: str = setting(
        "",
        "URL in front of a default slide's file name; empty = the slide's own public_url.",
        why="Set it if default slides are served from another URL than the one in PlugIt.",
    )
    FB_LOGS_MAX_AGE: int = setting(
        86_400,
        "How long log entries are kept.",
        "s",
        ge=1,
        why="Raise it if you have to show what was on air for longer than a day.",
    )
    FB_LOGS_CLEANUP: float = setting(
        3_600,
        "How often log entries older than FB_LOGS_MAX_AGE are removed.",
        "s",
        ge=0.1,
        why="Lower it if FB_LOGS_MAX_AGE is less than an hour.",
    )


class RadioJournalSettings(JournalSettings):
    """The journal."""

    JOURNAL_FILE: str = setting(
        "radiovis-journal.sqlite",
        "SQLite file of the log if there is no PlugIt; empty = in memory, lost when the process ends.",
        why="Change it to keep the log on another disk.",
    )


class SlideSettings(SettingsGroup):
    """Slides on their way on air."""

    retired: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("PREFLIGHT_SECONDS", "PREFLIGHT_AT_ONCE", "PREFLIGHT_CACHE_SECONDS", "SCHEDULE_MAX", "SCHEDULE_HORIZON"),
        _CONSTANT,
    )

    PREFLIGHT: Literal["off", "warn", "reject"] = setting(
        "off",
        "What happens to slides that radios cannot show: off = no check, warn = report them, reject = refuse them.",
        why="Set warn to find such slides, and reject when the stations publish none any more.",
    )
    PREFLIGHT_PRIVATE: NetworkList = setting(
        "",
        "Private networks from which slides may be fetched, with commas; empty = public addresses only.",
        why="Set it if your slides are served from addresses of your own network.",
    )
    SCHEDULE: Literal["pass", "server"] = setting(
        "pass",
        "Whether the server holds messages for later or passes them on; the same on all nodes and watchdogs.",
        why="Set server if receivers show slides with a trigger-time too early or not at all.",
    )
    SCHEDULE_FILE: str = setting(
        "radiovis-schedule.sqlite",
        "File in which a stand-alone node holds messages for later; empty = in memory, lost when the process ends.",
        why="Change it to keep the messages on another disk; a cluster holds them in the broker.",
    )


class PageSettings(SettingsGroup):
    """Pages and pictures."""

    retired: ClassVar[Mapping[str, str]] = {"WALL_STATIONS": _CONSTANT}

    SLIDES_DIR: str = setting(
        "",
        "Folder of the pictures served at /slides/, or a symbolic link to it; empty = none.",
        why="Set it if no other web server serves your slides.",
    )
    SLIDES_LINKS: bool = setting(
        False,
        "Follow symbolic links inside SLIDES_DIR, which may lead to any file that the server can read.",
        why="Set it if the pictures in SLIDES_DIR are links, and only people you trust write there.",
    )


_OLD_KEYS = ("ENABLED", "HOST", "PORT", "USER", "PASSWORD", "VHOST", "DEBUG", "EXCHANGE", "QUEUE", "SERVER_ID")
"""Keys of the dictionary ``monitoring`` in the original's ``config.py``, in lower case there (contract §1.13)."""


class MonitoringSettings(SettingsGroup):
    """Monitoring."""

    old_names: ClassVar[Mapping[str, str]] = {f"monitoring.{key.lower()}": f"MONITORING_{key}" for key in _OLD_KEYS}
    retired: ClassVar[Mapping[str, str]] = {
        "MONITORING_DEBUG": "only the original's AMQP library logged more with it",
        **dict.fromkeys(
            ("MONITORING_BUFFER", "MONITORING_BUFFER_BYTES", "MONITORING_RETRY_MAX_SECONDS"),
            _CONSTANT,
        ),
    }

    MONITORING_ENABLED: bool = setting(
        False,
        "Send events about clients and messages to a broker; the default is True if MONITORING_HOST is set.",
        why="Set it to False to turn events off while MONITORING_HOST is set.",
    )
    MONITORING_HOST: HostList = setting(
        "127.0.0.1",
        "Host of the broker for monitoring events, several with commas; setting it turns the events on.",
        why="Set it if a program reads the events.",
        pattern=FILLED,
    )
    MONITORING_PORT: int = setting(
        5672,
        "AMQP port of the monitoring broker, for hosts in MONITORING_HOST without a port.",
        ge=1,
        le=MAX_PORT,
        why="Change it if that broker listens on another port, such as 5671 for TLS.",
    )
    MONITORING_TLS: bool = setting(
        False,
        "Connect to the monitoring broker with TLS, and check that its certificate is for MONITORING_HOST.",
        why="Set it if the connection to that broker leaves a network that you trust.",
    )
    MONITORING_CA: str = setting(
        "",
        "PEM file with the CA certificates that sign the monitoring broker's certificate; empty = the system's.",
        why="Set it if your own authority signed that certificate.",
    )
    MONITORING_USER: str = setting(
        "guest",
        "User name for the login at the monitoring broker.",
        why="Change it if that broker runs on another machine: RabbitMQ lets guest log in from its own machine only.",
        pattern=FILLED,
    )
    MONITORING_PASSWORD: SecretStr = setting(
        SecretStr("guest"), "Password of MONITORING_USER.", why="Change it together with MONITORING_USER."
    )
    MONITORING_VHOST: str = setting(
        "/",
        "Virtual host on the monitoring broker.",
        why="Change it if the events have a virtual host of their own.",
        pattern=FILLED,
    )
    MONITORING_EXCHANGE: str = setting(
        "monitoring.buffer",
        "Exchange to which the monitoring events are published.",
        why="Change it if the program that reads the events expects another name.",
        pattern=FILLED,
    )
    MONITORING_QUEUE: str = setting(
        "radiovis",
        "Queue that holds the monitoring events until they are read.",
        why="Change it if the program that reads the events expects another name.",
        pattern=FILLED,
    )
    MONITORING_SERVER_ID: str = setting(
        "rabbit@radiodnsrabbitmq",
        "Names of this server in the monitoring events, with commas.",
        why="Change it if the reader of the events must distinguish several servers.",
        pattern=FILLED,
    )
    MONITORING_PER_DELIVERY: bool = setting(
        False,
        "Send an event for each message to each client, like the original; False = only counts by topic.",
        why="Set it if the reader of the events needs them, and there are few clients.",
    )
    MONITORING_ADDRESSES: Literal["full", "masked"] = setting(
        "full",
        "How clients' addresses, which are personal data, are sent: in full, or masked to the network.",
        why="Set masked if your data protection rules forbid full addresses.",
    )

    @model_validator(mode="before")
    @classmethod
    def _enabled_with_a_host(cls, given: Any) -> Any:
        """Set the default of MONITORING_ENABLED: True if MONITORING_HOST is set, whatever its value. A function as
        default would only see the value (contract §2, change 16).
        """
        return {"MONITORING_ENABLED": True, **given} if "MONITORING_HOST" in given else given

    def doubts(self) -> tuple[str, ...]:
        """A warning if settings of a monitoring broker are set, but none that turns the events on."""
        given = [name for name in MonitoringSettings.model_fields if self.source_of(name) != DEFAULT]
        if self.MONITORING_ENABLED or not given or "MONITORING_ENABLED" in given:
            return super().doubts()
        return (f"{', '.join(given)}: without effect, because MONITORING_HOST is not set.", *super().doubts())


class FakeDirectorySettings(SettingsGroup):
    """Test mode (--test).

    The defaults are the original's, with which its own test suite runs (contract §1.12). Only an old ``config.py`` has
    a reason to change them.
    """

    unadvertised: ClassVar[bool] = True

    TEST_TOPICS: Topics = setting(
        ["/topic/id/tests._ebu.nowhere/topic1/", "/topic/id/tests._ebu.nowhere/topic2/"],
        "Topic prefixes to which station 1 may publish in test mode.",
    )
    TEST_ECC: CountryCodes = setting({"ch": "4e1"}, "Country codes and their GCC in test mode.")
    TEST_ECC_TOPIC_GCC: str = setting("/topic/fm/4e1/ffff/99999/", "First prefix of station 3, with the GCC.")
    TEST_ECC_TOPIC_CC: str = setting("/topic/fm/ch/ffff/99999/", "Second prefix of station 3, with the country code.")
    TEST_WATCHDOG_TOPIC: TopicAndId = setting(
        [
            ("/topic/id/tests._ebu.nowhere/topicwatchdogeg/", 1),
            ("/topic/id/tests._ebu.nowhere/topicwatchdogegnoinfo/", 2),
        ],
        "Prefixes of station 4 and their ids, which the watchdog handles.",
    )
    TEST_CHANNEL_DEFAULT: JsonDict = setting(
        {
            "id": "1",
            "orga": "",
            "name": "test",
            "filename": "testfilename",
            "radiotext": "testdefaultext",
            "radiolink": "testdefaultlink",
            "clean_filename": "testfilename",
        },
        "The default of the topic with id 1 in test mode, as PlugIt would answer.",
    )
    TEST_FB_FALLBACK_CHECK: float = setting(2, "FB_FALLBACK_CHECK in test mode.", "s", ge=0.1)
    TEST_FB_FALLBACK_TIME: float = setting(10, "FB_FALLBACK_TIME in test mode.", "s", ge=0.1)
    TEST_FB_QUEUE: str = setting(
        lambda settings: f"{settings.get('FB_QUEUE', '')}_testMode",
        "FB_QUEUE in test mode; the default is FB_QUEUE followed by _testMode.",
    )
    TEST_FB_LOGS_CLEANUP: float = setting(5, "FB_LOGS_CLEANUP in test mode.", "s", ge=0.1)


class Settings(
    # From the last to the first: pydantic collects fields in this order, and the help pages use it, too.
    FakeDirectorySettings,
    LogSettings,
    MonitoringSettings,
    PageSettings,
    SlideSettings,
    RadioJournalSettings,
    WatchdogSettings,
    MemcachedSettings,
    RabbitMQSettings,
    DirectorySettings,
    AdminSettings,
    WebSocketSettings,
    HttpServerSettings,
    HttpSettings,
    HistorySettings,
    RetainedSettings,
    LoginSettings,
    StompServerSettings,
    OutboxSettings,
    SubscriptionSettings,
    ConnectionSettings,
    SecuritySettings,
    StompLimitSettings,
    StompSettings,
    NodeSettings,
):
    """All settings."""


FIRST = {
    "STATIONS_FILE": "to store the stations in a file, or",
    "RADIODNS_API_URL": "to ask PlugIt for them, with the API's secret",
    "RABBITMQ_HOST": "to the broker that the nodes share",
    "RABBITMQ_USER": "to a separate user on the broker; `guest` can only log in from the broker's machine",
    "RABBITMQ_PASSWORD": "to that user's password; `RABBITMQ_PASSWORD_FILE` names a file with it",
    "MEMCACHED_HOST": "to the memcached in which the nodes store the retained slides",
    "TLS_CERTIFICATE": "to serve web pages over `wss://` and `https://`",
    "ADMIN_TOKEN": "to allow operators to connect from other machines",
    "FB_FALLBACK_TIME": "to the time of silence after which a topic gets its default slide",
    "LOG_LEVEL": "to `DEBUG` while you search for a fault",
}
"""The settings that most operators need, with their purpose. Each text continues "set it"."""


if __name__ == "__main__":
    # ``python -m radiovis.settings config`` prints config.py.dist, ``… reference`` prints docs/settings.md.
    print(config_dist(Settings) if sys.argv[1] == "config" else reference(Settings, first=FIRST), end="")
