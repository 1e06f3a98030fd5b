"""One file for each command of server.py and fallback.py.

``run(words) -> int`` does it. See ``docs/commands.md``.
"""
