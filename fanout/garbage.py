"""Python's search for garbage that refers to itself, which stops a process while it lasts.

How often it searches is left to Python. It might be told to do so rarely, and a node flooded with publishes would
gain a twentieth; but a client that has gone is such garbage (session, outbox and connection know each other), and a
node where many come and go would grow.
"""

from __future__ import annotations

import gc


def spare_what_stays() -> None:
    """To be called when all parts are made: they stay as long as the process, and are not looked at again.

    They are most of what there is: some hundred thousand objects, a fortieth of a second for each whole search.
    """
    gc.collect()
    gc.freeze()
