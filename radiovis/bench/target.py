"""The server that is measured: a node started for it, or any STOMP server named by a URL."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from radiovis.directory.password import hash_password

TOPIC = "/topic/bench/text"
_PROGRAM = Path(sys.argv[0])


class BenchError(Exception):
    """The measurement could not be made; the text says why, in one line."""


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


def named(url: str, pids: tuple[int, ...]) -> Target:
    """A server given as ``stomp://[login:passcode@]host[:port][/topic/…]``.

    :raises BenchError: for anything else.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 61613
    except ValueError as error:
        raise BenchError(f"{url}: {error}") from None
    if parts.scheme != "stomp" or not parts.hostname:
        raise BenchError("a server is given as stomp://[login:passcode@]host[:port][/topic/…]")
    login, passcode = unquote(parts.username or ""), unquote(parts.password or "")
    topic = parts.path if len(parts.path) > 1 else TOPIC
    return Target(parts.hostname, parts.hostname, port, login, passcode, topic, bool(login), pids)


@contextmanager
def own_node(program: Path = _PROGRAM) -> Iterator[Target]:
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
        flags = ["--standalone", "--stations-file", str(stations), "--stomp-ip", "127.0.0.1", "--stomp-port", "0"]
        flags += ["--http-port", "0", "--log-format", "json", "--log-level", "INFO", "--config", "/dev/null"]
        node = subprocess.Popen(  # noqa: S603  (our own program)
            [sys.executable, str(program.resolve()), *flags], stderr=subprocess.PIPE, text=True, cwd=folder
        )
        try:
            yield Target("this program", "127.0.0.1", _port(node), "1.bench", passcode, pids=(node.pid,))
        finally:
            node.terminate()
            node.communicate()


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
