"""Checks that any RadioVIS server can be run against.

The rules of STOMP, and what receivers need (contract §5).

``check.py`` defines a check, ``subject.py`` the server under test and the client that talks to it. Every other file
holds checks, a function each. ``radiovis/commands/conformance.py`` has their order.
"""
