"""``pip install .``: all that runs is in the wheel, and the commands work in an environment that knows no clone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import unittest
import venv
import zipfile
from pathlib import Path
from typing import ClassVar

from fanout import __version__
from tests.artcast.server import ArtcastServer
from tests.processes import ROOT, Server
from tests.services import free_port
from tests.web import ask

SECONDS = 120
NOT_COPIED = shutil.ignore_patterns(
    ".*", "build", "dist", "node_modules", "__pycache__", "*.egg-info", "tests.*"
)  # The last are folders of tests that run now.
ONLY_IN_A_CLONE = {"tools", "bench", "demo", "examples", "tests"}
BUILD = "from setuptools.build_meta import build_wheel; build_wheel('dist')"


class InstalledArtcast(ArtcastServer):
    """The command that pip has made."""

    def __init__(self, program: Path) -> None:
        super().__init__()
        self.command = [str(program)]
        del self._settings["PYTHONPATH"]


class Installed(Server):
    """A node started by the console command."""

    def __init__(self, command: Path, *flags: str, **settings: object) -> None:
        super().__init__(*flags, **settings)
        self.command = [str(command), *flags]


class Wheel(unittest.TestCase):
    """Built from a copy of the clone without a network, and installed beside the packages this test runs with."""

    folder: ClassVar[Path]
    clone: ClassVar[Path]
    wheel: ClassVar[Path]
    bin: ClassVar[Path]
    pip: ClassVar[list[str]]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="radiovis-wheel-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.clone = cls.folder / "clone"
        shutil.copytree(ROOT, cls.clone, ignore=NOT_COPIED)
        cls.call(sys.executable, "-c", BUILD, cwd=cls.clone)
        (cls.wheel,) = (cls.clone / "dist").glob("radiovis-*.whl")
        environment = cls.folder / "environment"
        venv.create(environment, with_pip=False)
        cls.bin = environment / "bin"
        (packages,) = environment.glob("lib/python*/site-packages")
        (packages / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
        cls.pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(cls.bin / "python")]
        cls.call(*cls.pip, "install", "--quiet", "--no-deps", "--no-index", str(cls.wheel))

    @classmethod
    def call(cls, *words: str, cwd: Path | None = None) -> str:
        """What it printed; it must end well."""
        done = subprocess.run(
            words, cwd=cwd or cls.folder, env={}, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if done.returncode:
            raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def test_every_file_of_every_package_is_in_it(self) -> None:
        wanted = set()
        for package in self.packages():
            wanted |= {str(file.relative_to(self.clone)) for file in package.rglob("*") if file.is_file()}
        with zipfile.ZipFile(self.wheel) as wheel:
            found = {name for name in wheel.namelist() if ".dist-info/" not in name}
        self.assertIn("radiovis/http/templates/wall.html", wanted)
        self.assertEqual(found, wanted)

    def packages(self) -> list[Path]:
        """What stands at the top of a clone and is for more than work on the clone."""
        return [file.parent for file in self.clone.glob("*/__init__.py") if file.parent.name not in ONLY_IN_A_CLONE]

    def test_the_versions_we_test_with_are_among_those_it_takes(self) -> None:
        self.assertEqual(self.call(*self.pip, "check"), "No broken requirements found.\n")
        self.assertIn("Requires-Dist: Twisted[tls]>=", self.metadata())

    def metadata(self) -> str:
        with zipfile.ZipFile(self.wheel) as wheel:
            (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            return wheel.read(name).decode()

    def test_version(self) -> None:
        self.assertEqual(self.call(str(self.bin / "radiovis"), "version"), f"radiovis {__version__}\n")
        self.assertIn(f"radiovis-{__version__}-", self.wheel.name)

    def test_check_config(self) -> None:
        shown = self.call(str(self.bin / "radiovis"), "check-config", "--changed", "--test", "--stomp-port", "61700")
        self.assertIn("STOMP_PORT", shown)
        self.assertIn("61700", shown)

    def test_a_node_serves_its_pages(self) -> None:
        with Installed(self.bin / "radiovis", "--test", "--rabbitmq-loopback", HTTP_PORT=free_port()) as node:
            self.assertEqual(ask(node.http, "/").status, 200)
            self.assertEqual(ask(node.http, "/static/pages.css").status, 200)
            node.terminate()
            self.assertEqual(node.faults, [])

    def test_artcast_serves_its_pages(self) -> None:
        with InstalledArtcast(self.bin / "artcast") as server:
            self.assertEqual(ask(server.client, "/artcasts", accept="text/html").status, 200)
            self.assertEqual(ask(server.client, "/artcasts/a/key", accept="text/html").status, 200)
            self.assertEqual(ask(server.client, "/content/artcast.css").status, 200)

    def test_the_watchdog(self) -> None:
        shown = self.call(str(self.bin / "radiovis-fallback"), "--help")
        self.assertIn("fallback", shown)
