"""``python -m webserver``."""

import sys

from webserver.cli import main

if __name__ == "__main__":
    sys.exit(main())
