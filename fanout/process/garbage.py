"""Python's search for garbage that refers to itself, which stops a process while it lasts.

Next to nothing here becomes such garbage: what knows each other lets go when a client has gone or a publish is
answered, and Python then frees it at once. But by default it searches whenever 700 objects more were made than freed,
and a thousand publishes that wait for the broker are many more; it found nothing, and a flood of publishes paid a
tenth of its time for that.
"""

from __future__ import annotations

import gc

_MADE = 50_000
"""Objects more than were freed, until the young ones are searched: 5 ms, and so much (5 MiB) may be garbage until then:
a traceback, or what Twisted's thread pool leaves behind of each call."""

_OLDER = 5
"""Searches of one generation to one of the next older."""


def search_seldom() -> None:
    """To be called when all parts are made: they stay as long as the process, and are not looked at again.

    They are most of what there is: some hundred thousand objects, a fortieth of a second for each whole search.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MADE, _OLDER, _OLDER)
