from __future__ import annotations

from radiovis.http.station import Station
from twisted.trial import unittest


class Names(unittest.TestCase):
    def test_where_it_is_on_the_dial(self) -> None:
        for topic, resolved in (
            ("/topic/fm/4e1/4000/09580/", "FM 95.80 MHz"),
            ("/topic/fm/4e1/4000/10410/", "FM 104.10 MHz"),
            ("/topic/fm/4e1/4000/*/", "FM, any frequency (4e1 4000)"),
            ("/topic/fm/4e1/", "FM 4e1"),
            ("/topic/dab/4e1/4a01/4b02/0/", "DAB 4e1 4a01 4b02 0"),
            ("/topic/test/1/", "test/1"),
        ):
            with self.subTest(topic):
                self.assertEqual(Station(topic).resolved, resolved)

    def test_a_name_if_it_has_one(self) -> None:
        self.assertEqual(Station("/topic/fm/4e1/4000/09580/", "Rock FM").name, "Rock FM")
        self.assertEqual(Station("/topic/fm/4e1/4000/09580/").name, "FM 95.80 MHz")

    def test_the_service_identifier(self) -> None:
        self.assertEqual(Station("/topic/fm/4e1/4000/09580/").service, "fm/4e1/4000/09580")
