"""RabbitMQ and memcached for the tests: private servers on free ports of 127.0.0.1, with data in temporary folders.

:func:`rabbitmq` and :func:`memcached` give the servers all tests share; :class:`RabbitMQ` and :class:`Memcached`
are for tests that stop, kill or freeze one. Everything here blocks; under a running reactor use ``deferToThread``.
"""

from __future__ import annotations

import atexit
import functools
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

HOST = "127.0.0.1"
START_SECONDS = 300  # A broker takes four seconds; on two very busy cores it has taken 130.
STOP_SECONDS = 30
QUORUM_SECONDS = 60
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
CONNECTION_START = b"\x00\x0a\x00\x0a"  # Class and method of the first frame a broker sends (AMQP 0-9-1, 1.4.2.1).
RABBITMQ_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # The one in the path insists on being root or rabbitmq.

TICK_SECONDS = 8
"""Seconds, about, after which a broker node takes another one for dead that is silent; Erlang's default is 60."""
CLUSTER_CONFIGURATION = """
cluster_partition_handling = pause_minority
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.discovery_retry_limit = 2
cluster_formation.discovery_retry_interval = 100
"""
PARTITION = """
[erlang:set_cookie(N, none) || N <- [OTHERS]],
[erlang:disconnect_node(N) || N <- [OTHERS]],
os:system_time(millisecond).
"""
"""For the node that is cut off. Erlang nodes connect only if each has the cookie that the other expects. Here is no
``iptables``, and a proxy between the nodes would need an ``epmd`` that gives away its ports."""
WHOLE = """
[SIZE] =:= (catch lists:usort([length(rpc:call(N, rabbit_nodes, all_running, [])) || N <- rabbit_nodes:all()])).
"""
"""Whether each node sees as many running nodes as there are."""
HEAL = "[erlang:set_cookie(N, erlang:get_cookie()) || N <- [OTHERS]]."
WHOLE_SECONDS = 0.1
"""Seconds between two questions whether the nodes are one cluster again."""

# Waits for the end of the test process, however it ends (the pipe closes), and clears up behind it.
GUARD = """
cat > /dev/null
for pid in "$1"/*.pid; do [ -e "$pid" ] && kill -s KILL -- "-$(cat "$pid")" 2> /dev/null; done
rm -rf "$1" 2> /dev/null || { sleep 1; rm -rf "$1"; }
"""

JOB_VARIABLE = "RADIOVIS_TESTS_JOB"  # "0/2": the first of two test processes side by side; see free_port().

_given_ports: set[int] = set()


class ServiceError(Exception):
    """A server is not installed or did not start. The text says what to do, or ends with the server's own log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 nobody uses, never given twice, nor by another job of the same run.

    It lies below the range the kernel picks outgoing ports from: a client that keeps trying to reach a stopped
    server would otherwise, sooner or later, connect to itself and hold the port.
    """
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    job, jobs = map(int, os.environ.get(JOB_VARIABLE, "0/1").split("/"))
    for _ in range(1000):
        port = random.randrange(10240 + job, lowest_outgoing, jobs)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port not in _given_ports and probe.connect_ex((HOST, port)) != 0 and _bindable(port):
                _given_ports.add(port)
                return port
    raise ServiceError(f"no free port between 10240 and {lowest_outgoing}")


def free_ports_in_a_row(number: int) -> int:
    """The first of so many free ports that follow each other, for what counts up from one port."""
    while True:
        first = free_port()
        others = range(first + 1, first + number)
        if all(port not in _given_ports and _bindable(port) for port in others):
            _given_ports.update(others)
            return first


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class AmqpAddress:
    """Where a broker listens and who may log in."""

    host: str
    port: int
    user: str = "guest"
    password: str = "guest"
    vhost: str = "/"


