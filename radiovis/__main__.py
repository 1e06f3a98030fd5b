"""``radiovis`` and ``python -m radiovis`` are ``python server.py``; ``radiovis-fallback`` is ``python fallback.py``."""

from __future__ import annotations

import importlib
import signal
import sys

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it: 128 + SIGINT


def start(module: str) -> int:
    """Import a module, with Ctrl-C ending the process without a word meanwhile, and run its ``main()``.

    :return: the exit code.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # A shell has those in the background ignore it, and that stays so.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    main = importlib.import_module(module).main
    signal.signal(signal.SIGINT, handler)
    try:
        return int(main())
    except KeyboardInterrupt:
        return INTERRUPTED


def main() -> int:
    """What pip makes the command ``radiovis`` of. :return: the exit code."""
    return start("radiovis.commands.main")


def fallback() -> int:
    """What pip makes the command ``radiovis-fallback`` of. :return: the exit code."""
    return start("radiovis.commands.fallback")


if __name__ == "__main__":
    sys.exit(main())
