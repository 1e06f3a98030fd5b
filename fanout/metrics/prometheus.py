"""Metrics for Prometheus: tables of what can be read off the parts of a process, read when somebody asks.

Nothing is counted here, so nothing on the way of a message gets slower. A part keeps plain numbers; a table says what
each is called, what it means, and how it is read::

    metrics = Metrics()
    metrics.add(HUB, hub)
    metrics.text()

Labels have few values: never a topic, an address or a login. Names follow Prometheus' conventions: ``fanout_`` for the
engine, base units, ``_total`` for what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_FAMILIES: dict[str, Any] = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}

S = TypeVar("S")
Values = float | Mapping[Any, float]


@dataclass(frozen=True, slots=True)
class Measure(Generic[S]):
    """One metric of parts of type ``S``.

    :ivar kind: ``counter`` for what only grows, otherwise ``gauge``.
    :ivar help: one sentence.
    :ivar read: the value; for a metric with labels, values by the label's value, or by a tuple of several.
    :ivar labels: the names of its labels.
    """

    kind: Literal["counter", "gauge"]
    name: str
    help: str
    read: Callable[[S], Values]
    labels: tuple[str, ...] = ()

    def family(self, part: S) -> Metric:
        """Its values of this moment."""
        family = _FAMILIES[self.kind](self.name, self.help, labels=self.labels)
        for labels, value in self._samples(part):
            family.add_metric(labels, value)
        return cast("Metric", family)

    def _samples(self, part: S) -> Iterator[tuple[tuple[str, ...], float]]:
        values = self.read(part)
        if not isinstance(values, Mapping):
            yield (), values
            return
        for key, value in values.items():
            yield (key,) if isinstance(key, str) else key, value


Table = Sequence[Measure[S]]


class _Part(Generic[S]):
    """What prometheus-client calls a collector."""

    def __init__(self, table: Table[S], part: S) -> None:
        self._table = table
        self._part = part

    def collect(self) -> Iterator[Metric]:
        for measure in self._table:
            yield measure.family(self._part)

    def describe(self) -> Iterator[Metric]:
        """Names without values: nothing is read before somebody asks."""
        for measure in self._table:
            yield _FAMILIES[measure.kind](measure.name, measure.help, labels=measure.labels)


class Metrics:
    """All metrics of a process, its memory and its file descriptors included."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

    def add(self, table: Table[S], part: S) -> None:
        """Tell what this table reads off this part, too. :raises ValueError: a name is there already."""
        self._registry.register(_Part(table, part))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)


def reference(tables: Mapping[str, Table[Any]]) -> str:
    """A manual page of tables, by heading (Markdown)."""
    lines = []
    for heading, table in tables.items():
        lines += [f"## {heading}", "", "| metric | type | labels | what it tells |", "| --- | --- | --- | --- |"]
        for each in table:
            labels = ", ".join(f"`{label}`" for label in each.labels)
            lines.append(f"| `{each.name}` | {each.kind} | {labels} | {each.help} |")
        lines.append("")
    process = [family for family in ProcessCollector(registry=None).collect() if family.samples]
    lines += ["## The process", "", "| metric | type | what it tells |", "| --- | --- | --- |"]
    lines += [f"| `{family.samples[0].name}` | {family.type} | {family.documentation} |" for family in process]
    return "\n".join(lines) + "\n"
