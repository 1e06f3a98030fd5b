"""What a WSGI application is told of a request (PEP 3333, "environ Variables")."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fanout.web.request import Request

SOFTWARE = "fanout"


def environ(request: Request, script: str, path: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """All but ``wsgi.*``, which the gateway adds.

    :param script: the part of the path that led to the application, without a slash at its end.
    :param path: the rest, which begins with a slash, or is empty.
    :param settings: of the application; each appears as ``kp.NAME``.
    """
    http = request.http
    host = urlsplit("//" + (request.header("host") or ""))
    here: Any = http.getHost()  # type: ignore[no-untyped-call]
    uri = http.uri.decode("latin-1")
    found = {
        "REQUEST_METHOD": request.method,
        "REQUEST_URI": uri,
        "NON_QUERY_URI": uri.partition("?")[0],
        "SCRIPT_NAME": _native(script),
        "PATH_INFO": _native(path),
        "QUERY_STRING": uri.partition("?")[2],
        "CONTENT_TYPE": request.header("content-type") or "",
        "CONTENT_LENGTH": str(_length(request)),
        "SERVER_NAME": host.hostname or here.host,
        "SERVER_PORT": str(here.port),
        "SERVER_PROTOCOL": request.version,
        "SERVER_SOFTWARE": SOFTWARE,
        "REMOTE_ADDR": request.address,
        "REMOTE_PORT": str(http.channel.port),
    }
    return {**found, **_headers(request), **{f"kp.{name}": value for name, value in settings.items()}}


def _native(text: str) -> str:
    """Octets as text of one octet a character, as PEP 3333 wants them."""
    return text.encode().decode("latin-1")


def _length(request: Request) -> int:
    """Octets of the body; its client may have sent them in chunks, without saying how many."""
    length = request.body.seek(0, os.SEEK_END)
    request.body.seek(0)
    return length


def _headers(request: Request) -> dict[str, str]:
    """``HTTP_*``. A name with an underscore would pass for another one with a hyphen, and Proxy for a setting."""
    return {
        "HTTP_" + name.upper().replace("-", "_"): _native(value)
        for name, value in request.headers.items()
        if "_" not in name and name not in ("content-type", "content-length", "proxy")
    }
