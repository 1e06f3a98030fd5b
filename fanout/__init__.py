"""The engine: topics with a last value, publishers and subscribers. It knows no application."""

__version__ = "1.0.0"
