"""``python -m artcast``."""

import sys

from artcast.cli import main

if __name__ == "__main__":
    sys.exit(main())
