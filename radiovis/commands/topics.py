"""``topics``: list the channels of the directory, with the clients and the last messages of a node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import treq
from twisted.internet.defer import Deferred
from twisted.web.client import Agent
from twisted.web.http_headers import Headers

from fanout.listeners.tls import connect_failure
from radiovis.client.command_line import (
    DONE,
    FAILED,
    WRONG,
    CommandError,
    SettingsParser,
    given_settings,
    paint,
    printable,
)
from radiovis.client.conversation import run_reactor
from radiovis.directory.interface import Channel, Directory, DirectoryError
from radiovis.node import build
from radiovis.settings import Settings
from radiovis.topics import channel_of

_SECONDS = 10.0
_PAGE = 1_000

TopicStates = dict[str, dict[str, Any]]
"""A node's report on each topic: its clients, and its last message."""


def command() -> SettingsParser:
    """The arguments of the command, without the flags of ``serve``."""
    parser = SettingsParser(
        "topics",
        "List the channels of the configured directory (STATIONS_FILE or RADIODNS_API_URL). With --admin, also show the"
        " clients and the last message of each topic of a node.",
        {DONE: "done", FAILED: "the directory or the node does not answer", WRONG: "wrong usage or settings"},
        "ADMIN_TOKEN is sent to the node if it is set.",
    )
    parser.add_argument("--admin", metavar="URL", help="the operators' port of a node, such as http://127.0.0.1:8081")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--test", action="store_true", help="list the fake stations of serve --test")
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: wrong usage, or the directory or the node does not answer."""
    given = command().read(words)
    settings = given_settings(given)
    if given.admin and not given.admin.startswith(("http://", "https://")):
        raise CommandError(f"topics: --admin: {given.admin!r} must begin with http:// or https://", WRONG)

    async def show(reactor: Any) -> int:
        try:
            channels = await _directory(reactor, settings, fake=given.test).topics()
        except DirectoryError as error:
            raise CommandError(f"the directory does not answer: {error}") from None
        on_air = await _topic_states(reactor, given.admin, settings) if given.admin else None
        (_print_json if given.json else _print)(channels, on_air)
        return DONE

    return run_reactor(show)


def _directory(reactor: Any, settings: Settings, *, fake: bool) -> Directory:
    if fake:
        return build.fake_directory(settings)
    return build.stations_file(reactor, settings, lambda: None) or build.plugit_api(reactor, settings)


async def _topic_states(reactor: Any, base: str, settings: Settings) -> TopicStates:
    """All topics of a node, read page by page. :raises CommandError: the node does not answer, or refuses access."""
    found: TopicStates = {}
    after = ""
    while True:
        page = await _page(reactor, base, after, settings)
        found |= {each["topic"]: each for each in page["topics"]}
        if not page["next"]:
            return found
        after = page["next"]


async def _page(reactor: Any, base: str, after: str, settings: Settings) -> dict[str, Any]:
    url = f"{base.rstrip('/')}/api/topics?{urlencode({'limit': _PAGE, 'after': after})}"
    token = settings.ADMIN_TOKEN.get_secret_value()
    headers = Headers({"Authorization": [f"Bearer {token}"]} if token else {})
    client = treq.client.HTTPClient(Agent(reactor, connectTimeout=_SECONDS))

    async def get() -> tuple[int, bytes]:
        response = await client.get(url, headers=headers)
        return response.code, await treq.content(response)

    try:
        code, body = await Deferred.fromCoroutine(get()).addTimeout(_SECONDS, reactor)
    except Exception as error:  # noqa: BLE001 - a wrong URL may cause any error.
        raise CommandError(f"{base} does not answer: {printable(connect_failure(error, _SECONDS))}") from None
    if code in (401, 403):
        raise CommandError(f"{base} refuses access: set ADMIN_TOKEN to the token of the node")
    try:
        page = json.loads(body) if code == 200 else None
        return {"topics": list(page["topics"]), "next": page["next"]}  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        raise CommandError(f"{base} is not the operators' port of a node: its /api/topics answers {code}") from None


def _print(channels: Sequence[Channel], on_air: TopicStates | None) -> None:
    for channel in channels:
        print(printable(channel.topic) + (paint(f"  {printable(channel.name)}", "grey") if channel.name else ""))
        for topic in _topics_of(channel.topic, on_air or {}):
            _print_topic((on_air or {})[topic], f"{topic.rpartition('/')[2]:<5}")
    others = _others(channels, on_air or {})
    if others:
        print("\nin no channel of the directory:")
    for topic in others:
        _print_topic((on_air or {})[topic], topic)


def _print_topic(entry: dict[str, Any], name: str) -> None:
    """:param name: the whole topic, or its last part if it is printed below its channel."""
    clients = sum(entry.get("clients", {}).values())
    body = (entry.get("last") or {}).get("body") or "nothing yet"
    counted = f"  ({clients} client{'' if clients == 1 else 's'})"
    print(f"    {printable(name)}  {printable(str(body))}" + paint(counted, "grey"))


def _print_json(channels: Sequence[Channel], on_air: TopicStates | None) -> None:
    listed = []
    for channel in channels:
        entry: dict[str, Any] = {
            "topic": channel.topic, "id": channel.id, "name": channel.name, "listed": channel.listed
        }  # fmt: skip
        if on_air is not None:
            entry["on_air"] = [on_air[topic] for topic in _topics_of(channel.topic, on_air)]
        listed.append(entry)
    report: dict[str, Any] = {"channels": listed}
    if on_air is not None:
        report["others"] = [on_air[topic] for topic in _others(channels, on_air)]
    print(json.dumps(report))


def _topics_of(channel: str, on_air: TopicStates) -> list[str]:
    return sorted(topic for topic in on_air if channel_of(topic) == channel.lower() or channel_of(topic) == channel)


def _others(channels: Sequence[Channel], on_air: TopicStates) -> list[str]:
    known = {spelling for channel in channels for spelling in (channel.topic, channel.topic.lower())}
    return sorted(topic for topic in on_air if channel_of(topic) not in known)
