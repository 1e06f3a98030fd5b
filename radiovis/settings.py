"""Every setting of the RadioVIS cluster: the engine's, and those about stations, the watchdog and monitoring."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import SecretStr, field_validator

from fanout.journal.journal import JournalSettings
from fanout.listeners.address import NetworkList
from fanout.listeners.limits import SecuritySettings
from fanout.settings import (
    AdminSettings,
    HttpServerSettings,
    HttpSettings,
    LimitSettings,
    LogSettings,
    MemcachedSettings,
    RabbitMQSettings,
    SettingsGroup,
    StompServerSettings,
    StompSettings,
    WebSocketServerSettings,
    WebSocketSettings,
    setting,
)
from fanout.settings.engine import MAX_PORT
from fanout.settings.field import Json, JsonDict
from fanout.settings.reference import config_dist, reference

TopicAndId = Annotated[list[tuple[str, int]], Json]
Topics = Annotated[list[str], Json]
CountryCodes = Annotated[dict[str, str], Json]


class NodeSettings(SettingsGroup):
    """The node."""

    STANDALONE: bool = setting(False, "One node by itself: no broker, no memcached, no PlugIt, the watchdog inside.")
    WORKERS: int = setting(
        1,
        "Front-ends sharing this machine's ports, one for each core, each with all limits to itself. Needs a broker.",
        "processes",
        ge=1,
        le=64,
    )
    WITH: str = setting(
        "",
        "Further applications in this process, on the same hub and bus, with commas, such as artcast; empty = none.",
    )
    LAST_SLIDE_SECONDS: int = setting(
        86_400, "How long memcached keeps a topic's last message for nodes that have none.", "s", ge=1, le=2_592_000
    )


class DirectorySettings(SettingsGroup):
    """The directory of stations."""

    STATIONS_FILE: str = setting("", "Stations file (TOML); empty = ask PlugIt at RADIODNS_API_URL.")
    RADIODNS_API_URL: SecretStr = setting(
        SecretStr("http://127.0.0.1:5000/action/radiovis/api/dev-secret/"), "PlugIt's API; its last part is the secret."
    )
    DIRECTORY_CA: str = setting(
        "", "Who vouches for PlugIt's certificate (https://…; PEM file); empty = whom this system trusts."
    )
    DIRECTORY_TIMEOUT: float = setting(5, "Time for one answer of PlugIt; a radio waits for it.", "s", ge=0.1, le=60)
    DIRECTORY_ATTEMPTS: int = setting(
        3, "How often a question is put before it counts as failed.", "calls", ge=1, le=10
    )
    DIRECTORY_FRESH_SECONDS: float = setting(60, "How long an answer is used without asking again.", "s", ge=0)
    DIRECTORY_SHARED_SECONDS: int = setting(600, "How long the nodes share an answer in memcached.", "s", ge=0)
    DIRECTORY_STALE_SECONDS: float = setting(86_400, "How long an old answer serves while PlugIt is down.", "s", ge=0)

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
        "After how long an idle topic's default is sent again; 0 = FB_FALLBACK_TIME, as the original.",
        "s",
        ge=0,
    )
    FB_HEARTBEAT: int = setting(
        2, "AMQP heart-beat of the watchdog: a frozen leader is replaced after two to four of them.", "s", ge=1, le=60
    )
    FB_STATUS_SOCKET: str = setting(
        "fallback.socket", "Unix socket at which fallback.py status asks; one for each on a machine. Empty = none."
    )
    FB_ADMIN_PORT: int = setting(
        8090, "The port at ADMIN_IP for metrics and health of the watchdog by itself; 0 = none.", ge=0, le=MAX_PORT
    )
    FB_ADMIN_TLS_PORT: int = setting(
        0, "A second port for them, with TLS, as ADMIN_TLS_PORT; or the only one.", ge=0, le=MAX_PORT
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
        "Look at slides when they are published; reject refuses what radios cannot show. Off: it asks other servers.",
    )
    PREFLIGHT_SECONDS: float = setting(
        5,
        "Time for one slide, also the longest a publisher waits for it; receivers give it as much.",
        "s",
        ge=0.5,
        le=30,
    )
    PREFLIGHT_AT_ONCE: int = setting(
        8, "Slides fetched side by side, half of them from one host, which may hang; others wait.", ge=1, le=64
    )
    PREFLIGHT_CACHE_SECONDS: float = setting(
        300, "How long a good slide counts as good without another look; a bad one does for 10 s.", "s", ge=1, le=86_400
    )
    PREFLIGHT_PRIVATE: NetworkList = setting(
        "",
        "Networks that may be asked for slides though they are not public, with commas; publishers choose the address.",
    )
    SCHEDULE: Literal["pass", "server"] = setting(
        "pass",
        "A trigger-time in the future: pass it on, as the original, or hold the message until then. Same on all nodes.",
    )
    SCHEDULE_MAX: int = setting(
        1_000, "Messages held at a time, of all stations; each may have MAX_FRAME_BYTES.", "messages", ge=1, le=10_000
    )
    SCHEDULE_HORIZON: float = setting(
        604_800,
        "How far ahead a trigger-time may be: what is later is more often a mistake.",
        "s",
        ge=60,
        le=31_622_400,
    )
    SCHEDULE_FILE: str = setting(
        "radiovis-schedule.sqlite", "Where a node by itself holds them; empty = in memory. A cluster's broker has them."
    )


class PageSettings(SettingsGroup):
    """Pages and pictures."""

    SLIDES_DIR: str = setting(
        "", "Folder of pictures served at /slides/, or a link to one, which may be switched; empty = none."
    )
    SLIDES_LINKS: bool = setting(
        False,
        "Whether symbolic links below it are followed, which may lead out of the folder, to any file we can read.",
    )
    WALL_STATIONS: int = setting(
        200, "Stations on the wall at /; each costs every viewer's browser a picture.", "stations", ge=1, le=2_000
    )


class MonitoringSettings(SettingsGroup):
    """Monitoring."""

    MONITORING_ENABLED: bool = setting(
        lambda settings: not (settings.get("STANDALONE") or settings.get("RABBITMQ_LOOPBACK")),
        "Send events about clients and messages to a broker; False for a node without one, True otherwise unless set.",
    )
    MONITORING_HOST: str = setting("127.0.0.1", "The broker that takes the events.")
    MONITORING_PORT: int = setting(5672, "Its AMQP port.", ge=1, le=MAX_PORT)
    MONITORING_TLS: bool = setting(False, "As RABBITMQ_TLS.")
    MONITORING_CA: str = setting("", "As RABBITMQ_CA.")
    MONITORING_USER: str = setting("guest", "The user to log in as.")
    MONITORING_PASSWORD: SecretStr = setting(SecretStr("guest"), "The password of MONITORING_USER.")
    MONITORING_VHOST: str = setting("/", "The virtual host.")
    MONITORING_DEBUG: bool = setting(True, "Kept from the original, where it made its AMQP library talk; no effect.")
    MONITORING_EXCHANGE: str = setting("monitoring.buffer", "The exchange the events go to.")
    MONITORING_QUEUE: str = setting("radiovis", "The queue that holds them for whoever reads them.")
    MONITORING_SERVER_ID: str = setting("rabbit@radiodnsrabbitmq", "Names of this server in the events, with commas.")
    MONITORING_PER_DELIVERY: bool = setting(
        False,
        "An event for every message to every client, with body and address, as the original; False counts by topic.",
    )
    MONITORING_ADDRESSES: Literal["full", "masked"] = setting(
        "full",
        "Clients' addresses, personal data, in the events: whole, or just the network.",
    )
    MONITORING_BUFFER: int = setting(
        10_000, "Events kept while their broker is away; the oldest are dropped beyond that.", "events", ge=1
    )
    MONITORING_BUFFER_BYTES: int = setting(
        16_777_216, "The same in octets: events per delivery hold whole messages.", "octets", ge=1_048_576
    )
    MONITORING_RETRY_MAX_SECONDS: float = setting(
        30, "Longest wait between attempts to reach that broker; the original's only one.", "s", ge=0.2, le=3600
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
        "FB_QUEUE in test mode; FB_QUEUE + _testMode unless set.",
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
    StompServerSettings,
    LimitSettings,
    SecuritySettings,
    StompSettings,
    NodeSettings,
):
    """Every setting there is."""


if __name__ == "__main__":
    # ``python -m radiovis.settings config`` prints config.py.dist, ``… reference`` prints docs/settings.md.
    print({"config": config_dist, "reference": reference}[sys.argv[1]](Settings), end="")
