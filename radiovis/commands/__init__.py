"""One file for each command of server.py and fallback.py.

``command() -> CommandParser`` gives its command line, ``run(words) -> int`` does it. See ``docs/commands.md``.
"""
