"""The configurations of HAProxy and nginx we ship, but for their ports, in front of two real nodes."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path
from typing import ClassVar

from tests import services
from tests.acceptance.cluster import Cluster, node
from tests.acceptance.test_tls import TlsRadio
from tests.acceptance.watched import until
from tests.authority import Authority
from tests.message_socket import MessageSocket
from tests.name_server import NameServer
from tests.processes import ROOT, Address
from tests.radio import Radio, frame
from tests.services import free_port
from tests.web import Events, Raw, ask, basic, poll_path

HOST = "127.0.0.1"
NODES = ("127.0.1.1", "127.0.1.2")
SECONDS = 20.0
TOPIC = "/topic/id/tests._ebu.nowhere/topic1/image"
SBIN = f"{os.environ['PATH']}:/usr/sbin"
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


class _Case(unittest.TestCase):
    """Two nodes at two addresses with the same ports, as containers have them, and what is in front.

    :cvar ports: of the load balancer, by the ports of the shipped file.
    """

    program: ClassVar[str]
    cluster: ClassVar[Cluster]
    node_ports: ClassVar[dict[int, int]]
    ports: ClassVar[dict[int, int]]
    folder: ClassVar[Path]
    log: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix=f"radiovis-{cls.program}-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.start_nodes()
        cls.ports = {port: free_port() for port in (61613, 61614, 8080, 8443, 80, 443, 8404)}
        configuration = cls.folder / "configuration"
        configuration.write_text(cls.configuration())
        cls.start_proxy(cls.command(configuration))

    @classmethod
    def start_nodes(cls) -> None:
        cls.node_ports = {port: free_port() for port in (61613, 61614, 8080, 8443, 8081)}
        authority = Authority(cls.folder)
        TlsRadio.context = authority.client()
        names = ("STOMP_PORT", "STOMP_TLS_PORT", "HTTP_PORT", "HTTPS_PORT", "ADMIN_PORT")
        settings = dict(zip(names, cls.node_ports.values(), strict=True))
        cls.cluster = Cluster(services.rabbitmq(), nodes=0)
        cls.addClassCleanup(cls.cluster.close)
        for ip in NODES:
            ips = dict.fromkeys(("STOMP_IP", "HTTP_IP", "ADMIN_IP"), ip)
            certificate = authority.issue(f"{ip}.pem", HOST)
            cls.cluster.nodes.append(
                node(
                    services.rabbitmq(),
                    cls.cluster.exchange,
                    **settings,
                    **ips,
                    TLS_CERTIFICATE=certificate,
                    PROXY_FROM="127.0.0.1",
                    MONITORING_ENABLED=False,
                    LOG_LEVEL="DEBUG",  # client.connected
                )
            )
            cls.cluster.nodes[-1].launch()
        cls.cluster.wait_until_connected()

    @classmethod
    def start_proxy(cls, command: list[str]) -> None:
        cls.log = cls.folder / "log"
        with cls.log.open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        cls.addClassCleanup(process.wait, SECONDS)
        cls.addClassCleanup(process.terminate)
        deadline = time.monotonic() + SECONDS
        while not cls.passes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{cls.program} does not serve: {cls.log.read_text()}")
            time.sleep(0.05)

    @classmethod
    def passes(cls) -> bool:
        """Whether a radio gets through to a node."""
        try:
            with Radio(cls.at(61613), seconds=2) as radio:
                radio.say("CONNECT")
                return radio.frame().command == "CONNECTED"
        except (OSError, AssertionError):
            return False

    @classmethod
    def configuration(cls) -> str:
        """The shipped file with other ports."""
        raise NotImplementedError

    @classmethod
    def command(cls, configuration: Path) -> list[str]:
        raise NotImplementedError

    @classmethod
    def at(cls, port: int) -> Address:
        """Where the load balancer listens, by the shipped file's port."""
        return HOST, cls.ports[port]

    http_port, https_port = 8080, 8443

    def tearDown(self) -> None:
        self.assertEqual(self.cluster.faults, [])

    def radio(self, *login: str, version: str | None = None) -> Radio:
        radio = Radio.connect(self.at(61613), *login, version=version)
        self.addCleanup(radio.close)
        return radio

    def publish(self, body: bytes) -> None:
        with Radio.connect(self.at(61613), "1.test", "test", version="1.2") as publisher:
            publisher.publish(TOPIC, body)

    def clients(self) -> list[int]:
        """How many STOMP clients each node has had."""
        return [len(each.events("client.connected")) for each in self.cluster.nodes]

    # What any of them does

    def test_radios_on_both_nodes_hear_what_was_published_on_one(self) -> None:
        before = self.clients()
        radios = [self.radio() for _ in range(6)]
        for radio in radios:
            radio.subscribe(TOPIC, fast_reply=False)
        until(lambda: all(now > then for now, then in zip(self.clients(), before, strict=True)), "radios on both nodes")
        self.publish(b"SHOW http://s/through.png")
        self.assertEqual([radio.frame().body for radio in radios], [b"SHOW http://s/through.png"] * 6)

    def test_the_node_sees_the_clients_own_address(self) -> None:
        self.refuse("127.0.9.1", 61613, frame("CONNECT", {"login": "1.test", "passcode": "wrong"}))
        head = f"POST /services/1 HTTP/1.1\r\nhost: x\r\nauthorization: {basic('1.test', 'wrong')}\r\n"
        self.refuse("127.0.9.2", self.http_port, f"{head}content-length: 0\r\n\r\n".encode())

    def refuse(self, address: str, port: int, words: bytes) -> None:
        """One node refuses a login, and knows whose it was."""
        with socket.create_connection(self.at(port), SECONDS, (address, 0)) as client:
            client.sendall(words)
            until(lambda: any(each.events("login.refused", address=address) for each in self.cluster.nodes), address)

    def test_stomp_over_tls(self) -> None:
        radio = TlsRadio.connect(self.at(61614))
        self.addCleanup(radio.close)
        radio.subscribe(TOPIC, fast_reply=False)
        self.publish(b"SHOW http://s/tls.png")
        self.assertEqual(radio.frame().body, b"SHOW http://s/tls.png")

    def test_https(self) -> None:
        plain = socket.create_connection(self.at(self.https_port), SECONDS)
        self.addCleanup(plain.close)
        with TlsRadio.context.wrap_socket(plain, server_hostname=HOST) as secure:
            secure.sendall(b"GET /radiodns/vis/vis.json HTTP/1.0\r\n\r\n")
            self.assertIn(b"HTTP/1.", secure.recv(4096))

    def test_a_long_poll_is_answered_by_the_next_slide(self) -> None:
        self.publish(b"SHOW http://s/1.png")
        first = ask(self.at(self.http_port), poll_path(TOPIC)).json
        while first["body"] != "SHOW http://s/1.png":  # The receipt says that the broker has it, and not this node.
            first = ask(self.at(self.http_port), poll_path(TOPIC, last_id=first["headers"]["RadioVIS-Message-ID"])).json
        path = poll_path(TOPIC, last_id=first["headers"]["RadioVIS-Message-ID"])
        with Raw(self.at(self.http_port), f"GET {path} HTTP/1.1\r\nhost: radio\r\n\r\n".encode()) as poll:
            self.publish(b"SHOW http://s/2.png")
            self.assertIn(b" 200 ", poll.until(b"\r\n"))
            poll.until(b"SHOW http://s/2.png")

    def test_an_event_stream(self) -> None:
        self.publish(b"SHOW http://s/3.png")
        with Events(self.at(self.http_port), "/radiodns/push/1.0/id/tests._ebu.nowhere/topic1") as stream:
            while stream.next().data["src"] != "http://s/3.png":
                pass  # The receipt says that the broker has it, and not this node.
            self.publish(b"SHOW http://s/4.png")
            self.assertEqual(stream.next().data["src"], "http://s/4.png")

    def test_stomp_over_a_websocket(self) -> None:
        web = MessageSocket.connect(self.at(self.http_port), "/stomp", ["v12.stomp"])
        self.addCleanup(web.close)
        web.say("CONNECT\naccept-version:1.2\nhost:h\n\n\0")
        self.assertTrue(str(web.message()).startswith("CONNECTED"))
        web.say(f"SUBSCRIBE\nid:1\ndestination:{TOPIC}\nx-ebu-nofastreply:yes\nreceipt:s\n\n\0")
        self.assertTrue(str(web.message()).startswith("RECEIPT"))
        self.publish(b"SHOW http://s/5.png")
        self.assertIn("SHOW http://s/5.png", str(web.message()))


