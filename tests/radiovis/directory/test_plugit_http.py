"""Calls of a PlugIt over real HTTP: how they fail, and what the errors say."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.trial import unittest

from radiovis.directory import plugit_http
from tests import services
from tests.radiovis.directory.plugit_case import DAB, ROCK, PlugItCase
from tests.radiovis.directory.plugit_server import SECRET


class TestBaseUrl(PlugItCase, unittest.TestCase):
    def test_a_base_url_that_is_none_is_refused_without_quoting_it(self) -> None:
        for url in ("", "s3cret", "ftp://h/s3cret/", "http:///s3cret/"):
            with self.assertRaisesRegex(ValueError, "RADIODNS_API_URL") as raised:
                self.directory(url or "x")
            self.assertNotIn(SECRET, str(raised.exception))

    async def test_a_base_url_without_its_last_slash_will_do(self) -> None:
        self.assertEqual(await self.directory(self.server.url.rstrip("/")).gcc("ch"), "4e1")


class TestFailures(PlugItCase, unittest.TestCase):
    async def test_fault_9_a_hanging_plugit_is_given_up_and_its_connection_closed(self) -> None:
        self.patch(plugit_http, "ATTEMPTS", 2)
        directory = self.directory(DIRECTORY_TIMEOUT=0.3)
        for mode in ("hang", "half"):
            self.api.mode = mode
            self.assertIn("within 0.3 s", await self.fails(directory.channels("1")))
            await self.server.when_free()
        self.assertEqual(len(self.api.requests), 4)

    async def test_an_answer_cut_off_is_tried_again(self) -> None:
        self.api.mode = "cut"
        await self.fails(self.plugit.channels("1"))
        self.assertEqual(len(self.api.requests), 3)

    async def test_5xx_is_tried_again(self) -> None:
        self.api.failures = 2
        self.assertEqual(await self.plugit.channels("1"), (ROCK, DAB))
        self.assertEqual(len(self.api.requests), 3)

    async def test_after_the_last_attempt_the_error_names_method_host_and_status(self) -> None:
        self.api.mode = "503"
        error = await self.fails(self.plugit.check_auth("1.rock", "rockpass", "::1"))
        self.assertEqual(error, f"check_auth at 127.0.0.1:{self.server.port}: HTTP status 503")
        self.assertEqual(len(self.api.requests), 3)

    async def test_the_attempts_are_paced(self) -> None:
        self.patch(plugit_http, "FIRST_PAUSE", 600.0)
        self.patch(plugit_http, "LONGEST_PAUSE", 600.0)
        self.api.failures = 1
        asked = Deferred.fromCoroutine(self.plugit.channels("1"))
        await self.api.when_asked(1)
        await self.server.when_free()
        self.assertEqual((len(self.api.requests), asked.called), (1, False))
        asked.cancel()
        await self.assertFailure(asked, CancelledError)

    async def test_who_gives_up_is_not_kept_waiting_for_further_attempts(self) -> None:
        self.api.mode = "hang"
        asked = Deferred.fromCoroutine(self.plugit.channels("1"))
        await self.api.when_asked(1)
        asked.cancel()
        await self.assertFailure(asked, CancelledError)
        await self.server.when_free()
        self.assertEqual(len(self.api.requests), 1)

    async def test_nobody_there(self) -> None:
        directory = self.directory(f"http://127.0.0.1:{services.free_port()}/{SECRET}/")
        self.assertIn("refused", await self.fails(directory.channels("1")))

    async def test_a_wrong_secret_is_said_without_the_secret_and_not_tried_again(self) -> None:
        directory = self.directory(self.server.url.replace(SECRET, "wrong-" + SECRET))
        self.assertIn("404", await self.fails(directory.channels("1")))
        self.assertEqual(self.api.requests, [])

    async def test_garbage_is_said_without_secret_and_password(self) -> None:
        self.api.mode = "garbage"
        self.assertIn("It works!", await self.fails(self.plugit.channels("1")))
        self.assertNotIn("rockpass", await self.fails(self.plugit.check_auth("1.rock", "rockpass", "::1")))
        self.assertEqual(len(self.api.requests), 2)

    async def test_a_huge_answer_is_not_read_to_its_end(self) -> None:
        self.api.mode = "huge"
        self.assertIn("more than 1048576 bytes", await self.fails(self.plugit.channels("1")))
        self.assertEqual(len(self.api.requests), 1)
        await self.server.when_free()

    async def test_a_redirect_is_not_followed(self) -> None:
        self.api.mode = "redirect"
        self.assertIn("302", await self.fails(self.plugit.check_auth("1.rock", "rockpass", "::1")))

    async def test_no_more_calls_at_once_than_allowed_and_the_others_wait(self) -> None:
        self.patch(plugit_http, "MAX_CALLS", 3)
        self.patch(plugit_http, "MOST_WAITING", 2)
        self.patch(plugit_http, "ATTEMPTS", 1)
        self.api.mode = "hang"
        directory = self.directory()
        under_way = [Deferred.fromCoroutine(directory.check_auth("a", "b", "::1")) for _ in range(3)]
        await self.api.when_asked(3)
        self.api.mode = "good"
        waiting = [Deferred.fromCoroutine(directory.gcc("ch")) for _ in range(2)]
        self.assertIn("2 calls are already waiting", await self.fails(directory.gcc("ch")))
        self.assertEqual(len(self.api.requests), 3)
        for one in under_way:
            one.addErrback(lambda _: None)
            one.cancel()
        self.assertEqual(await gatherResults(waiting), ["4e1"] * 2)

    async def test_logins_leave_room_for_other_calls(self) -> None:
        self.api.modes = {"check_auth": "slow"}
        logins = [Deferred.fromCoroutine(self.plugit.check_auth("a", "b", f"192.0.2.{n}")) for n in range(100)]
        self.assertEqual(await self.plugit.gcc("ch"), "4e1")
        self.assertLess(self.api.count("check_auth"), 100)
        self.assertEqual(await gatherResults(logins), [False] * 100)

    async def test_a_flood_within_the_limit_is_answered(self) -> None:
        asked = [Deferred.fromCoroutine(self.plugit.gcc("ch")) for _ in range(50)]
        self.assertEqual(await gatherResults(asked), ["4e1"] * 50)
