"""Checks that any RadioVIS server can be run against.

``check.py`` says what a check is, ``subject.py`` what is tested, ``wire.py`` how it is talked to; every other file
holds checks, a function each.
"""
