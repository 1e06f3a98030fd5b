"""Password hashes of the stations file: ``scrypt$<n>$<r>$<p>$<salt>$<hash>``, salt and hash in base64."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

N, R, P = 2**14, 8, 1
"""scrypt's cost, block size and parallelism (RFC 7914): 16 MiB and some 50 ms per check, which OWASP recommends for
logins."""
LOWEST_N = 2**10
MOST_MEMORY = 64 * 2**20
"""Bytes that one check may take (128 · n · r). A larger value in a file is a mistake or an attack."""
MOST_P = 4
SALT_BYTES, HASH_BYTES = 16, 32
LOCKED = "locked"
"""What a stations file has in place of a hash for a station that cannot log in before it is given a password."""

_FORM = re.compile(r"scrypt\$(\d{1,7})\$(\d{1,3})\$(\d{1,3})\$([A-Za-z0-9+/=]{4,96})\$([A-Za-z0-9+/=]{4,96})", re.ASCII)


@dataclass(frozen=True, slots=True, repr=False)
class StoredPassword:
    """A stored password hash; see RFC 7914 for n, r and p."""

    n: int
    r: int
    p: int
    salt: bytes
    hash: bytes

    @classmethod
    def parse(cls, stored: str) -> StoredPassword:
        """Parse the text form.

        :raises ValueError: the text is invalid. The error does not contain the password or its hash.
        """
        form = _FORM.fullmatch(stored)
        if form is None:
            raise ValueError("not of the form scrypt$n$r$p$salt$hash; `python server.py station hash` prints one")
        n, r, p = (int(number) for number in form.groups()[:3])
        if n < LOWEST_N or n & (n - 1) or not r or 128 * n * r > MOST_MEMORY or not 0 < p <= MOST_P:
            raise ValueError(
                f"scrypt n={n} r={r} p={p} is out of bounds: n is a power of two from {LOWEST_N}, "
                f"128·n·r is at most {MOST_MEMORY} bytes, p at most {MOST_P}"
            )
        return cls(n, r, p, _decoded(form[4], "salt"), _decoded(form[5], "hash"))

    def __str__(self) -> str:
        salt, digest = (base64.b64encode(part).decode() for part in (self.salt, self.hash))
        return f"scrypt${self.n}${self.r}${self.p}${salt}${digest}"


def hash_password(password: str) -> str:
    """The text for the stations file, with a new salt at every call. Takes about 50 ms."""
    salt = secrets.token_bytes(SALT_BYTES)
    return str(StoredPassword(N, R, P, salt, _scrypt(password, N, R, P, salt, HASH_BYTES)))


def check_password(password: str, stored: str | StoredPassword) -> bool:
    """Whether this is the password. Blocks for about 50 ms and needs 16 MiB, so call it in a thread.

    :raises ValueError: ``stored`` is a text in another form.
    """
    known = StoredPassword.parse(stored) if isinstance(stored, str) else stored
    given = _scrypt(password, known.n, known.r, known.p, known.salt, len(known.hash))
    return hmac.compare_digest(given, known.hash)


def _scrypt(password: str, n: int, r: int, p: int, salt: bytes, length: int) -> bytes:
    # surrogatepass: a passcode may contain any octets, and must not raise. OpenSSL needs more memory than the formula
    # says.
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=2 * MOST_MEMORY, dklen=length)


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"the {what} is not base64") from None
