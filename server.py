"""One RadioVIS front-end; run as many as you like. ``python server.py --help`` tells what it can do."""

import sys

from radiovis.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
