"""The metrics of several processes as one page: each process's own, and their sum.

::

    fanout_clients{protocol="stomp",worker="1"} 3
    fanout_clients{protocol="stomp",worker="2"} 4
    fanout_clients{protocol="stomp"} 7
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

_NO_SUM = re.compile(r"_(info|ready|well|connected|down|failing|max_fds|seconds)$")
"""Gauges whose sum means nothing: yes or no, points in time, the worst of something. What is yes for all, and what was
worst of all, the reader knows better: ``min by (condition)``, ``max``."""


class _Page:
    def __init__(self, families: Mapping[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()


def summed(pages: Mapping[str, str], label: str = "worker") -> bytes:
    """One page of several.

    :param pages: by process, what each answers to ``/metrics``, in Prometheus' text format.
    :param label: what tells the processes apart.
    """
    families: dict[str, Metric] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for process, page in pages.items():
        for family in text_string_to_metric_families(page):
            mine = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            sum_ = sums.setdefault(family.name, {})
            for sample in family.samples:
                mine.add_sample(sample.name, {**sample.labels, label: process}, sample.value)
                key = sample.name, tuple(sample.labels.items())
                sum_[key] = sum_.get(key, 0.0) + sample.value
    for name, family in families.items():
        if family.type == "counter" or not _NO_SUM.search(name):
            for (sample_name, labels), value in sums[name].items():
                family.add_sample(sample_name, dict(labels), value)
    registry = CollectorRegistry()
    registry.register(_Page(families))
    return generate_latest(registry)
