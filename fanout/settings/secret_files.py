"""Secrets that stand in files of their own: ``RABBITMQ_PASSWORD_FILE=/run/secrets/rabbitmq_password``.

So they come neither into the environment, which ``docker inspect`` and ``/proc`` show, nor into a ``config.py`` that is
kept with other files. Docker, Kubernetes and systemd (``LoadCredential=``) all give secrets as files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SUFFIX = "_FILE"
MOST_BYTES = 65_536  # No secret is longer; a path that leads to a device or a log must not fill the memory.


class SecretFileError(Exception):
    """One file cannot serve. The text names its variable, and says why."""


def secret_files(names: list[str], environ: Mapping[str, str]) -> dict[str, Path]:
    """Which of these secrets the environment keeps in files, and where.

    :param names: of the settings that are secrets; no other setting is read from a file.
    :raises SecretFileError: the environment has one both ways.
    """
    found = {name: Path(environ[name + SUFFIX]) for name in names if environ.get(name + SUFFIX)}
    for name in found:
        if name in environ:
            raise SecretFileError(f"{name} and {name}{SUFFIX} are both in the environment: take one of them out")
    return found


def read_secret(name: str, path: Path) -> str:
    """The secret in a file, without the line end that editors and ``echo`` leave behind it.

    :raises SecretFileError: there is none that can be read.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(MOST_BYTES + 1)
        secret = octets.decode().rstrip("\r\n")
    except OSError as error:
        raise SecretFileError(f"{name}{SUFFIX}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretFileError(f"{name}{SUFFIX}: {path} is not UTF-8 text") from None
    if not secret or len(octets) > MOST_BYTES:
        raise SecretFileError(f"{name}{SUFFIX}: {path} is " + ("too large" if secret else "empty"))
    return secret
