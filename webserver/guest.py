"""The web server within another server: ``python server.py --with webserver``. Its topics are those of all nodes."""

from __future__ import annotations

import time
from pathlib import Path

from fanout.application.guests import Host
from fanout.bus.duplicates import is_later
from fanout.hub.history import History
from fanout.hub.message import Message
from fanout.settings import SettingsError
from webserver.server import WebServer
from webserver.serving import SiteTopics
from webserver.site_config import SiteConfig, SiteError, read_site

SITE = "WEBSERVER_SITE"
"""The variable of the environment that names the site file."""
PREFIX = "/topic/web/"
"""The topics of all sites, in the hub of a node and on the bus; ``/channels/a`` is ``/topic/web/a``."""


class SharedTopics(SiteTopics):
    """Topics on the hub and the bus of a host, for every node on this bus."""

    def __init__(self, host: Host, site: SiteConfig) -> None:
        part = site.topics
        self._history = History(time.monotonic)
        super().__init__(
            host.reactor,
            host.hub,
            host.bus,
            self._history,
            part.token.get_secret_value() if part else "",
            listeners=part.listeners if part else 1,
            prefix=PREFIX,
        )
        self.largest = lambda: host.limits.body_bytes

    def hear(self, message: Message) -> bool:
        """Take a message of the bus. One that the bus has read later than its follower is no news."""
        if not message.topic.startswith(PREFIX):
            return False
        last = self.pending.hub.last(message.topic)
        if last is None or is_later(message.serial, last.serial) is not False:
            self._history.add(message.topic, message)
            self.pending.hub.publish(message.topic, message)
        return True


class SiteGuest:
    """A :class:`fanout.application.guests.Guest`."""

    def __init__(self, host: Host, path: Path) -> None:
        """:raises SiteError: the site file cannot be used."""
        site = read_site(path)
        topics = SharedTopics(host, site)
        self._server = WebServer(host.reactor, site, path.resolve().parent, topics)
        self.hear = topics.hear
        self.reload = self._server.reload
        self.stop = self._server.stop

    def start(self) -> dict[str, str]:
        """Listen. :return: where. :raises twisted.internet.error.CannotListenError: the port is taken."""
        return {"web": self._server.start()}


def guest(host: Host) -> SiteGuest:
    """Make the site that the environment names, on the hub and bus of a host, which also owns the process and its logs.

    :raises SettingsError: there is no such site, or it is wrong.
    """
    path = host.environ.get(SITE, "")
    if not path:
        raise SettingsError(f"WITH = webserver: {SITE} names no site file")
    try:
        return SiteGuest(host, Path(path))
    except SiteError as error:
        raise SettingsError(str(error)) from None
