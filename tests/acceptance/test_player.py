"""The EBU HTML5 player at a real node."""

from __future__ import annotations

from tests.acceptance.websocket_case import WebSocketCase
from tests.message_socket import NotUpgraded


class PlayerTests(WebSocketCase):
    """radiovis-html5player: it opens a channel's path, and only listens."""

    HELLO = "RADIOVISWEBSOCKET:HELLO\0"

    def channel(self) -> str:
        return self.topic("")[:-1]

    def test_hello_then_the_last_messages_then_what_comes(self) -> None:
        channel = self.channel()
        station = self.station()
        station.publish(f"{channel}/text", "TEXT Grüezi\nmitenand".encode(), {"link": "http://s/"})
        player = self.open(channel)
        self.assertEqual(player.message(), self.HELLO)
        head, _, body = str(player.message()).partition("\n\n")
        self.assertEqual(body, "TEXT Grüezi\nmitenand")  # no NUL behind it
        lines = head.split("\n")
        self.assertEqual(lines[:3], ["MESSAGE", f"destination:{channel}/text", "link:http://s/"])
        station.publish(f"{channel}/image", b"SHOW http://s/1.png")
        station.publish(f"{channel}/elsewhere", b"SHOW http://s/2.png")
        station.publish(f"{channel}/image", b"SHOW http://s/3.png")
        self.assertTrue(str(player.message()).endswith("\n\nSHOW http://s/1.png"))
        self.assertTrue(str(player.message()).endswith("\n\nSHOW http://s/3.png"))

    def test_it_keeps_the_spelling_of_its_page(self) -> None:
        player = self.open("/topic/fm/ch/ffff/99999")
        self.assertEqual(player.message(), self.HELLO)
        self.station(3).publish("/topic/fm/4e1/ffff/99999/image", b"SHOW http://s/fm.png")
        self.assertIn("\ndestination:/topic/fm/ch/ffff/99999/image\n", str(player.message()))

    def test_octets_that_are_no_text_are_replaced(self) -> None:
        player = self.open(self.channel())
        player.message()
        self.station(version="1.2").publish(f"{self.channel()}/text", b"TEXT \xe9.")
        self.assertTrue(str(player.message()).endswith("TEXT \ufffd."))

    def test_whoever_says_something_is_told_off_in_the_words_of_the_original(self) -> None:
        player = self.open(self.channel())
        player.message()
        player.say("hello")
        self.assertEqual(player.message(), "RADIOVISWEBSOCKET:ERROR:Unexcepted message\0")
        self.assertEqual(player.closed(), 1000)

    def test_what_can_be_no_station_has_no_vis(self) -> None:
        player = self.open("/topic/fm/4e1")
        self.assertEqual(player.message(), "RADIOVISWEBSOCKET:NOVIS\0")
        self.assertEqual(player.closed(), 1000)

    def test_paths_that_are_no_channel(self) -> None:
        for path, status in (
            ("/topic", 400),
            ("/topic/", 400),
            ("/topic/x%0ay", 400),
            ("/topic/%ff", 400),
            ("/topic/" + "x" * 1_100, 414),
        ):
            with self.assertRaises(NotUpgraded) as refused:
                self.open(path)
            self.assertEqual(refused.exception.status, status, path)

    def test_players_are_let_go_when_they_leave(self) -> None:
        files = self.server.open_files()
        for _ in range(50):
            player = self.open(self.channel())
            player.message()
            player.leave()
            self.assertEqual(player.closed(), 1000)
        self.assertLessEqual(self.server.open_files(), files + 5)
