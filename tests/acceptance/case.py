"""What the acceptance tests of one node have in common: the node, the people around it, and that it made no error."""

from __future__ import annotations

import unittest
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.processes import Server, node
from tests.radio import Radio


class NodeCase(unittest.TestCase):
    """Tests of one node by itself, which is started once for all of them.

    State stays in the node between tests, so each uses topics of its own: :meth:`topic`.
    """

    settings: ClassVar[Mapping[str, Any]] = {}
    server: ClassVar[Server]

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = cls.make().start()

    @classmethod
    def make(cls) -> Server:
        """The node, not yet started."""
        return node(**cls.settings)

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            cls.server.terminate()
        finally:
            cls.server.close()

    def tearDown(self) -> None:
        self.assertEqual(self.server.faults, [])

    def topic(self, last: str = "image") -> str:
        """A topic of station 1 that no other test uses."""
        return f"/topic/id/tests._ebu.nowhere/topic1/{self.id().rpartition('.')[2]}/{last}"

    def dial(self) -> Radio:
        """A socket to the node, on which nothing has been said."""
        radio = Radio(self.server.address)
        self.addCleanup(radio.close)
        return radio

    def radio(self, login: str = "", passcode: str = "", *, version: str | None = None, **headers: str) -> Radio:
        """A client that has connected; anonymous, and 1.0, unless said otherwise."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        radio = Radio.connect(self.server.address, login, passcode, version=version, headers=names)
        self.addCleanup(radio.close)
        return radio

    def station(self, number: int = 1, version: str | None = None) -> Radio:
        """A publisher that has logged in."""
        return self.radio(f"{number}.test", "test", version=version)

    def assert_error(self, radio: Radio, message: str) -> None:
        """The next frame is the original's ERROR to a 1.0 client: this message, and no body."""
        self.assertEqual(radio.frame().raw, f"ERROR\nmessage:{message}\n\n\0".encode())

    def assert_error_and_end(self, radio: Radio, message: str) -> None:
        """So, and the connection ends."""
        self.assert_error(radio, message)
        self.assertTrue(radio.ends())
