"""The watchdog daemon. Run one; additional daemons stand by. ``python fallback.py --help`` lists the commands."""

import sys

from radiovis.__main__ import fallback

if __name__ == "__main__":
    sys.exit(fallback())
