"""RadioVIS as the servers see it."""

from __future__ import annotations

from structlog.testing import CapturingLogger
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.application.interface import Peer, Principal, Refused
from fanout.application.login_throttle import LoginSettings, LoginThrottle
from fanout.application.observer import ClientCounters, ClientWarnings
from fanout.bus.interface import BusError
from fanout.hub.message import Message, Origin, Publication
from radiovis.application import CountedApplication, RadioVIS
from radiovis.directory.interface import Channel
from radiovis.last_slides import LastSlides
from radiovis.publish_rights import PublishRights
from radiovis.topic_resolution import TopicResolver
from tests.radiovis.scripted_directory import ScriptedDirectory


class SlowBus:
    """Takes messages, and confirms them when the test says so."""

    def __init__(self) -> None:
        self.published: list[tuple[Message, Deferred[None]]] = []

    def publish(self, message: Message) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.published.append((message, done))
        return done


def message(topic: str) -> Message:
    return Message(topic, b"TEXT x", "1", 1)


class _Case(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = ScriptedDirectory()
        self.directory.stations = {"1": ("/topic/id/tests._ebu.nowhere/topic1/",)}
        self.log = CapturingLogger()
        self.bus = SlowBus()
        resolver = TopicResolver(self.directory, lambda: None)
        self.resolver = resolver
        publishing = PublishRights(self.directory, resolver, lambda: 1.0, lambda: "1")
        self.clock = Clock()
        self.throttle = LoginThrottle(self.clock, LoginSettings(LOGIN_FAILURES=2))
        slides = LastSlides(None, None)
        self.radiovis = RadioVIS(self.directory, resolver, publishing, slides.recall, self.bus, self.throttle, self.log)  # type: ignore[arg-type]


class TestLogin(_Case):
    async def test_the_station_is_what_stands_before_the_first_dot(self) -> None:
        self.directory.passcodes["12.a.b"] = "x"
        principal = await self.radiovis.login("12.a.b", "x", Peer("127.0.0.1"))
        self.assertEqual(principal, Principal("12.a.b", "12"))

    async def test_the_directory_is_told_the_address(self) -> None:
        await self.radiovis.login("1.rock", "secret", Peer("::1"))
        self.assertEqual(self.directory.asked, ["check_auth 1.rock ::1"])

    async def test_wrong_credentials(self) -> None:
        self.assertIsNone(await self.radiovis.login("1.rock", "wrong", Peer("127.0.0.1")))

    async def test_a_directory_that_is_down_lets_nobody_in_and_no_passcode_is_logged(self) -> None:
        self.directory.down = True
        with self.assertRaises(Refused) as caught:
            await self.radiovis.login("1.rock", "secret", Peer("127.0.0.1"))
        self.assertEqual((caught.exception.summary, caught.exception.temporary), ("Wrong credentials", True))
        (call,) = self.log.calls
        self.assertEqual((call.args, call.kwargs["login"]), (("login.unanswered",), "1.rock"))
        self.assertNotIn("secret", str(call))

    async def test_failed_logins_are_counted_and_outages_are_not(self) -> None:
        self.directory.down = True
        for _ in range(5):
            with self.assertRaises(Refused):
                await self.radiovis.login("1.rock", "secret", Peer("192.0.2.1"))
        self.directory.down = False
        for _ in range(2):
            await self.radiovis.login("1.rock", "wrong", Peer("192.0.2.1"))
        waiting = Deferred.fromCoroutine(self.radiovis.login("1.rock", "secret", Peer("192.0.2.1")))
        self.assertNoResult(waiting)
        self.assertIsNotNone(await self.radiovis.login("1.rock", "secret", Peer("192.0.2.2")))
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(waiting), Principal("1.rock", "1"))


