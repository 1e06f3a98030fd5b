"""Makes a release: builds and checks the wheel and the source archive, and sets the tag.

    python -m tools.release [--no-tag]

The version is ``fanout.__version__``. The program refuses a release, with one line for each reason, if files are
changed, the tag exists, or the version is not a final one. CHANGELOG.md must begin with a dated section of this version
whose first part is *Upgrading*. The program installs the wheel with its dependencies from PyPI into an empty virtual
environment, and runs its commands there. It sets the tag last. The developer pushes the tag.
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
"""Each command must end with exit code 0 in an environment with only the wheel and its dependencies."""
IN_THE_ARCHIVE = ("LICENSE", "THIRD-PARTY.md", "README.md", "radiovis/http/templates/wall.html")
"""Files that the source archive must contain in addition to the modules."""
_BUILD = "from setuptools import build_meta as b; import sys; to = sys.argv[1]; b.build_sdist(to); b.build_wheel(to)"


def git(*words: str) -> str:
    """Run git, and return its output. :raises subprocess.CalledProcessError: git has failed."""
    return subprocess.run(("git", *words), cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def reasons_against() -> Iterator[str]:
    """The reasons that prevent a release now, one line each."""
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
    """Build the wheel and the source archive in a folder, and return their paths."""
    subprocess.run((sys.executable, "-c", _BUILD, str(folder)), cwd=ROOT, check=True, capture_output=True)
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, archive


def missing_in(archive: Path) -> list[str]:
    """The required files that the source archive does not contain."""
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    return [name for name in IN_THE_ARCHIVE if name not in names]


def install(wheel: Path, folder: Path) -> None:
    """Install the wheel into an empty environment, and run its commands there.

    :raises subprocess.CalledProcessError: pip or a command has failed.
    """
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
