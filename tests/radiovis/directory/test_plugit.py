"""What the answers of a PlugIt over real HTTP mean."""

from __future__ import annotations

import json

from structlog.testing import capture_logs
from twisted.trial import unittest

from radiovis.directory.interface import Channel, Default
from tests.radiovis.directory.plugit_case import DAB, ROCK, PlugItCase


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
        default = await self.directory(FB_IMAGE_LOCATIONS="http://cdn.example/").default(12)
        self.assertEqual(default and default.image, "http://cdn.example/1/rock.png")

    async def test_fault_12_parts_that_are_null_are_none(self) -> None:
        self.api.content.defaults["12"] |= {"radiolink": None, "filename": None, "public_url": ""}
        self.assertEqual(await self.plugit.default(12), Default(None, "Rock FM", None))
        self.assertEqual(
            await self.directory(FB_IMAGE_LOCATIONS="http://c/").default(12), Default(None, "Rock FM", None)
        )

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
