"""The watchdog daemon: run one, and as many more as standbys. ``python fallback.py --help`` tells what it can do."""

import sys

from radiovis.watchdog.cli import main

if __name__ == "__main__":
    sys.exit(main())
