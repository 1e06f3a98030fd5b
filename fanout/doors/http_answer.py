"""What every answer over HTTP has: security headers, the status in words, and the JSON of an error."""

from __future__ import annotations

import json
from http import HTTPStatus

# What a browser may do with anything of ours. Slides come from wherever a station keeps them, so pictures may too.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' http: https:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}  # Twisted's own are not complete


def error_body(status: int, detail: str) -> bytes:
    """The JSON of an error: the status in words, and one or two sentences: why, and what to do."""
    reason = REASONS[status].decode()
    return json.dumps({"error": reason, "detail": detail}).encode() + b"\n"
