"""STOMP 1.1 and 1.2 from outside: what clients get that negotiate (stomp.md §1 to §5)."""

from __future__ import annotations

from tests.acceptance.case import NodeCase
from tests.radio import Frame, Radio, frame

STANDARD = ("1.1", "1.2")


class NegotiatedCase(NodeCase):
    """Every test for both versions; a refusal is an ERROR in words, and the end."""

    def assert_refused(self, radio: Radio, message: str, **headers: str) -> Frame:
        error = radio.expect("ERROR", message=message, content_type="text/plain", **headers)
        self.assertGreater(len(error.body.split()), 4)
        self.assertTrue(radio.ends())
        return error


class Versions(NegotiatedCase):
    def test_the_highest_common_version_is_spoken(self) -> None:
        for offered, spoken in (
            ("1.0", "1.0"),
            ("1.1", "1.1"),
            ("1.2", "1.2"),
            ("1.0,1.1,1.2", "1.2"),
            ("1.2,1.0", "1.2"),
            (" 1.1 , 1.0", "1.1"),
            ("1.1,2.0,x", "1.1"),
        ):
            with self.subTest(offered=offered):
                self.assertEqual(self.radio(version=offered).connected.get("version"), spoken)

    def test_no_common_version(self) -> None:
        radio = self.dial()
        radio.say("CONNECT", {"accept-version": "2.0"})
        self.assert_refused(radio, "Unsupported version", version="1.0,1.1,1.2")

    def test_connected_says_who_speaks(self) -> None:
        for version in STANDARD:
            connected = self.radio(version=version, heart_beat="0,0").connected
            self.assertEqual(connected.names(), ["session", "version", "server", "heart-beat"])
            self.assertRegex(connected.get("server") or "", r"^radiovis/\d[^ ]* \((RabbitMQ|own bus)\)$")
            self.assertEqual(connected.get("heart-beat"), "10000,10000")

    def test_stomp_may_be_written_for_connect(self) -> None:
        radio = self.dial()
        radio.say("STOMP", {"accept-version": "1.2", "host": "h"})
        radio.expect("CONNECTED", version="1.2")

    def test_a_client_may_forget_the_host_or_name_any(self) -> None:
        radio = self.dial()
        radio.say("CONNECT", {"accept-version": "1.2"})
        radio.expect("CONNECTED")
        self.radio(version="1.2", host="elsewhere.example.org")

    def test_connect_headers_are_never_unescaped(self) -> None:
        connected = self.radio(version="1.2", receipt=r"a\n\z", request_id=r"\c").connected
        self.assertEqual((connected.get("receipt-id"), connected.get("response-id")), (r"a\n\z", r"\c"))

    def test_login_and_passcode_are_trimmed(self) -> None:
        self.radio(" 1.test ", " test", version="1.2")

    def test_wrong_credentials(self) -> None:
        radio = self.dial()
        radio.say("CONNECT", {"accept-version": "1.2", "host": "h", "login": "1.test", "passcode": "wrong"})
        error = self.assert_refused(radio, "Wrong credentials")
        self.assertNotIn(b"wrong", error.raw)

    def test_frames_behind_connect_are_processed_in_order(self) -> None:
        radio = self.dial()
        login = {"accept-version": "1.2", "host": "h", "login": "1.test", "passcode": "test"}
        radio.send(
            frame("CONNECT", login)
            + frame("SUBSCRIBE", {"id": "1", "destination": self.topic(), "receipt": "a"})
            + frame("SEND", {"destination": self.topic(), "receipt": "b"}, b"TEXT a")
            + frame("UNSUBSCRIBE", {"id": "1", "receipt": "c"})
        )
        came = radio.frames(5)
        self.assertEqual([each.command for each in came if each.command != "MESSAGE"], ["CONNECTED"] + ["RECEIPT"] * 3)
        self.assertEqual([each.get("receipt-id") for each in came if each.command == "RECEIPT"], ["a", "b", "c"])
        self.assertEqual([each.body for each in came if each.command == "MESSAGE"], [b"TEXT a"])


