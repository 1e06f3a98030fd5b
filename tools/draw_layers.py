"""Draws ``docs/layers.svg``: the folders of the engine and of RadioVIS, and the imports between them.

    python -m tools.draw_layers > docs/layers.svg

The picture is made from the import graph that import-linter checks, so it cannot differ from the code. Every folder and
every file at the top of a package is a box. A box is one row above the highest box that it imports. A line leads from a
box to each box that it imports. A line that follows from others is not drawn (a → b and b → c imply a → c).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from html import escape

import grimp

PANELS = ("fanout", "radiovis")
WIDTH, BOX_HEIGHT, ROW_GAP, BOX_GAP, MARGIN, TITLE = 1160, 46, 34, 14, 20, 30  # pixels
BOX_WIDTH = 206
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1c2733 }
.title { font-weight: 600; font-size: 16px }
.purpose { font-size: 10px; fill: #51606f }
.box { fill: #eef3f8; stroke: #6b8199; rx: 5 }
.line { stroke: #8fa3b8; fill: none }
.back { fill: #ffffff }
"""

Graph = dict[str, set[str]]


def imports_of(package: str) -> Graph:
    """The imports of each folder and each top-level file of a package, within the package."""
    graph = grimp.build_graph(package, cache_dir=None)  # A cache would show files that were removed.
    children = sorted(graph.find_children(package))
    return {
        child: {
            other
            for other in children
            if other != child and graph.direct_import_exists(importer=child, imported=other, as_packages=True)
        }
        for child in children
        if not child.endswith("__main__")
    }


def rows_of(imports: Graph) -> list[list[str]]:
    """The boxes of each row, the lowest row first. :raises ValueError: the imports have a cycle."""
    rows: list[list[str]] = []
    placed: set[str] = set()
    while len(placed) < len(imports):
        row = sorted(each for each in imports if each not in placed and imports[each] <= placed)
        if not row:
            raise ValueError(f"These import each other: {sorted(set(imports) - placed)}")
        rows.append(row)
        placed |= set(row)
    return rows


def reduced(imports: Graph) -> Graph:
    """The graph without the imports that follow from other imports."""

    def below(box: str) -> set[str]:
        return imports[box] | {each for lower in imports[box] for each in below(lower)}

    return {box: targets - {each for target in targets for each in below(target)} for box, targets in imports.items()}


def purpose(module: str) -> str:
    """The first sentence of a folder's docstring, without its full stop."""
    text = " ".join((importlib.import_module(module).__doc__ or "").split())
    return text.partition(". ")[0].rstrip(".")


def draw(panels: Mapping[str, Graph]) -> str:
    """The picture, as SVG. :param panels: the imports of each package; each package is a panel."""
    parts: list[str] = []
    top = MARGIN
    for package, imports in panels.items():
        panel, height = _panel(package, imports, top)
        parts += panel
        top += height + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img" aria-label="Layers">'
    back = f'<rect class="back" width="{WIDTH}" height="{top}"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", back, *parts, "</svg>", ""])


def _panel(package: str, imports: Graph, top: int) -> tuple[list[str], int]:
    rows = _wrapped(rows_of(imports))
    height = TITLE + len(rows) * (BOX_HEIGHT + ROW_GAP)
    places: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(reversed(rows)):
        width = len(row) * BOX_WIDTH + (len(row) - 1) * BOX_GAP
        for index, box in enumerate(row):
            left = (WIDTH - width) / 2 + index * (BOX_WIDTH + BOX_GAP)
            places[box] = left, top + TITLE + number * (BOX_HEIGHT + ROW_GAP)
    lines = [_line(places[box], places[target]) for box, targets in reduced(imports).items() for target in targets]
    title = f'<text class="title" x="{MARGIN}" y="{top + 16}">{package}/ — {escape(purpose(package))}</text>'
    return [title, *sorted(lines), *(_box(package, box, places[box]) for box in sorted(places))], height


def _wrapped(rows: Sequence[list[str]]) -> list[list[str]]:
    """Split rows that are wider than the picture."""
    fits = (WIDTH - 2 * MARGIN + BOX_GAP) // (BOX_WIDTH + BOX_GAP)
    return [row[start : start + fits] for row in rows for start in range(0, len(row), fits)]


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1, x2, y2 = start[0] + BOX_WIDTH / 2, start[1] + BOX_HEIGHT, end[0] + BOX_WIDTH / 2, end[1]
    bend = (y2 - y1) / 2
    return (
        f'<path class="line" d="M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f}'
        f' {x2:.0f} {y2:.0f}"/>'
    )


def _box(package: str, name: str, place: tuple[float, float]) -> str:
    left, top = place
    module = importlib.import_module(name)
    label = name.removeprefix(package + ".") + ("/" if hasattr(module, "__path__") else ".py")
    words = _fitted(purpose(name))
    lines = "".join(
        f'<text class="purpose" x="{left + 8:.0f}" y="{top + 28 + 12 * number:.0f}">{escape(line)}</text>'
        for number, line in enumerate(words)
    )
    return (
        f'<g><title>{escape(purpose(name))}</title><rect class="box" x="{left:.0f}" y="{top:.0f}" width="{BOX_WIDTH}"'
        f' height="{BOX_HEIGHT}"/><text x="{left + 8:.0f}" y="{top + 15:.0f}">{escape(label)}</text>{lines}</g>'
    )


def _fitted(text: str, columns: int = 34, lines: int = 2) -> list[str]:
    """A text in at most this many lines of this many columns. If words do not fit, the last line ends with "…"."""
    fitted = [""]
    for word in text.split():
        if len(fitted[-1]) + len(word) + 1 > columns:
            if len(fitted) == lines:
                return [*fitted[:-1], fitted[-1] + " …"]
            fitted.append(word)
        else:
            fitted[-1] = f"{fitted[-1]} {word}".strip()
    return fitted


if __name__ == "__main__":
    print(draw({package: imports_of(package) for package in PANELS}), end="")
