"""Prints requirements.lock: the pins of requirements.txt with the hash of every file that pip may choose.

    python -m tools.lock_requirements > requirements.lock

With ``--require-hashes``, pip installs a file only if its hash is listed. So it refuses a package that was replaced
under the same version. pip itself names the file that it would install, for each Python and machine that we support.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
_LIBRARIES = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")  # of glibc; Debian 12 has 2.36
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(\[[a-z,]+\])?==(\S+)$")

HEAD = """\
# Made by "make lock" from requirements.txt: the same pins, with the hashes of the files of each.
#   pip install --require-hashes --no-deps -r requirements.lock
"""


def name_of(package: str) -> str:
    """The normal form of a package's name, for comparisons."""
    return re.sub(r"[-_.]+", "-", package).lower()


def pins(text: str) -> dict[str, str]:
    """The pins in a requirements file, by the name of the package. :param text: the content of the file."""
    found = (_PIN.match(line.split(" ")[0]) for line in text.splitlines())
    return {name_of(pin[1]): pin[0] for pin in found if pin}


def hashes(python: str, machine: str) -> dict[str, str]:
    """The hash of the file of each package that pip would install, by the name of the package.

    :param python: the version of Python, such as ``3.11``.
    :param machine: the architecture, such as ``x86_64``.
    :raises subprocess.CalledProcessError: pip has failed.
    """
    with tempfile.NamedTemporaryFile("r") as report:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--no-deps", "--target", tempfile.gettempdir(), "--python-version", python]
        command += [word for library in _LIBRARIES for word in ("--platform", f"{library}_{machine}")]
        command += ["--report", report.name, "-r", str(ROOT / "requirements.txt")]
        subprocess.run(command, check=True, env=_environ())
        found = json.load(report)["install"]
    return {
        name_of(each["metadata"]["name"]): each["download_info"]["archive_info"]["hashes"]["sha256"] for each in found
    }


def _environ() -> dict[str, str]:
    """The environment without this machine's own sources of packages, because their files may be different."""
    local = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL")
    return {**{name: value for name, value in os.environ.items() if name not in local}, "PIP_CONFIG_FILE": os.devnull}


def main() -> None:
    """Print the content of requirements.lock."""
    wanted = pins((ROOT / "requirements.txt").read_text())
    known: defaultdict[str, set[str]] = defaultdict(set)
    for python in PYTHONS:
        for machine in MACHINES:
            for name, digest in hashes(python, machine).items():
                known[name].add(digest)
    print(HEAD, end="")
    for name, pin in wanted.items():
        print(" \\\n".join([pin, *(f"    --hash=sha256:{digest}" for digest in sorted(known[name]))]))


if __name__ == "__main__":
    main()
