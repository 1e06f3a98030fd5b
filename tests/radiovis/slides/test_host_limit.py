"""A host that hangs delays only its own fetches."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.trial import unittest

from radiovis.slides.host_limit import HostLimit, host_of, share


class TestHostLimit(unittest.TestCase):
    def setUp(self) -> None:
        self.limit = HostLimit(4)
        self.having: list[tuple[str, Deferred[None]]] = []
        self.addCleanup(self.end_all)

    def take(self, host: str) -> Deferred[None]:
        return ensureDeferred(self._take(host))

    async def _take(self, host: str) -> None:
        async with self.limit.slot(host):
            done: Deferred[None] = Deferred()
            self.having.append((host, done))
            await done

    def end(self, host: str) -> None:
        """One fetch of this host ends."""
        found = next(each for each in self.having if each[0] == host)
        self.having.remove(found)
        found[1].callback(None)

    def end_all(self) -> None:
        while self.having:
            self.end(self.hosts[0])

    @property
    def hosts(self) -> list[str]:
        return [host for host, _ in self.having]

    def test_one_host_has_half_of_them_and_all_hosts_together_the_whole(self) -> None:
        for host in (*["hangs"] * 100, *"abc"):
            self.take(host)
        self.assertEqual(self.hosts, ["hangs", "hangs", "a", "b"])
        self.end("a")
        self.assertEqual(self.hosts, ["hangs", "hangs", "b", "c"])
        self.end("hangs")
        self.assertEqual(self.hosts, ["hangs", "b", "c", "hangs"])

    def test_a_cancelled_wait_takes_no_slot_and_no_host_is_remembered(self) -> None:
        waits = [self.take(host) for host in (*["hangs"] * 3, *"abc")]
        for each in (waits[2], waits[5]):  # one waits for its host's own, one for any
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.end_all()
        self.assertEqual((self.hosts, self.limit.hosts), ([], {}))
        self.assertEqual(len(list(map(self.take, "abcde"))), 5)
        self.assertEqual(self.hosts, list("abcd"))

    def test_there_is_always_one(self) -> None:
        self.assertEqual([share(whole) for whole in (1, 2, 3, 8)], [1, 1, 1, 4])

    def test_the_host_of_an_address(self) -> None:
        addresses = ("http://X.example:81/a", "https://[::1]/", "nonsense", "http://[", "")
        self.assertEqual([host_of(each) for each in addresses], ["x.example", "::1", "", "", ""])
