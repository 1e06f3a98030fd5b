"""Writes the digest of each container image after its name: ``python:3.13-slim-bookworm@sha256:…``.

    python -m tools.pin_images [FILE …]

A tag can be moved to another image, but a digest cannot. The default files are the Dockerfile and the compose files.
The current digests replace those in the files. The program asks a registry for each image. If the registry does not
answer, nothing is written, and the exit code is 1.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SECONDS = 10.0
"""The time limit for each request."""
REGISTRY = "https://registry-1.docker.io"
"""The registry of the images. The environment variable ``REGISTRY_URL`` names another one."""
_LINE = re.compile(r"^(\s*(?:FROM|image:)\s+)([a-z0-9._/-]+):([\w.-]+)(?:@sha256:[0-9a-f]{64})?", re.MULTILINE)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_KINDS = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")


def digest(image: str, tag: str) -> str:
    """The current digest of a tag, for all machines. :raises OSError: the registry fails, or lacks the tag."""
    registry = os.environ.get("REGISTRY_URL", REGISTRY)
    name = image if "/" in image else f"library/{image}"
    address = f"{registry}/v2/{name}/manifests/{tag}"
    try:
        found = _head(address)
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        found = _head(address, _token(error.headers["www-authenticate"]))
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", found):
        raise OSError(f"{address} has no digest")
    return found


def _head(address: str, token: str = "") -> str:
    accept = {"Accept": ", ".join(_KINDS)}
    request = urllib.request.Request(address, method="HEAD", headers=accept)  # noqa: S310  (REGISTRY)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
        return str(answer.headers.get("docker-content-digest", ""))


def _token(challenge: str) -> str:
    """A token to read a public image, which needs no account. :param challenge: the header ``WWW-Authenticate``."""
    asked = dict(_CHALLENGE.findall(challenge))
    query = urllib.parse.urlencode({name: asked[name] for name in ("service", "scope") if name in asked})
    with urllib.request.urlopen(f"{asked['realm']}?{query}", timeout=SECONDS) as answer:  # noqa: S310
        return str(json.load(answer)["token"])


def pinned(text: str, ask: Callable[[str, str], str]) -> str:
    """A text with the current digests of its images. Our own image is built locally, and has no digest.

    :param ask: returns the digest for an image and a tag.
    """
    return _LINE.sub(lambda line: f"{line[1]}{line[2]}:{line[3]}@{ask(line[2], line[3])}", text)


def _usual() -> Iterator[Path]:
    yield ROOT / "Dockerfile"
    yield ROOT / "docker-compose.yml"
    yield from sorted((ROOT / "deploy" / "compose").glob("*.yml"))


def main(names: list[str]) -> int:
    """Rewrite all files, or none of them. :param names: of the files; empty for the default. Returns the exit code."""
    files = [Path(name) for name in names] or list(_usual())
    try:
        texts = {file: pinned(file.read_text(), digest) for file in files}
    except OSError as error:
        print(f"nothing is pinned: {error}", file=sys.stderr)
        return 1
    for file, text in texts.items():
        file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
