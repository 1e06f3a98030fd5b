"""What the answers of a PlugIt over real HTTP mean."""

from __future__ import annotations

import json

from structlog.testing import capture_logs
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.trial import unittest

from radiovis.directory import plugit as plugit_calls
from radiovis.directory.interface import Channel, Default
from tests import services
from tests.radiovis.directory.plugit_case import DAB, ROCK, PlugItCase
from tests.radiovis.directory.plugit_server import SECRET


class TestAnswers(PlugItCase, unittest.TestCase):
    async def test_check_auth_sends_login_password_and_address(self) -> None:
        self.assertIs(await self.plugit.check_auth("1.rock", "rockpass", "2001:db8::1"), True)
        form = {"username": "1.rock", "password": "rockpass", "ip": "2001:db8::1"}
        self.assertEqual(self.api.requests[0].form, form)

    async def test_fault_9_a_get_with_the_form_in_its_body_and_nothing_in_the_address(self) -> None:
        await self.plugit.check_auth("1.rock", "röck&=%", "::1")
        request = self.api.requests[0]
        self.assertEqual((request.verb, request.query), ("GET", ""))
        self.assertEqual(request.content_type, "application/x-www-form-urlencoded")
        self.assertEqual(request.form["password"], "röck&=%")

    async def test_a_refused_login_is_false_and_asked_once(self) -> None:
        self.api.content.refused_addresses.add("10.0.0.1")
        for login in (("1.rock", "wrong", "::1"), ("9.none", "x", "::1"), ("1.rock", "rockpass", "10.0.0.1")):
            self.assertIs(await self.plugit.check_auth(*login), False)
        self.assertEqual(len(self.api.requests), 3)

    async def test_a_passcode_that_is_no_text_is_false(self) -> None:
        self.assertIs(await self.plugit.check_auth("1.rock", "\udcff", "::1"), False)

    async def test_channels_get_their_slash_and_lose_their_duplicates(self) -> None:
        self.api.content.channels["1"] += [ROCK, ROCK.rstrip("/")]
        self.assertEqual(await self.plugit.channels("1"), (ROCK, DAB))
        self.assertEqual(self.api.requests[0].form, {"station_id": "1"})

    async def test_malformed_channels_never_allow_anything(self) -> None:
        self.api.content.channels["1"] = ["", "/", "/topic/", None, 3, ["x"], "/queue/a/", "/topic/a b/", "/topic/ok"]
        with capture_logs() as logs:
            for _ in range(3):
                self.assertEqual(await self.plugit.channels("1"), ("/topic/ok/",))
        self.assertEqual([(line["event"], line["rows"]) for line in logs], [("directory.bad_rows", 8)])
        self.assertEqual(self.plugit.bad_rows, 8)

    async def test_gcc_is_three_small_hex_digits(self) -> None:
        self.assertEqual(await self.plugit.gcc("ch"), "4e1")
        self.assertEqual(await self.plugit.gcc("fr"), "fe1")
        self.assertEqual(self.api.requests[0].form, {"cc": "ch"})

    async def test_an_unknown_country_is_none_and_asked_once(self) -> None:
        self.assertIsNone(await self.plugit.gcc("zz"))
        self.assertEqual(len(self.api.requests), 1)

    async def test_topics_are_both_lists_together(self) -> None:
        self.api.content.vis_channels.append(["/topic/id/only.listed/1", 14])
        self.assertEqual(
            set(await self.plugit.topics()),
            {Channel(ROCK, 12, True), Channel(DAB, 13, False), Channel("/topic/id/only.listed/1/", 14, True)},
        )

    async def test_topics_without_the_list_of_all_are_the_listed_ones(self) -> None:
        self.api.modes["get_all_channels"] = "500"
        self.assertEqual(await self.plugit.topics(), (Channel(ROCK, 12, True),))

    async def test_topics_without_the_listed_ones_fail(self) -> None:
        self.api.modes["get_all_vis_channels"] = "500"
        self.assertIn("get_all_vis_channels", await self.fails(self.plugit.topics()))

    async def test_malformed_rows_are_left_out(self) -> None:
        self.api.content.all_channels += [[DAB], [DAB, "13"], [DAB, True], "x", None, [DAB.rstrip("/"), 99]]
        self.assertEqual(set(await self.plugit.topics()), {Channel(ROCK, 12, True), Channel(DAB, 13, False)})
        self.assertEqual(self.plugit.bad_rows, 5)

    async def test_default_with_plugits_own_address(self) -> None:
        default = Default("http://img.example/rock.png", "Rock FM", "http://rock.example/")
        self.assertEqual(await self.plugit.default(12), default)
        self.assertEqual(self.api.requests[0].form, {"id": "12"})

    async def test_default_with_image_locations(self) -> None:
        default = await self.directory(image_locations="http://cdn.example/").default(12)
        self.assertEqual(default and default.image, "http://cdn.example/1/rock.png")

    async def test_fault_12_parts_that_are_null_are_none(self) -> None:
        self.api.content.defaults["12"] |= {"radiolink": None, "filename": None, "public_url": ""}
        self.assertEqual(await self.plugit.default(12), Default(None, "Rock FM", None))
        self.assertEqual(await self.directory(image_locations="http://c/").default(12), Default(None, "Rock FM", None))

    async def test_a_channel_without_a_default(self) -> None:
        self.api.content.defaults["13"] = {"id": 1}
        self.assertIsNone(await self.plugit.default(13))
        self.assertIsNone(await self.plugit.default(99))

    async def test_log_entries(self) -> None:
        await self.plugit.add_log(
            ROCK + "text", "TEXT café".encode() + b"\xff", [("link", "http://l/?a=1")], 1795294643
        )
        await self.plugit.cleanup_logs(86400)
        entry, cleanup = self.api.logs
        self.assertEqual(entry["message"], "TEXT café\ufffd")
        self.assertEqual(json.loads(entry["headers"]), [["link", "http://l/?a=1"]])
        self.assertEqual((entry["topic"], entry["timestamp"]), (ROCK + "text", "1795294643"))
        self.assertEqual(cleanup, {"max_age": "86400"})

    async def test_json_of_another_shape_is_said(self) -> None:
        self.api.mode = "list"
        self.assertIn("not a JSON object", await self.fails(self.plugit.channels("1")))
        self.api.mode = "good"
        for content, asked, said in (
            ({"1": None}, lambda: self.plugit.channels("1"), "'list' is NoneType"),
            ({"1": {"a": 1}}, lambda: self.plugit.channels("1"), "'list' is dict"),
        ):
            self.api.content.channels = content  # type: ignore[assignment]
            self.assertIn(said, await self.fails(asked()))
        self.api.content.gcc["ch"] = "xyz"
        self.assertIn("'xyz'", await self.fails(self.plugit.gcc("ch")))
        self.api.content.defaults["12"]["radiotext"] = 5
        self.assertIn("'radiotext' is int", await self.fails(self.plugit.default(12)))


# Calls of a PlugIt over real HTTP: how they fail, and what is said of it.


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
        directory = self.directory(timeout=0.3, attempts=2)
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
        self.patch(plugit_calls, "FIRST_PAUSE", 600.0)
        self.patch(plugit_calls, "LONGEST_PAUSE", 600.0)
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

    async def test_no_more_calls_at_once_than_allowed(self) -> None:
        self.api.mode = "hang"
        directory = self.directory(max_calls=3, attempts=1)
        under_way = [Deferred.fromCoroutine(directory.check_auth("a", "b", "::1")) for _ in range(3)]
        await self.api.when_asked(3)
        self.assertIn("3 calls are waiting", await self.fails(directory.check_auth("a", "b", "::1")))
        for one in under_way:
            one.addErrback(lambda _: None)
            one.cancel()
        self.api.mode = "good"
        self.assertEqual(await directory.gcc("ch"), "4e1")

    async def test_a_flood_within_the_limit_is_answered(self) -> None:
        asked = [Deferred.fromCoroutine(self.plugit.gcc("ch")) for _ in range(50)]
        self.assertEqual(await gatherResults(asked), ["4e1"] * 50)
