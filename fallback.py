"""The watchdog daemon: run one, and as many more as standbys. ``python fallback.py --help`` tells what it can do."""

import sys

from radiovis.start import start

if __name__ == "__main__":
    sys.exit(start("radiovis.commands.fallback"))
