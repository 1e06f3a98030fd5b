"""A client of a few lines, as a starting point: ``python -m artcast.client http://localhost:8888 test/tick``.

It only uses the standard library. Each value is printed when it arrives, as JSON on a line.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import URLError
from urllib.parse import quote

_PAUSE = 3.0  # seconds before the next attempt when a server does not answer


def next_value(server: str, key: str) -> Any:
    """Wait for the next value of a key.

    :param server: such as ``http://localhost:8888``.
    :raises OSError: the server does not answer.
    """
    address = f"{server.rstrip('/')}/artcasts/{quote(key)}"
    request = urllib.request.Request(address, headers={"accept": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310  (the caller's own address)
        return json.load(answer)


def values(server: str, key: str) -> Iterator[Any]:
    """The values of a key, one after the other, without an end. In an outage it waits and tries again."""
    while True:
        try:
            yield next_value(server, key)
        except URLError as error:
            print(f"{server} does not answer: {error}", file=sys.stderr)
            time.sleep(_PAUSE)


def main() -> None:
    """Print values until Ctrl-C."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m artcast.client SERVER KEY")
    try:
        for value in values(sys.argv[1], sys.argv[2]):
            print(json.dumps(value), flush=True)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
