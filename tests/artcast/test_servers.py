"""Several servers fed by one source: by multicast, by unicast, and over the bus."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import unittest
import uuid
from collections.abc import Iterator, Sequence
from unittest import mock

from twisted.internet import reactor

from artcast import cli
from artcast.settings import Settings
from fanout.bus.broker_settings import RetryPolicy
from tests.artcast import namespaces
from tests.artcast.server import HOST, ArtcastServer, Asking
from tests.processes import ROOT
from tests.services import free_port, rabbitmq

SECONDS = 30


class Program:
    """A source or a client as a process, perhaps on another machine."""

    def __init__(self, module: str, *arguments: str, within: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", module, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=SECONDS)

    def lines(self, count: int) -> list[str]:
        """The first lines it writes."""
        assert self.process.stdout is not None
        return [self.process.stdout.readline().strip() for _ in range(count)]


class Unicast(unittest.TestCase):
    def test_two_servers_get_what_is_sent_to_each(self) -> None:
        with ArtcastServer() as one, ArtcastServer() as two:
            for server in (one, two):
                with Asking(server.client, "key") as client:
                    client.held()
                    server.send("key", 7)
                    self.assertEqual(client.answer().body, b"7")

    def test_two_servers_on_one_host_share_ports_and_each_gets_every_multicast_datum(self) -> None:
        if not _multicast_here():
            self.skipTest("this machine has no route for multicast")
        data, register = str(free_port()), str(free_port())
        flags = ("--data-group", "239.77.0.1", "--data-port", data, "--register-group", "239.77.0.1")
        flags = (*flags, "--register-port", register)
        with ArtcastServer(*flags) as one, ArtcastServer(*flags) as two, contextlib.ExitStack() as all_:
            clients = [all_.enter_context(Asking(each.client, "test/tick")).held() for each in (one, two)]
            options = ("--group", "239.77.0.1", "--data-port", data, "--registration-port", register)
            all_.enter_context(Program("artcast.sources.tick", *options))
            self.assertEqual(len({client.answer().body for client in clients}), 1)
            for server in (one, two):
                self.assertEqual(server.listed()[0]["license"]["title"], "CC0 1.0")


@unittest.skipIf(namespaces.missing(), namespaces.missing())
class Machines(unittest.TestCase):
    def test_two_servers_on_two_machines_are_fed_by_one_source_on_a_third(self) -> None:
        with namespaces.Machines(3) as machines, contextlib.ExitStack() as all_:
            inside = [machines.within(number) for number in range(3)]
            servers = [
                all_.enter_context(
                    ArtcastServer(
                        within=inside[number],
                        DATA_GROUP="224.1.1.1",
                        DATA_PORT=5007,
                        REGISTER_GROUP="224.1.1.1",
                        REGISTER_PORT=5008,
                        CLIENT_IP="0.0.0.0",
                    )
                )
                for number in range(2)
            ]
            clients = []
            for number, server in enumerate(servers):
                address = f"http://{machines.addresses[number]}:{server.client[1]}"
                client = Program("artcast.client", address, "test/tick", within=inside[2])
                clients.append(all_.enter_context(client))
            all_.enter_context(Program("artcast.sources.tick", within=inside[2]))
            heard = [list(map(int, client.lines(3))) for client in clients]
            for values in heard:  # each in order and without a gap: a value stands for a second
                self.assertEqual(values, list(range(values[0], values[0] + 3)))
            self.assertFalse([each for server in servers for each in server.faults])

    def test_without_a_way_to_the_group_that_is_logged_and_unicast_goes_on(self) -> None:
        with namespaces.Machines(1, joined=False) as machines, contextlib.ExitStack() as all_:
            inside = machines.within(0)
            server = all_.enter_context(
                ArtcastServer(within=inside, DATA_GROUP="224.1.1.1", DATA_PORT=5007, REGISTER_GROUP="224.1.1.1")
            )
            for port in ("data", "register"):
                server.wait_for("group.not_joined", group="224.1.1.1", port=port)
            address = f"http://{HOST}:{server.client[1]}"
            client = all_.enter_context(Program("artcast.client", address, "test/tick", within=inside))
            all_.enter_context(Program("artcast.sources.tick", "--group", HOST, within=inside))
            (value,) = client.lines(1)
            self.assertTrue(value.isdecimal())


class Bus(unittest.TestCase):
    @contextlib.contextmanager
    def servers(self, count: int, **settings: object) -> Iterator[list[ArtcastServer]]:
        broker = rabbitmq()
        prefix = f"/topic/{uuid.uuid4().hex}/"
        with contextlib.ExitStack() as all_:
            yield [
                all_.enter_context(
                    ArtcastServer(
                        "--bus",
                        "rabbitmq",
                        RABBITMQ_HOST=broker.host,
                        RABBITMQ_PORT=broker.port,
                        TOPIC_PREFIX=prefix,
                        LOG_LEVEL="INFO",
                        **settings,
                    )
                )
                for _ in range(count)
            ]

    def test_a_value_waits_two_seconds_for_the_broker_and_is_not_sent_again(self) -> None:
        """It is a state: the next value comes."""
        with mock.patch("fanout.bus.rabbitmq.rabbitmq") as made:
            cli._bus(reactor, Settings(BUS="rabbitmq"))
        self.assertEqual(made.call_args.args[3], RetryPolicy(max_age=2, resend=0))

    def test_what_one_server_hears_reaches_the_clients_of_all_and_once(self) -> None:
        with self.servers(2) as (one, two):
            for server in (one, two):
                server.wait_for("bus.caught_up")
            with Asking(two.client, "key") as far, Asking(one.client, "key") as near:
                far.held()
                near.held()
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
                    for number in range(5):
                        for server in (one, two):  # as multicast would: the same source, the same datum
                            source.sendto(json.dumps(["key", number]).encode(), server._place("data"))
                        self.assertEqual(int(near.answer().body), number)
                        self.assertEqual(int(far.answer().body), number)
                        near.ask()
                        far.ask()
                        near.held()
                        far.held()
                    one.register("key", description="far and wide")
                    source.sendto(b'["key", "only to one"]', one._place("data"))
                    self.assertEqual(near.answer().body, b"only to one")
                    self.assertEqual(far.answer().body, b"only to one")
            for server in (one, two):
                self.assertEqual(server.listed(), [{"key": "key", "description": "far and wide"}])


def _multicast_here() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.sendto(b"", ("239.77.0.1", 9))
        except OSError:
            return False
        return True
