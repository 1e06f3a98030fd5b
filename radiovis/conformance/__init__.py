"""A black-box suite for any RadioVIS server: the rules of STOMP, and what receivers taught (contract §5).

``check.py`` says what a check is, ``subject.py`` what is tested, ``wire.py`` how it is talked to; every other file
holds checks, a function each.
"""
