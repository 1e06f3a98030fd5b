"""The watchdog daemon: run one, and as many more as standbys. ``python fallback.py --help`` tells what it can do."""

import sys

from radiovis.__main__ import fallback

if __name__ == "__main__":
    sys.exit(fallback())
