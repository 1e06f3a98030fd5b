"""The engine: topics, subscribers and sockets. It knows no application."""

__version__ = "1.0.0.dev0"
