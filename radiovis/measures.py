"""Every metric that is RadioVIS' own, and the manual page of all metrics: ``python -m radiovis.measures``."""

from __future__ import annotations

from typing import Any, Protocol

from fanout.measures import ENGINE
from fanout.metrics import Measure, Table, reference
from radiovis.tuning import Tuning
from radiovis.watchdog.app import Watchdog

HEAD = """\
# Metrics

Every process tells them at `/metrics` of its operators' listener: `server.py` at `ADMIN_PORT`, `fallback.py` at
`FB_ADMIN_PORT`. They are read when Prometheus asks; a part that a process does not have, such as memcached, tells
nothing. Labels have few values, whatever clients do. Generated from the code by `make settings`; do not edit.

"""


class Fallible(Protocol):
    """A directory that can be away: :class:`radiovis.directory.cached.CachedDirectory`."""

    @property
    def down(self) -> bool: ...


TUNING: Table[Tuning] = (
    Measure(
        "gauge",
        "radiovis_stations_loaded",
        "Whether the list of registered channels has been read since the start (1) or not (0).",
        lambda tuning: tuning.loaded,
    ),
)
DIRECTORY: Table[Fallible] = (
    Measure("gauge", "radiovis_directory_up", "Whether PlugIt answered when asked last.", lambda each: not each.down),
)
WATCHDOG: Table[Watchdog] = (
    Measure(
        "gauge",
        "radiovis_watchdog_leading",
        "Whether this watchdog acts (1) or stands by (0).",
        lambda dog: dog.leading,
    ),
    Measure(
        "gauge", "radiovis_log_waiting", "Log entries accepted and not yet kept.", lambda dog: dog.log_state().waiting
    ),
    Measure(
        "gauge", "radiovis_log_failing", "Whether the log takes no entries.", lambda dog: bool(dog.log_state().error)
    ),
)

RADIOVIS: dict[str, Table[Any]] = {"Stations": (*TUNING, *DIRECTORY), "Watchdog": WATCHDOG}


def page() -> str:
    """The text of ``docs/metrics.md``."""
    return HEAD + reference({**ENGINE, **RADIOVIS})


if __name__ == "__main__":
    print(page(), end="")