@dataclass(frozen=True)
class MemcachedAddress:
    """Where a memcached listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class _Service:
    """A server process of our own, in a process group of its own, with a temporary folder and a guard."""

    name: str

    def __init__(self) -> None:
        self.host = HOST
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"radiovis-{self.name}-"))
        self.log = self.folder / "log"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self.folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        atexit.register(self.close)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it and return when it answers. Raises :class:`ServiceError` with the end of its log otherwise."""
        raise NotImplementedError

    def _answers(self, probe: socket.socket) -> bool:
        """Whether the server at the other end of this connection is ready for work."""
        raise NotImplementedError

    def stop(self) -> None:
        """Shut down in order; :meth:`start` brings it back with its data, on the same port."""
        self._signal(signal.SIGCONT)
        self._end(self.name, signal.SIGTERM)

    def kill(self) -> None:
        """End at once, as in a crash."""
        self._end(self.name, signal.SIGKILL)

    def restart(self) -> None:
        """:meth:`stop` and :meth:`start`."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze: connections stay open and nothing is answered, as when a network swallows packets."""
        self._signal(signal.SIGSTOP)
        # The signal returns before the last thread has stopped; this waits for it.
        os.waitid(os.P_PID, self._processes[self.name].pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """End a :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it for good and remove its folder. May be called twice."""
        atexit.unregister(self.close)
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.stdin.close()
            self._guard.wait(STOP_SECONDS)
            for process in self._processes.values():
                process.wait(STOP_SECONDS)
            self._processes.clear()

    def _spawn(self, name: str, *command: str, environment: dict[str, str] | None = None) -> None:
        if name in self._processes:
            raise ServiceError(f"{name} on port {self.port} is already started")
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            )
        self._processes[name] = process
        (self.folder / f"{name}.pid").write_text(str(process.pid))

    def _signal(self, number: signal.Signals) -> None:
        if self.name in self._processes:
            os.kill(self._processes[self.name].pid, number)

    def _end(self, name: str, number: signal.Signals) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
        (self.folder / f"{name}.pid").unlink()

    def _wait(self, ready: Callable[[socket.socket], bool], port: int, name: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._processes[name].poll() is None:
            try:
                with socket.create_connection((HOST, port), timeout=2) as probe:
                    if ready(probe):
                        return
            except OSError:
                pass  # Not listening yet, which is what we are waiting for.
            time.sleep(0.05)
        status = self._processes[name].poll()
        reason = f"no answer after {START_SECONDS} s" if status is None else f"it ended with status {status}"
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        self.close()
        raise ServiceError(f"{name} did not start: {reason}. The end of its log:\n{tail}")


class RabbitMQ(_Service):
    """A broker of one's own: ``with RabbitMQ() as broker: … broker.kill() … broker.start()``."""

    name = "rabbitmq"

    def __init__(self, epmd_port: int | None = None) -> None:
        """:param epmd_port: of the name server that somebody else starts; by default it has one of its own."""
        _require(RABBITMQ_SERVER)
        super().__init__()
        self.address = AmqpAddress(self.host, self.port)
        self.user, self.password, self.vhost = self.address.user, self.address.password, self.address.vhost
        self.node_name = f"radiovis-{self.port}@localhost"
        self._owns_epmd = epmd_port is None
        self._epmd_port = epmd_port or free_port()
        self._environment = self._make_environment()

    def start(self) -> None:
        if self._owns_epmd:
            self.start_epmd()
        self._spawn("rabbitmq", RABBITMQ_SERVER, environment=self._environment)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Until it takes clients."""
        self._wait(self._answers, self.port, "rabbitmq")

    def start_epmd(self) -> None:
        """Start Erlang's name server, which outlives :meth:`kill` and :meth:`stop`."""
        if "epmd" not in self._processes:
            self._spawn("epmd", _require("epmd"), "-port", str(self._epmd_port), "-address", HOST)
            self._wait(lambda _: True, self._epmd_port, "epmd")

    def belong_to(self, node_names: Sequence[str], cookie: str) -> None:
        """Form a cluster with these nodes at the first start: each joins one that it finds, one after the other."""
        with (self.folder / "rabbitmq.conf").open("a") as conf:
            conf.write(CLUSTER_CONFIGURATION)
            for number, name in enumerate(node_names, 1):
                conf.write(f"cluster_formation.classic_config.nodes.{number} = {name}\n")
        file = self.folder / ".erlang.cookie"
        file.write_text(cookie)
        file.chmod(0o400)
        self._environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] += f" -kernel net_ticktime {TICK_SECONDS}"

    def kill(self) -> None:
        """End at once, as in a crash; but not in the seconds in which it writes down that there is a quorum queue, or a
        coordinator of streams.

        RabbitMQ 3.10 does that up to 4 s after the first one was declared. If it is killed before, the queue or stream
        has no leader after the restart, and never gets one (rabbitmq-server#10070), until it is deleted.
        """
        deadline = time.monotonic() + QUORUM_SECONDS
        while self._writes_down_queues() and time.monotonic() < deadline:
            time.sleep(0.05)
        super().kill()

    def kill_at_once(self) -> bool:
        """:meth:`kill` in those seconds too. :return: whether they were not over."""
        early = self._writes_down_queues()
        super().kill()
        return early

    def forget_streams(self) -> None:
        """What a :meth:`kill` in those seconds does: all streams stay down for ever. Only while it does not run."""
        for table in self.folder.glob("mnesia/*/coordination/*/names.dets"):
            table.unlink()

    def _writes_down_queues(self) -> bool:
        """Whether its table of either is not closed: the third number of the file (Erlang's ``dets_v9.erl``)."""
        tables = self.folder.glob("mnesia/*/[cq]*/*/names.dets")  # Folders "coordination" and "quorum".
        return any(table.read_bytes()[8:12] == bytes(4) for table in tables)

    def ctl(self, *arguments: str) -> str:
        """Give ``rabbitmqctl`` an order, which takes a second or two; what it printed."""
        command = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "-n", self._environment["RABBITMQ_NODENAME"], *arguments]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=START_SECONDS, check=False
        )
        if done.returncode:
            raise ServiceError(f"rabbitmqctl {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def erlang(self, expressions: str) -> str:
        """Have the broker evaluate Erlang, which takes some milliseconds; what came out, as Erlang writes it.

        ``rabbitmqctl eval`` does the same, but starts an Erlang machine first: 1.5 s of a processor, a minute on a
        machine that is busy.
        """
        port, cookie = self._environment["RABBITMQ_DIST_PORT"], (self.folder / ".erlang.cookie").read_text()
        command = [_require("erl_call"), "-address", f"{HOST}:{port}", "-c", cookie, "-e"]
        done = subprocess.run(
            command, input=f"{expressions}\n", capture_output=True, text=True, timeout=START_SECONDS, check=False
        )
        if done.returncode or not done.stdout.startswith("{ok, "):
            raise ServiceError(f"erl_call {expressions}: {done.stdout}{done.stderr}")
        return done.stdout.removeprefix("{ok, ").removesuffix("}")

    def run(self, script: Path, *arguments: str) -> str:
        """Run a script that calls ``rabbitmqctl``, as beside this broker; what it printed."""
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        ctl = folder / "rabbitmqctl"
        node = self._environment["RABBITMQ_NODENAME"]
        ctl.write_text(f'#!/bin/sh\nexec /usr/lib/rabbitmq/bin/rabbitmqctl -q -n {node} "$@"\n')
        ctl.chmod(0o755)
        path = f"{folder}:{self._environment['PATH']}"
        done = subprocess.run(
            [str(script), *arguments],
            env={**self._environment, "PATH": path},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if done.returncode:
            raise ServiceError(f"{script} {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def _answers(self, probe: socket.socket) -> bool:
        probe.sendall(AMQP_HEADER)
        return CONNECTION_START in probe.recv(64)

    def _make_environment(self) -> dict[str, str]:
        """Everything the start script would otherwise take from /etc, /var or the user's home.

        ``RABBITMQ_ALLOW_INPUT`` makes the script turn into the Erlang machine instead of being its parent, so that
        a signal to our child reaches the broker itself.
        """
        (self.folder / "rabbitmq.conf").write_text("loopback_users = none\ndisk_free_limit.absolute = 1MB\n")
        (self.folder / "plugins").write_text("[].\n")
        (self.folder / "rabbitmq-env.conf").write_text("")
        no_busy_waiting = "+sbwt none +sbwtdcpu none +sbwtdio none"
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),  # The Erlang cookie.
            "LANG": "C.UTF-8",
            "ERL_CRASH_DUMP_BYTES": "0",
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_NODENAME": self.node_name,
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_PID_FILE": str(self.folder / "broker-pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": no_busy_waiting,
            "RABBITMQ_SERVER_START_ARGS": "-noinput -kernel inet_dist_use_interface {127,0,0,1}",
        }


class BrokerCluster:
    """Nodes of one RabbitMQ cluster: ``with BrokerCluster() as cluster: … cluster.nodes[0].pause()``.

    Started in parallel, they find each other by RabbitMQ's own cluster formation, which needs no ``rabbitmqctl``. A
    node on the smaller side of a partition pauses itself (``pause_minority``).

    :ivar nodes: each may be killed, paused and started again like any :class:`RabbitMQ`.
    :ivar address: of the first node.
    """

    def __init__(self, size: int = 3) -> None:
        epmd_port = free_port()
        self.nodes = [RabbitMQ(epmd_port) for _ in range(size)]
        names, cookie = [node.node_name for node in self.nodes], secrets.token_hex(10)
        for node in self.nodes:
            node.belong_to(names, cookie)
        self.address = self.nodes[0].address

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hosts(self, first: int = 0) -> str:
        """All of them, for ``RABBITMQ_HOST``. :param first: number of the node that is tried first."""
        nodes = self.nodes[first:] + self.nodes[:first]
        return ",".join(f"{node.host}:{node.port}" for node in nodes)

    def start(self) -> None:
        """Start all nodes, and return when they are one cluster."""
        self.nodes[0].start_epmd()
        self._all(RabbitMQ.start)
        self.wait_until_whole()

    def kill(self) -> None:
        """End all nodes at once; :meth:`start` brings them back with their data."""
        self._all(RabbitMQ.kill)

    def restart(self) -> None:
        """Shut all nodes down in order, and start them."""
        self._all(RabbitMQ.stop)
        self.start()

    def pause(self) -> None:
        """Freeze all nodes."""
        self._all(RabbitMQ.pause)

    def resume(self) -> None:
        """End a :meth:`pause`."""
        self._all(RabbitMQ.resume)

    def _all(self, action: Callable[[RabbitMQ], None]) -> None:
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            list(threads.map(action, self.nodes))

    def wait_until_whole(self) -> None:
        """Until every node takes clients, and is connected with all others."""
        deadline = time.monotonic() + START_SECONDS
        while self.nodes[0].erlang(WHOLE.replace("SIZE", str(len(self.nodes)))) != "true":
            if time.monotonic() > deadline:
                raise ServiceError(f"the broker's nodes are not one cluster after {START_SECONDS} s")
            time.sleep(WHOLE_SECONDS)
        for node in self.nodes:
            node.wait_until_ready()

    def partition(self, node: RabbitMQ) -> float:
        """Cut the connections between this node and the others, and let them make no new ones: see :data:`PARTITION`.

        Clients reach all nodes as before. The moment, in Unix time.
        """
        others = ",".join(f"'{each.node_name}'" for each in self.nodes if each is not node)
        return int(node.erlang(PARTITION.replace("OTHERS", others))) / 1000

    def heal(self, node: RabbitMQ) -> None:
        """End a :meth:`partition`; the node is back when :meth:`wait_until_whole` returns."""
        others = ",".join(f"'{each.node_name}'" for each in self.nodes if each is not node)
        node.erlang(HEAL.replace("OTHERS", others))

    def close(self) -> None:
        """End all nodes and remove their folders. May be called twice."""
        self._all(RabbitMQ.close)


class Memcached(_Service):
    """A memcached of one's own. Its data is gone after :meth:`stop`."""

    name = "memcached"

    def __init__(self) -> None:
        _require("memcached")
        super().__init__()
        self.address = MemcachedAddress(self.host, self.port)

    def start(self) -> None:
        user = ["-u", "root"] if os.geteuid() == 0 else []
        self._spawn("memcached", _require("memcached"), "-l", HOST, "-p", str(self.port), "-U", "0", *user)
        self._wait(self._answers, self.port, "memcached")

    def _answers(self, probe: socket.socket) -> bool:
        probe.sendall(b"version\r\n")
        return probe.recv(64).startswith(b"VERSION")


@functools.cache
def rabbitmq() -> AmqpAddress:
    """The broker all tests share: of ``RADIOVIS_TESTS_RABBITMQ=host:port``, or started now and stopped at exit.

    Use an exchange or topic of your own on it.
    """
    if given := os.environ.get("RADIOVIS_TESTS_RABBITMQ"):
        return AmqpAddress(*_host_and_port(given))
    broker = RabbitMQ()
    broker.start()
    return broker.address


@functools.cache
def memcached() -> MemcachedAddress:
    """The memcached all tests share: of ``RADIOVIS_TESTS_MEMCACHED=host:port``, or started now and stopped at exit.

    Use keys of your own on it.
    """
    if given := os.environ.get("RADIOVIS_TESTS_MEMCACHED"):
        return MemcachedAddress(*_host_and_port(given))
    cache = Memcached()
    cache.start()
    return cache.address


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _require(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise ServiceError(f"{program} is missing: apt-get install rabbitmq-server memcached")
    return found
