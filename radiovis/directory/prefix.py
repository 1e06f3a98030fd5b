"""A channel's topic prefix, as directories write it."""

from __future__ import annotations

import re

LONGEST = 512
"""Characters. The longest real ones (``/topic/id/<fqdn>/<service>/``) stay below 300."""


def checked_prefix(topic: str) -> str:
    """The topic prefix with its trailing ``/``.

    :raises ValueError: when it is no topic, naming what is wrong with it.
    """
    if not topic.startswith("/topic/") or not topic.strip("/").partition("/")[2]:
        raise ValueError(f"{topic[:80]!r} is no topic: it must begin with /topic/ and go on")
    if re.search(r"[\s\x00-\x1f\x7f-\x9f]", topic):
        raise ValueError(f"{topic[:80]!r} has a space or control character in it")
    if len(topic) > LONGEST:
        raise ValueError(f"{topic[:80]!r}… is longer than {LONGEST} characters")
    return topic if topic.endswith("/") else topic + "/"
