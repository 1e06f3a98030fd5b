"""Sample sources, for trying and learning. Each is a program: ``python -m artcast.sources.tick``."""
