"""A RadioVIS front-end. A cluster may have any number of them. ``python server.py --help`` lists the commands."""

import sys

from radiovis.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
