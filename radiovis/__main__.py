"""``python -m radiovis`` is the same as ``python server.py``."""

import sys

from radiovis.cli import main

if __name__ == "__main__":
    sys.exit(main())
