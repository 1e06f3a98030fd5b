"""Generates load: many subscribers and one publisher on raw sockets, so that the server is measured and not a client.

:class:`Target` is the measured server: a node that is started for the measurement (:func:`own_node`), or any STOMP
server given by a URL. :class:`Load` makes the load. The sans-IO session of ``fanout/stomp/client.py`` logs in and
subscribes; after that no frame is parsed. Frames are counted by the NUL that ends each of them; latency is read on some
subscribers from a time stamp in the body.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fanout.stomp.client import ClientSession, Connected, ConnectRefused, Receipted
from radiovis.client.command_line import CommandError
from radiovis.client.server_address import ServerAddress
from radiovis.client.sockets import open_tcp
from radiovis.directory.password import hash_password
from radiovis.settings import Settings

TOPIC = "/topic/bench/text"
_SOURCE = Path(__file__).parents[2]


class BenchError(CommandError):
    """The measurement failed."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server to connect to.

    :ivar passcode: passcode of the publisher; subscribers use it too if ``everybody_logs_in``.
    :ivar pids: processes whose CPU time and memory count; empty if they are not on this machine.
    """

    name: str
    host: str
    port: int
    login: str = ""
    passcode: str = ""
    topic: str = TOPIC
    everybody_logs_in: bool = False
    pids: tuple[int, ...] = ()

    @classmethod
    def of(cls, server: ServerAddress, topic: str, pids: Sequence[int]) -> Target:
        """A server given by its address. If it has a login, subscribers log in as well."""
        login = bool(server.login)
        return cls(server.host, server.host, server.port, server.login, server.passcode, topic, login, tuple(pids))


@contextmanager
def own_node() -> Iterator[Target]:
    """A stand-alone node of this program, which runs as long as the context.

    :raises BenchError: it does not start.
    """
    passcode = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="radiovis-bench-") as folder:
        stations = Path(folder, "stations.toml")
        stations.write_text(
            f'[[station]]\nlogin = "1.bench"\npassword = "{hash_password(passcode)}"\n'
            f'[[station.channel]]\ntopic = "{TOPIC.rpartition("/")[0]}/"\n'
        )
        flags = ["--standalone", "--stations-file", str(stations), "--stomp-ip", "127.0.0.1", "--config", "/dev/null"]
        flags += ["--stomp-port", "0", "--http-port", "0", "--admin-port", "0", "--log-format", "json"]
        command = [sys.executable, "-m", "radiovis", *flags]
        node = subprocess.Popen(  # noqa: S603  (our own program)
            command, stderr=subprocess.PIPE, text=True, cwd=folder, env=_environment()
        )
        try:
            yield Target("this program", "127.0.0.1", _port(node), "1.bench", passcode, pids=(node.pid,))
        finally:
            node.terminate()
            node.communicate()


def _environment() -> dict[str, str]:
    """Our environment without the settings of a node: its ports are in use, and its limits must not be measured."""
    settings = {*Settings.model_fields, *(f"{name}_FILE" for name in Settings.model_fields)}
    kept = {name: value for name, value in os.environ.items() if name not in settings}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, (str(_SOURCE), kept.get("PYTHONPATH", ""))))}


def _port(node: subprocess.Popen[str]) -> int:
    assert node.stderr is not None
    said = []
    for line in node.stderr:
        said.append(line)
        if line.startswith("{") and (entry := json.loads(line)).get("event") == "server.ready":
            match = re.search(r":(\d+)$", entry["stomp"])
            assert match is not None
            return int(match[1])
    raise BenchError("the node did not start: " + "".join(said).strip())


_SAMPLED = 50  # subscribers whose latency is read
_STAMP = re.compile(rb"~~(\d{19})~")
_PATIENCE = 20.0  # seconds without progress
_READ = 262_144


@dataclass(frozen=True, slots=True)
class Workload:
    """The workload of a measurement.

    :ivar subscribers: number of subscribers.
    :ivar messages: number of messages.
    :ivar window: messages in flight: 1 measures single messages, 8 bursts.
    :ivar body: octets of a message.
    """

    subscribers: int = 1_000
    messages: int = 400
    window: int = 8
    body: int = 64


@dataclass(frozen=True, slots=True)
class Figures:
    """The result. CPU and memory are None if the server's processes are not known.

    :ivar connects: how many clients connected and subscribed per second, one after another.
    :ivar p50: milliseconds from publish to reception, median.
    :ivar p99: the same, 99th percentile.
    :ivar cpu: microseconds of the server's CPU time per delivery.
    :ivar memory: KiB per subscribed connection.
    """

    deliveries: int
    lost: int
    rate: float
    p50: float
    p99: float
    connects: float
    cpu: float | None
    memory: float | None


class Load:
    """One measurement against one server."""

    def __init__(self, target: Target, work: Workload, progress: Callable[[str, float], None]) -> None:
        """
        :param target: the server.
        :param work: the workload.
        :param progress: called with the name of the step, and with the fraction of it that is done, from 0 to 1.
        """
        self._target = target
        self._work = work
        self._progress = progress
        self._sockets: list[socket.socket] = []
        self._latencies: list[int] = []
        self._tails: dict[int, bytes] = {}

    def run(self) -> Figures:
        """Make the measurement.

        :raises BenchError: the server cannot be reached, refuses, or stops delivering.
        """
        try:
            return self._measure()
        except OSError as error:
            raise BenchError(f"{self._target.host}:{self._target.port}: {error.strerror or error}") from None
        finally:
            for each in self._sockets:
                each.close()

    def _measure(self) -> Figures:
        before, began = resident(self._target.pids), time.perf_counter()
        poll = select.epoll()
        for number in range(self._work.subscribers):
            self._progress("connecting", number / self._work.subscribers)
            subscriber = self._subscriber()
            poll.register(subscriber.fileno(), select.EPOLLIN)
            if number % max(1, self._work.subscribers // _SAMPLED) == 0:
                self._tails[subscriber.fileno()] = b""
        connects = self._work.subscribers / (time.perf_counter() - began)
        memory = (resident(self._target.pids) - before) / self._work.subscribers
        publisher = self._connected(login=True)
        publisher.setblocking(True)
        spent, began = cpu_seconds(self._target.pids), time.perf_counter()
        got, last = self._deliver(poll, publisher)
        seconds = last - began
        used = 1e6 * (cpu_seconds(self._target.pids) - spent) / max(1, got)
        measured = bool(self._target.pids)
        return Figures(
            deliveries=got,
            lost=self._work.subscribers * self._work.messages - got,
            rate=got / seconds,
            p50=self._percentile(0.5),
            p99=self._percentile(0.99),
            connects=connects,
            cpu=used if measured else None,
            memory=memory if measured else None,
        )

    # Connecting

    def _connected(self, *, login: bool) -> socket.socket:
        sock = open_tcp(self._target.host, self._target.port, _PATIENCE)
        self._sockets.append(sock)
        session = ClientSession(0.0)
        credentials = (self._target.login, self._target.passcode) if login else ("", "")
        session.connect(*credentials, versions=("1.2",), host=self._target.host)
        self._await(sock, session, Connected)
        return sock

    def _subscriber(self) -> socket.socket:
        sock = self._connected(login=self._target.everybody_logs_in)
        session = ClientSession(0.0)
        session.connect(versions=("1.2",))
        session.data_to_send(0.0)
        session.connected = True
        session.subscribe(self._target.topic, "0", headers=(("x-ebu-nofastreply", "yes"),), receipt="r")
        self._await(sock, session, Receipted)
        sock.setblocking(False)
        return sock

    def _await(self, sock: socket.socket, session: ClientSession, wanted: type) -> None:
        sock.sendall(session.data_to_send(0.0))
        while True:
            event = session.next_event()
            if isinstance(event, wanted):
                return
            if isinstance(event, ConnectRefused):
                raise BenchError(f"the server refuses: {event.summary}. {event.detail}".strip())
            if event is None:
                data = sock.recv(65_536)
                if not data:
                    raise BenchError("the server closed the connection")
                session.receive_data(data, 0.0)

    # Delivering

    def _deliver(self, poll: select.epoll, publisher: socket.socket) -> tuple[int, float]:
        """Publish until everything has arrived, with a limited number of messages in flight."""
        subscribers, messages = self._work.subscribers, self._work.messages
        by_fd = {sock.fileno(): sock for sock in self._sockets}
        sent = got = 0
        last = time.perf_counter()
        while got < subscribers * messages:
            while sent < messages and sent * subscribers - got < self._work.window * subscribers:
                publisher.sendall(self._frame())
                sent += 1
            arrived = sum(self._receive(by_fd[fd]) for fd, _ in poll.poll(0.05))
            if arrived:
                got += arrived
                last = time.perf_counter()
                self._progress("delivering", got / (subscribers * messages))
            elif time.perf_counter() - last > _PATIENCE:
                break
        return got, last

    def _frame(self) -> bytes:
        body = b"~~%019d~" % time.monotonic_ns()
        body = body.ljust(self._work.body, b"x")
        head = f"SEND\ndestination:{self._target.topic}\ncontent-length:{len(body)}\n\n".encode()
        return head + body + b"\0"

    def _receive(self, sock: socket.socket) -> int:
        try:
            data = sock.recv(_READ)
        except BlockingIOError:
            return 0
        if not data:
            raise BenchError("the server closed a subscriber's connection")
        fd = sock.fileno()
        if fd in self._tails:
            now = time.monotonic_ns()
            frames = (self._tails[fd] + data).split(b"\0")
            self._tails[fd] = frames.pop()
            self._latencies += [now - int(match[1]) for frame in frames if (match := _STAMP.search(frame))]
        return data.count(b"\0")

    def _percentile(self, part: float) -> float:
        ordered = sorted(self._latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] / 1e6 if ordered else 0.0


def cpu_seconds(pids: tuple[int, ...]) -> float:
    """CPU time that these processes have used, user and system, in seconds."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(pids: tuple[int, ...]) -> float:
    """Resident memory of these processes, in KiB."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024
