from __future__ import annotations

from twisted.trial import unittest

from radiovis.directory.toml_lines import read_sections

TEXT = '''\
top = 1
[[station]]   # a comment
login = "1.rock"
"password" = "x"
text = """
[[station]]
login = "not a key"
"""
  [[ station . channel ]]
  topic = "/topic/a/"
[[station]]
networks = [
  "10.0.0.0/8",
]
s = \'\'\'one line\'\'\'
after = 1  # """
last.dotted = 2
'''


class TestReadSections(unittest.SynchronousTestCase):
    def test_finds_each_header_and_key(self) -> None:
        found = [(section.name, section.line, section.keys) for section in read_sections(TEXT)]
        self.assertEqual(
            found,
            [
                ("", 1, {"top": 1, "station": 2}),
                ("station", 2, {"login": 3, "password": 4, "text": 5}),
                ("station.channel", 9, {"topic": 10}),
                ("station", 11, {"networks": 12, "s": 15, "after": 16, "last": 17}),
            ],
        )

    def test_a_key_that_is_not_there_is_at_its_header(self) -> None:
        station = read_sections(TEXT)[1]
        self.assertEqual([station.line_of(key) for key in ("login", "name", None)], [3, 2, 2])
