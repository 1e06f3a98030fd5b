from __future__ import annotations

from typing import Any, ClassVar

from fanout.hub.message import Message
from radiovis.directory.interface import Channel
from radiovis.http.wall import WallEvents
from tests.radiovis.http.site import ROCK, TALK, PageRequest, SiteCase


class WallCase(SiteCase):
    def watch(self, path: str = "") -> PageRequest:
        return self.ask(WallEvents(self.wall).events, path)


class Watching(WallCase):
    def test_all_that_is_on_air_then_what_is_said(self) -> None:
        self.say(f"{ROCK}image", "SHOW http://a/1.png", 7, link="http://a/", expires="0")
        viewer = self.watch()
        self.say(f"{TALK}text", "TEXT News", 8)
        self.assertEqual(
            viewer.events,
            [
                ("stations", {"version": self.wall.version}),
                ("image", {"service": "fm/4e1/4000/09580", "src": "http://a/1.png", "link": "http://a/", "when": 7.0}),
                ("text", {"service": "fm/4e1/4001/10410", "body": "News", "when": 8.0}),
            ],
        )
        self.assertEqual(viewer.headers["content-type"], "text/event-stream")

    def test_a_trigger_time_is_passed_on(self) -> None:
        viewer = self.watch()
        headers: dict[str, Any] = {"trigger-time": "2026-12-31T23:59:59Z"}
        self.say(f"{ROCK}image", "SHOW http://a/1.png", **headers)
        self.assertEqual(viewer.events[-1][1]["trigger-time"], "2026-12-31T23:59:59Z")

    def test_no_address_that_is_a_script(self) -> None:
        viewer = self.watch()
        self.say(f"{ROCK}image", "SHOW javascript:alert(1)", link="javascript:alert(2)")
        self.assertEqual(viewer.events[-1][1], {"service": "fm/4e1/4000/09580", "src": None, "link": None, "when": 0.0})
        self.assertNotIn("javascript", viewer.html)

    def test_the_hub_has_one_subscriber_for_all_viewers_and_none_without(self) -> None:
        self.assertEqual(self.house.hub.topics(), [])
        viewers = [self.watch() for _ in range(3)]
        self.assertEqual(len(self.house.hub.topics()), 4)
        self.assertEqual(self.house.hub.publish(f"{ROCK}text", Message("", b"TEXT x", "m", 0)), 1)
        self.house.turn()
        self.assertEqual([viewer.events[-1][1]["body"] for viewer in viewers], ["x"] * 3)
        for viewer in viewers[:2]:
            viewer.leave()
        self.assertEqual(len(self.house.hub.topics()), 4)
        viewers[2].leave()
        self.assertEqual(self.house.hub.topics(), [])
        self.assertEqual(self.house.requests.pending, set())

    def test_a_viewer_that_fails_stops_no_other(self) -> None:
        first, broken, last = (self.watch() for _ in range(3))
        viewer = next(each for each in self.wall._viewers if each._request is broken)  # type: ignore[attr-defined]
        viewer._outbox = None  # type: ignore[attr-defined]
        self.say(f"{ROCK}text", "TEXT x")
        self.assertEqual([len(each.events) for each in (first, broken, last)], [2, 1, 2])
        self.assertEqual(len(self.house.failures), 1)
        self.house.failures.clear()

    def test_a_viewer_that_reads_nothing_gets_the_newest_only(self) -> None:
        viewer = self.watch()
        viewer.producer.pauseProducing()
        for number in range(10_000):
            self.house.hub.publish(f"{ROCK}text", Message("", b"TEXT " + b"x" * 200, f"{number}", 0))
        self.house.turn()
        viewer.producer.resumeProducing()
        self.house.turn()
        self.assertLess(len(viewer.got), 1_100_000)
        self.assertIn(b"id: 9999\n", viewer.got)

    def test_when_the_node_ends_the_stream_ends(self) -> None:
        viewer = self.watch()
        self.house.end()
        self.assertTrue(viewer.finished)
        self.assertEqual(self.house.hub.topics(), [])


class OneStation(WallCase):
    def test_it_alone(self) -> None:
        self.say(f"{ROCK}text", "TEXT Rock")
        self.say(f"{TALK}text", "TEXT Talk")
        viewer = self.watch("fm/4e1/4000/09580")
        self.say(f"{TALK}text", "TEXT more talk")
        self.say(f"{ROCK}text", "TEXT more rock")
        self.assertEqual([data["body"] for _, data in viewer.events], ["Rock", "more rock"])

    def test_one_that_is_registered_for_any_frequency(self) -> None:
        self.directory.registered.append(Channel("/topic/fm/4e1/4002/*/", 3))
        self.refresh()
        viewer = self.watch("fm/4e1/4002/*")
        self.say("/topic/fm/4e1/4002/*/text", "TEXT x")
        self.assertEqual(viewer.events, [("text", {"service": "fm/4e1/4002/*", "body": "x", "when": 0.0})])

    def test_no_service_identifier(self) -> None:
        for path in ("a//b", "a b/c", "x" * 2_000 + "/y"):
            with self.subTest(path):
                self.assertEqual(self.watch(path).status, 400)


class NoRoom(WallCase):
    settings: ClassVar[dict[str, Any]] = {"HTTP_MAX_LISTENERS": 1}

    def test_a_viewer_too_many(self) -> None:
        first, second = self.watch(), self.watch()
        self.assertEqual((first.status, second.status), (None, 503))
        first.leave()
        self.assertIsNone(self.watch().status)


class Stations(WallCase):
    places = 2

    def test_a_new_station_reaches_those_who_watch(self) -> None:
        viewer, version = self.watch(), self.wall.version
        self.directory.registered.insert(0, Channel("/topic/id/tests._ebu.nowhere/topic1/", 3))
        self.refresh()
        self.house.turn()
        self.assertNotEqual(self.wall.version, version)
        self.assertEqual(viewer.events[-1], ("stations", {"version": self.wall.version}))
        self.say("/topic/id/tests._ebu.nowhere/topic1/text", "TEXT x")
        self.assertEqual(viewer.events[-1][1]["service"], "id/tests._ebu.nowhere/topic1")

    def test_the_wall_has_so_much_room(self) -> None:
        self.directory.registered.append(Channel("/topic/id/tests._ebu.nowhere/topic1/", 3))
        self.refresh()
        viewer = self.watch()
        self.say("/topic/id/tests._ebu.nowhere/topic1/text", "TEXT x")
        self.assertEqual(len(viewer.events), 1)
        self.assertEqual((len(self.wall.stations), len(self.wall.hung)), (3, 2))

    def test_the_same_stations_again_are_no_news(self) -> None:
        viewer = self.watch()
        self.refresh()
        self.house.turn()
        self.assertEqual(len(viewer.events), 1)

    def test_two_spellings_are_one_station(self) -> None:
        self.directory.countries = {"ch": "4e1"}
        self.directory.registered.append(Channel("/topic/fm/ch/4000/09580/", 3))
        self.refresh()
        self.assertEqual([each.topic for each in self.wall.stations], [ROCK, TALK])

    def test_what_other_nodes_know_is_on_the_wall_at_once(self) -> None:
        kept = Message("/topic/id/tests._ebu.nowhere/topic1/text", b"TEXT kept", "m0", 5)
        self.house.application.kept["/topic/id/tests._ebu.nowhere/topic1/text"] = kept
        self.directory.registered.insert(0, Channel("/topic/id/tests._ebu.nowhere/topic1/", 3))
        self.refresh()
        self.assertEqual(self.watch().events[-1][1]["body"], "kept")
