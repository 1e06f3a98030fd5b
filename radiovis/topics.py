"""The RadioVIS topic grammar: the parts of a topic, and its canonical spelling inside the server.

    /topic/fm/<gcc or country>/<pi>/<frequency or *>/<type>
    /topic/dab/<gcc>/<eid>/<sid>/<scids>[/<appty-uatype>[/<pa>]]/<type>
    /topic/drm/<sid>/<type>     /topic/amss/<sid>/<type>     /topic/hd/<cc>/<tx>[/<mid>]/<type>
    /topic/id/<fqdn>/<service identifier>/<type>       PlugIt: /topic/id/<labels reversed>/<service identifier>/<type>

``<type>`` is ``image`` or ``text`` (RVIS01 §2, contract §3 and §4). The server checks only the shape of FM topics, as
the original did. Broadcasters may use any other topic that their receivers understand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

TOPIC = "/topic/"
BROADCAST = "/topic/*/"
_HEX3, _HEX4 = r"[0-9a-f]{3}", r"[0-9a-f]{4}"
BEARERS = {
    "fm": (rf"({_HEX3}|[a-z]{{2}})/({_HEX4})/(\d{{5}}|\*)", "fm:<gcc>.<pi>.<frequency>, as in fm:4e1.4000.09580"),
    "dab": (
        rf"({_HEX3})/({_HEX4})/({_HEX4}|[0-9a-f]{{8}})/([0-9a-f]|{_HEX3})(?:/[0-9a-f]{{2}}-{_HEX3}(?:/\d{{1,4}})?)?",
        "dab:<gcc>.<eid>.<sid>.<scids>, as in dab:4e1.4000.4001.0",
    ),
    "drm": (r"([0-9a-f]{6})", "drm:<sid>, as in drm:e1c238"),
    "amss": (r"([0-9a-f]{6})", "amss:<sid>, as in amss:e1c238"),
    "hd": (rf"({_HEX3})/([0-9a-f]{{5}})(?:/(\d))?", "hd:<cc>.<tx>, as in hd:292.98f00"),
}
"""The broadcast systems. For each: the pattern of its identifiers in a topic, and the form of a bearer (contract §4, TS
103 270). The groups of the pattern are the labels of the name in the DNS, the widest first."""
ID_FORM = r"[\w.-]+/[^/\s]+"
"""The identifiers in a topic of a service over IP: the broadcaster's domain name and the service identifier."""
_BROADCAST_FORMS = frozenset(BEARERS)
_FM = "/topic/fm/"
_ID = "/topic/id/"
_COUNTRY = re.compile(r"/topic/(?i:fm)/([A-Za-z]{2})/")
_REMEMBERED = 4_096  # topics that are cached because every publish needs them; at most 1 KiB each
_FM_SHAPE = re.compile(r"/topic/fm/(\w+)/(\w+)/(\w+)/(\w+)", re.ASCII)


@lru_cache(_REMEMBERED)
def canonical(topic: str, gcc: str | None = None) -> str:
    """The canonical spelling of a topic.

    Identifiers of broadcast systems are in lower case, as PlugIt writes them (contract §3). The global country code
    replaces an ISO country code. The last part, and topics of other kinds, are not changed.

    :param gcc: the global country code for the country of :func:`country_of`; None keeps the country code.
    """
    parts = topic.split("/")
    if len(parts) > 3 and parts[1] == "topic" and parts[2].lower() in _BROADCAST_FORMS:
        parts[2:-1] = [part.lower() for part in parts[2:-1]]
        if gcc is not None:
            parts[3] = gcc
        return "/".join(parts)
    return topic


def read_identifiers(kind: str, parts: str) -> list[str]:
    """The labels of the name in the DNS for a bearer, the widest first.

    :param kind: one of :data:`BEARERS`.
    :param parts: the identifiers as in a topic, with slashes between them.
    :raises ValueError: the identifiers are invalid; the text gives the correct form.
    """
    pattern, form = BEARERS[kind]
    match = re.fullmatch(pattern, parts.lower(), re.ASCII)
    if match is None:
        raise ValueError(f"must have the form {form}")
    return [group for group in match.groups() if group]


def bearer_topic(bearer: str) -> str:
    """The topic prefix of a bearer: ``/topic/fm/4e1/4000/09580/`` for ``fm:4e1.4000.09580``.

    A service over IP is ``id:<fqdn>/<service>``.

    :raises ValueError: the text is not a bearer; the error's text gives the correct form.
    """
    kind, _, identifiers = bearer.partition(":")
    if kind == "id":
        name, _, service = identifiers.partition("/")
        if not re.fullmatch(ID_FORM, identifiers, re.ASCII) or "." not in name:
            raise ValueError(f"{bearer!r} must have the form id:<domain name>/<service>, as in id:www.example.org/rock")
        return f"{TOPIC}id/{name.lower()}/{service}/"
    if kind not in BEARERS:
        raise ValueError(f"{bearer!r} is not a bearer of {', '.join(BEARERS)} or id")
    parts = identifiers.lower().replace(".", "/")
    try:
        read_identifiers(kind, parts)
    except ValueError as error:
        raise ValueError(f"{bearer!r} {error}") from None
    return f"{TOPIC}{kind}/{parts}/"


@lru_cache(_REMEMBERED)
def country_of(topic: str) -> str | None:
    """The ISO 3166 alpha-2 code, in lower case, of an FM topic that has it in place of the GCC; None for other topics.

    TS 103 270 v1.1.1 deprecated this code, but old radios still send it (contract §4).
    """
    match = _COUNTRY.match(topic)
    return match[1].lower() if match else None


def channel_of(topic: str) -> str:
    """The channel of a topic: the topic without its last part, with the trailing slash."""
    return topic.rpartition("/")[0] + "/"


def is_fm(topic: str) -> bool:
    """Whether a topic begins like an FM topic. Its shape may be wrong: see :func:`has_fm_shape`."""
    return topic.startswith(_FM)


def has_fm_shape(topic: str) -> bool:
    """Whether an FM topic has all its parts. ``*`` is not a valid frequency for subscribers (contract §1.8)."""
    return _FM_SHAPE.match(topic) is not None


def any_frequency(topic: str) -> str:
    """A topic of the FM shape with ``*`` as its frequency, which some stations register instead of frequencies."""
    parts = topic.split("/")
    parts[5] = "*"
    return "/".join(parts)


@lru_cache(_REMEMBERED)
def labels_reversed(topic: str) -> str | None:
    """An ``id`` topic as PlugIt spells it: ``/topic/id/ch/ebu/www/<rest>`` for ``/topic/id/www.ebu.ch/<rest>``.

    PlugIt splits the domain name at its dots and reverses the labels, as for the broadcast systems (contract, fault
    19). Returns None for a topic without a domain name.
    """
    domain, slash, rest = topic.removeprefix(_ID).partition("/")
    if not topic.startswith(_ID) or not slash or "." not in domain:
        return None
    return _ID + "/".join(reversed(domain.lower().split("."))) + slash + rest


def is_id(topic: str) -> bool:
    """Whether a topic belongs to a service over IP."""
    return topic.startswith(_ID)


def prefixes(topic: str, most: int) -> Iterator[str]:
    """The prefixes of an ``id`` topic that may be channels, in the same spelling. The first has only the domain name.

    :param most: characters of the longest prefix to return. It bounds the work for a topic with many slashes.
    """
    end = topic.find("/", len(_ID))
    while 0 <= end < most:
        yield topic[: end + 1]
        end = topic.find("/", end + 1)
