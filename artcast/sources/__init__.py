"""Sources to try things with, and to learn from: each is a program, ``python -m artcast.sources.tick``."""
