"""One file for each command of ``python server.py``: ``command() -> CommandParser`` says what it takes and how it ends,
``run(words) -> int`` does it. See ``docs/commands.md``.
"""
