"""``python -m demo`` runs the demo: see :mod:`demo.show`."""

import sys

from radiovis.__main__ import start

if __name__ == "__main__":
    sys.exit(start("demo.show"))
