"""``python -m fanout.web``."""

import sys

from fanout.web.cli import main

if __name__ == "__main__":
    sys.exit(main())
