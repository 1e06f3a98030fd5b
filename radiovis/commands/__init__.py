"""One file for each command of server.py and fallback.py.

In each module, ``command() -> CommandParser`` returns the parser of its command line, and ``run(words) -> int`` runs
the command. See ``docs/commands.md``.
"""
