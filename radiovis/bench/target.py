"""The server that is measured: a node started for it, or any STOMP server named by a URL."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from radiovis.client.arguments import CommandError
from radiovis.client.server_address import ServerAddress
from radiovis.directory.password import hash_password
from radiovis.settings import Settings

TOPIC = "/topic/bench/text"
_SOURCE = Path(__file__).parents[2]


class BenchError(CommandError):
    """The measurement could not be made."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect.

    :ivar passcode: of the publisher; subscribers use it too when ``everybody_logs_in``.
    :ivar pids: processes whose CPU time and memory count; empty when they are not on this machine.
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
        """A server given by its address. With a login, subscribers log in as well."""
        login = bool(server.login)
        return cls(server.host, server.host, server.port, server.login, server.passcode, topic, login, tuple(pids))


@contextmanager
def own_node() -> Iterator[Target]:
    """A stand-alone node of this very program, for as long as the context lasts.

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
    """Our environment without settings of a node: its ports are taken, and its limits are not to be measured."""
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