class Framing(NegotiatedCase):
    def heard(self, version: str, headers: dict[str, str], body: bytes = b"TEXT a") -> Frame:
        """What a radio of this version hears of what a 1.2 station sends."""
        radio = self.radio(version=version)
        radio.subscribe(self.topic(version), id="7")
        self.station(version="1.2").publish(self.topic(version), body, headers)
        return radio.expect("MESSAGE")

    def test_a_message_to_the_octet(self) -> None:
        message = self.heard("1.1", {"link": "l", "message-id": "m1", "content-type": "text/plain"})
        self.assertEqual(
            message.raw.decode(),
            f"MESSAGE\ndestination:{self.topic('1.1')}\nlink:l\ncontent-type:text/plain\nmessage-id:m1\n"
            f"when:{message.get('when')}\ncontent-length:6\nsubscription:7\n\nTEXT a\0",
        )

    def test_a_line_end_follows_each_nul(self) -> None:
        for version in STANDARD:
            radio = self.radio(version=version)
            radio.say("DISCONNECT", {"receipt": "1"})
            radio.expect("RECEIPT")
            self.assertEqual(radio.rest(), b"\n")
            self.assertEqual(radio.padding, b"\n")  # behind CONNECTED

    def test_values_are_escaped_for_the_version_of_the_reader(self) -> None:
        sent = {"link": r"a\cb\\c\nd\re"}
        self.assertEqual(self.heard("1.0", sent).get("link"), r"a:b\c d e")
        self.assertEqual(self.heard("1.1", sent).get("link"), r"a\cb\\c\nd e")
        self.assertEqual(self.heard("1.2", sent).get("link"), r"a\cb\\c\nd\re")

    def test_a_raw_colon_in_a_value_is_read(self) -> None:
        self.assertEqual(self.heard("1.2", {"link": "http://s:80/"}).get("link"), r"http\c//s\c80/")

    def test_a_body_of_any_octets(self) -> None:
        body = bytes(range(256)) * 4
        for version in ("1.0", *STANDARD):
            message = self.heard(version, {"content-length": str(len(body))}, body)
            self.assertEqual((message.body, message.get("content-length")), (body, "1024"))

    def test_an_empty_body(self) -> None:
        self.assertEqual(self.heard("1.2", {}, b"").get("content-length"), "0")

    def test_carriage_returns_at_line_ends(self) -> None:
        for version in STANDARD:
            radio = self.radio(version=version)
            radio.send(f"SUBSCRIBE\r\ndestination:{self.topic()}\r\nid:1\r\nreceipt:2\r\n\r\n\0\r\n".encode())
            radio.expect("RECEIPT", receipt_id="2")


