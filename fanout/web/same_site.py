"""Whether a browser was sent here by somebody else's page."""

from __future__ import annotations

from urllib.parse import urlsplit

from fanout.doors.http_endpoint import HttpError
from fanout.web.request import Request


def check_same_site(request: Request) -> None:
    """Refuse a browser that changes something here because a page of another site told it to.

    A form of any page may POST anywhere, a server on the reader's own machine included; programs send no Origin.

    :raises HttpError: 403.
    """
    origin = request.header("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != (request.header("host") or "").lower():
        raise HttpError(403, f"A page of {origin} may not change anything here.")
