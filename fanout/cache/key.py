"""The name under which something lies in memcached."""

from __future__ import annotations

import hashlib
import json
import re

READABLE = 100
"""Characters of a key meant for people. With the hash it stays far below memcached's 250 bytes."""


def cache_key(*parts: str) -> str:
    """A key for whatever the parts name: legal for memcached however long or odd they are, and readable in a dump.

    memcached refuses keys with spaces, control characters or more than 250 bytes (its ``protocol.txt``, "Keys");
    the original dropped its connection over them (contract §2, fault 7).

    :param parts: what it is about, the application first: ``cache_key("radiovis", "gcc", "ch")``. Different parts
        give different keys, also when their joined text is the same.
    """
    readable = re.sub(r"[^A-Za-z0-9_.-]", "-", "_".join(parts))[:READABLE]
    return f"{readable}_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"
