"""Reads metrics as Prometheus does, and complains of what its linter (``promtool check metrics``) would."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


def parse(text: bytes) -> dict[str, dict[Labels, float]]:
    """Name of the sample → labels, by their names → value. Raises ValueError for anything that is not clean."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        if not family.documentation or family.type == "unknown":
            raise ValueError(f"{family.name} has no help or no type")
        for sample in family.samples:
            if family.type == "counter" and not sample.name.endswith("_total"):
                raise ValueError(f"the counter {sample.name} does not end in _total")
            labels = tuple(sorted(sample.labels.items()))
            values = found.setdefault(sample.name, {})
            if labels in values:
                raise ValueError(f"{sample.name} {labels} is there twice")
            values[labels] = sample.value
    return found


def label_sets(found: dict[str, dict[Labels, float]]) -> dict[str, set[Labels]]:
    """The label sets of each name."""
    return {name: set(values) for name, values in found.items()}
