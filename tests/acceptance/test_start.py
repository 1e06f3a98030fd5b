"""Starting and ending a node: what stops a start is said in one line, and the exit code is 2."""

from __future__ import annotations

import unittest

from tests import services
from tests.processes import Server, node
from tests.radio import Radio
from tests.radiovis.test_settings import ORIGINAL_FILE

STATION = '[[station]]\nlogin = "1.rock"\npassword = "plain"\n'


class Refusals(unittest.TestCase):
    """Starts that cannot succeed."""

    def refused(self, server: Server, config: str | None = None, files: dict[str, str] | None = None) -> str:
        """The one line a server ends with; its working folder has these files."""
        self.addCleanup(server.close)
        for name, text in ({"config.py": config} if config else files or {}).items():
            (server.folder / name).write_text(text)
        server.launch()
        self.assertEqual(server.exit_code(), 2, server.text)
        self.assertEqual(len(server.text.splitlines()), 1, server.text)
        self.assertTrue(server.text.startswith("server.py: "), server.text)
        return server.text.removeprefix("server.py: ")

    def test_a_port_that_is_taken(self) -> None:
        with node() as first:
            host, port = first.address
            self.assertEqual(
                self.refused(node(STOMP_PORT=port)),
                f"cannot listen on {host}:{port}: Address already in use. Is another server.py running? "
                "STOMP_PORT sets the port.",
            )
            Radio.connect(first.address).close()

    def test_an_http_port_that_is_taken(self) -> None:
        with node() as first:
            port = first.address[1]
            line = self.refused(node(HTTP_PORT=port, SLIDES_DIR="."))
            self.assertIn(f"cannot listen on 127.0.0.1:{port}", line)
            self.assertIn("HTTP_PORT sets the port", line)

    def test_an_address_that_is_not_ours(self) -> None:
        self.assertIn("cannot listen on 192.0.2.1:", self.refused(node(STOMP_IP="192.0.2.1")))

    def test_no_stations_file(self) -> None:
        self.assertEqual(self.refused(alone("none.toml")), "none.toml: cannot be read: No such file or directory")

    def test_a_folder_for_a_stations_file(self) -> None:
        self.assertEqual(self.refused(alone(".")), ".: cannot be read: Is a directory")

    def test_a_stations_file_that_is_no_toml(self) -> None:
        line = self.refused(alone("stations.toml"), files={"stations.toml": "[[station]]\nlogin = 1.rock\n"})
        self.assertTrue(line.startswith("stations.toml:2: "), line)

    def test_a_stations_file_with_a_plain_password(self) -> None:
        line = self.refused(alone("stations.toml"), files={"stations.toml": STATION})
        self.assertTrue(line.startswith("stations.toml:3: station 1.rock: password: "), line)
        self.assertNotIn("plain", line.replace("plain text", ""))

    def test_standing_alone_without_stations(self) -> None:
        self.assertIn("STANDALONE needs STATIONS_FILE", self.refused(Server(STANDALONE=True)))

    def test_nothing_that_could_hold_messages(self) -> None:
        line = self.refused(node(SCHEDULE="server"))
        self.assertEqual(line, "SCHEDULE = server: without a broker, messages can only be held with --standalone.")

    def test_networks_that_are_none(self) -> None:
        line = self.refused(node(PREFLIGHT_PRIVATE="10.0.0.0/8, slides.example"))
        self.assertIn("PREFLIGHT_PRIVATE", line)
        self.assertIn("'slides.example' does not appear to be an IPv4 or IPv6 network", line)

    def test_an_unknown_setting_in_config_py(self) -> None:
        self.assertEqual(
            self.refused(node(), "STOMP_PROT = 61613\n"),
            "STOMP_PROT in config.py: no such setting; did you mean STOMP_PORT?",
        )

    def test_a_bad_value_in_config_py(self) -> None:
        line = self.refused(node(), "MAX_SUBSCRIPTIONS = 'many'\n")
        self.assertTrue(line.startswith("MAX_SUBSCRIPTIONS = 'many' (config.py): "), line)

    def test_a_config_py_that_is_no_python(self) -> None:
        self.assertIn("config.py, line 2: ", self.refused(node(), "STOMP_PORT = 1\nSTOMP_IP = = 2\n"))

    def test_a_config_py_that_fails(self) -> None:
        line = self.refused(node(), "import os\nSTOMP_IP = os.environ['NOT_THERE']\n")
        self.assertEqual(line, "config.py, line 2: KeyError: 'NOT_THERE'")

    def test_a_config_py_that_is_not_there(self) -> None:
        line = self.refused(node("--config", "none.py"))
        self.assertEqual(line, "cannot read none.py: No such file or directory")

    def test_a_bad_value_in_the_environment(self) -> None:
        line = self.refused(node(STOMP_PORT="many"))
        self.assertTrue(line.startswith("STOMP_PORT = 'many' (environment): "), line)

    def test_a_bad_value_in_a_flag(self) -> None:
        line = self.refused(node("--stomp-port", "99999"))
        self.assertTrue(line.startswith("STOMP_PORT = '99999' (flag): "), line)

    def test_an_unknown_flag(self) -> None:
        self.assertEqual(
            self.refused(node("--stomp-prot", "1")), "--stomp-prot: no such setting; did you mean --stomp-port?"
        )

    def test_an_unknown_command(self) -> None:
        self.assertEqual(self.refused(Server("verson")), "no such command: verson; did you mean version?")

    def test_a_flag_without_value(self) -> None:
        self.assertIn("--stomp-port", self.refused(node("--stomp-port")))


