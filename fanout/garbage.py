"""Python's search for garbage that refers to itself, which stops a process while it lasts.

What nobody refers to any more is freed at once without it; a server makes next to no cycles. As Python sets it, 700 new
objects are reason enough to search: a publish in flight is ten, so a busy node searched all day, and a herd of radios
made it look through everything it holds time and again, a tenth of a second each time.
"""

from __future__ import annotations

import gc

OBJECTS = 50_000
"""New objects that are reason enough: some ten megabytes, if all of them were garbage."""


def search_rarely() -> None:
    """To be called when all parts are made: they stay as long as the process, and are not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])