@unittest.skipUnless(shutil.which("haproxy", path=SBIN), "haproxy is missing: apt-get install haproxy")
class HAProxy(_Case):
    program = "haproxy"

    @classmethod
    def setUpClass(cls) -> None:
        cls.names = NameServer(addresses={"server": list(NODES)})
        cls.addClassCleanup(cls.names.close)
        super().setUpClass()

    names: ClassVar[NameServer]

    @classmethod
    def configuration(cls) -> str:
        text = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
        text = text.replace("127.0.0.11:53", cls.names.address)
        text = re.sub(r"bind :(\d+)", lambda found: f"bind {HOST}:{cls.ports[int(found[1])]}", text)
        return re.sub(r"(server:|check port )(\d+)", lambda found: f"{found[1]}{cls.node_ports[int(found[2])]}", text)

    @classmethod
    def command(cls, configuration: Path) -> list[str]:
        return [shutil.which("haproxy", path=SBIN) or "", "-db", "-f", str(configuration)]

    def test_its_own_health(self) -> None:
        self.assertEqual(ask(self.at(8404), "/healthz").status, 200)
        self.assertIn(b"haproxy_server_status", ask(self.at(8404), "/metrics").body)

    def test_who_is_not_ready_gets_no_new_clients(self) -> None:
        first, second = self.cluster.nodes
        self.until_up(2)
        second.pause()
        self.addCleanup(second.resume)
        self.until_up(1)
        before = len(first.events("client.connected"))
        for _ in range(4):
            self.radio()
        first.wait_for("client.connected", count=before + 4)
        second.resume()
        self.until_up(2)

    def until_up(self, nodes: int) -> None:
        """Until HAProxy takes so many for ready."""
        wanted = f'haproxy_backend_active_servers{{proxy="stomp"}} {nodes}'.encode()
        until(lambda: wanted in ask(self.at(8404), "/metrics").body, f"{nodes} nodes that are up", SECONDS)


@unittest.skipUnless(
    shutil.which("nginx", path=SBIN) and STREAM.exists(),
    "nginx is missing: apt-get install nginx-light libnginx-mod-stream",
)
class Nginx(_Case):
    program = "nginx"
    http_port, https_port = 80, 443

    @classmethod
    def configuration(cls) -> str:
        text = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
        text = text.replace("10.0.16.11", NODES[0]).replace("10.0.16.12", NODES[1])
        text = re.sub(r"listen (\d+)", lambda found: f"listen {HOST}:{cls.ports[int(found[1])]}", text)
        text = re.sub(r"(server [\d.]+:)(\d+)", lambda found: f"{found[1]}{cls.node_ports[int(found[2])]}", text)
        return f"pid {cls.folder}/pid;\n" + text

    @classmethod
    def command(cls, configuration: Path) -> list[str]:
        program = shutil.which("nginx", path=SBIN) or ""
        return [program, "-e", "stderr", "-c", str(configuration), "-g", "daemon off;"]