class Subscriptions(NegotiatedCase):
    def test_two_subscriptions_get_two_copies(self) -> None:
        for version in STANDARD:
            radio = self.radio(version=version)
            radio.subscribe(self.topic(version), id="a")
            radio.subscribe(self.topic(version), id="b")
            self.station(version=version).publish(self.topic(version), b"TEXT a")
            came = radio.so_far()
            self.assertEqual(sorted(each.get("subscription") or "" for each in came), ["a", "b"])

    def test_after_the_receipt_of_unsubscribe_nothing_comes(self) -> None:
        radio, station = self.radio(version="1.2"), self.station()
        radio.subscribe(self.topic(), id="a")
        radio.say("UNSUBSCRIBE", {"id": "a", "receipt": "1"})
        radio.expect("RECEIPT", receipt_id="1")
        station.publish(self.topic(), b"TEXT a")
        self.assertEqual(radio.so_far(), [])

    def test_an_id_is_free_again_after_unsubscribe(self) -> None:
        radio = self.radio(version="1.2")
        radio.subscribe(self.topic(), id="a")
        radio.say("UNSUBSCRIBE", {"id": "a"})
        radio.subscribe(self.topic("text"), id="a")
        self.assertEqual(radio.so_far(), [])

    def test_every_ack_mode(self) -> None:
        for mode in ("auto", "client", "client-individual"):
            radio = self.radio(version="1.2")
            radio.subscribe(self.topic(mode), id="a", ack=mode)
            self.station().publish(self.topic(mode), b"TEXT a")
            self.assertEqual("ack" in radio.expect("MESSAGE").names(), mode != "auto")

    def test_acknowledging_by_12(self) -> None:
        radio, station = self.radio(version="1.2"), self.station()
        radio.subscribe(self.topic(), id="a", ack="client-individual")
        for _ in range(3):
            station.publish(self.topic(), b"TEXT a")
        acks = [each.get("ack") or "" for each in radio.frames(3)]
        for command, ack in zip(("ACK", "NACK", "ACK"), (acks[2], acks[0], acks[1]), strict=True):
            radio.say(command, {"id": ack})
        self.assertEqual(radio.so_far(), [])
        radio.say("ACK", {"id": acks[0], "receipt": "9"})
        self.assert_refused(radio, "Unknown message", receipt_id="9")

    def test_acknowledging_by_11_covers_what_came_before(self) -> None:
        radio, station = self.radio(version="1.1"), self.station()
        radio.subscribe(self.topic(), id="a", ack="client")
        for number in range(3):
            station.publish(self.topic(), b"TEXT a", {"message-id": f"m{number}"})
        radio.frames(3)
        radio.say("ACK", {"message-id": "m1", "subscription": "a"})
        self.assertEqual(radio.so_far(), [])
        radio.say("ACK", {"message-id": "m0", "subscription": "a"})
        self.assert_refused(radio, "Unknown message")

    def test_the_last_slide_at_once_behind_the_receipt(self) -> None:
        self.station().publish(self.topic(), b"SHOW http://s/1.png")
        for version in STANDARD:
            radio = self.radio(version=version)
            radio.say("SUBSCRIBE", {"destination": self.topic(), "id": "7", "receipt": "1"})
            self.assertEqual([each.command for each in radio.so_far()], ["RECEIPT", "MESSAGE"])


class Receipts(NegotiatedCase):
    def test_every_command_gets_its_receipt_in_order(self) -> None:
        for version in STANDARD:
            radio = self.station(version=version)
            commands = [
                ("SUBSCRIBE", {"destination": self.topic(), "id": "1", "x-ebu-nofastreply": "yes"}),
                ("BEGIN", {"transaction": "t"}),
                ("SEND", {"destination": self.topic(), "transaction": "t"}),
                ("COMMIT", {"transaction": "t"}),
                ("SEND", {"destination": self.topic("text")}),
                ("BEGIN", {"transaction": "t"}),
                ("ABORT", {"transaction": "t"}),
                ("UNSUBSCRIBE", {"id": "1"}),
                ("DISCONNECT", {}),
            ]
            radio.send(
                b"".join(
                    frame(command, {**headers, "receipt": str(number)})
                    for number, (command, headers) in enumerate(commands)
                )
            )
            receipts = []
            while len(receipts) < len(commands):
                came = radio.frame()
                if came.command != "MESSAGE":
                    receipts.append((came.command, came.get("receipt-id")))
            self.assertEqual(receipts, [("RECEIPT", str(number)) for number in range(len(commands))])
            self.assertTrue(radio.ends())

    def test_what_is_refused_gets_no_receipt_but_an_error_with_its_id(self) -> None:
        refusals = [
            (self.radio, "SEND", {"destination": self.topic()}, "You cannot do that."),
            (self.station, "SEND", {"destination": "/topic/fm/4e1/ffff/99999/image"}, "You cannot do that."),
            (self.station, "SEND", {}, "No destination ?"),
            (
                self.radio,
                "SUBSCRIBE",
                {"id": "1", "destination": "/topic/fm/x"},
                "Your destination does not match required format.",
            ),
            (self.radio, "UNSUBSCRIBE", {"id": "1"}, "Unknown ID"),
            (self.radio, "WHATEVER", {}, "Unknown command"),
        ]
        for version in STANDARD:
            for client, command, headers, message in refusals:
                with self.subTest(version=version, command=command):
                    radio = client(version=version)
                    radio.say(command, {**headers, "receipt": "5"})
                    error = self.assert_refused(radio, message, receipt_id="5")
                    self.assertIn(f"The frame at fault: {command}\n".encode(), error.body)

    def test_what_came_before_an_error_is_answered(self) -> None:
        radio = self.station(version="1.2")
        sends = [frame("SEND", {"destination": self.topic(), "receipt": str(number)}) for number in range(50)]
        radio.send(b"".join(sends) + frame("NONSENSE") + sends[0])
        self.assertEqual([radio.expect("RECEIPT").get("receipt-id") for _ in sends], [str(n) for n in range(50)])
        self.assert_refused(radio, "Unknown command")


