"""Acceptance tests: the contract as radios and publishers see it, on the sockets of a real server.

This file tests the behaviour of the original server, with clients that do not negotiate a version (STOMP 1.0). Each
file in ``tests/acceptance`` has one subject: STOMP 1.1 and 1.2, other clients, the cluster, the stations file, the
start, the lessons of real receivers, the faults of the original. ``tests/fanout/stomp_server`` tests bad input and
floods.
"""

from __future__ import annotations

import time
import uuid

from tests.acceptance.case import NodeCase
from tests.radio import Frame, Radio

GCC = "/topic/fm/4e1/ffff/99999/"  # Station 3 of --test may publish to both spellings of its one channel.
CC = "/topic/fm/ch/ffff/99999/"
FORWARDED = ("trigger-time", "link", "SlideId", "content-type", "message-id")


class Connecting(NodeCase):
    """CONNECT, and which clients are accepted."""

    def test_anybody_may_listen(self) -> None:
        radio = self.dial()
        radio.send(b"CONNECT\n\n\0")
        connected = radio.expect("CONNECTED")
        self.assertEqual(connected.names(), ["session"])
        self.assertEqual(str(uuid.UUID(connected.get("session"))), connected.get("session"))

    def test_empty_login_and_passcode_mean_anybody(self) -> None:
        radio = self.dial()
        radio.send(b"CONNECT\nlogin:\npasscode:  \n\n\0")
        radio.expect("CONNECTED")

    def test_connected_answers_request_id_and_receipt_in_this_order(self) -> None:
        radio = self.dial()
        radio.send(b"CONNECT\nreceipt:q 7\nrequest-id:r\n\n\0")
        connected = radio.expect("CONNECTED", response_id="r", receipt_id="q 7")
        self.assertEqual(connected.names(), ["response-id", "receipt-id", "session"])
        self.assertEqual(radio.so_far(), [])

    def test_a_plain_connect_hears_nothing_of_versions_and_heart_beats(self) -> None:
        radio = self.radio(host="vis.example.org", heart_beat="10000,10000")
        self.assertEqual(radio.connected.names(), ["session"])

    def test_each_connection_has_its_own_session(self) -> None:
        self.assertNotEqual(self.radio().session, self.radio().session)

    def test_a_station_logs_in(self) -> None:
        self.radio("1.test", "test")

    def test_login_and_passcode_are_trimmed(self) -> None:
        self.radio(" 1.test ", "\ttest ")

    def test_a_station_logs_in_from_its_address(self) -> None:
        self.radio("2.testip", "127.0.0.1")

    def test_wrong_passcode(self) -> None:
        self.assert_wrong_credentials("1.test", "wrong")

    def test_wrong_address(self) -> None:
        self.assert_wrong_credentials("2.testip", "192.0.2.7")

    def test_passcode_without_login(self) -> None:
        self.assert_wrong_credentials("", "test")

    def test_login_without_passcode(self) -> None:
        self.assert_wrong_credentials("1.test", "")

    def assert_wrong_credentials(self, login: str, passcode: str) -> None:
        radio = self.dial()
        radio.say("CONNECT", {"login": login, "passcode": passcode})
        self.assert_error_and_end(radio, "Wrong credentials")

    def test_any_other_first_command_is_refused(self) -> None:
        for command in ("SEND", "SUBSCRIBE", "DISCONNECT", "connect"):
            with self.subTest(command=command):
                radio = self.dial()
                radio.say(command, {"destination": self.topic(), "receipt": "1"})
                self.assert_error_and_end(radio, "Expected CONNECT")

    def test_what_comes_with_connect_in_one_piece_is_worked_off_behind_it(self) -> None:
        radio = self.dial()
        radio.send(
            b"CONNECT\nlogin:1.test\npasscode:test\n\n\0SUBSCRIBE\ndestination:/topic/id/tests._ebu.nowhere/topic1/piped\n\n\0"
        )
        radio.send(b"SEND\ndestination:/topic/id/tests._ebu.nowhere/topic1/piped\n\nTEXT piped\0")
        radio.expect("CONNECTED")
        self.assertEqual(radio.expect("MESSAGE").body, b"TEXT piped")


