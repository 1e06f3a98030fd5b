"""Prints docs/buffers.md: every buffer of the product, with limits that are read from the source.

``tools/buffers.template`` is the page with names in braces: ``{MAX_CONNECTIONS}`` is a setting, and
``{fanout.stomp.limits.MAX_UNACKED}`` is a constant. Each name is replaced by its value and its short name.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from radiovis.settings import Settings

TEMPLATE = Path(__file__).with_name("buffers.template")
SUBSCRIPTION_OCTETS = 1_024
CONNECTION_OCTETS = 3_686  # docs/performance.md
PROCESS_OCTETS = 62_914_560
"""The approximate memory of a subscription, of a connection, and of a process without clients."""
_NAME = re.compile(r"\{([\w.]+)\}")
_OCTETS = re.compile(r"BYTES|OCTETS|PIECE|LONGEST|BUFFER|UNSENT|AHEAD|INPUT|MAX_ANSWER|MOST_READ|MAX_SIZE")
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def value_of(name: str) -> float:
    """The default of a setting, or the value of a constant. :raises TypeError: the value is not a number."""
    module, _, constant = name.rpartition(".")
    value = getattr(importlib.import_module(module), constant) if module else Settings.model_fields[name].default
    if not isinstance(value, int | float):
        raise TypeError(f"{name} is not a number")
    return value


def in_words(name: str) -> str:
    """A value with its unit and name: ``32 MiB (INPUT_BYTES)``, or for a setting ``OUTBOX_BYTES (1 MiB)``."""
    value, short = value_of(name), name.rpartition(".")[2]
    text = _octets(value) if _OCTETS.search(short) else f"{value:,g} s" if short.endswith("SECONDS") else f"{value:,}"
    return f"`{short}` ({text})" if short == name else f"{text} ({short})"


def _octets(value: float) -> str:
    for octets, unit in _UNITS:
        if value >= octets and value % octets == 0:
            return f"{value / octets:,.0f} {unit}"
    return f"{value:,} octets"


def worst_case() -> str:
    """The rows of the table with the largest memory of a node: each part, and the total."""
    listener = value_of("fanout.listeners.client_limits.INPUT_BYTES") + value_of("fanout.http.limits.BODIES_BYTES")
    unconfirmed = value_of("fanout.bus.broker_settings.MOST_OCTETS")
    calls, answer = (value_of(f"radiovis.directory.plugit_http.{each}") for each in ("MAX_CALLS", "MAX_ANSWER"))
    sums = {
        "input and bodies of the public listeners": listener,
        "input and bodies of the operators' listener": listener,
        "long answers of both listeners": 2 * value_of("fanout.http.limits.ANSWERS_BYTES"),
        "outboxes and write buffers of slow clients": value_of("OUTBOX_TOTAL_BYTES"),
        "last messages and history": value_of("MAX_LAST_MESSAGES_BYTES") + value_of("HISTORY_BYTES"),
        "publishes without a confirm, here and in the write buffer": 2 * unconfirmed,
        "confirmed publishes, a tenth of these": unconfirmed / 10,
        "messages read from the stream": value_of("fanout.bus.stream.MAX_OCTETS"),
        "answers of PlugIt": calls * answer,
        "subscriptions": value_of("MAX_SUBSCRIPTIONS_TOTAL") * SUBSCRIPTION_OCTETS,
        "connections": value_of("MAX_CONNECTIONS") * CONNECTION_OCTETS,
        "the process itself": PROCESS_OCTETS,
    }
    sums["total"] = sum(sums.values())
    return "\n".join(f"| {name} | {octets / 1e6:,.0f} MB |" for name, octets in sums.items())


def page() -> str:
    """The page, in Markdown. :raises AttributeError: the template names a constant that does not exist."""
    text = TEMPLATE.read_text().replace("{worst_case}", worst_case())
    return _NAME.sub(lambda match: in_words(match[1]), text)


if __name__ == "__main__":
    print(page(), end="")
