"""The licence of a key's values, as clients are told it: the Link header (RFC 8288, RFC 4946)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

_URI = "!#$%&'()*+,/:;=?@[]~"  # what may stand in one besides letters and digits (RFC 3986)


def link(facts: Mapping[str, Any]) -> str | None:
    """``<uri>; rel="license"; title="…"``; None without a uri.

    :param facts: what is known about a key.
    """
    license_ = facts.get("license") or {}
    uri, title = license_.get("uri"), license_.get("title")
    if not uri:
        return None
    return f'<{quote(uri, _URI)}>; rel="license"' + (f"; {_title(title)}" if title else "")


def _title(title: str) -> str:
    if title.isascii() and title.isprintable():
        quoted = title.replace("\\", r"\\").replace('"', r"\"")
        return f'title="{quoted}"'
    return f"title*=UTF-8''{quote(title, '')}"