class Answering(NodeCase):
    """Receipts, errors and ignored frames. The connection stays open after an ERROR."""

    def test_every_command_gets_its_receipt(self) -> None:
        radio = self.station()
        for command in ("SUBSCRIBE", "SEND", "UNSUBSCRIBE", "ACK", "BEGIN", "CONNECT", "WHATEVER"):
            radio.say(command, {"destination": self.topic(), "receipt": command, "x-ebu-nofastreply": "yes"})
        receipts = [each.raw for each in radio.so_far() if each.command == "RECEIPT"]
        self.assertEqual(receipts[0], b"RECEIPT\nreceipt-id:SUBSCRIBE\n\n\0")
        self.assertEqual(len(receipts), 7)

    def test_the_receipt_comes_before_the_error(self) -> None:
        radio = self.radio()
        radio.say("SEND", {"destination": self.topic(), "receipt": "5"})
        radio.expect("RECEIPT", receipt_id="5")
        self.assert_error(radio, "You cannot do that.")
        self.assertEqual(radio.so_far(), [])

    def test_the_receipt_comes_before_the_slide(self) -> None:
        self.station().publish(self.topic(), b"SHOW http://s/1.png")
        radio = self.radio()
        radio.say("SUBSCRIBE", {"destination": self.topic(), "receipt": "6"})
        self.assertEqual([each.command for each in radio.so_far()], ["RECEIPT", "MESSAGE"])

    def test_the_receipt_comes_before_the_publishers_own_message(self) -> None:
        """The same order as with RabbitMQ, although the loopback bus delivers at once."""
        station = self.station()
        station.subscribe(self.topic(), fast_reply=False)
        for number in range(3):
            station.say("SEND", {"destination": self.topic(), "receipt": str(number)}, b"TEXT a")
        came = [each.command for each in station.so_far()]
        self.assertEqual(came, ["RECEIPT", "MESSAGE"] * 3)

    def test_unknown_commands_are_silent(self) -> None:
        radio = self.radio()
        for command in ("ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "CONNECT", "STOMP", "send", "MESSAGE", "X"):
            radio.say(command, {"id": "1", "transaction": "1"})
        self.assertEqual(radio.so_far(), [])

    def test_disconnect_closes(self) -> None:
        radio = self.radio()
        radio.say("DISCONNECT")
        self.assertTrue(radio.ends())

    def test_disconnect_with_receipt_gets_it_first(self) -> None:
        radio = self.radio()
        radio.say("DISCONNECT", {"receipt": "bye"})
        radio.expect("RECEIPT", receipt_id="bye")
        self.assertTrue(radio.ends())

    def test_subscribe_without_destination(self) -> None:
        for headers in (
            {},
            {"destination": ""},
            {"destination": "  "},
            {"Destination": "/topic/id/tests._ebu.nowhere/topic1/image"},
        ):
            with self.subTest(headers=headers):
                self.assert_refused(self.radio(), "SUBSCRIBE", headers, "You need a destination to subscribe.")

    def test_subscribe_to_an_fm_topic_of_another_shape(self) -> None:
        for destination in ("/topic/fm/x", "/topic/fm/4e1/ffff/99999", "/topic/fm/4e1/4000/*/image"):
            with self.subTest(destination=destination):
                headers = {"destination": destination}
                radio = self.radio()
                self.assert_refused(radio, "SUBSCRIBE", headers, "Your destination does not match required format.")
                self.assert_refused(radio, "UNSUBSCRIBE", headers, "Not subscribed")

    def test_unsubscribe_from_nothing_in_particular(self) -> None:
        self.assert_refused(self.radio(), "UNSUBSCRIBE", {}, "No ID or channel")

    def test_unsubscribe_an_unknown_id(self) -> None:
        self.assert_refused(self.radio(), "UNSUBSCRIBE", {"id": "9"}, "Unknown ID")

    def test_unsubscribe_from_what_was_not_subscribed_to(self) -> None:
        self.assert_refused(self.radio(), "UNSUBSCRIBE", {"destination": self.topic()}, "Not subscribed")

    def test_unsubscribe_from_what_is_left_of_the_destination_without_its_blanks(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic())
        radio.say("UNSUBSCRIBE", {"destination": " " + self.topic()})
        self.assertEqual(radio.so_far(), [])
        self.assert_refused(radio, "UNSUBSCRIBE", {"destination": self.topic()}, "Not subscribed")
        self.assert_refused(radio, "UNSUBSCRIBE", {"destination": " "}, "No ID or channel")

    def test_send_by_anybody(self) -> None:
        self.assert_refused(self.radio(), "SEND", {"destination": self.topic()}, "You cannot do that.")
        self.assert_refused(self.radio(), "SEND", {}, "You cannot do that.")

    def test_send_without_destination(self) -> None:
        self.assert_refused(self.station(), "SEND", {}, "No destination ?")

    def test_send_to_somebody_elses_channel(self) -> None:
        for destination in (
            "/topic/id/tests._ebu.nowhere/topic3/image",
            GCC + "image",
            "/topic/id/tests._ebu.nowhere/topic1",
            "/queue/a",
        ):
            with self.subTest(destination=destination):
                self.assert_refused(self.station(), "SEND", {"destination": destination}, "You cannot do that.")

    def test_a_station_without_channels_may_not_send(self) -> None:
        self.assert_refused(self.station(7), "SEND", {"destination": self.topic()}, "You cannot do that.")

    def assert_refused(self, radio: Radio, command: str, headers: dict[str, str], message: str) -> None:
        """The command gets one ERROR, and the connection stays open."""
        radio.say(command, headers, b"TEXT x" if command == "SEND" else b"")
        self.assert_error(radio, message)
        self.assertEqual(radio.so_far(), [])


class Framing(NodeCase):
    """Frames in the form that old receivers send and require."""

    def assert_published(self, sent: bytes, body: bytes = b"TEXT a") -> None:
        """A station that sends these octets publishes one message with this body. ``$`` is replaced by the topic."""
        radio, station = self.radio(), self.station()
        radio.subscribe(self.topic(), fast_reply=False)
        station.send(sent.replace(b"$", self.topic().encode()))
        self.assertEqual(station.so_far(), [])
        self.assertEqual([each.body for each in radio.so_far()], [body])

    def test_line_ends_between_frames(self) -> None:
        self.assert_published(b"\n\n\r\n  \nSEND\ndestination:$\n\nTEXT a\0\n\n")

    def test_carriage_returns_and_blanks_round_the_command(self) -> None:
        self.assert_published(b"  SEND \r\ndestination:$\r\n\r\nTEXT a\0")

    def test_a_header_without_colon(self) -> None:
        self.assert_published(b"SEND\nnonsense\ndestination:$\n\nTEXT a\0")

    def test_the_first_of_repeated_headers_counts(self) -> None:
        self.assert_published(b"SEND\ndestination:$\ndestination:/topic/other\n\nTEXT a\0")

    def test_the_body_arrives_as_it_was_sent(self) -> None:
        body = b"TEXT caf\xc3\xa9 \xff\r\n\n: x\n"
        self.assert_published(b"SEND\ndestination:$\n\n" + body + b"\0", body)

    def test_a_body_with_a_nul_in_it(self) -> None:
        self.assert_published(b"SEND\ndestination:$\ncontent-length:3\n\na\0b\0", b"a\0b")

    def test_a_frame_in_many_pieces(self) -> None:
        radio = self.dial()
        for octet in b"CONNECT\r\nrequest-id:7\r\n\r\n\0":
            radio.send(bytes([octet]))
        radio.expect("CONNECTED", response_id="7")

    def test_destinations_are_trimmed(self) -> None:
        radio = self.radio()
        radio.say("SUBSCRIBE", {"destination": f"  {self.topic()}\t"})
        self.assertEqual(radio.so_far(), [])
        self.station().publish(f" {self.topic()} ", b"TEXT a")
        radio.expect("MESSAGE", destination=self.topic())

    def test_no_other_value_is_trimmed(self) -> None:
        radio = self.radio()
        radio.say("SUBSCRIBE", {"destination": self.topic(), "id": " 7", "receipt": " 1 "})
        self.assertEqual(radio.frame().raw, b"RECEIPT\nreceipt-id: 1 \n\n\0")
        self.station().publish(self.topic(), b"TEXT a", {"link": " http://l/"})
        radio.expect("MESSAGE", subscription=" 7", link=" http://l/")

    def test_frames_without_their_blank_line(self) -> None:
        radio, station = self.dial(), self.station()
        radio.send(b"CONNECT\0TEST\0")
        self.assertEqual(radio.expect("CONNECTED").names(), ["session"])
        radio.send(f"SUBSCRIBE\ndestination:{self.topic()}\n\0".encode())
        self.assertEqual(radio.so_far(), [])
        station.send(f"SEND\ndestination:{self.topic()}\0".encode())
        self.assertEqual(station.so_far(), [])
        self.assertEqual(radio.expect("MESSAGE").body, b"")
        radio.send(b"DISCONNECT\nreceipt:1\0")
        radio.expect("RECEIPT", receipt_id="1")
        self.assertTrue(radio.ends())

    def test_nothing_is_escaped(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic(), id=r"a\c1")
        self.station().publish(self.topic(), b"TEXT a", {"link": r"http://s/a\nb"})
        radio.expect("MESSAGE", link=r"http://s/a\nb", subscription=r"a\c1")

    def test_a_message_to_the_octet(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic(), id="7")
        headers = {"link": "http://l/?a=1", "trigger-time": "NOW", "message-id": "m1"}
        self.station().publish(self.topic(), b"SHOW http://s/1.png", headers)
        message = radio.expect("MESSAGE")
        self.assertEqual(
            message.raw.decode(),
            f"MESSAGE\ndestination:{self.topic()}\ntrigger-time:NOW\nlink:http://l/?a=1\nmessage-id:m1\n"
            f"when:{message.get('when')}\nsubscription:7\n\nSHOW http://s/1.png\0",
        )

    def test_nothing_follows_the_nul(self) -> None:
        radio = self.radio(receipt="1")
        radio.subscribe(self.topic())
        for number in range(3):
            self.station().publish(self.topic(), b"TEXT %d" % number)
        radio.frames(3)
        radio.say("DISCONNECT", {"receipt": "2"})
        radio.expect("RECEIPT")
        self.assertEqual(radio.rest(), b"")
        self.assertEqual(radio.padding, b"")


class PublishRights(NodeCase):
    """SEND: the allowed topics, and the messages that radios get."""

    def test_below_its_channel_a_station_sends_where_it_likes(self) -> None:
        radio, station = self.radio(), self.station()
        for last in ("image", "text", "anything/deeper"):
            radio.subscribe(self.topic(last))
            station.publish(self.topic(last), last.encode())
            self.assertEqual(radio.expect("MESSAGE", destination=self.topic(last)).body, last.encode())

    def test_the_headers_radios_need_are_forwarded_and_no_others(self) -> None:
        sent = {
            "CategoryTitle": "News",
            "x-random": "1",
            "link": "http://l/",
            "SlideId": "4",
            "content-type": "text/plain",
            "CategoryId": "2",
            "trigger-time": "2026-11-21T20:00:00Z",
            "message-id": "m7",
            "when": "0",
            "topic": "/topic/other",
            "subscription": "EVIL",
            "ack": "EVIL",
            "expires": "0",
            "session": "EVIL",
        }
        message = self.published(sent)
        forwarded = {name: sent[name] for name in sent if name[0] == "C" or name in FORWARDED}
        self.assertEqual(dict(message.headers), {"destination": self.topic(), "when": message.get("when"), **forwarded})

    def test_an_empty_link_is_dropped(self) -> None:
        self.assertNotIn("link", self.published({"link": ""}).names())

    def test_a_message_without_id_gets_one(self) -> None:
        identity = self.published({}).get("message-id")
        self.assertEqual(str(uuid.UUID(identity)), identity)

    def test_when_is_the_time_of_publishing(self) -> None:
        before = int(time.time())
        when = int(self.published({}).get("when") or "")
        self.assertTrue(before <= when <= time.time(), when)

    def published(self, headers: dict[str, str]) -> Frame:
        radio = self.radio()
        radio.subscribe(self.topic())
        self.station().publish(self.topic(), b"TEXT a", headers)
        return radio.expect("MESSAGE")

    def test_broadcast_goes_to_all_channels_with_one_id(self) -> None:
        radios = [self.radio(), self.radio()]
        destinations = [
            "/topic/id/tests._ebu.nowhere/topic1/both/text",
            "/topic/id/tests._ebu.nowhere/topic2/both/text",
        ]
        for radio, destination in zip(radios, destinations, strict=True):
            radio.subscribe(destination)
        self.station().publish("/topic/*/both/text", b"TEXT to all")
        messages = [radio.expect("MESSAGE") for radio in radios]
        self.assertEqual([each.get("destination") for each in messages], destinations)
        self.assertEqual(len({each.get("message-id") for each in messages}), 1)
        self.assertEqual([each.body for each in messages], [b"TEXT to all"] * 2)

    def test_broadcast_needs_a_login(self) -> None:
        radio = self.radio()
        radio.say("SEND", {"destination": "/topic/*/text"}, b"TEXT x")
        self.assert_error(radio, "You cannot do that.")

    def test_broadcast_stays_within_the_station(self) -> None:
        radio = self.radio()
        radio.subscribe(GCC + "text")
        self.station().publish("/topic/*/text", b"TEXT not for 3")
        self.assertEqual(radio.so_far(), [])

    def test_all_radios_see_the_same_id(self) -> None:
        radios = [self.radio() for _ in range(5)]
        for radio in radios:
            radio.subscribe(self.topic())
        self.station().publish(self.topic(), b"TEXT a")
        self.assertEqual(len({radio.expect("MESSAGE").get("message-id") for radio in radios}), 1)


class Listening(NodeCase):
    """SUBSCRIBE, UNSUBSCRIBE, and the last message for a new subscriber."""

    def test_a_radio_without_id_hears_without_subscription_header(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic())
        self.station().publish(self.topic(), b"TEXT a")
        self.assertEqual(radio.frame().names(), ["destination", "message-id", "when"])

    def test_other_topics_are_not_heard(self) -> None:
        radio, station = self.radio(), self.station()
        radio.subscribe(self.topic("text"))
        station.publish(self.topic("image"), b"SHOW http://s/1.png")
        station.publish(self.topic("text/more"), b"TEXT more")
        self.assertEqual(radio.so_far(), [])

    def test_unsubscribe_by_destination(self) -> None:
        self.assert_unsubscribed({"destination": self.topic()})

    def test_unsubscribe_by_id(self) -> None:
        self.assert_unsubscribed({"id": "7"})

    def test_unsubscribe_by_both(self) -> None:
        self.assert_unsubscribed({"id": "7", "destination": self.topic()})

    def assert_unsubscribed(self, headers: dict[str, str]) -> None:
        radio = self.radio()
        radio.subscribe(self.topic(), id="7")
        radio.say("UNSUBSCRIBE", headers)
        self.assertEqual(radio.so_far(), [])
        self.station().publish(self.topic(), b"TEXT not heard")
        self.assertEqual(radio.so_far(), [])

    def test_an_id_is_forgotten_with_its_subscription(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic(), id="7")
        radio.say("UNSUBSCRIBE", {"destination": self.topic()})
        radio.subscribe(self.topic())
        self.station().publish(self.topic(), b"TEXT a")
        self.assertNotIn("subscription", radio.frame().names())

    def test_subscribed_twice_unsubscribes_one_at_a_time(self) -> None:
        radio, station = self.radio(), self.station()
        radio.subscribe(self.topic())
        radio.subscribe(self.topic())
        radio.say("UNSUBSCRIBE", {"destination": self.topic()})
        station.publish(self.topic(), b"TEXT a")
        self.assertEqual([each.body for each in radio.so_far()], [b"TEXT a"])
        radio.say("UNSUBSCRIBE", {"destination": self.topic()})
        station.publish(self.topic(), b"TEXT b")
        self.assertEqual(radio.so_far(), [])

    def test_subscribed_several_ways_gets_one_copy(self) -> None:
        radio = self.radio()
        for destination in (GCC, CC, GCC):
            radio.subscribe(destination + "once", fast_reply=False)
        self.station(3).publish(GCC + "once", b"TEXT once")
        self.assertEqual([each.body for each in radio.so_far()], [b"TEXT once"])

    def test_the_same_slide_sent_twice_comes_twice(self) -> None:
        radio, station = self.radio(), self.station()
        radio.subscribe(self.topic())
        for _ in range(2):
            station.publish(self.topic(), b"SHOW http://s/1.png", {"message-id": "same"})
        self.assertEqual(len(radio.so_far()), 2)

    def test_the_last_slide_comes_at_once(self) -> None:
        station = self.station()
        for number in range(3):
            station.publish(self.topic(), b"TEXT %d" % number, {"link": "http://l/"})
        radio = self.radio()
        radio.subscribe(self.topic(), id="7")
        slide = radio.expect("MESSAGE", destination=self.topic(), subscription="7", link="http://l/")
        self.assertEqual(slide.body, b"TEXT 2")
        self.assertEqual(radio.so_far(), [])

    def test_who_subscribes_again_gets_the_last_slide_again(self) -> None:
        self.station().publish(self.topic(), b"SHOW http://s/1.png")
        radio = self.radio()
        for _ in range(2):
            radio.say("SUBSCRIBE", {"destination": self.topic()})
            self.assertEqual([each.body for each in radio.so_far()], [b"SHOW http://s/1.png"])
            radio.say("UNSUBSCRIBE", {"destination": self.topic()})

    def test_the_last_slide_is_not_sent_to_who_does_not_want_it(self) -> None:
        self.station().publish(self.topic(), b"TEXT a")
        for wish, copies in (("yes", 0), (" yes", 0), ("no", 1), ("YES", 1), ("true", 1)):
            radio = self.radio()
            radio.say("SUBSCRIBE", {"destination": self.topic(), "x-ebu-nofastreply": wish})
            self.assertEqual(len(radio.so_far()), copies, wish)

    def test_the_last_slide_is_never_older_than_the_latest(self) -> None:
        radio, station = self.radio(), self.station()
        radio.subscribe(self.topic())
        station.publish(self.topic(), b"TEXT a")
        station.publish(self.topic(), b"TEXT b")
        self.assertEqual([each.body for each in radio.so_far()], [b"TEXT a", b"TEXT b"])


class TopicResolver(NodeCase):
    """FM: the topics with a country code and with its GCC are one channel. Each radio keeps its own spelling and id."""

    def test_both_spellings_hear_both(self) -> None:
        for number, published in enumerate((GCC, CC)):
            for subscribed in (GCC, CC):
                with self.subTest(published=published, subscribed=subscribed):
                    last = f"{number}-{subscribed[10:13]}"
                    radio = self.radio()
                    radio.subscribe(subscribed + last, id="8")
                    self.station(3).publish(published + last, b"TEXT a")
                    radio.expect("MESSAGE", destination=subscribed + last, subscription="8")

    def test_the_last_slide_is_found_in_the_other_spelling(self) -> None:
        self.station(3).publish(GCC + "last", b"TEXT a")
        radio = self.radio()
        radio.subscribe(CC + "last", id="8")
        radio.expect("MESSAGE", destination=CC + "last", subscription="8")

    def test_unsubscribe_by_ones_own_destination_or_id(self) -> None:
        for headers in ({"destination": CC + "off"}, {"id": "8"}):
            with self.subTest(headers=headers):
                radio = self.radio()
                radio.subscribe(CC + "off", id="8", fast_reply=False)
                radio.say("UNSUBSCRIBE", headers)
                self.station(3).publish(GCC + "off", b"TEXT a")
                self.assertEqual(radio.so_far(), [])

    def test_unsubscribe_by_the_other_spelling_is_refused(self) -> None:
        radio = self.radio()
        radio.subscribe(CC + "image")
        radio.say("UNSUBSCRIBE", {"destination": GCC + "image"})
        self.assert_error(radio, "Not subscribed")

    def test_broadcast_reaches_both_spellings_once_for_each_channel(self) -> None:
        radio = self.radio()
        radio.subscribe(CC + "wide")
        self.station(3).publish("/topic/*/wide", b"TEXT wide")
        self.assertEqual([each.get("destination") for each in radio.so_far()], [CC + "wide"] * 2)

    def test_a_country_nobody_knows_is_a_topic_like_any_other(self) -> None:
        radio = self.radio()
        radio.subscribe("/topic/fm/zz/4000/09580/image", id="9")
        self.assertEqual(radio.so_far(), [])
        radio.say("UNSUBSCRIBE", {"id": "9"})
        self.assertEqual(radio.so_far(), [])

    def test_other_topics_are_taken_as_they_are(self) -> None:
        radio = self.radio()
        for destination in ("/topic/dab/4e1/4001/4001/0/image", "/topic/id/www.ebu.ch/x/text", "anything", "/topic/#"):
            radio.subscribe(destination)
        self.assertEqual(radio.so_far(), [])
