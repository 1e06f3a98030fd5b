from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.trial import unittest

from fanout.http.websocket import binary, text
from fanout.hub.hub import Hub, RetainedSettings
from fanout.hub.message import Message, Origin
from fanout.hub.subscriber import Cohort, FramedForm
from fanout.stomp import server_frames as delivery
from fanout.stomp.dialect import DIALECTS
from fanout.stomp.server_frames import MessageForm

# Framed messages.


class Member:
    def __init__(self) -> None:
        self.got: list[bytes] = []

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        self.got.append(data)


class TestFraming(unittest.TestCase):
    def setUp(self) -> None:
        self.wrapped = 0

    def form(self, framing: Any) -> FramedForm:
        return FramedForm(MessageForm(DIALECTS["1.2"], "/topic/a", "1"), framing)

    def counted(self, data: bytes) -> bytes:
        self.wrapped += 1
        return text(data)

    def test_a_thousand_clients_with_equal_forms_share_one(self) -> None:
        hub = Hub(lambda member, error: self.fail(str(error)))
        counted = self.counted
        members = [Member() for _ in range(1_000)]
        for member in members:
            hub.join("a", self.form(counted), member)  # type: ignore[arg-type]
        hub.publish("a", Message("a", b"SHOW x", "id", 1))
        self.assertEqual(self.wrapped, 1)
        self.assertEqual(len({id(member.got[0]) for member in members}), 1)

    def test_clients_of_text_of_octets_and_of_tcp_are_cohorts_of_their_own(self) -> None:
        forms = {self.form(text), self.form(binary), self.form(text).form, self.form(text)}
        self.assertEqual(len(forms), 3)

    def test_the_destination_is_that_of_the_form(self) -> None:
        self.assertEqual(self.form(text).destination, "/topic/a")


def message(body: bytes = b"1", topic: str = "/t") -> Message:
    return Message(topic, body, "id", 1)


class CountedForm:
    """A form that counts its encodings."""

    def __init__(self, destination: str = "/t") -> None:
        self.destination = destination
        self.encodes = 0

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        self.encodes += 1
        return self.destination.encode() + b" " + message.body


class Radio:
    """A member that keeps what it is offered."""

    def __init__(self) -> None:
        self.got: list[tuple[Cohort, Message, bytes]] = []

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        self.got.append((cohort, message, data))

    @property
    def octets(self) -> list[bytes]:
        return [data for _, _, data in self.got]


class Broken(Radio):
    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        super().offer(cohort, message, data)
        raise RuntimeError("no")


class HubCase(unittest.TestCase):
    def setUp(self) -> None:
        self.failures: list[tuple[Any, Exception]] = []
        self.hub = Hub(lambda member, error: self.failures.append((member, error)))


