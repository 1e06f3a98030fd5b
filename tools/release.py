"""Makes a release: builds and checks wheel and source archive, and sets the tag.

    python -m tools.release [--no-tag]

The version is ``fanout.__version__``. A release is refused, with one line for each reason, while files are changed, the
tag exists, the version is not a final one, or CHANGELOG.md does not begin with a dated section of this version whose
first part is *Upgrading*. The wheel is installed with its dependencies from PyPI into an empty virtual environment, and
its commands have to print this version. The tag is set last; pushing it is left to the developer.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

from fanout import __version__

ROOT = Path(__file__).parent.parent
VERSION = __version__
TAG = f"v{VERSION}"
COMMANDS = (("radiovis", "version"), ("radiovis-fallback", "version"), ("artcast", "--help"))
"""Each has to end with exit code 0 in an environment that knows only the wheel."""
IN_THE_ARCHIVE = ("LICENSE", "THIRD-PARTY.md", "README.md", "radiovis/http/templates/wall.html")
"""Files that the source archive must have, besides the modules."""
_BUILD = "from setuptools import build_meta as b; import sys; to = sys.argv[1]; b.build_sdist(to); b.build_wheel(to)"


def git(*words: str) -> str:
    """What git prints. Raises :class:`subprocess.CalledProcessError` if it fails."""
    return subprocess.run(("git", *words), cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def reasons_against() -> Iterator[str]:
    """Why there can be no release now."""
    if git("status", "--porcelain"):
        yield "Files are changed or untracked: commit or remove them."
    if git("tag", "--list", TAG):
        yield f"The tag {TAG} exists: raise __version__ in fanout/__init__.py."
    if not re.fullmatch(r"\d+\.\d+\.\d+", VERSION):
        yield f"fanout.__version__ is {VERSION}; a release has three numbers, such as 1.0.0."
    section = re.search(r"^## (.+)\n+(?:.+\n+)*?### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    if section is None or not re.fullmatch(rf"\[?{re.escape(VERSION)}\]? - \d{{4}}-\d\d-\d\d", section[1]):
        yield f"CHANGELOG.md does not begin with a section '## {VERSION} - YYYY-MM-DD'."
    elif not section[2].startswith("Upgrading"):
        yield f"The first part of CHANGELOG.md's section is '{section[2]}', not 'Upgrading'."


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel and the source archive."""
    subprocess.run((sys.executable, "-c", _BUILD, str(folder)), cwd=ROOT, check=True, capture_output=True)
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, archive


def missing_in(archive: Path) -> list[str]:
    """Files that the source archive should have."""
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    return [name for name in IN_THE_ARCHIVE if name not in names]


def install(wheel: Path, folder: Path) -> None:
    """Into an empty environment, and run the commands there. Raises :class:`subprocess.CalledProcessError`."""
    venv.create(folder, with_pip=True)
    subprocess.run((folder / "bin" / "pip", "install", "--quiet", str(wheel)), check=True)
    for command, *words in COMMANDS:
        said = subprocess.run((folder / "bin" / command, *words), check=True, capture_output=True, text=True).stdout
        print(f"{command} {' '.join(words)}: {said.splitlines()[0]}")


def main(arguments: list[str]) -> int:
    """Make the release. :return: the exit code."""
    reasons = list(reasons_against())
    print(*reasons, sep="\n", end="\n" if reasons else "")
    if reasons:
        return 1
    dist = ROOT / "dist"
    wheel, archive = build(dist)
    if missing := missing_in(archive):
        print(f"{archive.name} lacks {', '.join(missing)}")
        return 1
    with tempfile.TemporaryDirectory(prefix="radiovis-release-") as folder:
        install(wheel, Path(folder))
    if "--no-tag" not in arguments:
        git("tag", "--annotate", TAG, "--message", f"RadioVIS server {VERSION}")
    print(f"{wheel.name} and {archive.name} are in dist/; push the tag {TAG} to publish the release")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
