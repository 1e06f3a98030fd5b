"""Whether a certificate or key file can be used: said before a node is started with it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key


def certificate_problem(path: Path, *, key: bool = False, now: datetime | None = None) -> str | None:
    """What is wrong with a PEM file, in words; None if nothing is.

    :param key: whether it should hold a private key instead of certificates.
    :param now: for the dates in it; None is this moment.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror}"
    try:
        if key:
            load_pem_private_key(content, None)
            return None
        return _date_problem(path, x509.load_pem_x509_certificates(content), now or datetime.now(UTC))
    except (TypeError, ValueError):
        return f"{path}: is no {'private key without a password' if key else 'certificate'} in PEM form"


def _date_problem(path: Path, certificates: list[x509.Certificate], now: datetime) -> str | None:
    for certificate in certificates:
        if certificate.not_valid_after_utc < now:
            return f"{path}: expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        if certificate.not_valid_before_utc > now:
            return f"{path}: is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    return None