def alone(stations_file: str) -> Server:
    return Server(STANDALONE=True, STATIONS_FILE=stations_file)


class Starts(unittest.TestCase):
    """Starts that succeed, and their ends."""

    def test_test_mode_has_its_own_port(self) -> None:
        with node(STOMP_PORT=None) as server:
            self.assertEqual(server.address, ("127.0.0.1", 61424))

    def test_test_mode_listens_on_loopback_unless_told_otherwise(self) -> None:
        for ip, expected in ((None, "127.0.0.1"), ("", "127.0.0.1"), ("0.0.0.0", "0.0.0.0")):
            with node(STOMP_IP=ip, HTTP_IP=None, HTTP_PORT=services.free_port()) as server:
                self.assertEqual((server.address[0], server.http[0]), (expected, expected))

    def test_a_config_py_of_the_original(self) -> None:
        server = node(STOMP_IP=None, STOMP_PORT=None, RABBITMQ_PORT="", LOG_LEVEL=None)
        (server.folder / "config.py").write_text(ORIGINAL_FILE + "STOMP_PORT = 0\n")
        with server:
            warnings = [event["warning"] for event in server.events("settings.warning")]
            self.assertEqual(server.address[0], "127.0.0.1")
            self.assertEqual(len(warnings), 3, warnings)
            for name in ("STATS_ENABLED", "RABBITMQ_DEBUG", "MONITORING_DEBUG", "RABBITMQ_PORT"):
                self.assertEqual(str(warnings).count(name), 1, warnings)
            self.assertEqual(server.events("bus.connected"), [])
            server.terminate()

    def test_flags_win_over_the_environment_and_that_over_config_py(self) -> None:
        given = {"MAX_FRAME_BYTES": 2_000, "MAX_SUBSCRIPTIONS": 3}
        server = node("--max-subscriptions", "2", **given)
        (server.folder / "config.py").write_text(
            "MAX_SUBSCRIPTIONS = 4\nMAX_FRAME_BYTES = 3_000\nHEARTBEAT_MS = '7000,8000'\n"
        )
        with server:
            with Radio.connect(server.address, version="1.2") as radio:
                self.assertEqual(radio.connected.get("heart-beat"), "7000,8000")
                for number in range(3):
                    radio.say("SUBSCRIBE", {"destination": f"/topic/{number}", "id": str(number)})
                self.assertIn(b"t most 2 ", radio.expect("ERROR").body)
            with Radio.connect(server.address, version="1.2") as radio:
                radio.say("SEND", {"destination": "/topic/id/tests._ebu.nowhere/topic1/a"}, b"x" * 2_500)
                self.assertIn(b"t most 2000 ", radio.expect("ERROR").body)

    def test_a_setting_that_is_a_constant_now_is_accepted_with_a_warning(self) -> None:
        server = node("--max-headers", "9", HTTP_BODY_BYTES=5)
        (server.folder / "config.py").write_text("LINGER_SECONDS = 'none'\n")
        with server:
            warned = {str(each["warning"]) for each in server.events("settings.warning")}
            for said in (
                "MAX_HEADERS: no effect; it is always 64 headers",
                "HTTP_BODY_BYTES: no effect; it is always 16384 octets",
                "LINGER_SECONDS: no effect; it is always 1 s",
            ):
                self.assertIn(said, warned)

    def test_it_listens_on_ipv6(self) -> None:
        with node(STOMP_IP="::1") as server:
            self.assertEqual(server.address[0], "::1")
            with Radio.connect(server.address) as radio:
                self.assertEqual(radio.so_far(), [])

    def test_sigterm_ends_it_with_clients_on_it(self) -> None:
        with node() as server, Radio.connect(server.address) as radio, Radio(server.address) as silent:
            silent.send(b"CONN")
            server.terminate()
            self.assertTrue(radio.ends())
            self.assertEqual(server.faults, [])

    def test_a_node_that_was_killed_starts_again_on_its_port(self) -> None:
        with node() as server:
            address = server.address
            with Radio.connect(address) as radio:
                server.kill()
                self.assertTrue(radio.ends())
            server.start()
            self.assertEqual(server.address, address)
            Radio.connect(address).close()

    def test_ctrl_c_ends_it(self) -> None:
        with node() as server:
            server.interrupt()
            self.assertEqual(server.exit_code(), 0)
            self.assertEqual(server.faults, [])

    def test_passwords_reach_no_log(self) -> None:
        with node(LOG_LEVEL="DEBUG", RABBITMQ_PASSWORD="brokers-secret") as server:
            with Radio(server.address) as radio:
                radio.send(b"CONNECT\nlogin:1.test\npasscode:s3cret-three\n\n\0")
                radio.expect("ERROR")
            server.wait_for("login.refused")
            with Radio.connect(server.address, "1.test", "test", version="1.2") as radio:
                radio.say("SEND", {"destination": "/topic/x", "passcode": "s3cret-one"}, b"s3cret-two")
                radio.expect("ERROR")
            server.terminate()
            self.assertNotRegex(server.text, "s3cret|brokers-secret")
