"""Checks for any RadioVIS server.

They test the rules of STOMP, and the needs of receivers (contract §5).

``check.py`` defines a check. ``subject.py`` defines the server under test and the client of a check. Every other file
contains checks; each check is a function. ``radiovis/commands/conformance.py`` has their order.
"""
