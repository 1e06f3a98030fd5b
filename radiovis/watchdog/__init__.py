"""The tasks of the fallback daemon: topic list, broker, silent topics, log."""