class Listening(HubCase):
    def test_a_publish_reaches_who_has_joined(self) -> None:
        radio, form = Radio(), CountedForm()
        cohort, last = self.hub.join("/t", form, radio)
        self.assertIsNone(last)
        sent = message()
        self.assertEqual(self.hub.publish("/t", sent), 1)
        self.assertEqual(radio.got, [(cohort, sent, b"/t 1")])

    def test_nobody_listens(self) -> None:
        self.assertEqual(self.hub.publish("/t", message()), 0)

    def test_joining_tells_the_last_message(self) -> None:
        """Joining and learning the last message is one step: nothing falls in between, nothing comes twice."""
        radio, sent = Radio(), message()
        self.hub.publish("/t", sent)
        _, last = self.hub.join("/t", CountedForm(), radio)
        self.assertIs(last, sent)
        self.assertEqual(radio.got, [])

    def test_after_leaving_nothing_comes(self) -> None:
        radio = Radio()
        cohort, _ = self.hub.join("/t", CountedForm(), radio)
        self.hub.leave(cohort, radio)
        self.assertEqual(self.hub.publish("/t", message()), 0)
        self.assertEqual(radio.got, [])

    def test_leaving_leaves_the_others(self) -> None:
        form, first, second = CountedForm(), Radio(), Radio()
        cohort, _ = self.hub.join("/t", form, first)
        self.hub.join("/t", form, second)
        self.hub.leave(cohort, first)
        self.hub.publish("/t", message())
        self.assertEqual((len(first.got), len(second.got)), (0, 1))

    def test_nothing_is_kept_of_topics_without_listeners(self) -> None:
        radio, form = Radio(), CountedForm()
        cohorts = [self.hub.join(f"/t{number}", form, radio)[0] for number in range(100)]
        self.assertEqual(len(self.hub.topics()), 100)
        for cohort in cohorts:
            self.hub.leave(cohort, radio)
        self.assertEqual(self.hub.topics(), [])
        self.assertEqual(list(self.hub.cohorts()), [])

    def test_joining_twice_the_same_way_gives_one_copy_and_wants_two_leaves(self) -> None:
        radio, form = Radio(), CountedForm()
        cohort, _ = self.hub.join("/t", form, radio)
        again, _ = self.hub.join("/t", form, radio)
        self.assertIs(again, cohort)
        self.hub.publish("/t", message())
        self.assertEqual(len(radio.got), 1)
        self.hub.leave(cohort, radio)
        self.hub.publish("/t", message())
        self.assertEqual(len(radio.got), 2)
        self.hub.leave(cohort, radio)
        self.assertEqual(self.hub.topics(), [])

    def test_joining_in_two_forms_gives_two_copies(self) -> None:
        """stomp.md C2."""
        radio = Radio()
        for destination in ("/a", "/b"):
            self.hub.join("/t", CountedForm(destination), radio)
        self.assertEqual(self.hub.publish("/t", message()), 2)
        self.assertEqual(radio.octets, [b"/a 1", b"/b 1"])

    def test_cohorts_may_be_changed_while_they_are_looked_at(self) -> None:
        radio = Radio()
        for number in range(3):
            self.hub.join(f"/t{number}", CountedForm(), radio)
        for cohort in self.hub.cohorts():
            self.hub.leave(cohort, radio)
        self.assertEqual(self.hub.topics(), [])


class Moving(HubCase):
    def setUp(self) -> None:
        super().setUp()
        self.radio = Radio()
        self.cohort, _ = self.hub.join("/old", CountedForm(), self.radio)

    def test_the_new_topic_is_heard_and_the_old_one_is_not(self) -> None:
        self.hub.move(self.cohort, "/new")
        self.assertEqual(self.hub.publish("/old", message()), 0)
        self.assertEqual(self.hub.publish("/new", message()), 1)
        self.assertEqual(self.hub.topics(), ["/new"])

    def test_the_last_message_of_the_new_topic_is_shown(self) -> None:
        self.hub.publish("/new", message(b"new"))
        self.hub.move(self.cohort, "/new")
        self.assertEqual(self.radio.octets, [b"/t new"])

    def test_without_a_last_message_nothing_is_shown(self) -> None:
        self.hub.move(self.cohort, "/new")
        self.assertEqual(self.radio.got, [])

    def test_leaving_works_after_a_move(self) -> None:
        self.hub.move(self.cohort, "/new")
        self.hub.leave(self.cohort, self.radio)
        self.assertEqual(self.hub.topics(), [])

    def test_others_on_either_topic_stay(self) -> None:
        old, new = Radio(), Radio()
        self.hub.join("/old", CountedForm("/other"), old)
        self.hub.join("/new", CountedForm("/third"), new)
        self.hub.move(self.cohort, "/new")
        self.hub.publish("/old", message())
        self.hub.publish("/new", message())
        self.assertEqual([len(each.got) for each in (old, new, self.radio)], [1, 1, 1])


