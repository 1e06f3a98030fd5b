"""``python -m tests.attacks``: see ``make attacks``. Exits 1 if an attack succeeded.

If all attacks were run, the figures are written to ``docs/attacks.md``. The file ``before.json`` has what the same
attacks reached before the limits existed; those that are not in it could not be measured then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.attacks.case import FULL, MAX_GROWTH, MAX_MEDIAN_MS

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "attacks.md"
BEFORE = Path(__file__).parent / "before.json"
COLUMNS = ("growth", "median_ms", "worst_ms")
HEAD = f"""# Attacks

For an operator who wants to know what strangers and stations can do to a node. At the end you know what each attack of
the test suite costs the attacker, the node and its other clients. Written by `make attacks`.

Each attack runs against a real node at full size. A station and a radio publish and receive at the same time. The
memory of the node must grow by less than {MAX_GROWTH // 1_000_000} MB, and the median time from the SEND to the MESSAGE
must stay below {MAX_MEDIAN_MS:.0f} ms. Node, attackers and bystanders share two processors.

- *cost*: what the attacker sent, and how long the attack took
- *memory*: growth of the node in MB
- *median*, *worst*: time from SEND to MESSAGE of the bystanders in ms
- *before → now*: before the limits of [buffers.md](buffers.md) existed, and with them; `?` was not measured

| attack | cost | memory | median | worst |
| --- | --- | --- | --- | --- |
"""

Row = dict[str, Any]


def run(*names: str) -> tuple[int, list[Row]]:
    """Run attacks at their full size, one after the other.

    :param names: files or tests, as nose names them; all if there are none.
    :return: the exit code, and the figures of each attack that failed, as :class:`tests.attacks.case.Figures`.
    """
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, "-m", "nose", "--nologcapture", *(names or ["tests/attacks"])]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, FULL: file.name}, check=False).returncode
        rows = [json.loads(line) for line in Path(file.name).read_text().splitlines()]
    return (code if rows else 1), rows


def figure(column: str, row: Row | None) -> str:
    """One figure, in the unit of its column; ``?`` if it is not known."""
    value = None if row is None else row.get(column)
    if value is None:
        return "?"
    return f"{value / 1e6:.0f}" if column == "growth" else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def page(rows: list[Row], before: dict[str, Row]) -> str:
    """The page, with a row for each attack."""
    lines = []
    for row in rows:
        cells = [f"{figure(column, before.get(row['name']))} → {figure(column, row)}" for column in COLUMNS]
        cost = f"{row['sent'] / 1e6:.1f} MB, {row['seconds']:.1f} s"
        lines.append(f"| {' | '.join((row['name'], cost, *cells))} |\n")
    return HEAD + "".join(lines)


def main(names: list[str]) -> int:
    """Run the attacks, print their figures, and write the page. Returns the exit code."""
    code, rows = run(*names)
    text = page(rows, json.loads(BEFORE.read_text()))
    print(text[text.index("| attack") :], end="")
    if not names and code == 0:
        PAGE.write_text(text)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
