"""examples/publish.py, at a real node."""

from __future__ import annotations

from tests.examples.publisher import ExampleCase
from tests.processes import Server, node
from tests.radio import Radio
from tests.services import free_port

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/image"


class TestPublish(ExampleCase):
    program = "publish.py"
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = node().start()
        cls.addClassCleanup(cls.server.close)

    def setUp(self) -> None:
        self.radio = Radio.connect(self.server.address)
        self.addCleanup(self.radio.close)
        self.login = ("--port", str(self.server.address[1]), "--login", "1.test", "--passcode", "test")

    def listen(self, *topics: str) -> None:
        for topic in topics:
            self.radio.subscribe(topic, fast_reply=False)

    def test_a_slide_with_its_link(self) -> None:
        self.listen(TOPIC)
        self.publish(*self.login, TOPIC, "SHOW http://s/1.png", "--link", "http://s:80/?a=b\\c")
        shown = self.radio.expect("MESSAGE", destination=TOPIC, link="http://s:80/?a=b\\c", trigger_time="NOW")
        self.assertEqual(shown.body, b"SHOW http://s/1.png")

    def test_a_text_to_all_channels(self) -> None:
        self.listen("/topic/id/tests._ebu.nowhere/topic1/text", "/topic/id/tests._ebu.nowhere/topic2/text")
        self.publish(*self.login, "/topic/*/text", "TEXT café")
        self.assertEqual([each.body for each in self.radio.frames(2)], ["TEXT café".encode()] * 2)

    def test_a_line_end_makes_no_header(self) -> None:
        self.listen(TOPIC)
        self.publish(*self.login, TOPIC, "SHOW http://s/1.png", "--link", "http://s/\nSlideId:7")
        self.assertNotIn("SlideId", self.radio.expect("MESSAGE", destination=TOPIC).names())

    def test_refusals_are_told(self) -> None:
        port = ("--port", str(self.server.address[1]), "--login", "1.test")
        self.assert_fails(*port, "--passcode", "wrong", TOPIC, "SHOW x", saying="Wrong credentials")
        self.assert_fails(*self.login, "/topic/other/image", "SHOW x", saying="You cannot do that.")

    def test_nobody_there(self) -> None:
        nowhere = ("--port", str(free_port()), "--login", "1.test", "--passcode", "test")
        self.assert_fails(*nowhere, TOPIC, "SHOW x", saying="Connection refused")
        self.assert_fails(*nowhere, "--host", "no-such-host.invalid", TOPIC, "SHOW x", saying="no-such-host.invalid")

    def test_is_short(self) -> None:
        self.assert_short()