class Costs(HubCase):
    """Counted, not timed."""

    def test_one_encode_for_any_number_of_radios(self) -> None:
        form = CountedForm()
        radios = [Radio() for _ in range(1000)]
        for radio in radios:
            self.hub.join("/t", form, radio)
        self.assertEqual(self.hub.publish("/t", message()), 1000)
        self.assertEqual(form.encodes, 1)
        self.assertEqual({id(data) for radio in radios for data in radio.octets}, {id(radios[0].octets[0])})

    def test_equal_forms_make_one_cohort(self) -> None:
        for _ in range(10):
            self.hub.join("/t", MessageForm(DIALECTS["1.2"], "/t", "0"), Radio())
        self.assertEqual(len(list(self.hub.cohorts())), 1)

    def test_forms_that_differ_in_the_subscription_share_the_expensive_part(self) -> None:
        """A wall of slides gives each subscription its own id: head and body are encoded once all the same."""
        for version in ("1.1", "1.2"):
            for number in range(50):
                self.hub.join("/t", MessageForm(DIALECTS[version], "/t", str(number)), Radio())
        with mock.patch.object(delivery, "encode_head", side_effect=delivery.encode_head) as encode_head:
            self.assertEqual(self.hub.publish("/t", message()), 100)
        self.assertEqual(encode_head.call_count, 2)

    def test_other_topics_are_not_touched(self) -> None:
        form, others = CountedForm(), [Radio() for _ in range(100)]
        for number, radio in enumerate(others):
            self.hub.join(f"/other/{number}", form, radio)
        radio = Radio()
        mine = CountedForm()
        self.hub.join("/t", mine, radio)
        self.hub.publish("/t", message())
        self.assertEqual((len(radio.got), mine.encodes, form.encodes), (1, 1, 0))
        self.assertEqual([each.got for each in others], [[]] * 100)

    def test_a_publish_looks_up_one_topic(self) -> None:
        """Nothing walks over the topics: neither those with listeners nor those with a last message."""
        for number in range(100):
            self.hub.join(f"/other/{number}", CountedForm(), Radio())
            self.hub.remember(f"/other/{number}", message())
        for index in ("_topics", "_last"):
            walked = mock.Mock(side_effect=AssertionError("walked over every topic"))
            plain = getattr(self.hub, index)
            walks = dict.fromkeys(("__iter__", "values", "items", "keys"), walked)
            limits = {"limit": 1_000, "owner_of": lambda topic, _: topic, "weigh": lambda _: 1, "weight_limit": 1_000}
            guarded = type("Guarded", (type(plain),), walks)(**(limits if index == "_last" else {}))
            for topic in list(plain):
                guarded[topic] = plain[topic]
            setattr(self.hub, index, guarded)
        self.assertEqual(self.hub.publish("/other/5", message()), 1)
        self.hub.join("/t", CountedForm(), Radio())
        self.assertEqual(self.hub.publish("/t", message()), 1)


class Failures(HubCase):
    def test_neighbours_get_theirs(self) -> None:
        form = CountedForm()
        members = [Radio(), Broken(), Radio()]
        for member in members:
            self.hub.join("/t", form, member)
        self.hub.publish("/t", message())
        self.assertEqual([len(member.got) for member in members], [1, 1, 1])
        [(member, error)] = self.failures
        self.assertIs(member, members[1])
        self.assertEqual(str(error), "no")

    def test_other_cohorts_get_theirs(self) -> None:
        radio = Radio()
        self.hub.join("/t", CountedForm("/a"), Broken())
        self.hub.join("/t", CountedForm("/b"), radio)
        self.hub.publish("/t", message())
        self.assertEqual(radio.octets, [b"/b 1"])

    def test_the_message_is_remembered(self) -> None:
        self.hub.join("/t", CountedForm(), Broken())
        sent = message()
        self.hub.publish("/t", sent)
        self.assertIs(self.hub.last("/t"), sent)


