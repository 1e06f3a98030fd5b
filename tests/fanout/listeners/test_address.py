from __future__ import annotations

from twisted.trial import unittest

from fanout.listeners.address import Networks, neighbourhood, plain


class TestAddress(unittest.TestCase):
    def test_ipv4_that_came_as_ipv6(self) -> None:
        cases = {
            "::ffff:192.0.2.1": "192.0.2.1",
            "192.0.2.1": "192.0.2.1",
            "2001:db8::1": "2001:db8::1",
            "": "",
            "x:": "x:",
        }
        self.assertEqual({each: plain(each) for each in cases}, cases)

    def test_who_counts_as_one(self) -> None:
        cases = {
            "192.0.2.1": "192.0.2.1",
            "::ffff:192.0.2.1": "192.0.2.1",
            "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
            "2001:db8:1:2::": "2001:db8:1:2::/64",
            "2001:db8:1:3::1": "2001:db8:1:3::/64",
            "fe80::1%eth0": "fe80::/64",
            "no:address": "no:address",
        }
        self.assertEqual({each: neighbourhood(each) for each in cases}, cases)

    def test_networks(self) -> None:
        networks = Networks.parse("10.0.0.0/8, 192.0.2.1,2001:db8::/32")
        inside = ("10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1", "2001:db8::1")
        outside = ("11.1.2.3", "192.0.2.2", "2001:db9::1", "::ffff:11.1.2.3", "", "radio")
        self.assertEqual([each in networks for each in (*inside, *outside)], [True] * 4 + [False] * 6)
        self.assertFalse(Networks.parse(" "))
        for wrong in ("10.0.0.1/8", "everybody", "10.0.0.0/8;192.0.2.0/24"):
            self.assertRaisesRegex(ValueError, "write networks as 10.0.16.0/20", Networks.parse, wrong)
