"""``radiovis`` and ``python -m radiovis`` run ``server.py``; ``radiovis-fallback`` runs ``fallback.py``."""

from __future__ import annotations

import importlib
import signal
import sys

INTERRUPTED = 130  # exit code after Ctrl-C, as in shells: 128 + SIGINT


def start(module: str) -> int:
    """Import a module, and run its ``main()``. During the import, Ctrl-C ends the process without a traceback.

    :return: the exit code.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # Background processes of a shell ignore SIGINT. Do not change that.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    main = importlib.import_module(module).main
    signal.signal(signal.SIGINT, handler)
    try:
        return int(main())
    except KeyboardInterrupt:
        return INTERRUPTED


def main() -> int:
    """The entry point of the command ``radiovis``. :return: the exit code."""
    return start("radiovis.commands.main")


def fallback() -> int:
    """The entry point of the command ``radiovis-fallback``. :return: the exit code."""
    return start("radiovis.commands.fallback")


if __name__ == "__main__":
    sys.exit(main())
