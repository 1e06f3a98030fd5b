"""``radiovis`` and ``python -m radiovis`` are the same as ``python server.py``."""

import sys

from radiovis.start import start


def main() -> int:
    """What pip makes the command ``radiovis`` of. :return: the exit code."""
    return start("radiovis.commands.main")


if __name__ == "__main__":
    sys.exit(main())
