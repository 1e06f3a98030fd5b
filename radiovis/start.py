"""The first thing every program of ours runs: Ctrl-C while it still imports what it needs just ends it."""

from __future__ import annotations

import importlib
import signal

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