class TheLastMessages(unittest.TestCase):
    def hub(self, *, last_messages: int = 1_000, **limits: int) -> Hub:
        return Hub(self.fail, RetainedSettings.model_construct(**limits), last_messages=last_messages)

    def test_the_latest_counts(self) -> None:
        hub = self.hub()
        hub.publish("/t", message(b"1"))
        latest = message(b"2")
        hub.publish("/t", latest)
        self.assertIs(hub.last("/t"), latest)
        self.assertIsNone(hub.last("/u"))

    def test_remember_shows_it_to_nobody(self) -> None:
        hub, radio = self.hub(), Radio()
        hub.join("/t", CountedForm(), radio)
        kept = message()
        hub.remember("/t", kept)
        self.assertIs(hub.last("/t"), kept)
        self.assertEqual(radio.got, [])

    def test_what_is_forgotten_leaves_nothing(self) -> None:
        hub = self.hub()
        hub.publish("/t", message())
        self.assertTrue(hub.forget("/t"))
        self.assertFalse(hub.forget("/t"))
        self.assertIsNone(hub.last("/t"))
        self.assertEqual(hub.remembered_octets, 0)

    def test_10_000_destinations_without_a_listener(self) -> None:
        """stomp.md §8: no state is kept beyond the cap; those published longest ago go first."""
        hub = self.hub(last_messages=100)
        for number in range(10_000):
            hub.publish(f"/{number}", message())
        kept = [number for number in range(10_000) if hub.last(f"/{number}")]
        self.assertEqual(kept, list(range(9_900, 10_000)))
        self.assertEqual(hub.topics(), [])

    def test_one_publisher_cannot_displace_the_messages_of_others(self) -> None:
        hub = self.hub(MAX_LAST_MESSAGES_BYTES=100_000)
        rock, jazz = Origin("1", "1.rock", "", ""), Origin("2", "2.jazz", "", "")
        hub.publish("/rock", message()._replace(origin=rock))
        for number in range(1_000):
            hub.publish(f"/{number}", message(b"x" * 9_000)._replace(origin=jazz))
        self.assertIsNotNone(hub.last("/rock"))
        self.assertIsNotNone(hub.last("/999"))
        self.assertEqual((hub.remembered_owners, hub.displaced), (2, 1_001 - len(hub.remembered)))
        self.assertLessEqual(hub.remembered_octets, 100_000)

    def test_publishing_anew_keeps_a_topic(self) -> None:
        hub = self.hub(last_messages=2)
        for topic in ("/a", "/b", "/a", "/c"):
            hub.publish(topic, message())
        self.assertEqual([topic for topic in ("/a", "/b", "/c") if hub.last(topic)], ["/a", "/c"])

    def test_octets_are_capped(self) -> None:
        room_for_ten = 10 * message(b"x" * 1000).weight
        hub = self.hub(MAX_LAST_MESSAGES_BYTES=room_for_ten)
        for number in range(25):
            hub.publish(f"/{number}", message(b"x" * 1000))
        self.assertEqual([number for number in range(25) if hub.last(f"/{number}")], list(range(15, 25)))

    def test_octets_of_headers_count(self) -> None:
        """A device may put anything into the headers of an AMQP message."""
        hub = self.hub(MAX_LAST_MESSAGES_BYTES=10_000)
        for number in range(5):
            hub.publish(f"/{number}", Message("/t", b"", "id", 1, (("link", "x" * 4000),)))
        self.assertEqual([number for number in range(5) if hub.last(f"/{number}")], [3, 4])

    def test_octets_of_replaced_messages_count_no_more(self) -> None:
        hub = self.hub(MAX_LAST_MESSAGES_BYTES=10 * message(b"x" * 1000).weight)
        hub.publish("/other", message())
        for _ in range(1000):
            hub.publish("/t", message(b"x" * 1000))
        self.assertIsNotNone(hub.last("/other"))

    def test_a_message_that_is_too_large_is_delivered_all_the_same(self) -> None:
        hub, radio = self.hub(MAX_LAST_MESSAGES_BYTES=1000), Radio()
        hub.join("/t", CountedForm(), radio)
        self.assertEqual(hub.publish("/t", message(b"x" * 2000)), 1)
        self.assertEqual(len(radio.got), 1)
        self.assertIsNone(hub.last("/t"))

    def test_a_message_that_is_too_large_pushes_out_no_other_topic(self) -> None:
        hub = self.hub(MAX_LAST_MESSAGES_BYTES=1000)
        hub.publish("/small", message())
        hub.publish("/t", message(b"x" * 2000))
        self.assertIsNotNone(hub.last("/small"))


class TestCounts(unittest.TestCase):
    """For metrics and the operators' pages."""

    def setUp(self) -> None:
        self.hub = Hub(lambda member, error: None)

    def test_messages_deliveries_and_octets(self) -> None:
        for _ in range(3):
            self.hub.join("/t", CountedForm(), Radio())
        self.hub.publish("/t", message(b"four"))
        self.hub.publish("/nobody", message(b"x"))
        self.hub.remember("/u", message(b"y"))
        self.assertEqual((self.hub.messages, self.hub.deliveries, self.hub.delivered_octets), (2, 3, 12))
        self.assertEqual(list(self.hub.remembered), ["/t", "/nobody", "/u"])
        self.assertGreater(self.hub.remembered_octets, 6)

    def test_a_member_that_fails_counts_too(self) -> None:
        self.hub.join("/t", CountedForm(), Broken())
        self.hub.publish("/t", message())
        self.assertEqual(self.hub.deliveries, 1)

    def test_listeners(self) -> None:
        radio, other = Radio(), Radio()
        form = CountedForm()
        self.hub.join("/t", form, radio)
        self.hub.join("/t", form, other)
        self.hub.join("/t", CountedForm("/T"), radio)
        self.assertCountEqual(self.hub.listeners("/t"), [radio, other, radio])
        self.assertEqual(list(self.hub.listeners("/u")), [])
