"""Checks that any RadioVIS server can be run against.

The rules of STOMP, and what receivers need (contract §5).

``check.py`` defines a check, ``subject.py`` the server under test, ``raw_client.py`` the client that talks to it, and
``suite.py`` the order. Every other file holds checks, a function each.
"""