class TestTune(_Case):
    async def test_the_last_slide_is_wanted_unless_the_header_says_yes(self) -> None:
        """Blanks around it do not count (contract §2, change 13)."""
        cases = {"": True, "no": True, "YES": True, "yes yes": True, " yes": False, "yes": False}
        for value, wanted in cases.items():
            resolved = await self.radiovis.resolve(
                "/topic/id/tests._ebu.nowhere/topic1/image", (("x-ebu-nofastreply", value),)
            )
            self.assertEqual(resolved.replay, wanted, value)
        self.assertTrue((await self.radiovis.resolve("/topic/id/tests._ebu.nowhere/topic1/image", ())).replay)

    async def test_the_first_of_repeated_headers_counts(self) -> None:
        headers = (("x-ebu-nofastreply", "yes"), ("x-ebu-nofastreply", "no"))
        self.assertFalse((await self.radiovis.resolve("/topic/id/tests._ebu.nowhere/topic1/image", headers)).replay)

    async def test_the_key_is_the_resolvers(self) -> None:
        self.directory.registered = [Channel("/topic/fm/4e1/4000/*/", 1)]
        await self.resolver.refresh()
        resolved = await self.radiovis.resolve("/topic/fm/4E1/4000/09580/image", ())
        self.assertEqual(resolved.topic, "/topic/fm/4e1/4000/*/image")

    async def test_a_misshaped_topic_is_refused(self) -> None:
        with self.assertRaises(Refused):
            await self.radiovis.resolve("/topic/fm/x", ())


class TestRecall(_Case):
    async def test_finds_nothing_without_memcached(self) -> None:
        self.assertIsNone(await self.radiovis.recall("/topic/id/tests._ebu.nowhere/topic1/image"))


class TestAdmit(_Case):
    async def test_asks_the_publishing(self) -> None:
        sends = [Publication("/topic/id/tests._ebu.nowhere/topic1/text", (), b"TEXT x")]
        (admitted,) = await self.radiovis.admit(Principal("1.rock", "1"), sends)
        self.assertEqual(admitted.topic, "/topic/id/tests._ebu.nowhere/topic1/text")
        with self.assertRaises(Refused):
            await self.radiovis.admit(None, sends)


class TestPublish(_Case):
    def test_of_nothing_is_done_at_once(self) -> None:
        self.assertIsNone(self.successResultOf(self.radiovis.publish([])))

    def test_of_one_is_done_when_the_bus_has_it(self) -> None:
        done = self.radiovis.publish([message("/topic/a")])
        self.assertNoResult(done)
        self.bus.published[0][1].callback(None)
        self.assertIsNone(self.successResultOf(done))

    def test_of_several_is_done_when_the_bus_has_all(self) -> None:
        done = self.radiovis.publish([message("/topic/a"), message("/topic/b")])
        self.assertEqual([each.topic for each, _ in self.bus.published], ["/topic/a", "/topic/b"])
        self.bus.published[1][1].callback(None)
        self.assertNoResult(done)
        self.bus.published[0][1].callback(None)
        self.assertIsNone(self.successResultOf(done))

    def test_fails_as_the_bus_does_for_one_and_for_one_of_several(self) -> None:
        for count in (1, 3):
            self.bus.published.clear()
            done = self.radiovis.publish([message("/topic/a")] * count)
            for _, confirmed in self.bus.published[1:]:
                confirmed.callback(None)
            self.bus.published[0][1].errback(BusError("full"))
            self.assertEqual(str(self.failureResultOf(done, BusError).value), "full")

    def test_further_failures_are_no_unhandled_errors(self) -> None:
        done = self.radiovis.publish([message("/topic/a"), message("/topic/b")])
        for _, confirmed in self.bus.published:
            confirmed.errback(BusError("stopped"))
        self.failureResultOf(done, BusError)


_MESSAGES = (Message("/t", b"12", "a", 1), Message("/t", b"345", "b", 1))


