"""examples/listen.py, listen.c and listen-websocket.mjs, at a real node: they print what is published."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

from tests.clients import node_clients
from tests.examples.listener import EXAMPLES, Listener, ListenerCase

TEXT, SLIDE = "TEXT Grüezi", "SHOW http://s/1.png"


class Programs:
    """Keeps nosetests from the class within, which is a base of others."""

    class Case(ListenerCase):
        """What each program has to do."""

        program: ClassVar[str]
        command: ClassVar[list[str]]
        """How it is run; its folder is :attr:`folder`."""
        folder: ClassVar[Path] = EXAMPLES

        def address(self) -> list[str]:
            """The arguments that name the node."""
            host, port = self.server.address
            return [host, str(port)]

        def listen(self, channel: str) -> Listener:
            listener = Listener([*self.command, *self.address(), channel], self.folder)
            self.addCleanup(listener.close)
            return listener

        def listening(self) -> Listener:
            """A program that has subscribed to both topics, as it has printed the retained message of each."""
            self.publish("text", TEXT)
            self.publish("image", SLIDE)
            listener = self.listen(self.channel())
            self.assertEqual({listener.line(), listener.line()}, {TEXT, SLIDE})
            return listener

        def test_it_prints_the_retained_messages_and_then_each_new_one(self) -> None:
            listener = self.listening()
            for number in range(3):
                self.publish("image", f"SHOW http://s/{number}.png", link=f"http://s:80/a\\b?{number}")
                self.assertEqual(listener.line(), f"SHOW http://s/{number}.png http://s:80/a\\b?{number}")
            self.publish("text", "TEXT 100 % café")
            self.assertEqual(listener.line(), "TEXT 100 % café")

        def test_other_bodies_are_ignored(self) -> None:
            listener = self.listening()
            for body in ("", "TEXTILE", "show http://s/", "x" * 200_000, b"\xff\xfe", b"x\0MESSAGE\n\nTEXT forged\0"):
                self.publish("text", body)
            self.publish("text", "TEXT last")
            self.assertEqual(listener.line(), "TEXT last")

        def test_no_station_controls_the_terminal(self) -> None:
            listener = self.listening()
            self.publish("text", "TEXT \x1b[2Jone\ntwo\r\x7f.", link="http://s/\n\x1b")
            line = listener.line()
            self.assertRegex(line, r"\ATEXT  \[2Jone two  \. http://s/")
            self.assertTrue(line.isprintable(), line)

        def test_it_connects_again_when_the_node_is_back(self) -> None:
            listener = self.listening()
            self.server.kill()
            self.assertTrue(listener.complaint())
            self.server.start()
            self.publish("text", "TEXT back")
            self.assertEqual(listener.line(), "TEXT back")

        def test_a_refusal_is_printed(self) -> None:
            self.assertRegex(self.listen("/topic/fm/4e1/").complaint(), "Your destination|An FM topic is")

        def test_wrong_arguments_are_an_error(self) -> None:
            done = subprocess.run(
                [*self.command, *self.address()],
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("channel", done.stderr.lower())

        def test_it_is_short(self) -> None:
            self.assert_short(self.program)


class TestListen(Programs.Case):
    """The radio in Python."""

    program = "listen.py"
    command: ClassVar[list[str]] = [sys.executable, "listen.py"]


class TestListenInC(Programs.Case):
    """The radio in C, compiled with all warnings as errors and with checks of memory at run time."""

    program = "listen.c"
    command: ClassVar[list[str]] = ["./listen"]

    @classmethod
    def setUpClass(cls) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            raise SkipTest("there is no C compiler; Debian's package is called gcc")
        folder = tempfile.TemporaryDirectory(prefix="radiovis-listen-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        checks = ["-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
        output = str(cls.folder / "listen")
        subprocess.run([compiler, *checks, "-o", output, "listen.c"], cwd=EXAMPLES, timeout=60, check=True)
        super().setUpClass()


class TestListenOverAWebSocket(Programs.Case):
    """The app in JavaScript, in a folder with the packages that its first lines name."""

    program = "listen-websocket.mjs"
    command: ClassVar[list[str]] = ["node", "listen-websocket.mjs"]

    @classmethod
    def setUpClass(cls) -> None:
        if reason := node_clients.missing():
            raise SkipTest(reason)
        folder = tempfile.TemporaryDirectory(prefix="radiovis-listen-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        shutil.copy(EXAMPLES / cls.program, cls.folder)
        (cls.folder / "node_modules").symlink_to(node_clients.NODE / "node_modules")
        super().setUpClass()

    def address(self) -> list[str]:
        return ["ws://{}:{}/stomp".format(*self.server.http)]
