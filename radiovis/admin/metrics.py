"""RadioVIS' own metrics, and the manual page of all metrics: ``python -m radiovis.admin.metrics``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fanout.metrics.health import HEALTH
from fanout.metrics.prometheus import (
    BUILD,
    BUS,
    CERTIFICATES,
    CLIENT_COUNTERS,
    CLIENTS,
    CONNECTION_LIMIT,
    FLUSHER,
    HISTORY,
    HUB,
    INPUT_MEMORY,
    JOURNAL,
    LAG,
    LOGIN_QUEUE,
    LOGIN_THROTTLE,
    MEMCACHED,
    OPERATORS,
    RABBITMQ,
    RETAINED_SHARES,
    SITE,
    SUBSCRIPTION_LIMIT,
    TASKS,
    TURNS,
    Measure,
    Table,
    reference,
)
from radiovis.directory.interface import OutageReport
from radiovis.directory.stations_file import StationsFile
from radiovis.preflight.message_check import Preflight
from radiovis.publish_rights import PublishRights
from radiovis.schedule.held_slides import HeldSlides
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.watchdog import Watchdog

HEAD = """\
# Metrics

Every process provides them at `/metrics` of its operators' listener: `server.py` at `ADMIN_PORT`, `fallback.py` at
`FB_ADMIN_PORT`. They are read when Prometheus asks; a part that a process does not have, such as memcached, has no
metrics. Labels have few values, whatever clients do. Generated from the code by `make settings`; do not edit.

"""


TOPIC_RESOLUTION: Table[TopicResolver] = (
    Measure(
        "gauge",
        "radiovis_stations_loaded",
        "Whether the list of registered channels has been read since the start (1) or not (0).",
        lambda resolver: resolver.loaded,
    ),
)
PUBLISHING: Table[PublishRights] = (
    Measure(
        "counter",
        "radiovis_publishes_over_share_total",
        "Publishes refused because their station exceeded its share of the node in one second.",
        lambda publishing: publishing.budget.refused,
    ),
)
DIRECTORY: Table[OutageReport] = (
    Measure("gauge", "radiovis_directory_up", "Whether PlugIt answered its last request.", lambda each: not each.down),
)
STATIONS_FILE: Table[StationsFile] = (
    Measure(
        "counter",
        "radiovis_logins_remembered_total",
        "Logins accepted without a check because the same login succeeded a moment ago.",
        lambda stations: stations.remembered,
    ),
)
WATCHDOG: Table[Watchdog] = (
    Measure(
        "gauge",
        "radiovis_watchdog_leading",
        "Whether this watchdog is the leader (1) or stands by (0).",
        lambda dog: dog.leading,
    ),
    Measure(
        "gauge",
        "radiovis_watchdog_leaderless_seconds",
        "Seconds since this watchdog last led or knew of a leader; after two of FB_FALLBACK_CHECK, and 10 s, it "
        'is an alarm: fanout_condition_well{condition="leader"} is 0.',
        lambda dog: dog.leaderless,
    ),
    Measure(
        "gauge",
        "radiovis_log_waiting",
        "Messages that are not in the log yet: in the broker's queue FB_QUEUE and in progress; 0 on a standby.",
        lambda dog: dog.log_waiting,
    ),
    Measure(
        "counter",
        "radiovis_log_dropped_total",
        "Messages the log never gets: lost because there was no room (such as by the policy of the broker's queue; "
        "a lower bound), or refused by PlugIt repeatedly.",
        lambda dog: {("lost",): dog.log_lost, ("refused",): dog.log_state().refused},
        ("why",),
    ),
    Measure(
        "gauge", "radiovis_log_failing", "Whether the log refuses entries.", lambda dog: bool(dog.log_state().error)
    ),
)
PREFLIGHT: Table[Preflight] = (
    Measure(
        "counter",
        "radiovis_preflight_fetched_total",
        "Slides that were fetched to be checked.",
        lambda preflight: preflight.verdicts.fetched,
    ),
    Measure(
        "gauge",
        "radiovis_preflight_under_way",
        "Slides that are being fetched, or wait to be fetched.",
        lambda preflight: preflight.verdicts.under_way,
    ),
    Measure(
        "counter",
        "radiovis_preflight_unfit_total",
        "Messages that radios may not be able to show; the same message counts once a minute.",
        lambda preflight: preflight.unfit,
    ),
    Measure(
        "counter",
        "radiovis_preflight_refused_total",
        "Publishes refused because radios may not be able to show them (PREFLIGHT = reject).",
        lambda preflight: preflight.refused,
    ),
)
SCHEDULE: Table[HeldSlides] = (
    Measure("gauge", "radiovis_schedule_held", "Messages held until their trigger-time; 0 on a standby.", len),
    Measure(
        "counter",
        "radiovis_schedule_ended_total",
        "Held messages that were sent at their time, replaced by a later publish, or cancelled.",
        lambda schedule: {(name,): count for name, count in asdict(schedule.counters).items()},
        ("how",),
    ),
)

ENGINE: dict[str, Table[Any]] = {
    "Clients": (*CLIENTS, *CONNECTION_LIMIT, *SUBSCRIPTION_LIMIT, *CERTIFICATES, *CLIENT_COUNTERS, *FLUSHER),
    "Logins": (*LOGIN_QUEUE, *LOGIN_THROTTLE, *OPERATORS),
    "Load": (*INPUT_MEMORY, *TURNS),
    "Messages": (*HUB, *RETAINED_SHARES, *HISTORY, *JOURNAL),
    "HTTP": SITE,
    "Bus": (*BUS, *RABBITMQ),
    "memcached": MEMCACHED,
    "Tasks": TASKS,
    "The process as a whole": (*HEALTH, *LAG, *BUILD),
}
"""The metrics of the engine, by the chapter of docs/metrics.md."""

RADIOVIS: dict[str, Table[Any]] = {
    "Stations": (*TOPIC_RESOLUTION, *PUBLISHING, *DIRECTORY, *STATIONS_FILE),
    "Watchdog": WATCHDOG,
    "Slides": (*PREFLIGHT, *SCHEDULE),
}


def page() -> str:
    """The text of ``docs/metrics.md``."""
    return HEAD + reference({**ENGINE, **RADIOVIS})


if __name__ == "__main__":
    print(page(), end="")