class Transactions(NegotiatedCase):
    def test_commit_sends_all_in_order(self) -> None:
        for version in STANDARD:
            radio, station = self.radio(), self.station(version=version)
            radio.subscribe(self.topic(version))
            station.say("BEGIN", {"transaction": "t"})
            for number in range(3):
                station.say("SEND", {"destination": self.topic(version), "transaction": "t"}, b"%d" % number)
            self.assertEqual(station.so_far(), [])
            self.assertEqual(radio.so_far(), [])
            station.say("COMMIT", {"transaction": "t"})
            self.assertEqual(station.so_far(), [])
            self.assertEqual([each.body for each in radio.so_far()], [b"0", b"1", b"2"])

    def test_abort_and_the_end_send_nothing(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic())
        for end in ({"command": "ABORT", "transaction": "t"}, {"command": "DISCONNECT"}):
            station = self.station(version="1.2")
            station.say("BEGIN", {"transaction": "t"})
            station.say("SEND", {"destination": self.topic(), "transaction": "t"}, b"TEXT never")
            station.say(end.pop("command"), {**end, "receipt": "1"})
            station.expect("RECEIPT")
        self.assertEqual(radio.so_far(), [])

    def test_one_forbidden_send_stops_the_whole_transaction(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic())
        station = self.station(version="1.2")
        station.say("BEGIN", {"transaction": "t"})
        station.say("SEND", {"destination": self.topic(), "transaction": "t"}, b"TEXT allowed")
        station.say("SEND", {"destination": "/topic/not/mine", "transaction": "t"}, b"TEXT forbidden")
        station.say("COMMIT", {"transaction": "t", "receipt": "1"})
        self.assert_refused(station, "You cannot do that.", receipt_id="1")
        self.assertEqual(radio.so_far(), [])

    def test_transactions_do_not_mix(self) -> None:
        radio, station = self.radio(), self.station(version="1.2")
        radio.subscribe(self.topic())
        for name in "ab":
            station.say("BEGIN", {"transaction": name})
        for name in "abab":
            station.say("SEND", {"destination": self.topic(), "transaction": name}, name.encode())
        station.say("COMMIT", {"transaction": "b"})
        station.say("ABORT", {"transaction": "a"})
        self.assertEqual(station.so_far(), [])
        self.assertEqual([each.body for each in radio.so_far()], [b"b", b"b"])


class Shutdown(NegotiatedCase):
    """The node is told to end while clients are there."""

    def test_old_radios_just_see_the_end_and_others_are_told_why(self) -> None:
        old, new = self.radio(), self.radio(version="1.2")
        self.server.terminate()
        self.assertTrue(old.ends())
        new.expect("ERROR", message="Server shutting down")
        self.assertTrue(new.ends())
        self.server.start()
