"""One file for each command of ``python server.py``: ``command() -> CommandParser`` is its command line,
``run(words) -> int`` does it. See ``docs/commands.md``.
"""
