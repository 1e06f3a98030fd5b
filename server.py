"""One RadioVIS front-end; run as many as you like. ``python server.py --help`` tells what it can do."""

import sys

from radiovis.start import start

if __name__ == "__main__":
    sys.exit(start("radiovis.commands.main"))
