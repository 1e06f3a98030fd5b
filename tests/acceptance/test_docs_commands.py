"""Every command in the documentation is run, or named here with the reason why not.

A page's commands are what stands in its ``sh`` blocks, and in backticks behind the name of a program. They are run in
their order, in a folder that looks like a clone, beside a node with the stations of ``make demo``. One that is not in
the tables below has to end with exit code 0.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Self

from tests import services
from tests.processes import ROOT

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "examples/README.md",
    *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")),
]
SECONDS = 60
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_PROGRAMS = "python|radiovis|radiovis-fallback|make|docker|systemctl|curl|pip|rabbitmqctl|haproxy|nginx|sqlite3"
_INLINE = re.compile(rf"`((?:{_PROGRAMS}) [^`]+)`")
_LOOKS_LIKE_ONE = re.compile(rf"^ *\$? ?(?:{_PROGRAMS}) ", re.MULTILINE)

NOT_RUN = {
    r"docker ": "needs Docker and a registry; make check validates the file",
    r"sudo |systemctl ": "changes the machine; tests/test_units.py looks at the units",
    r"python -m bench\.trace_send": "tests/test_layout.py runs it",
    r"make (demo|test|check|chaos|simulate|attacks|soak|fuzz|audit|settings|release|bench)": "has tests, or runs them",
    r"make (lock|pin-images)": "asks registries; tests/test_pins.py tests both",
    r"\. \.venv/bin/activate$": "the tests have an environment",
    r"python -m (bench\.|tools\.|tests\.)": "are for a clone with its development packages",
    r"(python|node) examples/listen|cc -o |npm install ": "tests/examples/test_listen.py runs these programs",
    r"pip install ": "tests/test_packaging.py installs into an empty environment",
    r"rabbitmqctl ": "tests/deploy/test_rabbitmq.py gives them to a broker",
    r"python -m artcast|python server\.py --with artcast": "tests/artcast/test_process.py and others start it",
    r"(PYTHONPATH=\S+ )?python -m webserver\b": "tests/webserver/test_cli.py starts this site",
    r"curl .*(127\.0\.0\.1:8000|x:TOKEN)": "tests/fanout/http/test_topic_resources.py asks the same",
    r"sqlite3 .* DROP COLUMN": "tests/acceptance/test_backup.py runs them with the process stopped",
    r"/opt/radiovis/deploy/rabbitmq/policies\.sh ": "tests/deploy/test_rabbitmq.py runs it beside a broker",
}
"""Beginnings of commands, and why they are left out."""

REQUESTS = {"docs/http.md": "tests/acceptance/test_docs_http.py", "docs/artcast.md": "tests/artcast/test_docs.py"}
"""Pages that show requests with their answers, and what makes them."""

GO_ON = {
    r"python server\.py( --standalone| --test|$)": "server.ready",
    r"python fallback\.py$": "fallback.ready",
}
"""Commands that run until told to end, and what they say when ready. A later node takes the place of the former one."""

EXITS = {
    r"python server\.py probe /topic/fm/4e1/4007/09900/": 1,  # The page says so: there is no slide yet.
}
"""Exit codes of those that do not end with 0."""

HERE = {
    r"127\.0\.0\.1(?![:\d])": "127.0.0.1:{stomp}",
    r"127\.0\.0\.1:61424": "127.0.0.1:{stomp}",
    r"127\.0\.0\.1:8080": "127.0.0.1:{http}",
    r"127\.0\.0\.1:8081": "127.0.0.1:{admin}",
    r"server\.py bench": "server.py bench --subscribers 20 --messages 40",
    r"examples/publish\.py": "examples/publish.py --port {stomp}",
    r"examples/publish_http\.py": "examples/publish_http.py --url http://127.0.0.1:{http}",
    r"examples/publish_amqp\.py": "examples/publish_amqp.py --port {broker}",
    r"^(.*\| *)?python ": r"\g<1>{python} ",
}
"""What stands on the pages → what it is here."""


def commands(page: str) -> Iterator[str]:
    """All of a page, in their order."""
    text = (ROOT / page).read_text()
    found = [(match.start(), _lines(match[2])) for match in _BLOCK.finditer(text) if match[1] == "sh"]
    found += [(match.start(), [match[1]]) for match in _INLINE.finditer(text) if "…" not in match[1]]
    for _, lines in sorted(found):
        yield from lines


def _lines(block: str) -> list[str]:
    """Commands of a block, without comments."""
    joined = block.replace("\\\n", " ")
    return [line for each in joined.splitlines() if (line := re.sub(r"(^|\s)#.*", "", each).strip())]


def _services() -> str:
    """The file that docs/migrate-from-bbc.md shows."""
    return next(
        block
        for language, block in _BLOCK.findall((ROOT / "docs/migrate-from-bbc.md").read_text())
        if language == "json"
    )


def _named(command: str, table: Mapping[str, object]) -> str | None:
    return next((pattern for pattern in table if re.match(pattern, command)), None)


class Clone:
    """A folder that looks like a clone, with a node and whatever else a page starts."""

    def __init__(self, broker: services.RabbitMQ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="radiovis-docs-")
        self.path = Path(self._folder.name)
        for name in (
            "server.py",
            "fallback.py",
            "radiovis",
            "fanout",
            "artcast",
            "webserver",
            "demo",
            "examples",
            ".env.example",
        ):
            (self.path / name).symlink_to(ROOT / name)
        shutil.copy(ROOT / "demo" / "stations.toml", self.path / "stations.toml")
        (self.path / "services.json").write_text(_services())
        self.ports = {name: services.free_port() for name in ("stomp", "http", "admin", "watchdog")}
        self._places = {**self.ports, "broker": broker.port, "python": sys.executable}
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "STOMP_IP": "127.0.0.1",
            "STOMP_PORT": str(self.ports["stomp"]),
            "HTTP_PORT": str(self.ports["http"]),
            "ADMIN_PORT": str(self.ports["admin"]),
            "FB_ADMIN_PORT": str(self.ports["watchdog"]),
            "RABBITMQ_PORT": str(broker.port),
            "MEMCACHED_HOST": "",
            "DRAIN_SECONDS": "0",
            "MONITORING_ENABLED": "false",
            "STATIONS_FILE": "demo/stations.toml",
            "SLIDES_DIR": "demo/slides",
            "LOG_FORMAT": "json",
        }
        self._running: dict[str, subprocess.Popen[str]] = {}

    def here(self, command: str) -> str:
        for shown, real in HERE.items():
            command = re.sub(shown, real.format(**self._places), command)
        return command

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """A command that ends. ``export`` holds for those behind it."""
        if command.startswith("export "):
            name, _, value = self.here(command).removeprefix("export ").partition("=")
            self.environment[name] = value
            command = "true"
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; {self.here(command)}"],
            cwd=self.path,
            env=self.environment,
            input="secret\n",
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def start(self, command: str, ready: str) -> None:
        """A command that goes on. It is there when this returns."""
        program = command.split()[1]
        self._end(program)
        log = (self.path / f"{program}.log").open("w+")
        self._running[program] = subprocess.Popen(
            ["bash", "-c", f"exec {self.here(command)}"], cwd=self.path, env=self.environment, stderr=log, text=True
        )
        deadline = time.monotonic() + SECONDS
        while f'"{ready}"' not in Path(log.name).read_text():
            if time.monotonic() > deadline or self._running[program].poll() is not None:
                raise AssertionError(f"{command} is not ready: {Path(log.name).read_text()}")
        log.close()

    def _end(self, program: str) -> None:
        former = self._running.pop(program, None)
        if former is not None:
            former.send_signal(signal.SIGINT)
            if former.wait(SECONDS) != 0:
                raise AssertionError(f"{program} ended with {former.returncode}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._running.values():
            program.kill()
            program.wait()
        self._folder.cleanup()


class Commands(unittest.TestCase):
    broker: ClassVar[services.RabbitMQ]

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = services.rabbitmq()

    def test_every_command_does_what_it_should(self) -> None:
        for page in PAGES:
            found = [command for command in commands(page) if not _named(command, NOT_RUN)]
            if found:
                with self.subTest(page=page), Clone(self.broker) as clone:
                    self._walk(clone, found)

    def _walk(self, clone: Clone, found: list[str]) -> None:
        clone.start("python server.py --standalone", "server.ready")
        slide = "http://127.0.0.1:8080/slides/rock-1.png"
        topic, server = "/topic/fm/4e1/4000/09580/", "stomp://1.rock:demo@127.0.0.1"
        clone.run(f"python server.py pub {topic} --image {slide} --text x --server {server}")
        if "python fallback.py status" in found and "python fallback.py" not in found:
            clone.start("python fallback.py", "fallback.ready")
        for command in found:
            going_on = _named(command, GO_ON)
            if going_on:
                clone.start(command, GO_ON[going_on])
                continue
            done = clone.run(command)
            expected = EXITS.get(_named(command, EXITS) or "", 0)
            self.assertEqual(done.returncode, expected, f"{command}: {done.stdout}{done.stderr}")
            self.assertNotIn("Traceback", done.stderr, command)

    def test_no_table_names_what_is_nowhere(self) -> None:
        everything = [command for page in PAGES for command in commands(page)]
        for table in (NOT_RUN, GO_ON, EXITS):
            for pattern in table:
                self.assertTrue(any(re.match(pattern, command) for command in everything), pattern)

    def test_no_block_hides_a_command(self) -> None:
        for page in PAGES:
            for language, block in _BLOCK.findall((ROOT / page).read_text()):
                if language != "sh" and page not in REQUESTS:
                    self.assertIsNone(_LOOKS_LIKE_ONE.search(block), f"{page}: call the block sh: {block}")
