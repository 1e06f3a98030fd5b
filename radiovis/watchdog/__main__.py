"""``radiovis-fallback`` and ``python -m radiovis.watchdog`` are the same as ``python fallback.py``."""

import sys

from radiovis.start import start


def main() -> int:
    """What pip makes the command ``radiovis-fallback`` of. :return: the exit code."""
    return start("radiovis.commands.fallback")


if __name__ == "__main__":
    sys.exit(main())
