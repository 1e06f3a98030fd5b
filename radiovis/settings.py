"""Every setting of the RadioVIS cluster: the engine's, and those about stations, the watchdog and monitoring."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import SecretStr, field_validator

from fanout.application.login_throttle import LoginSettings
from fanout.bus.broker_settings import RabbitMQSettings
from fanout.cache.memcached import MemcachedSettings
from fanout.http.pending_requests import HttpServerSettings, HttpSettings, WebSocketServerSettings, WebSocketSettings
from fanout.hub.history import HistorySettings
from fanout.hub.hub import RetainedSettings
from fanout.hub.outbox import OutboxSettings
from fanout.journal.journal import JournalSettings
from fanout.listeners.address import NetworkList
from fanout.listeners.client_limits import ConnectionSettings, SecuritySettings, SubscriptionSettings
from fanout.process.logs import LogSettings
from fanout.settings.field import MAX_PORT, Json, JsonDict, SettingsGroup, setting
from fanout.settings.reference import config_dist, reference
from fanout.stomp.limits import StompLimitSettings, StompSettings
from fanout.stomp_server.stomp_server import StompServerSettings

SHORTEST_TOKEN = 16
"""Characters of ADMIN_TOKEN."""
TopicAndId = Annotated[list[tuple[str, int]], Json]
Topics = Annotated[list[str], Json]
CountryCodes = Annotated[dict[str, str], Json]


class NodeSettings(SettingsGroup):
    """The node."""

    STANDALONE: bool = setting(
        False, "One node by itself, without broker, memcached and PlugIt, and with the watchdog inside."
    )
    WORKERS: int = setting(
        1,
        "Processes that share this machine's ports, one per core, each with its own limits; needs a broker.",
        "processes",
        ge=1,
        le=64,
    )
    WITH: str = setting(
        "",
        "Further applications in this process, with the same hub and bus, with commas, such as artcast.",
    )
    LAST_SLIDE_SECONDS: int = setting(
        86_400, "How long memcached keeps a topic's last message for nodes that have none.", "s", ge=1, le=2_592_000
    )
    DRAIN_SECONDS: float = setting(
        5,
        "How long the shutdown takes to disconnect all clients, so that not all of them return at once.",
        "s",
        ge=0,
        le=300,
        reload=True,
    )


class AdminSettings(SettingsGroup):
    """For operators."""

    ADMIN_IP: str = setting(
        "127.0.0.1",
        "The one address to listen on for operators, their metrics and pages; beyond loopback set ADMIN_TOKEN.",
    )
    ADMIN_PORT: int = setting(8081, "The port at ADMIN_IP for operators; 0 = none.", ge=0, le=MAX_PORT)
    ADMIN_TLS_PORT: int = setting(
        0,
        "The port at ADMIN_IP for operators over TLS, with TLS_CERTIFICATE and ADMIN_TOKEN; 0 = none.",
        ge=0,
        le=MAX_PORT,
    )
    ADMIN_TOKEN: SecretStr = setting(
        SecretStr(""),
        "Bearer token or password that operators have to give; empty = none, for this machine only.",
    )
    ADMIN_RATES_SECONDS: int = setting(
        1_800, "How far back the messages per second are shown, with a point for every 5 s.", "s", ge=60, le=86_400
    )

    @field_validator("ADMIN_TOKEN")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
            raise ValueError(f"should be {SHORTEST_TOKEN} characters or more, of ASCII and without spaces")
        return value


class DirectorySettings(SettingsGroup):
    """The directory of stations."""

    STATIONS_FILE: str = setting("", "Stations file (TOML); empty = ask PlugIt at RADIODNS_API_URL.")
    RADIODNS_API_URL: SecretStr = setting(
        SecretStr("http://127.0.0.1:5000/action/radiovis/api/dev-secret/"),
        "URL of PlugIt's API; its last part is the secret.",
    )
    DIRECTORY_CA: str = setting(
        "", "CA certificates for PlugIt's certificate (https://…; PEM file); empty = those of the system."
    )
    DIRECTORY_TIMEOUT: float = setting(5, "Time for one answer of PlugIt; a radio waits for it.", "s", ge=0.1, le=60)
    DIRECTORY_ATTEMPTS: int = setting(
        3, "How often a request is sent before it counts as failed.", "calls", ge=1, le=10
    )
    DIRECTORY_FRESH_SECONDS: float = setting(60, "How long an answer is used without asking again.", "s", ge=0)
    DIRECTORY_SHARED_SECONDS: int = setting(600, "How long the nodes share an answer in memcached.", "s", ge=0)
    DIRECTORY_STALE_SECONDS: float = setting(86_400, "How long an old answer serves while PlugIt is down.", "s", ge=0)
    CACHE_OPTS: JsonDict = setting(
        {"cache.type": "memory"}, "Options of Beaker, which caches the directory's answers for a minute."
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

    retired: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("FB_SPOOL_DIR", "FB_SPOOL_BYTES"),
        "log entries that PlugIt has not taken wait in the broker's queue, which a policy bounds (docs/deploy.md)",
    )

    FB_CHANNEL_CACHE: float = setting(60, "How often the list of topics is loaded from the directory.", "s", ge=1)
    FB_QUEUE: str = setting("fallbacklogs", "The broker's queue the watchdog listens on.")
    FB_FALLBACK_CHECK: float = setting(15, "How often silent topics are looked for.", "s", ge=0.1)
    FB_FALLBACK_TIME: float = setting(60, "Silence after which a topic gets its default slide and text.", "s", ge=0.1)
    FB_REPEAT: float = setting(
        0,
        "Time after which an idle topic's default is sent again; 0 = FB_FALLBACK_TIME, as the original.",
        "s",
        ge=0,
    )
    FB_HEARTBEAT: int = setting(
        2, "AMQP heart-beat of the watchdog; a frozen leader is replaced after two to four of them.", "s", ge=1, le=60
    )
    FB_STATUS_SOCKET: str = setting(
        "fallback.socket",
        "Unix socket for fallback.py status, a different one for each watchdog of a machine; empty = none.",
    )
    FB_ADMIN_PORT: int = setting(
        8090, "The port at ADMIN_IP for metrics and health of fallback.py; 0 = none.", ge=0, le=MAX_PORT
    )
    FB_ADMIN_TLS_PORT: int = setting(
        0,
        "The port at ADMIN_IP for the same over TLS, with the conditions of ADMIN_TLS_PORT; 0 = none.",
        ge=0,
        le=MAX_PORT,
    )
    FB_IMAGE_LOCATIONS: str = setting(
        "", "URL in front of a default slide's file name; empty = the slide's own public_url."
    )
    FB_LOGS_MAX_AGE: int = setting(86_400, "How long log entries are kept.", "s", ge=1)
    FB_LOGS_CLEANUP: float = setting(3_600, "How often older log entries are removed.", "s", ge=0.1)


class RadioJournalSettings(JournalSettings):
    """The journal."""

    JOURNAL_FILE: str = setting(
        "radiovis-journal.sqlite", "The log where there is no PlugIt (SQLite); empty = in memory, lost at the end."
    )


class SlideSettings(SettingsGroup):
    """Slides on their way on air."""

    PREFLIGHT: Literal["off", "warn", "reject"] = setting(
        "off",
        "Fetch and check slides when they are published; reject refuses those that radios cannot show.",
    )
    PREFLIGHT_SECONDS: float = setting(
        5,
        "Time to fetch one slide, for which its publisher waits; receivers wait as long.",
        "s",
        ge=0.5,
        le=30,
    )
    PREFLIGHT_AT_ONCE: int = setting(
        8, "Slides fetched at the same time, at most half of them from one host, which may hang.", ge=1, le=64
    )
    PREFLIGHT_CACHE_SECONDS: float = setting(
        300, "How long a good slide is not fetched again; a bad one is fetched again after 10 s.", "s", ge=1, le=86_400
    )
    PREFLIGHT_PRIVATE: NetworkList = setting(
        "",
        "Private networks from which slides may be fetched, with commas; empty = public addresses only.",
    )
    SCHEDULE: Literal["pass", "server"] = setting(
        "pass",
        "Messages for later: pass leaves the waiting to radios, server holds them; the same on all nodes.",
    )
    SCHEDULE_MAX: int = setting(
        1_000,
        "Most messages held for later, of all stations, each of at most MAX_FRAME_BYTES.",
        "messages",
        ge=1,
        le=10_000,
    )
    SCHEDULE_HORIZON: float = setting(
        604_800,
        "How far ahead a trigger-time may be; a later one is probably a mistake.",
        "s",
        ge=60,
        le=31_622_400,
    )
    SCHEDULE_FILE: str = setting(
        "radiovis-schedule.sqlite",
        "File in which a standalone node holds messages for later; empty = in memory; a cluster uses the broker.",
    )


class PageSettings(SettingsGroup):
    """Pages and pictures."""

    SLIDES_DIR: str = setting("", "Folder of pictures served at /slides/, or a symbolic link to it; empty = none.")
    SLIDES_LINKS: bool = setting(
        False,
        "Follow symbolic links inside SLIDES_DIR, which may lead to any file that the server can read.",
    )
    WALL_STATIONS: int = setting(
        200,
        "Most stations on the wall at /; each viewer's browser loads a picture for each of them.",
        "stations",
        ge=1,
        le=2_000,
    )


class MonitoringSettings(SettingsGroup):
    """Monitoring."""

    MONITORING_ENABLED: bool = setting(
        lambda settings: not (settings.get("STANDALONE") or settings.get("RABBITMQ_LOOPBACK")),
        "Send events about clients and messages to a broker; the default is False for a node without a broker.",
    )
    MONITORING_HOST: str = setting("127.0.0.1", "Host of the broker that takes the events.")
    MONITORING_PORT: int = setting(5672, "AMQP port of MONITORING_HOST.", ge=1, le=MAX_PORT)
    MONITORING_TLS: bool = setting(
        False, "Connect with TLS, and check that the certificate is for MONITORING_HOST; often at port 5671."
    )
    MONITORING_CA: str = setting(
        "", "CA certificates for that broker's certificate (PEM file); empty = those of the system."
    )
    MONITORING_USER: str = setting("guest", "User name at that broker.")
    MONITORING_PASSWORD: SecretStr = setting(SecretStr("guest"), "Password of MONITORING_USER.")
    MONITORING_VHOST: str = setting("/", "Virtual host at that broker.")
    MONITORING_DEBUG: bool = setting(True, "No effect; the original's AMQP library logged more with it.")
    MONITORING_EXCHANGE: str = setting("monitoring.buffer", "Exchange that the events are published to.")
    MONITORING_QUEUE: str = setting("radiovis", "Queue that holds the events until somebody reads them.")
    MONITORING_SERVER_ID: str = setting("rabbit@radiodnsrabbitmq", "Names of this server in the events, with commas.")
    MONITORING_PER_DELIVERY: bool = setting(
        False,
        "Send an event for each message to each client, as the original; False = counts by topic.",
    )
    MONITORING_ADDRESSES: Literal["full", "masked"] = setting(
        "full",
        "Clients' addresses, which are personal data: full, or masked to the network.",
    )
    MONITORING_BUFFER: int = setting(
        10_000, "Most events kept while their broker is away; beyond it the oldest are dropped.", "events", ge=1
    )
    MONITORING_BUFFER_BYTES: int = setting(
        16_777_216,
        "Most octets of events kept while their broker is away; beyond it the oldest are dropped.",
        "octets",
        ge=1_048_576,
    )
    MONITORING_RETRY_MAX_SECONDS: float = setting(
        30,
        "Longest pause before connecting to that broker again; the original always waited so long.",
        "s",
        ge=0.2,
        le=3600,
    )


class FakeDirectorySettings(SettingsGroup):
    """Test mode (--test)."""

    TEST_TOPICS: Topics = setting(
        ["/topic/test/1/", "/topic/test/2/"], "Topic prefixes the station 1 may publish to in test mode."
    )
    TEST_ECC: CountryCodes = setting({"ch": "4e1"}, "Country codes and their GCC in test mode.")
    TEST_ECC_TOPIC_GCC: str = setting("/topic/fm/4e1/4000/09580/", "First prefix of station 3: spelled with the GCC.")
    TEST_ECC_TOPIC_CC: str = setting(
        "/topic/fm/ch/4000/09580/", "Second prefix of station 3: spelled with the country."
    )
    TEST_WATCHDOG_TOPIC: TopicAndId = setting(
        [("/topic/test/watchdog/", 1)], "Prefixes of station 4 and their ids, which the watchdog looks after."
    )
    TEST_CHANNEL_DEFAULT: JsonDict = setting(
        {
            "id": 1,
            "orga": 1,
            "name": "Test slide",
            "filename": "test.png",
            "radiotext": "Test text",
            "radiolink": "http://127.0.0.1/",
            "image_url_prefix": "http://127.0.0.1/slides/",
            "clean_filename": "test.png",
            "public_url": "http://127.0.0.1/slides/test.png",
        },
        "The default of the topic with id 1 in test mode, as PlugIt would answer.",
    )
    TEST_FB_FALLBACK_CHECK: float = setting(2, "FB_FALLBACK_CHECK in test mode.", "s", ge=0.1)
    TEST_FB_FALLBACK_TIME: float = setting(10, "FB_FALLBACK_TIME in test mode.", "s", ge=0.1)
    TEST_FB_QUEUE: str = setting(
        lambda settings: f"{settings.get('FB_QUEUE', '')}_testMode",
        "FB_QUEUE in test mode; the default is FB_QUEUE with _testMode at its end.",
    )
    TEST_FB_LOGS_CLEANUP: float = setting(5, "FB_LOGS_CLEANUP in test mode.", "s", ge=0.1)


class Settings(
    # From the last to the first: pydantic collects fields in this order, and so do the help pages.
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
    WebSocketServerSettings,
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
    """Every setting there is."""


if __name__ == "__main__":
    # ``python -m radiovis.settings config`` prints config.py.dist, ``… reference`` prints docs/settings.md.
    print({"config": config_dist, "reference": reference}[sys.argv[1]](Settings), end="")