class Scripted:
    """An application that answers as told; an exception is raised."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    async def login(self, login: str, passcode: str, peer: Peer) -> object:
        return self._given()

    async def admit(self, principal: object, sends: object) -> object:
        return self._given()

    def publish(self, messages: object) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if isinstance(self.answer, Exception):
            done.errback(self.answer)
        else:
            done.callback(None)
        return done

    async def resolve(self, destination: str, headers: object) -> object:
        return self._given()

    async def recall(self, topic: str) -> object:
        return self._given()

    def receipt_headers(self, messages: object) -> None:
        return None

    def _given(self) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class TestCountedApplication(unittest.TestCase):
    def setUp(self) -> None:
        self.client_counters = ClientCounters()
        self.log = CapturingLogger()
        self.client_warnings = ClientWarnings(self.client_counters, self.log, lambda: 0.0)

    def counted(self, answer: object) -> CountedApplication:
        return CountedApplication(Scripted(answer), self.client_counters, self.client_warnings)

    def logged(self) -> list[tuple[str, str, dict[str, object]]]:
        """Level, event and fields of each line."""
        return [(call.method_name, call.args[0], call.kwargs) for call in self.log.calls]

    async def test_logins(self) -> None:
        known = Principal("1.a", "1")
        self.assertIs(await self.counted(known).login("1.a", "p", Peer("::1", "stomp")), known)
        self.assertIsNone(await self.counted(None).login("1.a", "p", Peer("::1", "stomp")))
        with self.assertRaises(Refused):
            await self.counted(Refused("Wrong", temporary=True)).login("1.a", "p", Peer("::1", "stomp"))
        self.assertEqual(self.client_counters.logins, {"accepted": 1, "refused": 1, "unanswered": 1})
        fields = {"address": "::1", "login": "1.a", "interface": "stomp", "held_back": 0}
        self.assertEqual(
            self.logged(),
            [
                ("info", "login.accepted", fields),
                ("warning", "login.put_off", {**fields, "reason": "Wrong"}),
            ],
        )

    async def test_the_same_login_is_logged_once_in_a_while(self) -> None:
        for interface in ("http", "http", "stomp", "http"):
            await self.counted(Principal("1.a", "1")).login("1.a", "p", Peer("::1", interface))
        self.assertEqual([fields["interface"] for _, _, fields in self.logged()], ["http", "stomp"])

    async def test_a_flood_of_addresses_does_not_fill_the_disk(self) -> None:
        for number in range(1_000):
            with self.assertRaises(Refused):
                await self.counted(Refused("Wrong")).login("1.a" * 1_000, "p", Peer(f"192.0.2.{number}", "stomp"))
        self.assertEqual(len(self.logged()), 100)
        self.assertEqual(len(str(self.logged()[0][2]["login"])), 200)
        self.assertEqual(self.client_counters.faults["login.put_off"], 1_000)

    async def test_a_refused_publish_says_whose_it_was(self) -> None:
        with self.assertRaises(Refused):
            publisher = Principal("1.a", "1").connected(Peer("::1", "https"))
            await self.counted(Refused("no", "It is another's.")).admit(publisher, [Publication("/t", (), b"1")])
        ((level, event, fields),) = self.logged()
        self.assertEqual((level, event, fields["login"], fields["topic"]), ("warning", "publish.refused", "1.a", "/t"))
        self.assertEqual((fields["address"], fields["interface"]), ("::1", "https"))

    async def test_one_that_the_bus_does_not_take_names_login_and_topic(self) -> None:
        origin = Origin("1", "1.a", "::1", "stomp")
        with self.assertRaises(BusError) as caught:
            await self.counted(BusError("full")).publish([_MESSAGES[0]._replace(topic="/topic/t", origin=origin)])
        self.assertEqual(str(caught.exception), "full (1.a to /topic/t)")

    async def test_an_empty_transaction_may_be_refused_as_well(self) -> None:
        with self.assertRaises(Refused):
            await self.counted(Refused("no", temporary=True)).admit(Principal("1.a", "1"), [])

    async def test_publishes(self) -> None:
        await self.counted(None).publish(_MESSAGES)
        self.assertEqual((self.client_counters.publishes["accepted"], self.client_counters.published_octets), (2, 5))
        with self.assertRaises(BusError):
            await self.counted(BusError("full")).publish(_MESSAGES)
        self.assertEqual((self.client_counters.publishes["bus"], self.client_counters.published_octets), (2, 5))

    async def test_refusals(self) -> None:
        sends = [Publication("/t", (), b"1")]
        self.assertEqual(await self.counted(_MESSAGES).admit(None, sends), _MESSAGES)
        for temporary in (False, True, True):
            with self.assertRaises(Refused):
                await self.counted(Refused("no", temporary=temporary)).admit(None, sends)
        self.assertEqual(self.client_counters.publishes, {"accepted": 0, "forbidden": 1, "unanswered": 2, "bus": 0})
